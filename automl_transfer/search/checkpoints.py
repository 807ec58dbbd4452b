"""Checkpoints and trained weights of trials in the artifact store, keyed by root, fenced by attempt."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer.errors import TrialDataError
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

    def save(self, claim: Claim, run: TrainingRun) -> None:
        """Save the whole training state after its last epoch, then tell the store."""
        if claim.checkpoint is not None and claim.checkpoint.epoch == run.epoch:
            return
        with tempfile.TemporaryDirectory(prefix="automl-transfer-") as folder:
            state = Path(folder) / "state"
            run.save(state)
            stored = self._artifacts.put(state, f"trial-{claim.root:06d}/state-{claim.attempt}-{run.epoch}")
        self._trials.save_checkpoint_ref(
            claim,
            CheckpointRef(epoch=run.epoch, uri=stored.uri, sha256=stored.sha256, bytes=stored.bytes),
        )

    def fetch(self, ref: CheckpointRef, folder: Path) -> None:
        """Bring a checkpoint to a folder that does not exist yet.

        Raises:
            TrialDataError: It is gone, or is not the one that was saved.
        """
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
        from safetensors.torch import save_file

        with tempfile.TemporaryDirectory(prefix="automl-transfer-") as folder:
            file = Path(folder) / "model.safetensors"
            state = run.model.state_dict()
            save_file({name: value.detach().cpu().contiguous() for name, value in state.items()}, str(file))
            self._artifacts.put(file, model_key(claim.root, claim.attempt))
