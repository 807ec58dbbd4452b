"""`predict` beside a bare batched loop, on 10,000 images: files and arrays, in turns.

    python benchmarks/predict.py [--images 10000] [--repeats 5] [--size 32] [--groups 3]

The bare loop is what someone writes by hand: decode a batch (in as many threads as cores, and in one thread),
stack it, one forward pass, argmax. Both use the same decoder, the same network and the same batch. Each
repetition times all of them in turns; medians and the median of the ratios in each turn are printed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from automl_transfer.data.decode import decode_image, threads
from automl_transfer.domain.model_description import ModelDescription
from automl_transfer.domain.normalisation import FixedNormalisation
from automl_transfer.models.heads import build_from_description
from automl_transfer.recipes.predict import Predictor
from automl_transfer.transfer.pixels import Normaliser

CLASSES = 10


def predictor(size: int, groups: int) -> Predictor:
    torch.manual_seed(0)
    model = build_from_description("timm/tf_efficientnet_lite0", groups, 4, 3, CLASSES, size)
    return Predictor(
        model,
        ModelDescription(
            architecture="timm/tf_efficientnet_lite0", groups_kept=groups, pool=4, in_channels=3, resolution=size,
            classes=tuple(f"class {n}" for n in range(CLASSES)),
            normalisation=FixedNormalisation(mean=(0.5,) * 3, std=(0.5,) * 3), weights_sha256="0" * 64,
        ),
    )  # fmt: skip


def write_images(folder: Path, count: int, size: int) -> list[str]:
    """JPEG files of about 1.5 times the network's resolution: photographs are larger than the input."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    names = []
    for row in range(count):
        path = folder / f"{row:05}.jpg"
        Image.fromarray(coarse[row]).resize((size * 3 // 2, size * 3 // 2), Image.Resampling.BICUBIC).save(
            path
        )
        names.append(str(path))
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--groups", type=int, default=3)
    given = parser.parse_args()
    made = predictor(given.size, given.groups)
    batch, normalise, model = made._batch(), Normaliser((0.5,) * 3, (0.5,) * 3), made.model

    def forward(pixels: np.ndarray) -> list[int]:
        with torch.inference_mode():
            found: list[int] = model(normalise(torch.from_numpy(pixels))).argmax(1).tolist()
            return found

    def decode(name: str) -> np.ndarray:
        return decode_image(Path(name), channels=3, resolution=given.size)

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(threads()) as pool:
        files = write_images(Path(folder), given.images, given.size)
        arrays = np.stack([decode(name) for name in files])
        blocks = range(0, given.images, batch)

        def bare_arrays() -> list[int]:
            return [label for b in blocks for label in forward(arrays[b : b + batch])]

        def bare_files() -> list[int]:
            return [n for b in blocks for n in forward(np.stack([decode(f) for f in files[b : b + batch]]))]

        def bare_files_pool() -> list[int]:
            return [
                n for b in blocks for n in forward(np.stack(list(pool.map(decode, files[b : b + batch]))))
            ]

        def predict(inputs: object) -> list[int]:
            return [int(str(p.label).rpartition(" ")[2]) for p in made.predict(inputs, top=1)]  # type: ignore[arg-type]

        ways: dict[str, Callable[[], list[int]]] = {
            "arrays, bare loop": bare_arrays,
            "arrays, predict": lambda: predict(arrays),
            "files, bare loop": bare_files,
            "files, bare loop with a thread pool": bare_files_pool,
            "files, predict": lambda: predict(files),
        }
        answers = {name: way() for name, way in ways.items()}  # warms up
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(given.repeats):
            for name in list(ways)[:: 1 if turn % 2 == 0 else -1]:
                start = time.perf_counter()
                ways[name]()
                taken[name].append(time.perf_counter() - start)
    assert len({tuple(answer) for answer in answers.values()}) == 1, "all ways must give the same labels"
    print(f"{given.images:,} images, {given.size} pixels, {given.groups} groups of EfficientNet-Lite0, "
          f"batch {batch}, {torch.get_num_threads()} threads, torch {torch.__version__}, n = {given.repeats}")  # fmt: skip
    for name, seconds in taken.items():
        print(f"{name:38} {statistics.median(seconds):7.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")
    fastest = min(
        ("files, bare loop", "files, bare loop with a thread pool"), key=lambda n: statistics.median(taken[n])
    )
    for what, bare in (("arrays", "arrays, bare loop"), ("files", fastest)):
        ratios = [a / b for a, b in zip(taken[f"{what}, predict"], taken[bare], strict=True)]
        print(f"{what}: predict over {bare.partition(', ')[2]}: {statistics.median(ratios):.3f} "
              f"({min(ratios):.3f} to {max(ratios):.3f})")  # fmt: skip


if __name__ == "__main__":
    main()
