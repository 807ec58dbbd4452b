"""One cell of `worth.py`, in a process of its own; what it found is written whole."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
from found import found, trained
from here import machine
from incumbents import judged

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.search.portfolio import PORTFOLIO
from studies import arguments_of

STUDY = "worth"
BIAS_TRIALS = 6


def search(asked: argparse.Namespace) -> dict[str, Any]:
    """A real search, and from its store the best first answer and what was wasted."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        url = f"sqlite:///{folder}/study.db"
        command = [
            sys.executable, "-m", "automl_transfer", "search", *arguments_of(asked.task, asked.seed, asked.photos),
            "--minutes", str(asked.minutes), "--study-name", STUDY, "--storage", url,
            "--output", str(folder / "out"), "--cache", str(folder / "cache"),
        ]  # fmt: skip
        if asked.bias:
            command += ["--trials", str(BIAS_TRIALS), "--no-refit", "--set", "search.stop_when=budget"]
        if asked.max_steps is not None:
            command += ["--set", f"search.max_steps={asked.max_steps}"]
        began = time.time()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.time() - began
        if done.returncode != 0:
            sys.exit(f"the search ended with {done.returncode}: {done.stderr or done.stdout}")
        facts = {**found(url, STUDY, folder / "out", judge_first=not asked.bias), "seconds": seconds}
        return facts if asked.bias else {**facts, "curve": judged(url, STUDY, folder, began, again=False)[0]}


def recipe(asked: argparse.Namespace) -> dict[str, Any]:
    """One recipe laid over what the profile found, trained once."""
    base = json.loads(asked.base.read_text(encoding="utf-8"))
    base = base.get("searched", base)  # a cell of the photographs has it among others
    task = load_task(TaskSpec.model_validate(base["spec"]))
    strategy = laid_over(PORTFOLIO[asked.arm.removeprefix("recipe: ")], base["profile"], task)
    ended = trained(strategy, task, base["horizon"], asked.seed)
    return {**ended, "strategy": strategy.model_dump(mode="json")}


def laid_over(wanted: Mapping[str, Any], profile: Mapping[str, Any] | None, task: LoadedTask) -> Strategy:
    """A recipe with the source, cut, taps and resolution that the profile found, where it names no other."""
    values = {**(profile or Strategy().model_dump()), **wanted}
    if not task.task.may("mirror"):
        values["mirror"] = False
    return Strategy.of(values)


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("arm")
    parser.add_argument("task")
    parser.add_argument("seed", type=int)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--bias", action="store_true")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    facts = search(asked) if asked.arm == "search" else recipe(asked)
    cell = {"arm": asked.arm, "task": asked.task, "seed": asked.seed, "minutes": asked.minutes, **facts}
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    part = asked.output.with_suffix(".part")
    part.write_text(json.dumps({**cell, "machine": machine()}, indent=1) + "\n", encoding="utf-8")
    part.replace(asked.output)


if __name__ == "__main__":
    main()
