"""The figures of a report: one file a figure, and `registry.FIGURES` in the order of the page."""
