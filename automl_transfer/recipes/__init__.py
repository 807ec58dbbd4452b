"""What a study leaves behind: the best-strategy file, the model folder, predictions."""
