"""The space of transfer strategies: dimensions, study files, and how a trial becomes a strategy."""
