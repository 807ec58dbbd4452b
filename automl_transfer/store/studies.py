"""Rows of studies: read as a handle, continued by an equal specification, refused with what differs."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from optuna.study import StudyDirection

from automl_transfer.domain.spec import SearchSpec, StudySpec
from automl_transfer.domain.strict_json import parse_json
from automl_transfer.domain.task import Task
from automl_transfer.errors import ConfigurationError, StudyError, UnreadableRowError
from automl_transfer.store import parsing
from automl_transfer.store import tables as t
from automl_transfer.store.values import StudyHandle

_FGSM_STEPS = re.compile(r'("attack": ?"\s*fgsm:[^:"]+):[0-9]+', re.IGNORECASE)


def deleted(study: StudyHandle) -> StudyError:
    """The error for a study that is gone, whatever lies under its name or number now."""
    return StudyError(f"study {study.name!r} must exist, it was deleted while it was in use")


def study_query() -> sa.Select[Any]:
    """Every study; columns of ours are empty for one of plain Optuna."""
    return sa.select(
        t.studies.c.study_id,
        t.studies.c.study_name,
        t.at_studies.c.spec,
        t.at_studies.c.task,
        t.at_studies.c.artifact_url,
        t.at_studies.c.sources,
        t.at_studies.c.identity,
    ).outerjoin(t.at_studies, t.at_studies.c.study_id == t.studies.c.study_id)


def handle_of(row: sa.Row[Any]) -> StudyHandle:
    """A study of ours from a row of `study_query`.

    Raises:
        StudyError: This program cannot read it.
    """
    try:
        spec = parsing.model(StudySpec, _as_it_ran(row.spec), "specification")
        task = parsing.model(Task, row.task, "task")
        sources = parse_json(row.sources, "its sources")
    except (UnreadableRowError, ConfigurationError) as error:
        raise StudyError(
            f"study {row.study_name!r} must be readable for this program, but {error}. "
            "Upgrade automl-transfer, or choose another --study-name"
        ) from None
    return StudyHandle(row.study_id, row.study_name, spec, task, row.artifact_url, sources, row.identity)


def _as_it_ran(spec: Any) -> Any:
    """The JSON of a specification: an attack by FGSM has the one step that it had when more were taken."""
    return _FGSM_STEPS.sub(r"\1", spec) if isinstance(spec, str) else spec


def resume(
    connection: sa.Connection,
    study_id: int,
    spec: StudySpec,
    task: Task,
    sources: Mapping[str, str | None],
    direction: StudyDirection,
) -> StudyHandle:
    """Continue a study that exists: its budget and sampler may change, all else must be equal.

    Raises:
        StudyError: Something differs; the message says what.
    """
    row = connection.execute(study_query().where(t.studies.c.study_id == study_id)).one()
    if row.spec is None:
        raise StudyError(
            f"a study of this name must have been made by automl-transfer, got {spec.name!r}, made by "
            "something else. Choose another --study-name"
        )
    old = handle_of(row)
    directions = connection.execute(
        sa.select(t.directions.c.direction).where(t.directions.c.study_id == study_id)
    ).scalars()
    differences = _differences(old, spec, task, sources)
    if list(directions) != [direction]:
        differences.append("direction")
    met, now = _rungs_met(connection, study_id), spec.search.paused_at
    if now and not met <= {*now} and old.spec.search.pruner != "promote":
        # The pruner may change, and come back: what paused meanwhile is still compared at its rungs.
        differences.append(
            f"set of rungs (trials came to epochs {', '.join(map(str, sorted(met)))}, now "
            f"{', '.join(map(str, now))}: min_epochs, reduction_factor)"
        )
    if differences:
        raise StudyError(
            f"study {spec.name!r} exists and must be continued as it was begun, got another "
            + "; another ".join(differences)
            + ". Choose another --study-name, or use the same settings"
        )
    merged = {**old.sources, **{name: sha for name, sha in sources.items() if sha is not None}}
    merged = {**dict.fromkeys(sources), **merged}
    # Files that are not used come and go; earlier versions did not say which images are in one group.
    taken = ("account", "grouping", "group_numbers")
    now_there = old.task.model_copy(update={name: getattr(task, name) for name in taken})
    connection.execute(
        sa.update(t.at_studies)
        .where(t.at_studies.c.study_id == study_id)
        .values(spec=spec.model_dump_json(), task=now_there.model_dump_json(), sources=json.dumps(merged))
    )
    return dataclasses.replace(old, spec=spec, task=now_there, sources=merged)


def _differences(
    old: StudyHandle, spec: StudySpec, task: Task, sources: Mapping[str, str | None]
) -> list[str]:
    found = []
    if old.task.fingerprint != task.fingerprint:
        found.append(
            f"task (fingerprint {old.task.fingerprint[:12]} of {old.task.name!r}, now "
            f"{task.fingerprint[:12]} of {task.name!r})"
        )
    elif regrouped := old.task.regrouped(task):
        found.append(regrouped)
    kept = [each.task.label_preserving for each in (old.spec, spec)]
    if kept[0] != kept[1]:
        found.append(f"label_preserving ({kept[0]}, now {kept[1]})")
    for name in ("seed", "precision"):  # the best are compared image by image, and seeds draw their splits
        before, now = (getattr(each.search, name) for each in (old.spec, spec))
        if before != now:
            found.append(f"{name} ({before}, now {now})")
    if old.task.metric != task.metric:
        found.append(f"metric ({old.task.metric}, now {task.metric})")
    attacks = [each.attack for each in (old.spec, spec)]
    if None not in attacks and attacks[0] != attacks[1]:  # robust accuracies stand in one column
        found.append(f"attack ({attacks[0]}, now {attacks[1]})")
    theirs, ours = (each.horizon(old.task.splits.train) for each in (old.spec.search, spec.search))
    if theirs != ours:
        found.append(f"horizon ({theirs.text}, now {ours.text}: max_epochs, max_steps)")
    rungs = [_rungs(each.search) for each in (old.spec, spec)]
    if rungs[0] != rungs[1] and old.spec.search.pruner == spec.search.pruner == "promote":
        found.append(f"set of rungs ({rungs[0]}, now {rungs[1]})")
    if old.spec.space_signature() != spec.space_signature():
        names = sorted(set(old.spec.space) | set(spec.space))
        changed = [n for n in names if _setting(old.spec, n) != _setting(spec, n)]
        found.append(
            "space ("
            + ", ".join(f"{n}: {_setting(old.spec, n)}, now {_setting(spec, n)}" for n in changed)
            + ")"
        )
    for name, sha in sources.items():
        before = old.sources.get(name)
        if sha is not None and before is not None and sha != before:
            found.append(f"source {name} (weights {before[:12]}, now {sha[:12]})")
    return found


def _rungs_met(connection: sa.Connection, study_id: int) -> set[int]:
    """Epochs after which trials of a study were at a rung."""
    r = t.at_rungs
    return set(connection.execute(sa.select(r.c.rung).distinct().where(r.c.study_id == study_id)).scalars())


def _rungs(search: SearchSpec) -> str:
    return f"min_epochs {search.first_rung}, reduction_factor {search.reduction_factor}"


def _setting(spec: StudySpec, name: str) -> object:
    value = spec.space.get(name, "default")
    return list(value) if isinstance(value, tuple) else value
