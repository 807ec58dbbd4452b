"""How a study began, as it is noted: what earlier tasks propose, and its first answers, owed ones too."""

from __future__ import annotations

import json
import logging
from typing import get_args

import sqlalchemy as sa

from automl_transfer.domain.warm import FirstAnswer, WarmStart
from automl_transfer.errors import UnreadableRowError
from automl_transfer.store import optuna_rows as rows
from automl_transfer.store import parsing
from automl_transfer.store import tables as t
from automl_transfer.store.store import Store
from automl_transfer.store.studies import deleted
from automl_transfer.store.values import StudyHandle

KEY = "automl_transfer:warm"
OWED = "automl_transfer:first-answers-owed"
FIRST = "first:"
DEFAULT_KEY, DEFAULT_LABEL = f"{FIRST}default", "default"
"""Of the default strategy, which is tried after what earlier tasks propose."""

log = logging.getLogger(__name__)


def keep_warm_start(store: Store, study: StudyHandle, begun: WarmStart) -> None:
    """Keep how a study began; what is noted already stays.

    Raises:
        StudyError: The study is gone.
    """
    _keep(store, study, KEY, json.dumps(begun.model_dump_json()), once=True)


def keep_owed(store: Store, study: StudyHandle, owed: bool) -> None:
    """Keep whether first answers found no time, or no place in the budget.

    Raises:
        StudyError: The study is gone.
    """
    _keep(store, study, OWED, json.dumps(owed))


def is_owed(store: Store, study: StudyHandle) -> bool:
    """Whether first answers are owed to a study."""
    return store.read(lambda c: _text(c, study.study_id, OWED), "look for first answers") == "true"


def read_warm_start(store: Store, study: StudyHandle) -> WarmStart | None:
    """How a study began; None where that is not known, or not in a form that can be read."""
    text = store.read(lambda c: _text(c, study.study_id), "read how the study began")
    if text is None:
        return None
    try:
        return parsing.model(WarmStart, json.loads(text), "warm start")
    except (UnreadableRowError, ValueError, RecursionError) as error:
        log.debug("how study %s began cannot be read: %s", study.name, error)
        return None


def first_answers(store: Store, study: StudyHandle) -> dict[int, FirstAnswer]:
    """Which trials, by number, were which of the first answers."""
    query = (
        sa.select(t.trials.c.number, t.at_trials.c.once)
        .join(t.at_trials, t.at_trials.c.trial_id == t.trials.c.trial_id)
        .where(t.at_trials.c.study_id == study.study_id, t.at_trials.c.once.startswith(FIRST))
    )
    found = store.read(lambda c: c.execute(query).all(), "look for first answers")
    named = {row.number: str(row.once).removeprefix(FIRST) for row in found}
    known: dict[str, FirstAnswer] = {name: name for name in get_args(FirstAnswer)}
    return {number: known[name] for number, name in named.items() if name in known}  # newer ones have more


def _keep(store: Store, study: StudyHandle, key: str, text: str, *, once: bool = False) -> None:
    row = {"study_id": study.study_id, "key": key, "value_json": text}

    def step(connection: sa.Connection) -> None:
        if not rows.lock_study(connection, study.study_id, study.identity):
            raise deleted(study)
        if not once or _text(connection, study.study_id, key) is None:
            rows.upsert(connection, t.study_system_attributes, ("study_id", "key"), row)

    store.write(step, "keep how the study began")


def _text(connection: sa.Connection, study_id: int, key: str = KEY) -> str | None:
    attributes = t.study_system_attributes
    query = sa.select(attributes.c.value_json).where(
        attributes.c.study_id == study_id, attributes.c.key == key
    )
    text = connection.execute(query).scalar()
    return text if isinstance(text, str) else None
