"""What makes a step cheaper, each way beside the one without it: only what clearly wins is in the product.

    python benchmarks/steps.py [--pixels 32 128] [--rounds 7] [--only fused threads ...]

Forward passes are those of frozen parts and of the profile: the whole network, evaluation mode, no gradients.
Steps train all weights, norm layers in evaluation mode (the default), fused AdamW. Both ways run in turns in
one process (the allocator's in processes of their own); a ratio above 1 says how many times slower the second is.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from interleaved import Pair, in_turns, machine
from torch import Tensor, nn

from automl_transfer.models.fuse import fused
from automl_transfer.models.registry import get_source
from automl_transfer.training.batches import read_ahead
from automl_transfer.transfer.allocator import keep_freed_memory
from automl_transfer.transfer.features import batch_for, pixel_elements, read_pixels
from automl_transfer.transfer.pixels import Normaliser

SOURCE, BATCH, STEPS = "efficientnet-lite0", 32, 3
ROWS = ("fused", "channels_last", "threads", "read_ahead", "bf16", "allocator")
Way = Callable[[], object]
Read = Callable[[Callable[[np.ndarray], Tensor], list[np.ndarray]], Iterable[Tensor]]


def network(*, channels_last: bool = True) -> list[nn.Module]:
    found = get_source(SOURCE).load(1).eval()
    return list(found.to(memory_format=torch.channels_last).groups if channels_last else found.groups)  # type: ignore[call-overload]


def passes(groups: list[nn.Module], x: Tensor, batch: int) -> Way:
    @torch.no_grad()
    def run() -> None:
        for part in x.split(batch):
            for group in groups:
                part = group(part)

    return run


def trainer(groups: list[nn.Module]) -> Callable[[Tensor], None]:
    """One step on a batch."""
    model = nn.Sequential(*groups, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step(x: Tensor) -> None:
        nn.functional.cross_entropy(model(x), torch.arange(len(x)) % 10).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def steps(groups: list[nn.Module], x: Tensor) -> Way:
    step = trainer(groups)

    def run() -> None:
        for _ in range(STEPS):
            step(x)

    return run


def reading(groups: list[nn.Module], path: Path, normalise: Normaliser, read: Read, cold: bool) -> Way:
    """Steps on rows of a mapped file, which the system has in memory or (`cold`) has to fetch."""
    step = trainer(groups)
    count = len(np.load(path, mmap_mode="r"))
    rows = list(np.random.default_rng(0).permutation(count)[: STEPS * BATCH].reshape(STEPS, -1))

    def run() -> None:
        if cold:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        images = np.load(path, mmap_mode="r")
        for pixels in read(lambda some: read_pixels(images, some), rows):
            step(normalise(pixels))

    return run


def with_threads(count: int, way: Way) -> Way:
    def run() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        way()
        torch.set_num_threads(before)

    return run


def in_bf16(way: Way) -> Way:
    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            way()

    return run


def allocator(pixels: int, keep: bool) -> list[float]:
    """Run in a process of its own, as the setting cannot be undone: seconds of a forward pass and of steps."""
    assert not keep or keep_freed_memory()
    images = np.random.default_rng(0).integers(0, 256, (4 * BATCH, pixels, pixels, 1), np.uint8)
    x = Normaliser((0.5,), (0.5,))(torch.from_numpy(images))
    batch = batch_for(pixel_elements((pixels, pixels)), "cpu")
    found = []
    for way in (passes(fused(network(), x[:1]), x, batch), steps(network(), x[:BATCH])):
        taken = []
        for _ in range(4):
            began = time.perf_counter()
            way()
            taken.append(time.perf_counter() - began)
        found.append(statistics.median(taken[1:]))
    return found


def allocator_rows(pixels: int, rounds: int) -> None:
    """Fresh processes in turns: what the allocator does by default depends on what lies where in memory."""

    def alone(keep: bool) -> list[float]:
        command = [
            sys.executable,
            __file__,
            "--pixels",
            str(pixels),
            "--allocator",
            "keep" if keep else "default",
        ]
        found: list[float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return found

    taken: dict[bool, list[list[float]]] = {True: [], False: []}
    for turn in range(rounds):
        for keep in (True, False) if turn % 2 else (False, True):
            taken[keep].append(alone(keep))
    for place, (what, count) in enumerate((("forward", 4 * BATCH), ("step", STEPS * BATCH))):
        pair = Pair([each[place] for each in taken[False]], [each[place] for each in taken[True]])
        print(f"{what + ': freed memory kept / given back':48} {pixels:4} px  {pair.row(count)}", flush=True)


def ways(row: str, pixels: int, folder: Path) -> Iterator[tuple[str, int, Way, Way]]:
    """What is compared, images of a round, the way in question, and the way without it."""
    batch = batch_for(pixel_elements((pixels, pixels)), "cpu")
    images = np.random.default_rng(0).integers(
        0, 256, (max(STEPS * BATCH, 2 * batch), pixels, pixels, 1), np.uint8
    )
    normalise = Normaliser((0.5,), (0.5,))
    x = normalise(torch.from_numpy(images))
    forward, one = passes(network(), x, batch), x[:BATCH]
    count, trained = len(x), STEPS * BATCH
    if row == "fused":
        groups = network()
        yield (
            "forward: convolution and norm fused / separate",
            count,
            passes(fused(groups, x[:1]), x, batch),
            forward,
        )
    elif row == "channels_last":
        plain, flat = network(channels_last=False), x.contiguous(memory_format=torch.contiguous_format)
        yield "forward: channels_last / channels first", count, forward, passes(plain, flat, batch)
        yield (
            "step: channels_last / channels first",
            trained,
            steps(network(), one),
            steps(plain, flat[:BATCH]),
        )
    elif row == "threads":
        step = steps(network(), one)
        yield "forward: 2 threads / 1", count, with_threads(2, forward), with_threads(1, forward)
        yield "step: 2 threads / 1", trained, with_threads(2, step), with_threads(1, step)
    elif row == "read_ahead":
        path = folder / f"{pixels}.npy"
        np.save(path, np.resize(images, (20 * len(images), *images.shape[1:])))
        os.sync()  # only what is on the disk can be dropped from memory
        for cold in (False, True):
            ahead, direct = (reading(network(), path, normalise, read, cold) for read in (read_ahead, map))
            where = "from the disk" if cold else "in memory"
            yield f"step: images {where} read ahead / when needed", trained, ahead, direct
    elif row == "bf16":
        if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            print("bf16: not measured, this CPU has no avx512_bf16 or amx", flush=True)
            return
        alone = passes(fused(network(), x[:1]), x, batch)
        yield "forward, fused: bf16 autocast / float32", count, in_bf16(alone), alone


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pixels", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--allocator", choices=["keep", "default"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.allocator:
        print(json.dumps(allocator(options.pixels[0], options.allocator == "keep")))
        return
    print(f"{machine()}; {SOURCE}; ms an image; ratio second / first, median (lowest to highest)", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for row in options.only:
            for pixels in options.pixels:
                if row == "allocator":
                    allocator_rows(pixels, options.rounds)
                    continue
                for what, count, first, second in ways(row, pixels, Path(folder)):
                    pair = in_turns(second, first, options.rounds)
                    print(f"{what:48} {pixels:4} px  {pair.row(count)}", flush=True)


if __name__ == "__main__":
    main()
