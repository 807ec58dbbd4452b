"""What trials of a study have reached and taken, read once for each as they end or pause."""

from __future__ import annotations

import json
import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from automl_transfer.domain.records import TrialOutcome
from automl_transfer.domain.stored_strategy import read_strategy
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import UnreadableRowError
from automl_transfer.store import parsing
from automl_transfer.store import tables as t
from automl_transfer.store.details import chunks
from automl_transfer.store.sampling import SamplerHistory

log = logging.getLogger(__name__)

MOST = 300
"""Trials that are read at the first look, the latest ones."""


@dataclass(frozen=True)
class Spent:
    """One strategy that came somewhere.

    Attributes:
        root: Number of its first trial.
        value: What it has reached.
        epochs: That it trained; 0 for a solved head.
        seconds: That it took, all included.
        epoch_seconds: Of them, those of its epochs.
    """

    root: int
    strategy: Strategy
    value: float
    epochs: int
    seconds: float
    epoch_seconds: float

    def whole(self, epochs: int) -> float:
        """Seconds that it would take to the end of so many epochs."""
        if not 0 < self.epochs < epochs:
            return self.seconds
        return self.seconds + self.epoch_seconds / self.epochs * (epochs - self.epochs)


class SpentNews:
    """Tells what ended, or paused, since the last look. Not safe from several threads.

    Args:
        history: The study as samplers see it.
    """

    def __init__(self, history: SamplerHistory) -> None:
        self._history = history
        self._seen: dict[int, tuple[OptunaState, int]] = {}

    def __call__(self) -> list[Spent]:
        """All of it at the first look, or the latest."""
        wanted, states = {}, {}
        for trial in self._history.trials():
            if trial.state not in (OptunaState.COMPLETE, OptunaState.PRUNED) or trial.value is None:
                continue
            now = trial.state, max(trial.intermediate_values, default=0)
            if self._seen.get(trial._trial_id) != now:
                states[trial._trial_id], wanted[trial._trial_id] = now, trial
        if not wanted:
            return []
        ids = sorted(wanted)[-MOST:]
        found = self._history.store.read(
            lambda connection: [each for one in chunks(ids) for each in _read(connection, one, wanted)],
            "read what trials took",
        )
        self._seen |= states  # not before: a read that the database breaks off is tried again
        return found


def _read(connection: sa.Connection, ids: Sequence[int], trials: dict[int, FrozenTrial]) -> list[Spent]:
    e, a = t.at_epochs, t.at_trials
    epochs: dict[int, list[float]] = defaultdict(list)
    for trial_id, text in connection.execute(
        sa.select(e.c.trial_id, e.c.result).where(e.c.trial_id.in_(ids), e.c.epoch > 0)
    ):
        epochs[trial_id].append(_seconds(text))
    found = []
    for trial_id, text, outcome in connection.execute(
        sa.select(a.c.trial_id, a.c.strategy, a.c.outcome).where(a.c.trial_id.in_(ids))
    ):
        trial, spent = trials[trial_id], epochs.get(trial_id, [])
        trained = math.fsum(spent)
        try:
            took = parsing.model(TrialOutcome, outcome, "outcome").train_seconds if outcome else trained
            strategy = read_strategy(text)
        except UnreadableRowError as error:
            log.debug("what a trial took is left out: %s", error)
            continue
        assert trial.value is not None
        found.append(Spent(trial.number, strategy, trial.value, len(spent), max(took, trained), trained))
    return found


def _seconds(text: object) -> float:
    try:
        found = json.loads(str(text))["seconds"]
    except (ValueError, KeyError, TypeError):
        return 0.0
    return float(found) if isinstance(found, int | float) and math.isfinite(found) else 0.0
