"""Plain frozen values: no torch, no optuna."""
