"""A loaded model that labels images: files, folders or arrays, in batches, as a stream."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from os import PathLike, cpu_count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from automl_transfer.data.decode import decode_image, find_images, from_array
from automl_transfer.errors import DataError
from automl_transfer.recipes.model_description import ModelDescription
from automl_transfer.recipes.model_folder import load_model
from automl_transfer.recipes.normalisation import constants
from automl_transfer.recipes.predictions import Prediction

if TYPE_CHECKING:
    import torch

    from automl_transfer.models.heads import TargetModel

Inputs = str | PathLike[str] | Iterable[str | PathLike[str]] | npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]
Named = tuple[str, Path | Pixels | DataError]
Item = tuple[str, Pixels | str]
"""A name with its pixels, or with the reason why there are none."""


class Predictor:
    """Labels images with the model of a model folder: `Predictor.load(folder).predict(images)`."""

    def __init__(
        self, model: TargetModel, description: ModelDescription, device: torch.device | str = "cpu"
    ) -> None:
        import torch

        from automl_transfer.transfer.pixels import Normaliser

        # The memory layout of training: another one rounds differently.
        self.model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
        self.model.eval()
        self.description = description
        mean, std = constants(description.normalisation) or (None, None)
        self._normalise = Normaliser(mean, std, device)

    @classmethod
    def load(cls, folder: str | PathLike[str], device: torch.device | str = "cpu") -> Predictor:
        """Read a model folder; raises SourceError where it is not one or is damaged."""
        model, description = load_model(Path(folder), device)
        return cls(model, description, device)

    def predict(self, inputs: Inputs, *, batch: int | None = None, top: int = 5) -> Iterator[Prediction]:
        """One prediction an image, in order, as soon as its batch is done.

        Args:
            inputs: A file, a folder (all images below it), several of both, or uint8 arrays
                (N, H, W, C) or (N, H, W).
            batch: Images a forward pass; by default what suits the resolution and the device.
            top: Classes to list for each image.

        Yields:
            Predictions; an image that cannot be read yields its reason, and the others go on.

        Raises:
            DataError: The one folder that was given holds no images, or an array is not of images.
        """
        batch = self._batch() if batch is None else batch
        if batch < 1 or top < 1:
            raise ValueError(f"batch and top must be >= 1, got {batch} and {top}")
        sources = _from_arrays(inputs) if isinstance(inputs, np.ndarray) else _from_paths(inputs)
        return self._stream(sources, batch, top)

    def logits(self, pixels: Pixels, batch: int | None = None) -> npt.NDArray[np.float32]:
        """(N, classes) logits of uint8 pixels (N, H, W, C) at the model's resolution and channels."""
        import torch

        size, channels = self.description.resolution, self.description.in_channels
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size, channels):
            raise DataError(
                f"pixels must be uint8 (N, {size}, {size}, {channels}), got {pixels.dtype} {pixels.shape}: "
                "`predict` resizes images"
            )
        batch = self._batch() if batch is None else batch
        parts = [np.empty((0, len(self.description.classes)), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(pixels), batch):
                block = torch.from_numpy(np.array(pixels[start : start + batch]))
                parts.append(self.model(self._normalise(block)).float().cpu().numpy())
        return np.concatenate(parts)

    def _batch(self) -> int:
        from automl_transfer.transfer.features import batch_for, pixel_elements

        size = self.description.resolution
        return batch_for(
            pixel_elements((size, size), self.description.resolution_scale), self._normalise.device
        )

    def _stream(self, sources: Iterator[Named], batch: int, top: int) -> Iterator[Prediction]:
        # The next batch is decoded while the network works on this one.
        with ThreadPoolExecutor(max_workers=min(8, cpu_count() or 1)) as pool:
            ahead = self._submit(pool, sources, batch)
            try:
                while ahead:
                    items = [future.result() for future in ahead]
                    ahead = self._submit(pool, sources, batch)
                    yield from self._label(items, top)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, pool: ThreadPoolExecutor, sources: Iterator[Named], batch: int) -> list[Future[Item]]:
        return [pool.submit(self._decode, *source) for source in itertools.islice(sources, batch)]

    def _decode(self, name: str, source: Path | Pixels | DataError) -> Item:
        channels, resolution = self.description.in_channels, self.description.resolution
        if isinstance(source, DataError):
            return name, str(source)
        try:
            if isinstance(source, Path):
                return name, decode_image(source, channels=channels, resolution=resolution)
            if source.shape == (resolution, resolution, channels):
                return name, source
            return name, from_array(source, channels, resolution).pixels
        except (DataError, OSError, ValueError, MemoryError) as error:
            return name, str(error) or type(error).__name__

    def _label(self, items: Sequence[Item], top: int) -> Iterator[Prediction]:
        readable = [pixels for _, pixels in items if not isinstance(pixels, str)]
        logits = iter(self.logits(np.stack(readable), len(readable)) if readable else ())
        for name, pixels in items:
            if isinstance(pixels, str):
                yield Prediction(name, None, None, error=pixels)
            else:
                yield self._prediction(name, next(logits), top)

    def _prediction(self, name: str, logits: npt.NDArray[np.float32], top: int) -> Prediction:
        if not np.isfinite(logits).all():
            return Prediction(name, None, None, error="the model's output is not finite")
        shifted = np.exp(logits.astype(np.float64) - float(logits.max()))
        probabilities = shifted / shifted.sum()
        order = np.argsort(-probabilities, kind="stable")[:top]
        best = tuple((self.description.classes[i], float(probabilities[i])) for i in order)
        return Prediction(name, best[0][0], best[0][1], best)


def _from_paths(inputs: str | PathLike[str] | Iterable[str | PathLike[str]]) -> Iterator[Named]:
    if isinstance(inputs, str | PathLike):
        return iter(_files(inputs))
    return itertools.chain.from_iterable(_files_or_reason(each) for each in inputs)


def _files(given: str | PathLike[str]) -> list[Named]:
    path = Path(given)
    if not path.is_dir():
        return [(str(given), path)]
    found = find_images(path)
    if not found:
        raise DataError(f"a folder must hold images, got {path} with none: name another folder or files")
    return [(str(file), file) for file in found]


def _files_or_reason(given: str | PathLike[str]) -> list[Named]:
    """One of several: what is wrong with it must not stop the others."""
    try:
        return _files(given)
    except (DataError, ValueError) as error:
        return [(str(given), DataError(str(error)))]


def _from_arrays(images: npt.NDArray[Any]) -> Iterator[Named]:
    stacked = images[..., None] if images.ndim == 3 else images
    if stacked.dtype != np.uint8 or stacked.ndim != 4 or stacked.shape[3] not in (1, 3, 4):
        raise DataError(
            "images must be a uint8 array (N, H, W) or (N, H, W, 1 | 3 | 4), "
            f"got {images.dtype} {images.shape}"
        )
    return ((str(position), image) for position, image in enumerate(stacked))
