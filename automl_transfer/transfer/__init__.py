"""Turns a strategy and a source into a model that is ready to train: a transfer plan."""
