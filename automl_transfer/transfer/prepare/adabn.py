"""AdaBN: batch norms take the statistics of the target's images (Li et al. 2016)."""

from __future__ import annotations

from automl_transfer.domain.dimensions import SOLVED
from automl_transfer.domain.horizon import EPOCHS
from automl_transfer.domain.strategy import is_active
from automl_transfer.transfer.freeze import TransferModel, freeze
from automl_transfer.transfer.norms import BatchNorm, adapt_statistics, batch_norms
from automl_transfer.transfer.phases import phases_of
from automl_transfer.transfer.prepare.base import Subject


def adabn(subject: Subject) -> bool:
    """Adapt what the strategy's norm policy and head ask for.

    Raises:
        ConfigurationError: The strategy's phases cannot be.
    """
    layers = _to_adapt(subject)
    adapt_statistics(subject.model, layers, subject.images, subject.rows, subject.normalise)
    return bool(layers)


def _to_adapt(subject: Subject) -> list[BatchNorm]:
    """Batch norms whose statistics come from the target's images before training.

    All of them under the policy "adapt". Else those of fresh groups, which would be identities: all of them
    under a solved head, under another one those that the first phase keeps frozen (the rest learn theirs as
    they train). Under a solved head also those that will be in training mode: the head is to fit the features
    that training begins with, and these are normalised by the target's statistics, not by the source's.
    """
    model, strategy, selection = subject.model, subject.strategy, subject.selection
    if strategy.norm_policy == "adapt" and is_active("norm_policy", strategy.model_dump()):
        return batch_norms(model.groups)
    fresh = batch_norms(list(model.groups)[selection.transferred :])
    if strategy.head_init in SOLVED:
        return list(dict.fromkeys([*_moving(model), *fresh]))
    if not fresh:
        return []
    first = phases_of(strategy, selection, EPOCHS)[0]
    freeze(model, strategy, selection.transferred, first.tune_mode, first.frozen)
    moving = _moving(model)
    freeze(model, strategy, selection.transferred, strategy.tune_mode, selection.frozen)
    return [layer for layer in fresh if layer not in moving]


def _moving(model: TransferModel) -> list[BatchNorm]:
    """Those that are in training mode where the model is."""
    model.train()
    found = [layer for layer in batch_norms(model.groups) if layer.training]
    model.eval()
    return found
