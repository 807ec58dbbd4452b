"""Initialisers of layer groups that are not transferred: one file a family, one line each in the registry."""
