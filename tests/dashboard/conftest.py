"""Fixtures of this room; what they give is named in `served`, which no other room's conftest hides."""

from served import command, finished, serve

__all__ = ["command", "finished", "serve"]
