"""What is known of earlier tasks, as values and files: which strategies won there, nothing of the data."""
