"""Memory that is freed serves the next step, without page faults."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource, statistics
import torch
from automl_transfer.transfer.allocator import keep_freed_memory

kept = keep_freed_memory()


def step():
    return sum(float(torch.ones(4, 1 << 20).sum()) for _ in [torch.ones(5, 1 << 20) for _ in range(3)])


counts = [resource.getrusage(resource.RUSAGE_SELF).ru_minflt]
for _ in range(15):
    step()
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(json.dumps([kept, statistics.median(b - a for a, b in zip(counts, counts[1:]))]))
"""


def faults(**environment: str) -> tuple[bool, float]:
    """Whether freed memory is kept, and the page faults of the median step: a heap may grow once more later."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**clean, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    kept, count = json.loads(done.stdout)
    return kept, count


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_steps_after_the_first_fault_no_pages_in() -> None:
    kept, few = faults()
    assert kept is True
    assert few < 100


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_a_setting_of_the_user_holds() -> None:
    kept, many = faults(MALLOC_TRIM_THRESHOLD_="65536")
    assert kept is False
    assert many > 1_000
