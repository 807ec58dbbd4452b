"""The search: studies, samplers, pruners, first answers, and the objective."""
