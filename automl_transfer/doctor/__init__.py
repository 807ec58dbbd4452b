"""The data doctor: checks that look for what is wrong with a dataset. Nothing is changed or deleted."""
