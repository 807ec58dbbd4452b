"""Images a second, and memory, of a forward pass by batch size: why batches are small on a CPU.

    python benchmarks/batches.py [--pixels 32 224] [--batches 8 64 256]

As the program does it: norms folded, freed memory kept. Each cell is a process of its own; three passes over
512 images, the best counts.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path


def cell(pixels: int, batch: int) -> None:
    import torch

    from automl_transfer.models.fuse import fused
    from automl_transfer.models.registry import get_source
    from automl_transfer.transfer.allocator import keep_freed_memory

    keep_freed_memory()
    network = get_source("efficientnet-lite0").load(3).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    x = torch.randn(batch, 3, pixels, pixels).to(memory_format=torch.channels_last)
    rates = []
    with torch.inference_mode():
        groups = fused(network.groups, x[:1])
        for _ in range(3):
            began = time.perf_counter()
            for _ in range(512 // batch):
                made = x
                for group in groups:
                    made = group(made)
            rates.append(512 // batch * batch / (time.perf_counter() - began))
    lines = Path("/proc/self/status").read_text().splitlines()
    memory = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("VmHWM")}
    print(f"{pixels:6} {batch:6} {max(rates):12.0f} {memory['VmHWM'] / 1024:12.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pixels", type=int, nargs="+", default=[32, 64, 128, 224])
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 64, 256])
    parser.add_argument("--cell", action="store_true")
    options = parser.parse_args()
    if options.cell:
        cell(options.pixels[0], options.batches[0])
        return
    print("pixels  batch     images/s  highest MiB", flush=True)
    for pixels in options.pixels:
        for batch in options.batches:
            command = [sys.executable, __file__, "--cell", "--pixels", str(pixels), "--batches", str(batch)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
