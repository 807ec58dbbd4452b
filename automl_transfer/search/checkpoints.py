"""Checkpoints and trained weights of trials in the artifact store, keyed by root, fenced by attempt."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer.errors import TrialDataError
from automl_transfer.store.artifacts import Artifacts
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import CheckpointRef, Claim

if TYPE_CHECKING:
    from automl_transfer.training.run import TrainingRun

STATE_FILES = ("state.safetensors", "state.json")
MODEL_FILE = "model.safetensors"


def model_key(root: int, attempt: int) -> str:
    """Where the trained weights of a finished trial lie."""
    return f"trial-{root:06d}/model-{attempt}/{MODEL_FILE}"


class Checkpoints:
    """Writes files first and their row in the store second, so that a row always has its files."""

    def __init__(self, artifacts: Artifacts, trials: Trials) -> None:
        self._artifacts = artifacts
        self._trials = trials

    def save(self, claim: Claim, run: TrainingRun) -> None:
        """Save the whole training state after its last epoch, then tell the store, then drop older ones."""
        if claim.checkpoint is not None and claim.checkpoint.epoch == run.epoch:
            return
        key = f"trial-{claim.root:06d}/state-{claim.attempt}-{run.epoch}"
        size = 0
        digest = hashlib.sha256()
        with tempfile.TemporaryDirectory(prefix="automl-transfer-") as folder:
            run.save(Path(folder) / "state")
            for name in STATE_FILES:
                file = Path(folder) / "state" / name
                size += file.stat().st_size
                digest.update(hashlib.sha256(file.read_bytes()).digest())
                self._artifacts.put(file, f"{key}/{name}")
        self._trials.save_checkpoint_ref(
            claim, CheckpointRef(epoch=run.epoch, uri=key, sha256=digest.hexdigest(), bytes=size)
        )

    def fetch(self, ref: CheckpointRef, folder: Path) -> None:
        """Bring a checkpoint's files into a folder.

        Raises:
            TrialDataError: A file is missing or is not the one that was saved.
        """
        digest = hashlib.sha256()
        for name in STATE_FILES:
            try:
                self._artifacts.get(f"{ref.uri}/{name}", folder / name)
            except (FileNotFoundError, OSError) as error:
                raise TrialDataError(
                    f"checkpoint {ref.uri} must be in the artifact store: {error}"
                ) from error
            digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
        if digest.hexdigest() != ref.sha256:
            raise TrialDataError(
                f"checkpoint {ref.uri} must have sha256 {ref.sha256[:12]}, got {digest.hexdigest()[:12]}"
            )

    def save_model(self, claim: Claim, run: TrainingRun) -> None:
        """Keep the trained weights of a finished trial."""
        from safetensors.torch import save_file

        with tempfile.TemporaryDirectory(prefix="automl-transfer-") as folder:
            file = Path(folder) / MODEL_FILE
            weights = {
                name: value.detach().cpu().contiguous() for name, value in run.model.state_dict().items()
            }
            save_file(weights, str(file))
            self._artifacts.put(file, model_key(claim.root, claim.attempt))
