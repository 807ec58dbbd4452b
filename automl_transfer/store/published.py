"""What a study shows in optuna-dashboard, written whole: its note and its figures, in one transaction.

The same system attributes as `optuna_dashboard.save_note` and `save_plotly_graph_object`, which write them
piece by piece, each piece in a transaction of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from automl_transfer.store import optuna_rows as rows
from automl_transfer.store import tables as t
from automl_transfer.store.engine import now
from automl_transfer.store.store import Store
from automl_transfer.store.studies import deleted
from automl_transfer.store.values import StudyHandle

NOTE_VERSION = "dashboard:note_ver"
NOTE_TEXT = "dashboard:note_str:0"
FIGURE = "dashboard:plot_data:{name}:0"
METRIC_NAMES = "study:metric_names"  # optuna.Study.set_metric_names
PUBLISHED = "automl_transfer:published"


class PublishedPage:
    """The dashboard's page of one study. Safe from many processes: the last one wins, and is whole."""

    def __init__(self, store: Store, study: StudyHandle) -> None:
        self._store = store
        self._study = study

    def begin(self, every: float, *, a_second: float) -> bool:
        """Whether the page is due, and the caller is to write it now: of all who ask, one is told so.

        It is due `every` seconds, or a second for `a_second` trials of the study, where that is longer.
        """
        study_id = self._study.study_id
        last = sa.select(sa.func.max(t.trials.c.number)).where(t.trials.c.study_id == study_id)

        def is_due(connection: sa.Connection) -> bool:
            there = _read(connection, study_id).get(PUBLISHED)
            age = None if there is None else connection.execute(sa.select(now())).scalar_one() - there["time"]
            trials = connection.execute(last).scalar() or 0
            return age is None or age >= max(every, trials / a_second)

        def take(connection: sa.Connection) -> bool:
            if not rows.lock_study(connection, study_id, self._study.identity) or not is_due(connection):
                return False
            there = _read(connection, study_id).get(PUBLISHED) or {"note_version": 0}
            there["time"] = connection.execute(sa.select(now())).scalar_one()
            row = {"study_id": study_id, "key": PUBLISHED, "value_json": json.dumps(there)}
            rows.upsert(connection, t.study_system_attributes, ("study_id", "key"), row)
            return True

        return self._store.read(is_due, "look for the study's page") and self._store.write(
            take, "begin a page"
        )

    def write(self, note: str, figures: Mapping[str, str], metric: str) -> bool:
        """Replace the figures (name to plotly's JSON), the note (Markdown) and the objective's name.

        A note that a person has edited since is left as it is.

        Returns:
            Whether the note was written.
        """

        def step(connection: sa.Connection) -> bool:
            study_id = self._study.study_id
            if not rows.lock_study(connection, study_id, self._study.identity):
                raise deleted(self._study)
            there = _read(connection, study_id)
            version = int(there.get(NOTE_VERSION, 0))
            ours = int(there.get(PUBLISHED, {}).get("note_version", 0))
            mine = version == ours
            time = connection.execute(sa.select(now())).scalar_one()
            values: dict[str, Any] = {FIGURE.format(name=name): text for name, text in figures.items()}
            values[METRIC_NAMES] = [metric]
            if mine:
                version += there.get(NOTE_TEXT) != note
                values |= {NOTE_VERSION: version, NOTE_TEXT: note}
            values[PUBLISHED] = {"time": time, "note_version": version if mine else ours}
            attributes = [
                {"study_id": study_id, "key": key, "value_json": json.dumps(value)}
                for key, value in values.items()
            ]
            rows.upsert(connection, t.study_system_attributes, ("study_id", "key"), attributes)
            return mine

        return self._store.write(step, "write the study's page")


def _read(connection: sa.Connection, study_id: int) -> dict[str, Any]:
    attributes = t.study_system_attributes
    wanted = (NOTE_VERSION, NOTE_TEXT, PUBLISHED)
    query = sa.select(attributes.c.key, attributes.c.value_json).where(
        attributes.c.study_id == study_id, attributes.c.key.in_(wanted)
    )
    found = {}
    for key, text in connection.execute(query):
        try:
            found[key] = json.loads(text)
        except (TypeError, ValueError, RecursionError):
            continue  # it is written anew
    return found
