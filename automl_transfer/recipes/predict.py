"""A loaded model that labels images: files, folders or arrays, in batches, as a stream."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from automl_transfer.data.decode import decode_image, from_array, threads
from automl_transfer.data.scaling import to_pixels
from automl_transfer.domain.attack import Attack
from automl_transfer.domain.model_description import ModelDescription
from automl_transfer.domain.normalisation import constants
from automl_transfer.domain.pixel_range import EIGHT_BITS, PixelRange
from automl_transfer.errors import ConfigurationError, DataError, SourceError
from automl_transfer.files import file_sha256, kind_at
from automl_transfer.recipes.inputs import Inputs, Named, Pixels, checked_array, named_files, reason
from automl_transfer.recipes.model_folder import load_model
from automl_transfer.recipes.packaging.description import as_model
from automl_transfer.recipes.packaging.safetensors_file import SafetensorsFile
from automl_transfer.recipes.packaging.safetensors_file import load as load_packaged
from automl_transfer.recipes.predictions import Prediction
from automl_transfer.training.calibration import softmax

if TYPE_CHECKING:
    import torch

    from automl_transfer.models.heads import TargetModel
    from automl_transfer.transfer.together import Ensemble

Item = tuple[str, Pixels | str]
"""A name with its pixels, or with the reason why there are none."""


class Predictor:
    """Labels images with the model of a model folder: `Predictor.load(folder).predict(images)`."""

    def __init__(
        self,
        model: TargetModel | Ensemble,
        description: ModelDescription,
        device: torch.device | str = "cpu",
    ) -> None:
        import torch

        from automl_transfer.transfer.pixels import Normaliser

        # The memory layout of training: another one rounds differently.
        self.model: TargetModel | Ensemble = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
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
        if path.suffix == SafetensorsFile.suffix and kind_at(path, "a model", SourceError) == "file":
            packaged, described = load_packaged(path, device)
            return cls(packaged, as_model(described, file_sha256(path)), device)
        return cls(*load_model(path, device), device)

    def predict(
        self,
        inputs: Inputs,
        *,
        batch: int | None = None,
        top: int = 5,
        threshold: float = 0.0,
        left_out: Counter[str] | None = None,
    ) -> Iterator[Prediction]:
        """One prediction an image, in order, as soon as its batch is done.

        Args:
            inputs: A file, a folder (all images below it), several of both, or arrays (N, H, W, C) or
                (N, H, W) of numbers of any type, in the range that the model was trained with.
            batch: Images a forward pass; by default what suits the resolution and the device.
            top: Classes to list for each image, at most as many as there are.
            threshold: Least probability of a label; an image of which the model is less sure has none.
            left_out: Counts here, by kind, the files in folders that are no images.

        Yields:
            Predictions; an image that cannot be read yields its reason, and the others go on.
            Probabilities are calibrated where the model is (`description.calibration`).

        Raises:
            DataError: The one folder that was given holds no images, or an array is not of images, or
                plainly of another range.
            ConfigurationError: The threshold is no probability.
        """
        if not isinstance(inputs, np.ndarray):
            sources = named_files(inputs, Counter() if left_out is None else left_out)
            return self.predict_named(sources, batch=batch, top=top, threshold=threshold)
        images = checked_array(inputs, self._range)
        if images.dtype == np.uint8 and self._range == EIGHT_BITS and images.shape[1:] == self._shape:
            batch, top = self._asked(batch, top, threshold)
            return self._of_pixels(images, batch, top, threshold)
        sources = ((str(row), image) for row, image in enumerate(images))
        return self.predict_named(sources, batch=batch, top=top, threshold=threshold)

    def predict_named(
        self, sources: Iterator[Named], *, batch: int | None = None, top: int = 5, threshold: float = 0.0
    ) -> Iterator[Prediction]:
        """Like `predict`, for what `recipes.inputs.named_files` lists."""
        batch, top = self._asked(batch, top, threshold)
        return self._of_files(sources, batch, top, threshold)

    def logits(self, pixels: Pixels, batch: int | None = None) -> npt.NDArray[np.float32]:
        """(N, classes) logits of uint8 pixels (N, H, W, C) at the model's resolution and channels.

        As the network gives them: divided by `description.temperature` their softmax is the
        probabilities of `predict`.
        """
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

    def withstands(
        self, images: Pixels, rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], attack: Attack
    ) -> npt.NDArray[np.bool_]:
        """Which rows of uint8 pixels are right under every step of an attack (`robustness.withstands`)."""
        from automl_transfer.training.robustness import withstands

        return withstands(self.model, images, rows, labels, self._normalise, attack)

    def _asked(self, batch: int | None, top: int, threshold: float) -> tuple[int, int]:
        batch = self._batch() if batch is None else batch
        if batch < 1 or top < 1:
            raise ValueError(f"batch and top must be >= 1, got {batch} and {top}")
        if not 0.0 <= threshold <= 1.0:
            raise ConfigurationError(f"a threshold must lie between 0 and 1, got {threshold:g}")
        return batch, min(top, len(self.description.classes))

    def _batch(self) -> int:
        from automl_transfer.transfer.features import batch_for, pixel_elements

        size = self.description.resolution
        return batch_for(pixel_elements((size, size), self.description.largest_scale), self._normalise.device)

    @property
    def _shape(self) -> tuple[int, int, int]:
        size = self.description.resolution
        return size, size, self.description.in_channels

    @property
    def _range(self) -> PixelRange:
        return self.description.pixel_range or EIGHT_BITS

    def _of_pixels(self, images: Pixels, batch: int, top: int, threshold: float) -> Iterator[Prediction]:
        for start in range(0, len(images), batch):
            block = images[start : start + batch]
            names = [str(row) for row in range(start, start + len(block))]
            yield from self._answers(names, self.logits(block, batch), top, threshold)

    def _of_files(
        self, sources: Iterator[Named], batch: int, top: int, threshold: float
    ) -> Iterator[Prediction]:
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
                    yield from self._label(items, top, threshold)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _decode_all(self, sources: list[Named]) -> list[Item]:
        return [self._decode(*source) for source in sources]

    def _decode(self, name: str, source: Path | npt.NDArray[Any] | DataError) -> Item:
        channels, resolution = self.description.in_channels, self.description.resolution
        fit = self.description.fit
        if isinstance(source, DataError):
            return name, str(source)
        try:
            if isinstance(source, Path):
                return name, decode_image(
                    source,
                    channels=channels,
                    resolution=resolution,
                    pixel_range=self.description.pixel_range,
                    fit=fit,
                )
            return name, from_array(to_pixels(source, self._range), channels, resolution, fit).pixels
        except (DataError, OSError, ValueError, MemoryError) as error:
            return name, reason(error)

    def _label(self, items: Sequence[Item], top: int, threshold: float) -> Iterator[Prediction]:
        names = [name for name, pixels in items if not isinstance(pixels, str)]
        readable = [pixels for _, pixels in items if not isinstance(pixels, str)]
        answers: Iterator[Prediction] = iter(())
        if readable:
            answers = self._answers(names, self.logits(np.stack(readable), len(readable)), top, threshold)
        for name, pixels in items:
            if isinstance(pixels, str):
                yield Prediction(name, None, None, error=pixels)
            else:
                yield next(answers)

    def _answers(
        self, names: Sequence[str], logits: npt.NDArray[np.float32], top: int, threshold: float
    ) -> Iterator[Prediction]:
        """Softmax and the most probable classes, for a whole batch at once."""
        classes = self.description.classes
        probabilities = softmax(logits, self.description.temperature)
        finite = np.isfinite(logits.sum(axis=1))
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        best = np.take_along_axis(probabilities, order, axis=1).tolist()
        for name, fine, columns, values in zip(names, finite, order.tolist(), best, strict=True):
            if not fine:
                yield Prediction(name, None, None, error="the model's output is not finite")
                continue
            listed = tuple(zip((classes[column] for column in columns), values, strict=True))
            best, probability = listed[0]
            yield Prediction(name, best if probability >= threshold else None, probability, listed)
