"""New root trials: their rows in Optuna's tables and ours, and what a study's parameters must keep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    check_distribution_compatibility,
)

from automl_transfer.domain.stored_strategy import store_strategy
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import StudyError
from automl_transfer.store import optuna_rows as rows
from automl_transfer.store import soundness
from automl_transfer.store import tables as t
from automl_transfer.store.store import Store
from automl_transfer.store.studies import deleted
from automl_transfer.store.values import StudyHandle, TrialDraft


class KnownSpaces:
    """The distributions that the parameters of each study have had so far, read once for each."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._known: dict[int, dict[str, BaseDistribution]] = {}

    def fitted(self, study_id: int, draft: TrialDraft) -> TrialDraft:
        """The draft with the choices that the study began with.

        Raises:
            StudyError: A value is none of these, or a parameter's kind is not the study's, as Optuna says.
        """
        known = self._known.get(study_id)
        if known is None or any(name not in known for name in draft.params):
            found = self.store.read(lambda c: soundness.distributions(c, study_id), "read the space")
            known = self._known[study_id] = {**found, **(known or {})}
        distributions = {
            name: as_begun(known.get(name), draft.distributions[name], value)
            for name, value in draft.params.items()
        }
        for name, distribution in distributions.items():
            if known.get(name) is distribution:
                continue
            try:
                check_distribution_compatibility(known.get(name, distribution), distribution)
            except ValueError as error:
                raise StudyError(
                    f"parameter {name} must keep its distribution within a study, got {distribution} after "
                    f"{known[name]} ({error}). Choose another --study-name, or use the same settings"
                ) from None
            known[name] = distribution
        return replace(draft, distributions=distributions)


def as_begun(
    known: BaseDistribution | None, distribution: BaseDistribution, *values: Any
) -> BaseDistribution:
    """A parameter's distribution as the study has had it, where a newer program only knows more choices.

    Where `values` are given, only if it has them.
    """
    kind = CategoricalDistribution
    if isinstance(known, kind) and isinstance(distribution, kind):
        grown = set(known.choices) < set(distribution.choices)
        return known if grown and set(values) <= set(known.choices) else distribution
    return distribution


def lock(connection: sa.Connection, study: StudyHandle) -> None:
    """Make this transaction the only one that adds trials to a study, which must still be there."""
    if not rows.lock_study(connection, study.study_id, study.identity):
        raise deleted(study)


def created(connection: sa.Connection, nonce: str) -> tuple[int, int] | None:
    """Id and number of the trial that an earlier try with this nonce made."""
    row = connection.execute(
        sa.select(t.trials.c.trial_id, t.trials.c.number)
        .join(t.at_trials, t.at_trials.c.trial_id == t.trials.c.trial_id)
        .where(t.at_trials.c.created_by == nonce)
    ).first()
    return None if row is None else (row[0], row[1])


def count_roots(connection: sa.Connection, study_id: int) -> int:
    """Root trials of a study, whatever became of them."""
    query = sa.select(sa.func.count()).where(
        t.at_trials.c.study_id == study_id, t.at_trials.c.parent.is_(None)
    )
    return connection.execute(query).scalar_one()


def is_tried(connection: sa.Connection, study_id: int, strategy: Strategy) -> bool:
    """Whether a root trial of a study has this strategy, whatever became of it."""
    r = t.at_trials
    # Rows begin with the version that wrote them; what follows says what the strategy is.
    _, _, said = store_strategy(strategy).partition(",")
    same = r.c.strategy.endswith("," + said, autoescape=True)
    query = sa.select(r.c.trial_id).where(r.c.study_id == study_id, r.c.parent.is_(None), same)
    return connection.execute(query.limit(1)).first() is not None


def insert_root(
    connection: sa.Connection,
    study: StudyHandle,
    draft: TrialDraft,
    nonce: str,
    *,
    once: str | None,
    worker: str | None,
) -> tuple[int, int]:
    """A new root trial, WAITING without a worker and RUNNING with one: its id and number."""
    state = rows.WAITING if worker is None else rows.RUNNING
    trial_id, number = rows.insert_trial(connection, study.study_id, state)
    rows.insert_params(connection, trial_id, draft.params, draft.distributions)
    connection.execute(
        sa.insert(t.at_trials),
        {
            "trial_id": trial_id,
            "study_id": study.study_id,
            "root": number,
            "parent": None,
            "attempt": 0,
            "strategy": store_strategy(draft.strategy),
            "label": draft.label[:64],
            "once": once,
            "created_by": nonce,
            "worker": worker[:200] if worker else None,
            "restarts": 0,
        },
    )
    rows.describe_trial(connection, trial_id, draft.strategy)
    return trial_id, number


def has_no_place(
    connection: sa.Connection, study_id: int, strategy: Strategy, limit: int | None, distinct: bool
) -> bool:
    """Whether a study has `limit` root trials, or is to have each strategy once and has this one."""
    full = limit is not None and count_roots(connection, study_id) >= limit
    return full or (distinct and is_tried(connection, study_id, strategy))
