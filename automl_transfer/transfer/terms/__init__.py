"""What a strategy adds to each step of training: pulls, penalties, mixes."""
