"""A study's report: what the store knows, and what only the run's own folder does."""

from __future__ import annotations

import os
import re
from collections import defaultdict, deque
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from pydantic import ValidationError

from automl_transfer.domain.records import TrialState
from automl_transfer.machine import RUNS
from automl_transfer.recipes.output import Owner, owner_of
from automl_transfer.reporting.errors_of_winner import WinnerErrors
from automl_transfer.reporting.study_report import StudyReport, read_study_report, with_run_folder
from automl_transfer.store.store import Store
from automl_transfer.store.values import StudyHandle

ERRORS, PAGE = "errors.json", "report.html"
LOG_LINES = 6
LOG_BYTES = 20_000_000
"""Of a longer log only the end is read."""


def read_report(store: Store, name: str) -> StudyReport:
    """Read a study's report, whoever made the study; with its run folder's, if that is on this machine.

    Raises:
        StudyError: There is no such study.
    """
    report = read_study_report(store, name)
    if report.task is None:
        return report
    study = store.study(name)
    return look_into(report, run_folder(study), _around_artifacts(study))


def look_into(report: StudyReport, folder: Path | None, more: Path | None = None) -> StudyReport:
    """The report with what the run's folder knows: the winner's errors, and logs of failed trials.

    Workers of a launch write their logs beside the artifacts, which may be elsewhere (`more`).
    """
    failed = {r.number for r in report.records if r.state is TrialState.FAIL or (r.stop and r.attempt)}
    owner = None if folder is None else owner_of(folder)
    names = {report.study} | (set() if owner is None else {owner.study})  # it may have been renamed since
    places = list(dict.fromkeys(place for place in (folder, more) if place is not None))
    winner = None if folder is None else _winner(folder, report)
    return with_run_folder(report, winner, _logs(places, names, failed))


def run_folder(study: StudyHandle) -> Path | None:
    """Where a study's search wrote, around its artifacts or as `runs/STUDY`; None where it is neither here.

    Artifacts may lie anywhere (`study create --artifacts`), among those of other studies, too: it is a folder
    whose `run.json` names this study.
    """
    places = [_around_artifacts(study), RUNS / study.name]
    return next((place for place in places if place is not None and _is_of(study, place)), None)


def _around_artifacts(study: StudyHandle) -> Path | None:
    url = study.artifact_url
    local = "://" not in url or url.startswith("file://")
    return Path(url.removeprefix("file://")).parent if local else None


def _is_of(study: StudyHandle, folder: Path) -> bool:
    owner = owner_of(folder)
    return owner is not None and _names(owner, study.name, study.identity)


def _names(said: Owner | WinnerErrors, study: str, identity: str | None) -> bool:
    """Whether a file is of a study: versions before identities wrote its name alone."""
    return said.study == study if said.identity is None else said.identity == identity


def _winner(folder: Path, report: StudyReport) -> WinnerErrors | None:
    try:
        found = WinnerErrors.model_validate_json((folder / ERRORS).read_bytes())
    except (OSError, ValidationError):
        return None
    # A file of an earlier winner would show the errors of another model.
    best, mine = report.ranking.best, _names(found, report.study, report.ranking.identity)
    same = mine and best is not None and found.root_trial == best.root_trial
    return found if same else None


def _logs(places: Iterable[Path], names: Iterable[str], trials: set[int]) -> dict[int, tuple[str, ...]]:
    """The last lines about each of these trials in the logs here, which other studies may share.

    Args:
        places: Folders with logs, or with a folder `logs`.
        names: What the study is and was called.
        trials: Their numbers.
    """
    found: dict[int, deque[str]] = defaultdict(lambda: deque(maxlen=LOG_LINES))
    if not trials:
        return {}
    about = re.compile(rf"\bstudy=(?:{'|'.join(map(re.escape, names))}) trial=(\d+)\b")
    logs = [sorted(folder.glob(kind)) for folder in places for kind in ("logs/*.log", "*.log")]
    for path in chain.from_iterable(logs):
        try:
            with path.open("rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - LOG_BYTES))
                for line in stream.read().decode("utf-8", "replace").splitlines():
                    told = about.search(line)
                    if told and int(told[1]) in trials:
                        found[int(told[1])].append(line)
        except OSError:
            continue
    return {number: tuple(lines) for number, lines in found.items()}
