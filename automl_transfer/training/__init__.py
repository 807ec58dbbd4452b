"""Trains plans, evaluates models, resumes runs, and profiles sources. Knows nothing of Optuna."""
