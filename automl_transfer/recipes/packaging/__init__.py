"""Inference-only files of a model: one module a format, and what they share."""
