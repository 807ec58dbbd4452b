"""Where the time goes: until the first answer of a search, and in the steps of a training.

    python benchmarks/where.py [--dataset 'digits?per_class=20']

A `search` with one trial in a process of its own, with the seconds of each part; then torch's profiler over
training steps on kept activations, half of the network frozen, and over a look of the profile: pass and judgement.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PARTS = {
    ("automl_transfer.api.search", "check_device"): "importing torch",
    ("automl_transfer.api.search", "load_with_details"): "reading images",
    ("automl_transfer.search.workbench.Backbones", "get"): "importing timm, reading weights",
    ("automl_transfer.search.first.FirstAnswers", "quick"): "the pass, the choice of a cut",
    ("automl_transfer.search.objective.Objective", "__call__"): "the first trial",
}


def first_answer(dataset: str) -> None:
    """Run in a process of its own: seconds of each part of a search with one trial."""
    began = time.perf_counter()
    import importlib

    from automl_transfer.cli.main import GARBAGE
    from automl_transfer.cli.main import main as command

    gc.set_threshold(*GARBAGE)  # as the command does before it imports the rest
    spent: dict[str, float] = {}
    importlib.import_module("automl_transfer.api.search")
    importlib.import_module("automl_transfer.search.objective")
    spent["importing the command"] = time.perf_counter() - began

    def timed(function: Any, part: str) -> Any:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                spent[part] = spent.get(part, 0.0) + time.perf_counter() - start
                if part == "the first trial":
                    spent["all"] = time.perf_counter() - began

        return call

    for (owner, name), part in PARTS.items():
        module, _, kind = owner.rpartition(".") if owner[owner.rindex(".") + 1].isupper() else (owner, "", "")
        target = sys.modules[module]
        target = getattr(target, kind) if kind else target
        setattr(target, name, timed(getattr(target, name), part))

    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(SystemExit):
        command(["search", dataset, "--trials", "1", "--confirm", "off", "--output", f"{folder}/out",
                 "--storage", f"sqlite:///{folder}/s.db", "--cache", f"{folder}/cache"])  # fmt: skip
    for part, seconds in spent.items():
        print(f"first answer  {part:34} {seconds:5.2f} s", file=sys.stderr)


def operations(dataset: str) -> None:
    """Shares of processor time, of steps and of the pass."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from automl_transfer.data.task import load_task
    from automl_transfer.domain.horizon import Horizon
    from automl_transfer.domain.spec import TaskSpec
    from automl_transfer.domain.strategy import Strategy
    from automl_transfer.models.registry import get_source
    from automl_transfer.training.making import make_run
    from automl_transfer.training.profile import Profiler

    task, cpu = load_task(TaskSpec(dataset=dataset)), torch.device("cpu")
    source = Strategy().source
    backbone = get_source(source).load(task.task.channels)
    run = make_run(Strategy(batch=32), task, backbone, horizon=Horizon(3), seed=0, device=cpu)
    epochs = run.epochs()
    next(epochs)
    profiler = Profiler(backbone, source, task, device=cpu)
    for name, work in (("step", lambda: next(epochs)), ("pass", lambda: profiler.look(1.0))):
        with profile(activities=[ProfilerActivity.CPU]) as found:
            work()
        rows = sorted(found.key_averages(), key=lambda row: -row.self_cpu_time_total)
        total = sum(row.self_cpu_time_total for row in rows)
        for row in rows[:7]:
            print(f"{name:5} {100 * row.self_cpu_time_total / total:5.1f}%  {row.key}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", default="digits?per_class=20")
    parser.add_argument("--first-answer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.first_answer:
        first_answer(options.dataset)
        return
    command = [sys.executable, __file__, "--dataset", options.dataset, "--first-answer"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=True)
    print(
        "".join(line for line in done.stderr.splitlines(keepends=True) if line.startswith("first answer")),
        end="",
    )
    operations(options.dataset)


if __name__ == "__main__":
    main()
