"""Datasets: what they hold, how they are split, and their decoded pixels. No torch."""
