"""Checkpoints and trained weights of trials in the artifact store, keyed by root, fenced by attempt."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer.errors import TrialDataError
from automl_transfer.files import save_tensors
from automl_transfer.store.artifacts import ArtifactStore
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import CheckpointRef, Claim

if TYPE_CHECKING:
    from automl_transfer.training.run import TrainingRun


def model_key(root: int, attempt: int) -> str:
    """Where the trained weights of a finished trial lie."""
    return f"trial-{root:06d}/model-{attempt}.safetensors"


class Checkpoints:
    """Writes files first and their row in the store second, so that a row always has its files."""

    def __init__(self, artifacts: ArtifactStore, trials: Trials) -> None:
        self._artifacts = artifacts
        self._trials = trials
        self._last: CheckpointRef | None = None

    def save(self, claim: Claim, run: TrainingRun) -> None:
        """Save the whole training state after its last epoch, tell the store, then drop the one before."""
        if self._last is not None and self._last.epoch == run.epoch:
            return
        with tempfile.TemporaryDirectory(prefix="automl-transfer-") as folder:
            state = Path(folder) / "state"
            run.save(state)
            stored = self._artifacts.put(state, f"trial-{claim.root:06d}/state-{claim.attempt}-{run.epoch}")
        saved = CheckpointRef(epoch=run.epoch, uri=stored.uri, sha256=stored.sha256, bytes=stored.bytes)
        self._trials.save_checkpoint_ref(claim, saved)
        # From here on the store names the new one, and only the newest is ever resumed from.
        older, self._last = self._last, saved
        if older is not None and older.uri != saved.uri:
            self._artifacts.delete(older.uri)

    def forget(self) -> None:
        """Drop the newest checkpoint: its trial is finished, or starts over."""
        if self._last is not None:
            self._artifacts.delete(self._last.uri)
            self._last = None

    def fetch(self, ref: CheckpointRef, folder: Path) -> None:
        """Bring a checkpoint to a folder that does not exist yet.

        Raises:
            TrialDataError: It is gone, or is not the one that was saved.
        """
        self._last = ref
        try:
            digest = self._artifacts.get(ref.uri, folder)
        except OSError as error:
            raise TrialDataError(f"checkpoint {ref.uri} must be in the artifact store: {error}") from error
        if digest != ref.sha256:
            raise TrialDataError(
                f"checkpoint {ref.uri} must have sha256 {ref.sha256[:12]}, got {digest[:12]}: start it over"
            )

    def save_model(self, claim: Claim, run: TrainingRun) -> None:
        """Keep the trained weights of a finished trial."""
        with tempfile.TemporaryDirectory(prefix="automl-transfer-") as folder:
            file = Path(folder) / "model.safetensors"
            state = run.model.state_dict()
            save_tensors({name: value.detach().cpu().contiguous() for name, value in state.items()}, file)
            self._artifacts.put(file, model_key(claim.root, claim.attempt))
