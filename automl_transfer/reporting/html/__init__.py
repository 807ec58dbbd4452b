"""The page of a report: one self-contained file, which works offline and asks nothing of a network."""
