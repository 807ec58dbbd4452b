"""Distortions of single images, drawn anew each time: a new one is one file and one line in `methods`."""
