"""`automl-transfer --help` as a whole process: median of 10, beside an empty interpreter.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    help_command = [sys.executable, "-m", "automl_transfer", "--help"]
    empty = [sys.executable, "-c", "pass"]
    ours, bare = [], []
    for _ in range(10):
        ours.append(seconds(help_command))
        bare.append(seconds(empty))
    code = "import sys, automl_transfer.cli.main; print('torch' in sys.modules)"
    torch = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    print(f"automl-transfer --help: median {statistics.median(ours):.3f} s of 10, torch imported: {torch}; "
          f"an empty interpreter: {statistics.median(bare):.3f} s")  # fmt: skip


if __name__ == "__main__":
    main()
