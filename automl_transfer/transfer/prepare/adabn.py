"""AdaBN: batch norms take the statistics of the target's images (Li et al. 2016)."""

from __future__ import annotations

from automl_transfer.domain.dimensions import SOLVED
from automl_transfer.domain.strategy import is_active
from automl_transfer.transfer.norms import BatchNorm, adapt_statistics, batch_norms
from automl_transfer.transfer.prepare.base import Subject


def adabn(subject: Subject) -> bool:
    """Adapt what the strategy's norm policy and head ask for."""
    layers = _to_adapt(subject)
    adapt_statistics(subject.model, layers, subject.images, subject.rows, subject.normalise)
    return bool(layers)


def _to_adapt(subject: Subject) -> list[BatchNorm]:
    """Batch norms whose statistics come from the target's images before training.

    All of them under the policy "adapt". Under a solved head also those of fresh groups, and those
    that will be in training mode: the head is to fit the features that training begins with, and
    these are normalised by the target's statistics, not by the source's.
    """
    model, strategy = subject.model, subject.strategy
    if strategy.norm_policy == "adapt" and is_active("norm_policy", strategy.model_dump()):
        return batch_norms(model.groups)
    if strategy.head_init not in SOLVED:
        return []
    model.train()
    moving = [layer for layer in batch_norms(model.groups) if layer.training]
    model.eval()
    fresh = batch_norms(list(model.groups)[subject.selection.transferred :])
    return list(dict.fromkeys([*moving, *fresh]))
