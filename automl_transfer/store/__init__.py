"""The study store: Optuna's tables and ours in one database, every step one transaction."""
