"""A loaded model that labels images: files, folders or arrays, in batches, as a stream."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from automl_transfer.data.decode import decode_image, from_array, threads
from automl_transfer.data.walk import find_images
from automl_transfer.errors import DataError
from automl_transfer.recipes.model_description import ModelDescription
from automl_transfer.recipes.model_folder import file_sha256, load_model
from automl_transfer.recipes.normalisation import constants
from automl_transfer.recipes.packaging.description import as_model
from automl_transfer.recipes.packaging.safetensors_file import SafetensorsFile
from automl_transfer.recipes.packaging.safetensors_file import load as load_packaged
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
    def load(cls, model: str | PathLike[str], device: torch.device | str = "cpu") -> Predictor:
        """Open a model folder, or a file that `package` wrote as `safetensors`.

        >>> predictor = Predictor.load("runs/quick/model")  # doctest: +SKIP

        Raises:
            SourceError: It is neither, or is damaged.
        """
        path = Path(model)
        if path.is_file() and path.suffix == SafetensorsFile.suffix:
            packaged, described = load_packaged(path, device)
            return cls(packaged, as_model(described, file_sha256(path)), device)
        return cls(*load_model(path, device), device)

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
        if not isinstance(inputs, np.ndarray):
            return self._of_files(_from_paths(inputs), batch, top)
        images = _checked(inputs)
        if images.shape[1:] == self._shape:
            return self._of_pixels(images, batch, top)
        return self._of_files(((str(row), image) for row, image in enumerate(images)), batch, top)

    def logits(self, pixels: Pixels, batch: int | None = None) -> npt.NDArray[np.float32]:
        """(N, classes) logits of uint8 pixels (N, H, W, C) at the model's resolution and channels."""
        import torch

        if pixels.dtype != np.uint8 or pixels.shape[1:] != self._shape:
            wanted = ", ".join(str(side) for side in self._shape)
            raise DataError(
                f"pixels must be uint8 (N, {wanted}), got {pixels.dtype} {pixels.shape}: "
                "`predict` resizes images"
            )
        batch = self._batch() if batch is None else batch
        parts = [np.empty((0, len(self.description.classes)), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(pixels), batch):
                block = torch.from_numpy(np.require(pixels[start : start + batch], requirements=["C", "W"]))
                parts.append(self.model(self._normalise(block)).float().cpu().numpy())
        return np.concatenate(parts)

    def _batch(self) -> int:
        from automl_transfer.transfer.features import batch_for, pixel_elements

        size = self.description.resolution
        return batch_for(
            pixel_elements((size, size), self.description.resolution_scale), self._normalise.device
        )

    @property
    def _shape(self) -> tuple[int, int, int]:
        size = self.description.resolution
        return size, size, self.description.in_channels

    def _of_pixels(self, images: Pixels, batch: int, top: int) -> Iterator[Prediction]:
        for start in range(0, len(images), batch):
            block = images[start : start + batch]
            names = [str(row) for row in range(start, start + len(block))]
            yield from self._answers(names, self.logits(block, batch), top)

    def _of_files(self, sources: Iterator[Named], batch: int, top: int) -> Iterator[Prediction]:
        # The next batch is decoded while the network works on this one.
        workers = threads()
        with ThreadPoolExecutor(max_workers=workers) as pool:

            def submit() -> list[Future[list[Item]]]:
                block = list(itertools.islice(sources, batch))
                size = max(1, -(-len(block) // workers))
                parts = [block[start : start + size] for start in range(0, len(block), size)]
                return [pool.submit(self._decode_all, part) for part in parts]

            ahead = submit()
            try:
                while ahead:
                    items = [item for future in ahead for item in future.result()]
                    ahead = submit()
                    yield from self._label(items, top)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _decode_all(self, sources: list[Named]) -> list[Item]:
        return [self._decode(*source) for source in sources]

    def _decode(self, name: str, source: Path | Pixels | DataError) -> Item:
        channels, resolution = self.description.in_channels, self.description.resolution
        if isinstance(source, DataError):
            return name, str(source)
        try:
            if isinstance(source, Path):
                return name, decode_image(source, channels=channels, resolution=resolution)
            return name, from_array(source, channels, resolution).pixels
        except (DataError, OSError, ValueError, MemoryError) as error:
            return name, str(error) or type(error).__name__

    def _label(self, items: Sequence[Item], top: int) -> Iterator[Prediction]:
        names = [name for name, pixels in items if not isinstance(pixels, str)]
        readable = [pixels for _, pixels in items if not isinstance(pixels, str)]
        answers: Iterator[Prediction] = iter(())
        if readable:
            answers = self._answers(names, self.logits(np.stack(readable), len(readable)), top)
        for name, pixels in items:
            if isinstance(pixels, str):
                yield Prediction(name, None, None, error=pixels)
            else:
                yield next(answers)

    def _answers(
        self, names: Sequence[str], logits: npt.NDArray[np.float32], top: int
    ) -> Iterator[Prediction]:
        """Softmax and the most probable classes, for a whole batch at once."""
        classes = self.description.classes
        with np.errstate(invalid="ignore"):
            shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
            probabilities = shifted / shifted.sum(axis=1, keepdims=True)
        finite = np.isfinite(logits.sum(axis=1))
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        best = np.take_along_axis(probabilities, order, axis=1).tolist()
        for name, fine, columns, values in zip(names, finite, order.tolist(), best, strict=True):
            if not fine:
                yield Prediction(name, None, None, error="the model's output is not finite")
                continue
            listed = tuple(zip((classes[column] for column in columns), values, strict=True))
            yield Prediction(name, listed[0][0], listed[0][1], listed)


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


def _checked(images: npt.NDArray[Any]) -> Pixels:
    """The images as (N, H, W, C)."""
    stacked = images[..., None] if images.ndim == 3 else images
    if stacked.dtype != np.uint8 or stacked.ndim != 4 or stacked.shape[3] not in (1, 3, 4):
        raise DataError(
            "images must be a uint8 array (N, H, W) or (N, H, W, 1 | 3 | 4), "
            f"got {images.dtype} {images.shape}"
        )
    return stacked
