"""New root trials: their rows in Optuna's tables and ours, and what a study's parameters must keep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    IntDistribution,
    check_distribution_compatibility,
)

from automl_transfer.domain.stored_strategy import store_strategy
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import StudyError
from automl_transfer.store import leases, soundness
from automl_transfer.store import optuna_rows as rows
from automl_transfer.store import tables as t
from automl_transfer.store.store import Store
from automl_transfer.store.studies import deleted
from automl_transfer.store.values import StudyHandle, TrialDraft

MOST_NUMBER = 2**31 - 1
"""No trial has a higher one."""


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

    Where `values` are given, only if it has them. Whole numbers, which earlier versions drew evenly whatever
    their scale, stay on the study's.
    """
    if isinstance(known, CategoricalDistribution) and isinstance(distribution, CategoricalDistribution):
        grown = set(known.choices) < set(distribution.choices)
        return known if grown and set(values) <= set(known.choices) else distribution
    if isinstance(known, IntDistribution) and isinstance(distribution, IntDistribution):
        ends = ((each.low, each.high, each.step) for each in (known, distribution))
        return known if len(set(ends)) == 1 else distribution
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


def is_full(connection: sa.Connection, study_id: int, limit: int) -> bool:
    """Whether a study has `limit` root trials."""
    last = sa.select(sa.func.max(t.trials.c.number)).where(t.trials.c.study_id == study_id)
    number = connection.execute(last).scalar()
    # Fewer trials of any kind are fewer roots: only near the end of a budget are these counted.
    if number is None or (type(number) is int and number + 1 < limit):
        return False
    return count_roots(connection, study_id) >= limit


def said_of(strategy: Strategy) -> str:
    """What a strategy's row says of it, behind the version that wrote it."""
    return store_strategy(strategy).partition(",")[2]


def is_tried(connection: sa.Connection, study_id: int, strategy: Strategy) -> bool:
    """Whether a root trial of a study has this strategy, whatever became of it."""
    r = t.at_trials
    said = said_of(strategy)
    same = r.c.strategy.endswith("," + said, autoescape=True)
    found = t.said(r.c.strategy) == said[: t.SAID]  # by the index; then the whole of it
    query = sa.select(r.c.trial_id).where(r.c.study_id == study_id, r.c.parent.is_(None), found, same)
    return connection.execute(query.limit(1)).first() is not None


def has_no_place(
    connection: sa.Connection, study_id: int, strategy: Strategy, limit: int | None, distinct: bool
) -> bool:
    """Whether a study has `limit` root trials, or is to have each strategy once and has this one."""
    if limit is not None and is_full(connection, study_id, limit):
        return True
    return distinct and is_tried(connection, study_id, strategy)


def insert_root(
    connection: sa.Connection,
    study: StudyHandle,
    draft: TrialDraft,
    nonce: str,
    *,
    once: str | None,
    worker: str | None,
    limit: int | None,
    distinct: bool,
) -> tuple[int, int] | None:
    """A new root trial, WAITING without a worker and RUNNING with one, who then leases it: its id and number.

    None where it has no place (`has_no_place`). The nonce is the lease's token. The study must be locked, by
    which all others that create one wait: on PostgreSQL everything goes in one statement, because each way
    to the server and back would be waited for by all of them.
    """
    if connection.dialect.name == "postgresql":
        return _insert_at_once(connection, study, draft, nonce, once, worker, limit, distinct)
    if has_no_place(connection, study.study_id, draft.strategy, limit, distinct):
        return None
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
    if worker is not None:
        leases.take(connection, study.study_id, trial_id, worker, nonce)
    return trial_id, number


_AT_ONCE = sa.text(
    """
    WITH next AS (
        SELECT coalesce(max(number) + 1, 0) AS number FROM trials WHERE study_id = CAST(:study_id AS integer)
    ), made AS (
        INSERT INTO trials (study_id, number, state, datetime_start)
        SELECT CAST(:study_id AS integer), number, CAST(:state AS trialstate),
            CASE WHEN CAST(:worker AS text) IS NULL THEN NULL ELSE timezone('utc', clock_timestamp()) END
        FROM next
        WHERE CASE WHEN number >= CAST(:most AS integer) THEN CAST(:most AS integer) > (
                SELECT count(*) FROM at_trials WHERE study_id = CAST(:study_id AS integer) AND parent IS NULL
            ) ELSE true END
            AND (NOT CAST(:distinct AS boolean) OR NOT EXISTS (
                SELECT 1 FROM at_trials WHERE study_id = CAST(:study_id AS integer) AND parent IS NULL
                AND substr(strategy, strpos(strategy, ',') + 1, 2000) = CAST(:short AS text)
                AND right(strategy, length(CAST(:said AS text))) = CAST(:said AS text)
            ))
        RETURNING trial_id, number
    ), drawn AS (
        INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)
        SELECT made.trial_id, p.name, p.value, p.space FROM made,
            unnest(CAST(:names AS text[]), CAST(:values AS double precision[]), CAST(:spaces AS text[]))
            WITH ORDINALITY AS p(name, value, space, place) ORDER BY p.place
    ), ours AS (
        INSERT INTO at_trials (trial_id, study_id, root, attempt, strategy, label, once, created_by, worker,
            restarts)
        SELECT trial_id, CAST(:study_id AS integer), number, 0, CAST(:strategy AS text), CAST(:label AS text),
            CAST(:once AS text), CAST(:nonce AS text), CAST(:worker AS text), 0 FROM made
    ), said AS (
        INSERT INTO trial_user_attributes (trial_id, key, value_json)
        SELECT trial_id, CAST(:key AS text), CAST(:words AS text) FROM made
    ), leased AS (
        INSERT INTO at_leases (trial_id, study_id, worker, token, claimed, beat, restarted)
        SELECT trial_id, CAST(:study_id AS integer), CAST(:worker AS text), CAST(:nonce AS text),
            extract(epoch from clock_timestamp()), extract(epoch from clock_timestamp()), false
        FROM made WHERE CAST(:worker AS text) IS NOT NULL
    )
    SELECT trial_id, number FROM made
    """
)
"""A new root trial where it has a place, as the steps of `insert_root` write it."""


def _insert_at_once(
    connection: sa.Connection,
    study: StudyHandle,
    draft: TrialDraft,
    nonce: str,
    once: str | None,
    worker: str | None,
    limit: int | None,
    distinct: bool,
) -> tuple[int, int] | None:
    drawn = rows.param_rows(draft.params, draft.distributions)
    row = connection.execute(
        _AT_ONCE,
        {
            "study_id": study.study_id,
            "state": (rows.WAITING if worker is None else rows.RUNNING).name,
            "names": [each["param_name"] for each in drawn],
            "values": [each["param_value"] for each in drawn],
            "spaces": [each["distribution_json"] for each in drawn],
            "strategy": store_strategy(draft.strategy),
            "label": draft.label[:64],
            "once": once,
            "nonce": nonce,
            "worker": worker[:200] if worker else None,
            "key": rows.STRATEGY,
            "words": rows.words_of(draft.strategy),
            "most": limit if limit is not None else MOST_NUMBER,
            "distinct": distinct,
            "short": said_of(draft.strategy)[: t.SAID],
            "said": "," + said_of(draft.strategy),
        },
    ).first()
    return None if row is None else (int(row[0]), int(row[1]))
