"""Search over transfer strategies for image classification."""

__version__ = "0.1.0"
