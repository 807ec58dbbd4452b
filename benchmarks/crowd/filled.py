"""A study with many trials, as a search of that length leaves it: drawn strategies, recorded curves."""

from __future__ import annotations

import functools
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "table"))
import numpy as np
import sqlalchemy as sa
from near import Nearest
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.samplers import RandomSampler
from stored import RECORDED, Cell, TaskTable, read
from strategies import quick_space

from automl_transfer.domain.records import EpochResult, StopKind, StopReason, TrialOutcome
from automl_transfer.domain.spec import SearchSpec, StudySpec, TaskSpec
from automl_transfer.domain.stored_strategy import store_strategy
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import SplitSizes, Task
from automl_transfer.models.registry import source_traits
from automl_transfer.search.draft import _distribution
from automl_transfer.search.promotion import bracket_of
from automl_transfer.space.study_file import preset_path, read_study
from automl_transfer.space.suggest import in_space, suggest
from automl_transfer.store import optuna_rows as rows
from automl_transfer.store import tables as t
from automl_transfer.store.files import state_key, study_files
from automl_transfer.store.store import Store
from automl_transfer.store.url import StoreURL
from automl_transfer.store.values import StudyHandle

TASK = "mnist-600"
STATE_BYTES = 4096
"""Of a replayed trial's checkpoint. Those of the packaged network have 20 MB."""
EPOCHS = 9
"""Of a trial that comes to its end."""
PAUSED = 200
"""Trials that are paused: so many checkpoints of the packaged network fit into the default `search.paused_gb`."""


class Curves:
    """What a strategy is answered by: the nearest recorded one, moved a little, so that no two are equal."""

    def __init__(self, table: TaskTable) -> None:
        self.cells = [cell for cell in table.cells if len(cell.seconds) > 1 and not cell.failed]
        self._nearest = Nearest([cell.strategy for cell in self.cells])

    @functools.lru_cache(maxsize=512)  # noqa: B019  (it lives as long as its process)
    def of(self, strategy: Strategy) -> tuple[Cell, float]:
        """The cell, and what is added to its scores."""
        number, _ = self._nearest.find(strategy)
        return self.cells[number], int(strategy.key()[:6], 16) / 0xFFFFFF * 0.06 - 0.05

    def epoch(self, strategy: Strategy, epoch: int, seconds: float) -> EpochResult:
        """What an epoch (from 1) reports."""
        cell, moved = self.of(strategy)
        score = round(min(1.0, max(0.0, cell.validation[epoch - 1] + moved)), 6)
        return EpochResult(
            epoch=epoch, train_loss=1.0, validation_loss=cell.nll[epoch - 1], accuracy=score,
            calibrated_loss=cell.nll[epoch - 1], balanced_accuracy=score, macro_f1=score,
            learning_rate=1e-3, seconds=seconds, right="A" * 32,
        )  # fmt: skip


def curves() -> Curves:
    """Of the recorded task."""
    return Curves(read(RECORDED / f"{TASK}.json.gz"))


def study_spec(**search: Any) -> StudySpec:
    """A study as a search without settings has it, without an end."""
    settings = {
        "trials": 1_000_000, "stop_when": "budget", "max_epochs": EPOCHS, "start": "cold",
        "paused_gb": PAUSED * STATE_BYTES / 1e9, **search,
    }  # fmt: skip
    return StudySpec(
        name="large", task=TaskSpec(dataset="digits"), search=SearchSpec.model_validate(settings),
        space=read_study(preset_path("quick")).space,
    )  # fmt: skip


def make_study(store: Store, folder: Path, spec: StudySpec) -> StudyHandle:
    """The study, in a store."""
    task = Task(
        name=TASK, fingerprint="0" * 64, classes=tuple("0123456789"),
        splits=SplitSizes(train=360, validation=120, test=120), channels=1, resolution=32,
        channel_mean=(0.5,), channel_std=(0.5,),
    )  # fmt: skip
    return store.create_study(spec, task, artifact_url=str(folder), sources={})


