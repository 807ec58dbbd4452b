"""Anonymous resident memory (RssAnon) of a search over a generated folder of large photographs.

    python benchmarks/memory.py [--images 20000] [--pixels 224]

Photographs are random crops of scikit-image's textures. Reads /proc, so Linux only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data


def generate(folder: Path, images: int, pixels: int) -> None:
    photographs = {name: getattr(data, name)() for name in ("brick", "grass", "gravel")}

    def write(number: int) -> None:
        rng = np.random.default_rng(number)
        name = list(photographs)[number % 3]
        top, left = rng.integers(0, 512 - pixels, size=2)
        crop = photographs[name][top : top + pixels, left : left + pixels]
        Image.fromarray(np.stack([crop, crop, 255 - crop], axis=2)).save(folder / name / f"{number:06}.jpg")

    for name in photographs:
        (folder / name).mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(images)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--pixels", type=int, default=224)
    parser.add_argument("--minutes", type=float, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        generate(folder / "photos", options.images, options.pixels)
        print(f"generated {options.images:,} images of {options.pixels}x{options.pixels}", flush=True)
        command = [sys.executable, "-m", "automl_transfer", "search", "photos", "--trials", "3",
                   "--minutes", str(options.minutes), "--cache", "cache", "--output", "out",
                   "--storage", "sqlite:///study.db", "--set", f"task.resolution={options.pixels}"]  # fmt: skip
        process = subprocess.Popen(command, cwd=folder)
        highest = 0
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                break
            fields = [line for line in status.splitlines() if line.startswith("RssAnon")]
            if fields:
                highest = max(highest, int(fields[0].split()[1]))
            time.sleep(0.2)
        print(f"highest RssAnon: {highest / 1024**2:.2f} GiB; exit code {process.returncode}")


if __name__ == "__main__":
    main()
