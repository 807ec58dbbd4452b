"""Checkpoints and trained weights of trials among a study's files, keyed by root, fenced by attempt."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer.domain.records import TrialRecord
from automl_transfer.errors import StudyError, TrialDataError
from automl_transfer.files import save_tensors
from automl_transfer.store.artifacts import digest_of
from automl_transfer.store.files import drop, drop_states, earlier_files, model_key, state_key, study_files
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import CheckpointRef, Claim, StudyHandle

if TYPE_CHECKING:
    from automl_transfer.training.run import TrainingRun

log = logging.getLogger(__name__)


class Checkpoints:
    """Writes files first and their row in the store second, so that a row always has its files."""

    def __init__(self, study: StudyHandle, trials: Trials) -> None:
        self._study = study
        self._files = study_files(study)
        self._trials = trials
        self._last: CheckpointRef | None = None

    def save(self, claim: Claim, run: TrainingRun) -> None:
        """Save the whole training state after its last epoch, tell the store, then drop the one before."""
        if self._last is not None and self._last.epoch == run.epoch:
            return
        with tempfile.TemporaryDirectory(prefix="automl-transfer-") as folder:
            state = Path(folder) / "state"
            run.save(state)
            stored = self._files.put(state, state_key(claim.root, claim.attempt, run.epoch))
        saved = CheckpointRef(epoch=run.epoch, uri=stored.uri, sha256=stored.sha256, bytes=stored.bytes)
        self._trials.save_checkpoint_ref(claim, saved)
        # From here on the store names the new one, and only the newest is ever resumed from.
        older, self._last = self._last, saved
        if older is not None and older.uri != saved.uri:
            drop(self._files, older.uri)

    def forget(self, claim: Claim) -> None:
        """Drop all checkpoints of a strategy: its trial is finished."""
        drop_states(self._files, claim.root)
        self._last = None

    def forgotten(self) -> None:
        """The store has cleared the trial's checkpoints, and it starts over. Files stay for `study gc`."""
        self._last = None

    def fetch(self, claim: Claim, folder: Path) -> None:
        """Bring a claim's checkpoint to a folder that does not exist yet.

        Raises:
            StudyError: The store names a file that no attempt at this trial wrote.
            TrialDataError: It is gone, or is not the one that was saved.
            OSError: It cannot be read now: nothing is known about it.
        """
        ref = claim.checkpoint
        assert ref is not None
        if ref.uri not in {state_key(claim.root, attempt, ref.epoch) for attempt in range(claim.attempt + 1)}:
            raise StudyError(
                f"a checkpoint of trial {claim.root} must lie under its own key, such as "
                f"{state_key(claim.root, claim.attempt, ref.epoch)!r}, the store names {ref.uri[:200]!r}: "
                "something else than automl-transfer wrote that row; nothing was read"
            )
        found = fetch(self._study, ref.uri, folder, lambda path: digest_of(path)[0] == ref.sha256)
        if not found:
            base = earlier_files(self._study).local_folder
            if base is not None and not base.is_dir():  # a share that is not mounted
                raise FileNotFoundError(f"the artifact folder {base} must be there to go on from {ref.uri}")
            raise TrialDataError(
                f"checkpoint {ref.uri} must be among the study's files with sha256 {ref.sha256[:12]}, it is "
                "gone or another one: start the trial over"
            )
        self._last = ref

    def save_model(self, claim: Claim, run: TrainingRun) -> None:
        """Keep the trained weights of a finished trial."""
        with tempfile.TemporaryDirectory(prefix="automl-transfer-") as folder:
            file = Path(folder) / "model.safetensors"
            state = run.model.state_dict()
            save_tensors({name: value.detach().cpu().contiguous() for name, value in state.items()}, file)
            self._files.put(file, model_key(claim.root, claim.attempt))


def fetch(study: StudyHandle, key: str, to: Path, is_right: Callable[[Path], bool]) -> bool:
    """Bring one of a study's files to a path that does not exist yet; False where there is no right one.

    Versions before identities let studies share a folder: what is found there counts only where it
    `is_right`, and is then moved to where the study's files are now.

    Raises:
        OSError: A file cannot be read now.
    """
    mine, earlier = study_files(study), earlier_files(study)
    for place in (mine, earlier):
        if not place.exists(key):
            continue
        place.get(key, to)
        if is_right(to):
            if place is earlier:
                mine.put(to, key)
                earlier.delete(key)
            return True
        shutil.rmtree(to) if to.is_dir() else to.unlink()
    return False


def weights_are(expected: str | None) -> Callable[[Path], bool]:
    """Whether a safetensors file holds the weights of this hash (`TrialOutcome.weights_sha256`)."""

    def is_right(file: Path) -> bool:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from automl_transfer.training.state import sha256_of_tensors

        try:
            return expected is not None and sha256_of_tensors(load_file(str(file))) == expected
        except (SafetensorError, ValueError):
            return False

    return is_right


def move_earlier(
    study: StudyHandle, records: Sequence[TrialRecord], checkpoints: Iterable[tuple[int, CheckpointRef]]
) -> list[str]:
    """Move what a version before identities left of a study to where its files are now; returns the keys.

    Only what is this study's beyond doubt: models by the hash of their weights, checkpoints (with the
    attempt that wrote them) by theirs.
    """
    mine, earlier = study_files(study), earlier_files(study)
    wanted: list[tuple[str, Callable[[Path], bool]]] = [
        (model_key(r.root, r.attempt), weights_are(r.outcome.weights_sha256))
        for r in records
        if r.outcome is not None and r.outcome.weights_sha256 is not None
    ]
    wanted += [
        (ref.uri, lambda path, ref=ref: digest_of(path)[0] == ref.sha256)  # type: ignore[misc]
        for root, ref in checkpoints
        if ref.uri in {state_key(root, attempt, ref.epoch) for attempt in range(100)}
    ]
    moved = []
    for key, is_right in wanted:
        if mine.exists(key) or not earlier.exists(key):
            continue
        with tempfile.TemporaryDirectory(prefix="automl-transfer-") as folder:
            if fetch(study, key, Path(folder) / "file", is_right):
                moved.append(key)
    return moved