class Fill:
    """Writes trials in bulk, each row as the steps of `store.trials` write it."""

    def __init__(self, store: Store, study: StudyHandle, seed: int = 0) -> None:
        self._store, self._study = store, study
        self._curves = curves()
        self._space = quick_space()
        self._sampler = RandomSampler(seed=seed)
        self._known: dict[str, BaseDistribution] = {}
        self._random = np.random.default_rng(seed)

    def __call__(self, number: int, there: int = 0) -> None:
        """Up to so many trials, of which some are there: two of three were stopped at the first rung.

        The last 67 of these are paused.
        """
        found = self._drawn(number - there)
        for start in range(there, number, 1000):
            part = [next(found) for _ in range(min(1000, number - start))]
            with self._store.engine.begin() as connection:
                self._insert(connection, start, part, number)
        with self._store.engine.begin() as connection:
            connection.execute(
                sa.text("SELECT setval('trials_trial_id_seq', (SELECT max(trial_id) FROM trials))")
            )
        with self._store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("VACUUM ANALYZE"))

    def _drawn(self, number: int) -> Iterator[tuple[Strategy, dict[str, Any]]]:
        study = _nothing()
        trial = study.ask()
        for _ in range(number):

            def ask(dimension: Any) -> Any:
                distribution = self._known.setdefault(dimension.name, _distribution(dimension))
                return self._sampler.sample_independent(study, trial, dimension.name, distribution)

            strategy = suggest(ask, self._space, source_traits)
            yield strategy, in_space(strategy, self._space, source_traits)

    def _insert(
        self, connection: sa.Connection, first: int, part: list[tuple[Strategy, dict[str, Any]]], number: int
    ) -> None:
        search, moment = self._study.spec.search, datetime.now(UTC).replace(tzinfo=None)
        found: dict[sa.Table, list[dict[str, Any]]] = {
            table: []
            for table in (
                t.trials, t.params, t.values, t.intermediate, t.user_attributes, t.at_trials, t.at_epochs,
                t.at_checkpoints, t.at_rungs,
            )
        }  # fmt: skip
        for place, (strategy, params) in enumerate(part, start=first):
            trial_id, rung = place + 1, search.first_rung
            whole = place % 3 == 0
            paused = not whole and place >= number - PAUSED // 2
            trained = search.epochs if whole else rung
            epochs = [self._curves.epoch(strategy, epoch, 1.0) for epoch in range(1, trained + 1)]
            best = max(epochs, key=lambda each: each.accuracy)
            state = "WAITING" if paused else "COMPLETE" if whole else "PRUNED"
            found[t.trials].append(
                {"trial_id": trial_id, "number": place, "study_id": self._study.study_id, "state": state,
                 "datetime_start": moment, "datetime_complete": None if paused else moment}
            )  # fmt: skip
            found[t.params] += [
                {"trial_id": trial_id, "param_name": name,
                 "param_value": float(self._known[name].to_internal_repr(value)),
                 "distribution_json": distribution_to_json(self._known[name])}
                for name, value in params.items()
            ]  # fmt: skip
            if not paused:
                found[t.values].append(
                    {"trial_id": trial_id, "objective": 0, "value": best.accuracy, "value_type": "FINITE"}
                )
            found[t.intermediate] += [
                {"trial_id": trial_id, "step": each.epoch, "intermediate_value": each.accuracy,
                 "intermediate_value_type": "FINITE"}
                for each in epochs
            ]  # fmt: skip
            kind = StopKind.COMPLETED if whole else StopKind.PAUSED if paused else StopKind.PRUNED
            stop = StopReason(kind=kind, detail="" if whole else f"after epoch {rung} of {search.epochs}")
            found[t.user_attributes] += [
                {"trial_id": trial_id, "key": key, "value_json": f'"{text[:200]}"'}
                for key, text in ((rows.STRATEGY, "drawn"), (rows.STOP, str(stop)), (rows.SECONDS, "9"))
            ]
            outcome = TrialOutcome(parameters=10, trained_parameters=10, train_seconds=float(trained))
            found[t.at_trials].append(
                {"trial_id": trial_id, "study_id": self._study.study_id, "root": place, "parent": None,
                 "attempt": 0, "strategy": store_strategy(strategy), "label": "", "once": None,
                 "created_by": f"{trial_id:032x}", "closed_by": f"{trial_id:032x}", "worker": "filled",
                 "stop": stop.model_dump_json(), "outcome": outcome.model_dump_json(), "restarts": 0}
            )  # fmt: skip
            found[t.at_epochs] += [
                {"trial_id": trial_id, "epoch": each.epoch, "result": each.model_dump_json()}
                for each in epochs
            ]
            if paused:
                with tempfile.TemporaryDirectory() as folder:
                    write_state(Path(folder) / "state", epochs)
                    files = study_files(self._study)
                    stored = files.put(Path(folder) / "state", state_key(place, 0, rung))
                found[t.at_checkpoints].append(
                    {"trial_id": trial_id, "epoch": rung, "uri": stored.uri, "sha256": stored.sha256,
                     "bytes": stored.bytes, "conditions": "{}"}
                )  # fmt: skip
            found[t.at_rungs].append(
                {"study_id": self._study.study_id, "root": place, "rung": rung, "trial_id": trial_id,
                 "bracket": bracket_of(strategy), "value": epochs[rung - 1].accuracy,
                 "loss": epochs[rung - 1].validation_loss, "seconds": float(rung),
                 "taken": f"{trial_id:032x}" if whole else None if paused else "ended",
                 "changed": 1.7e9 + place}
            )  # fmt: skip
        for table, inserted in found.items():
            if inserted:
                connection.execute(sa.insert(table), inserted)


def write_state(folder: Path, epochs: Sequence[EpochResult]) -> None:
    """A checkpoint: where the trial is, and what it had."""
    folder.mkdir()
    text = json.dumps([each.model_dump(mode="json") for each in epochs])
    (folder / "state.json").write_text(text.ljust(STATE_BYTES))


def read_state(folder: Path) -> list[EpochResult]:
    """What `write_state` wrote."""
    found = json.loads((folder / "state.json").read_text())
    return [EpochResult.model_validate(each) for each in found]


def _nothing() -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study()


def open_study(url: str, name: str = "large") -> tuple[Store, StudyHandle]:
    """A worker's own connections to the study."""
    store = Store.open(StoreURL.parse(url))
    return store, store.study(name)
