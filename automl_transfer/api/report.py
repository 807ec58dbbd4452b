"""A study's report: what the store knows, and what only the run's own folder does."""

from __future__ import annotations

import os
import re
from collections import defaultdict, deque
from pathlib import Path

from pydantic import ValidationError

from automl_transfer.domain.records import TrialState
from automl_transfer.machine import RUNS
from automl_transfer.recipes.output import owner_of
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
    place = run_folder(store, name)
    return report if place is None else look_into(report, place)


def look_into(report: StudyReport, folder: Path) -> StudyReport:
    """The report with what the run's folder knows: the winner's errors, and logs of failed trials."""
    failed = {r.number for r in report.records if r.state is TrialState.FAIL or (r.stop and r.attempt)}
    return with_run_folder(report, _winner(folder, report), _logs(folder, report.study, failed))


def run_folder(store: Store, name: str) -> Path | None:
    """Where a study's search wrote, around its artifacts or as `runs/STUDY`; None where it is neither here.

    Artifacts may lie anywhere (`study create --artifacts`), among those of other studies, too: it is a folder
    whose `run.json` names this study.
    """
    study = store.study(name)
    url, places = study.artifact_url, [RUNS / study.name]
    if "://" not in url or url.startswith("file://"):
        places.insert(0, Path(url.removeprefix("file://")).parent)
    return next((place for place in places if _is_of(study, place)), None)


def _is_of(study: StudyHandle, folder: Path) -> bool:
    owner = owner_of(folder)
    if owner is None:
        return False
    # Versions before identities wrote a name alone.
    return owner.study == study.name if owner.identity is None else owner.identity == study.identity


def _winner(folder: Path, report: StudyReport) -> WinnerErrors | None:
    try:
        found = WinnerErrors.model_validate_json((folder / ERRORS).read_bytes())
    except (OSError, ValidationError):
        return None
    # A file of an earlier winner would show the errors of another model.
    best, identity = report.ranking.best, report.ranking.identity
    mine = found.study == report.study if found.identity is None else found.identity == identity
    same = mine and best is not None and found.root_trial == best.root_trial
    return found if same else None


def _logs(folder: Path, study: str, trials: set[int]) -> dict[int, tuple[str, ...]]:
    """The last lines about each of these trials in the logs here, which other studies may share."""
    found: dict[int, deque[str]] = defaultdict(lambda: deque(maxlen=LOG_LINES))
    if not trials:
        return {}
    about = re.compile(rf"\bstudy={re.escape(study)} trial=(\d+)\b")
    for path in sorted(folder.glob("logs/*.log")) + sorted(folder.glob("*.log")):
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
