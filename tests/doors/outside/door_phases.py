"""Phases of another package: the head first, then what the strategy says."""

from automl_transfer.transfer.phases import Phase


def head_first(strategy, selection, max_epochs):
    rest = max_epochs - max_epochs // 2
    if rest == max_epochs:
        return (Phase("all", max_epochs, strategy.tune_mode, selection.frozen),)
    return (
        Phase("head", max_epochs - rest, "head", selection.kept),
        Phase("all", rest, strategy.tune_mode, selection.frozen),
    )
