"""A model folder as one file for inference, checked against the model before it gets its name."""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from automl_transfer.errors import AutomlTransferError, OutputError
from automl_transfer.files import kind_at
from automl_transfer.recipes.model_folder import load_model
from automl_transfer.recipes.output import check_writable, is_taken
from automl_transfer.recipes.packaging.base import Answers, example_images
from automl_transfer.recipes.packaging.description import PackageDescription, describe
from automl_transfer.recipes.packaging.registry import get_format

if TYPE_CHECKING:
    from automl_transfer.models.heads import TargetModel
    from automl_transfer.transfer.together import Ensemble

TOLERANCE = 1e-4
"""Largest difference of a logit, or a probability, from the trained model's: of a share of the largest logit
where that is above 1, because numbers of 32 bits are exact to a share of their size."""
CHECKED = (1, 2, 33)
"""Batches on which a package is compared with its model."""
REPEATS = 15


class ParityError(AutomlTransferError):
    """A packaged file does not answer as its model does; it was not kept."""


@dataclass(frozen=True)
class Latency:
    """Median milliseconds an image: one alone, and in batches of 32."""

    alone: float
    batched: float


@dataclass(frozen=True)
class Packaged:
    """A packaged model.

    Attributes:
        path: The file.
        difference: Largest difference of its answers from those of the trained model.
        size_bytes, model_bytes: Of the file, and of the model folder's weights.
        latency, model_latency: Of the file, and of the trained model, measured in turns.
    """

    path: Path
    description: PackageDescription
    difference: float
    size_bytes: int
    model_bytes: int
    latency: Latency
    model_latency: Latency


def package(
    model: str | PathLike[str],
    format: str = "onnx",  # noqa: A002  (as on the command line)
    output: str | PathLike[str] | None = None,
    *,
    preprocessing: bool = False,
) -> Packaged:
    """Write a model folder as one file that can only be used, not trained on.

    The file holds neither optimiser state nor hyperparameters, nothing about the training, and no
    tunable parameter: weights are constants, and batch norms are part of the convolutions before them
    (but for `safetensors`, which keeps the network's own tensors). It takes any number of images. A model
    with flips, or of several networks, is all in the one file: whoever runs it runs all of its passes.

    >>> package("runs/quick/model", "onnx", preprocessing=True).path  # doctest: +SKIP
    PosixPath('runs/quick/model.onnx')

    Args:
        model: A model folder.
        format: `safetensors` (weights, for `load` and `predict`), `torch-export` (a PyTorch program) or
            `onnx`.
        output: The file, which must not exist; by default beside the model folder. A name without the
            format's suffix gets it: by that a file is known for what it is.
        preprocessing: Take uint8 pixels (N, H, W, C) at the model's resolution and give probabilities,
            instead of normalised float32 (N, C, H, W) and logits.

    Raises:
        SourceError: The folder is no model folder.
        OutputError: The file exists or cannot be written.
        ConfigurationError: The format is unknown or not installed.
        ParityError: The file's answers differ from the model's by more than 1e-4 of its largest logit.
    """
    folder = Path(model)
    kind = get_format(format)
    target = _target(folder, kind.suffix, output)
    trained, described = load_model(folder)
    description = describe(described, preprocessing=preprocessing, network=not kind.program)

    from automl_transfer.recipes.packaging.graph import Inference

    normalisation = described.normalisation if preprocessing else None
    temporary = target.with_name(f".{target.stem[:80]}.{secrets.token_hex(6)}{target.suffix}")
    try:
        kind.write(Inference(trained, normalisation, description.temperature or 1.0), description, temporary)
        packaged, reference = kind.open(temporary), _Reference(trained, description)
        difference = _difference(packaged, reference, description)
        tolerance = TOLERANCE * max(1.0, reference.largest_logit)
        if not difference <= tolerance:
            raise ParityError(
                f"a packaged model must answer as the trained one within {tolerance:.2g} ({TOLERANCE:g} of "
                f"its largest logit), got a difference of {difference:.3g} in {format}: nothing was written; "
                "try another format"
            )
        latency, model_latency = compare_latency([packaged, reference], description)
        temporary.rename(target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return Packaged(
        target,
        description,
        difference,
        target.stat().st_size,
        (folder / "model.safetensors").stat().st_size,
        latency,
        model_latency,
    )


def compare_latency(
    models: list[Answers], description: PackageDescription, repeats: int = REPEATS
) -> tuple[Latency, ...]:
    """Latencies of several models that take the same images, measured in turns."""
    taken = []
    for batch in (1, 32):
        images = example_images(description, batch)
        seconds: list[list[float]] = [[] for _ in models]
        for turn in range(repeats + 1):
            for model, found in zip(models, seconds, strict=True):
                start = time.perf_counter()
                model(images)
                if turn:  # the first one warms up
                    found.append(time.perf_counter() - start)
        taken.append([1000 * statistics.median(found) / batch for found in seconds])
    return tuple(Latency(alone, batched) for alone, batched in zip(*taken, strict=True))


def _target(folder: Path, suffix: str, output: str | PathLike[str] | None) -> Path:
    if output is not None and kind_at(Path(output), "the output", OutputError) == "folder":
        raise OutputError(f"the output must be a new file, got the folder {output}: name a file in it")
    beside = folder if folder.name not in ("", "..") else folder.resolve()
    target = Path(output) if output is not None else beside
    if output is None or target.suffix != suffix:
        target = target.parent / f"{target.name}{suffix}"
    if is_taken(target):
        raise OutputError(
            f"the output must be a new file, got {target}, which exists: choose another --output"
        )
    if kind_at(target.parent, "the output's folder", OutputError) != "folder":
        raise OutputError(
            f"the output's folder must exist, got {target.parent}: create it, or choose another"
        )
    check_writable(target.parent)
    return target


class _Reference:
    """The trained model as it is, fed and read like the package.

    Attributes:
        largest_logit: The largest absolute one so far, as the softmax takes it where there is one.
    """

    def __init__(self, trained: TargetModel | Ensemble, description: PackageDescription) -> None:
        import torch

        from automl_transfer.domain.normalisation import constants
        from automl_transfer.transfer.pixels import Normaliser

        mean, std = constants(description.normalisation) or (None, None)
        self._normalise = Normaliser(mean, std)
        self._description = description
        self._model: torch.nn.Module = trained.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
        self._model.eval()
        self.largest_logit = 0.0

    def __call__(self, images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            x = torch.from_numpy(images)
            if self._description.preprocessing:
                logits = self._model(self._normalise(x))
            else:
                logits = self._model(x.contiguous(memory_format=torch.channels_last))
            if self._description.preprocessing:
                logits = logits / (self._description.temperature or 1.0)
            self.largest_logit = max(self.largest_logit, float(logits.abs().max()))
            if self._description.preprocessing:
                logits = torch.softmax(logits, dim=1)
            return np.asarray(logits.numpy())


def _difference(
    packaged: Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]],
    reference: Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]],
    description: PackageDescription,
) -> float:
    worst = 0.0
    for seed, batch in enumerate(CHECKED):
        images = example_images(description, batch, seed)
        found, wanted = packaged(images), reference(images)
        if found.shape != wanted.shape or not np.isfinite(found).all():
            return float("inf")
        worst = max(worst, float(np.abs(found - wanted).max()))
    return worst
