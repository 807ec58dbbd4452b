"""Finished results wait here, in files, until the store has taken them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.artifacts import ArtifactMeta
from pydantic import ValidationError

from automl_transfer.domain.records import RETRIED, StopReason, TrialOutcome, TrialState
from automl_transfer.domain.strict_json import Frozen
from automl_transfer.errors import TrialLostError
from automl_transfer.files import read_own_json, whole_file
from automl_transfer.machine import state_folder
from automl_transfer.store.artifacts import ArtifactStore
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import Claim, StudyHandle

UNREADABLE = ".unreadable"

log = logging.getLogger(__name__)


class SpooledEnd(Frozen):
    """A trial's end, with what it takes to write it: the lease's token fences it."""

    claim: Claim
    state: TrialState
    value: float | None
    stop: StopReason
    outcome: TrialOutcome | None
    artifacts: tuple[ArtifactMeta, ...] = ()

    def tell(self, trials: Trials) -> None:
        """Write it into the store.

        Raises:
            TrialLostError: Another worker has the trial.
        """
        if self.state is TrialState.FAIL:
            trials.fail(self.claim, self.stop, retry=self.stop.kind in RETRIED, artifacts=self.artifacts)
        else:
            trials.finish(self.claim, self.state, self.value, self.stop, self.outcome, self.artifacts)


class Spool:
    """One file per result, written whole. Any process of the machine may deliver them; twice does no harm."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, end: SpooledEnd) -> Path:
        """Write a result so that it survives this process."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(end.claim)
        with whole_file(path) as temporary:
            temporary.write_text(end.model_dump_json(), encoding="utf-8")
        return path

    def holds(self, claim: Claim) -> bool:
        """Whether the claim's result waits here."""
        return self._path(claim).exists()

    def _path(self, claim: Claim) -> Path:
        return self._folder / f"{claim.study_id}-{claim.trial_id}-{claim.token}.json"

    def waiting(self) -> Iterator[tuple[Path, SpooledEnd]]:
        """Results that no process has delivered yet. A file that is none is set aside."""
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.glob("*.json")):
            try:
                found = _end(read_own_json(path))
            except OSError as error:
                log.warning("the result in %s cannot be read now: %s", path, error.strerror or error)
            except ValidationError as error:  # another version's; one of its workers may hand it in
                log.warning("the result in %s is left for its own version: %s", path, _first_line(error))
            except ValueError as error:
                _set_aside(path, error)
            else:
                yield path, found

    def deliver(self, trials: Trials, study: StudyHandle) -> None:
        """Hand in what earlier processes of this machine could not."""
        for path, end in self.waiting():
            if end.claim.study_id != study.study_id:
                continue
            try:
                end.tell(trials)
            except TrialLostError:
                log.warning(
                    "a spooled result of trial %d came too late: another worker has it", end.claim.trial_id
                )
            path.unlink(missing_ok=True)


def _set_aside(path: Path, error: ValueError) -> None:
    """Rename what is no result of ours, so that it is said once and stands in nobody's way."""
    aside = path.with_suffix(UNREADABLE)
    said = _first_line(error)
    log.warning("%s is no result that can be handed in (%s): it is kept as %s", path, said, aside.name)
    with suppress(OSError):
        path.replace(aside)


def _first_line(error: ValueError) -> str:
    return str(error).splitlines()[0][:200]


def _end(value: Any) -> SpooledEnd:
    """A result from a file's JSON."""
    claim = value.get("claim") if isinstance(value, dict) else None
    if isinstance(claim, dict):  # the first programs wrote more
        claim.pop("params", None)
        if isinstance(claim.get("checkpoint"), dict):
            claim["checkpoint"].pop("conditions", None)
    return SpooledEnd.model_validate(value)


def spool_folder(store: Store, study: StudyHandle) -> Path:
    """Where every process of this machine keeps, and finds, the undelivered results of a study.

    Beside the artifacts where these are files, so that whoever shares that disk delivers; else in
    the user's state folder. Each store has its own: ids are unique only within one.
    """
    local = ArtifactStore(study.artifact_url).local_folder
    base = local.parent if local is not None else state_folder()
    return base / "spool" / f"{store.fingerprint}-{study.study_id}"
