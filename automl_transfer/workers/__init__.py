"""Processes that run trials: the worker's loop, its heartbeat, its spool, and launchers."""
