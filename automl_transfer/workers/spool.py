"""Finished results wait here, in files, until the store has taken them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from optuna.artifacts import ArtifactMeta
from platformdirs import user_state_path
from pydantic import BaseModel, ConfigDict

from automl_transfer.domain.records import StopReason, TrialOutcome, TrialState
from automl_transfer.domain.strict_json import parse_json, read_text
from automl_transfer.errors import ConfigurationError
from automl_transfer.store.artifacts import ArtifactStore
from automl_transfer.store.url import StoreURL
from automl_transfer.store.values import Claim, StudyHandle


class SpooledEnd(BaseModel):
    """A trial's end, with what it takes to write it: the lease's token fences it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: Claim
    state: TrialState
    value: float | None
    stop: StopReason
    outcome: TrialOutcome | None
    artifacts: tuple[ArtifactMeta, ...] = ()


class Spool:
    """One file per result, written whole. Any process of the machine may deliver them; twice does no harm."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, end: SpooledEnd) -> Path:
        """Write a result so that it survives this process."""
        claim = end.claim
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{claim.study_id}-{claim.trial_id}-{claim.token}.json"
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(end.model_dump_json(), encoding="utf-8")
        temporary.replace(path)
        return path

    def waiting(self) -> Iterator[tuple[Path, SpooledEnd]]:
        """Results that no process has delivered yet. A file that cannot be read is left where it is."""
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.glob("*.json")):
            try:
                yield path, _read(path)
            except (OSError, ValueError, ConfigurationError):
                continue


def _read(path: Path) -> SpooledEnd:
    value = parse_json(read_text(path), path.name)
    claim = value.get("claim")
    if isinstance(claim, dict):  # the first programs wrote more
        claim.pop("params", None)
        if isinstance(claim.get("checkpoint"), dict):
            claim["checkpoint"].pop("conditions", None)
    return SpooledEnd.model_validate(value)


def spool_folder(url: StoreURL, study: StudyHandle) -> Path:
    """Where every process of this machine keeps, and finds, the undelivered results of a study.

    Beside the artifacts where these are files, so that whoever shares that disk delivers; else in
    the user's state folder. Each database has its own: ids are unique only within one.
    """
    local = ArtifactStore(study.artifact_url).local_folder
    base = local.parent if local is not None else user_state_path("automl-transfer")
    return base / "spool" / f"{url.fingerprint}-{study.study_id}"
