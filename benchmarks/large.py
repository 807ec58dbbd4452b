"""Many workers and large studies on a real PostgreSQL; goes on where it stopped.

    python benchmarks/large.py efficiency    1 to 64 workers, trials of 1, 10 and 60 seconds
    python benchmarks/large.py decision      seconds of a decision at 1,000, 5,000 and 20,000 trials
    python benchmarks/large.py crowd         500 workers on a study of 20,000 trials, at rising rates
    python benchmarks/large.py beside        trials a second of 64 workers beside plain Optuna's
    python benchmarks/large.py history       what a limit on the sampler's history costs a search
    python benchmarks/large.py join          a real worker joins, and leaves within an epoch
    python benchmarks/large.py               what has been recorded, as tables, and docs/images/large.png

Each cell is a line of benchmarks/large.jsonl; a cell that is there is not measured again (`--again` does). Every cell
says which share of the machine's processors others used meanwhile (`others`): above some tenths it measured them, too.
Training is a wait (`crowd/replayed.py`): a trial that comes to its end waits SECONDS in all, in nine epochs, two
of three trials pause after the third. Efficiency is the time that workers were to wait over the time that there was.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(1, str(Path(__file__).resolve().parent / "crowd"))
sys.path.insert(2, str(Path(__file__).resolve().parent / "table"))
import psutil
from here import processors
from server import Looking, Server, machine_seconds, server
from stored import append, whole_lines

if TYPE_CHECKING:
    from automl_transfer.store.store import Store
    from automl_transfer.store.values import StudyHandle

os.environ["OMP_NUM_THREADS"] = "1"
RECORDED = Path(__file__).resolve().parent / "large.jsonl"
WORKERS, SECONDS = (1, 2, 4, 8, 16, 32, 64), (10.0, 1.0, 60.0)
SIZES = (1000, 5000, 20_000)
CROWD, LARGE = 500, 20_000
RATES = (600.0, 120.0, 60.0, 30.0)
"""Seconds of a whole trial with 500 workers."""


def known() -> list[dict[str, Any]]:
    """The newest of each cell."""
    cells = [json.loads(line) for line in whole_lines(RECORDED)]
    return list({json.dumps(cell["cell"]): cell for cell in cells}.values())


def missing(wanted: list[list[Any]], again: bool) -> list[list[Any]]:
    """Cells that are not recorded yet."""
    there = [] if again else [cell["cell"] for cell in known()]
    return [cell for cell in wanted if cell not in there]


def record(cell: list[Any], found: dict[str, Any]) -> None:
    """Write it down, with where it was measured."""
    where = {"cpu": (processors() or ["unknown"])[0], "cores": os.cpu_count()}
    append(RECORDED, {"cell": cell, **found, **where})
    print(json.dumps({"cell": cell, **found}), flush=True)


@contextmanager
def study_of(
    at: Server, size: int, folder: Path, made: dict[int, str], **search: Any
) -> Iterator[tuple[str, str]]:
    """A database with a study of so many trials: its name and URL. The first one of a size is kept as a template."""
    from filled import Fill, Store, StoreURL, make_study, study_spec

    if size not in made:
        there = max(made, default=0)
        name, url = at.database(made.get(there))
        with Store.open(StoreURL.parse(url)) as store:
            study = make_study(store, folder / "artifacts", study_spec(**search))
            if size:
                print(f"making a study of {size:,} trials ...", file=sys.stderr)
                Fill(store, study, seed=size)(size, there)
        made[size] = name
    name, url = at.database(made[size])
    try:
        yield name, url
    finally:
        at.drop(name)


def measure(
    at: Server,
    size: int,
    folder: Path,
    made: dict[int, str],
    workers: int,
    lengths: Sequence[float],
    **how: Any,
) -> Iterator[dict[str, Any]]:
    """So many workers on a study: efficiency, trials a second, and what the server does meanwhile."""
    from replayed import run_workers

    with study_of(at, size, folder, made) as (name, url):
        watches: list[Watch] = []

        def during() -> Watch:
            watches.append(Watch(at, name))
            return watches[-1]

        every = run_workers(url, workers, lengths, folder, during=during, **how)
    for found, watch in zip(every, watches, strict=True):
        yield said(found, watch)


def said(found: Any, during: Watch) -> dict[str, Any]:
    """What is recorded of a window."""
    return {
        "efficiency": round(found.efficiency, 4), "trials_a_second": round(found.trials_a_second, 2),
        "look_ms": [round(each, 1) for each in found.look_ms], "worker_cpu": round(found.worker_cpu, 3),
        "all_began_s": round(found.first_trained, 1), "window_s": round(found.seconds, 1),
        "errors": len(found.errors), "error": found.errors[:1], **during.found,
        "others": round(max(0.0, during.machine - found.worker_cpu - during.found["server_cpu"]), 2),
    }  # fmt: skip


class Watch(Looking):
    """Also the processors that the server and the whole machine use, in cores."""

    def __enter__(self) -> Watch:
        self._began, self._server_before, self._before = (
            time.time(),
            self._server.seconds(),
            machine_seconds(),
        )
        super().__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        length = time.time() - self._began
        self.machine = (machine_seconds() - self._before) / length
        self.found: dict[str, Any] = {
            "server_cpu": round((self._server.seconds() - self._server_before) / length, 3),
            "connections": self.most, "waits": self.shares(),
        }  # fmt: skip


def efficiency(again: bool) -> None:
    wanted: list[list[Any]] = [["efficiency", n, s] for s in SECONDS for n in WORKERS]
    cells = missing(wanted, again)
    if not cells:
        return
    with server() as at, tempfile.TemporaryDirectory() as folder:
        for cell in cells:
            _, workers, seconds = cell
            warm, window = max(5.0, seconds), {1.0: 20.0, 10.0: 40.0, 60.0: 90.0}[seconds]
            (found,) = measure(at, 0, Path(folder), {}, workers, [seconds], warm=warm, window=window)
            record(cell, found)


def decision(again: bool) -> None:
    cells = missing([["decision", size] for size in SIZES], again)
    if not cells:
        return
    with server() as at, tempfile.TemporaryDirectory() as folder:
        made: dict[int, str] = {}
        for cell in cells:
            found: dict[str, Any] = {}
            with study_of(at, cell[1], Path(folder), made) as (_, url):
                found |= alone(url)
            record(cell, found)


def alone(url: str, draws: int = 15) -> dict[str, Any]:
    """Milliseconds of a decision that draws, with the history that a worker has and with all of it."""
    from filled import open_study, quick_space

    from automl_transfer.search.draft import draw
    from automl_transfer.search.samplers import make_sampler
    from automl_transfer.store.sampling import SamplerHistory
    from automl_transfer.store.trials import Trials

    store, study = open_study(url)
    found: dict[str, Any] = {}
    with store:
        for name, most in (("limited", study.spec.search.history), ("whole", None)):
            history, sampler = (
                SamplerHistory(store, study, most=most, compared=False),
                make_sampler(study.spec.search, 0),
            )
            trials = Trials(store)
            began = time.perf_counter()
            trials.claim(study, "w")
            history.trials()
            first = time.perf_counter() - began
            spent, cpu = [], []
            for _ in range(draws if most is not None else 5):
                began, worked = time.perf_counter(), time.process_time()
                trials.claim(study, "w")
                trials.is_full(study, 1_000_000)
                draft = draw(history, sampler, quick_space())
                trials.create(study, draft, "w", limit=1_000_000, distinct=True)
                spent.append(1000 * (time.perf_counter() - began))
                cpu.append(1000 * (time.process_time() - worked))
            found[name] = {
                "first_look_s": round(first, 2), "decision_ms": round(statistics.median(spent), 1),
                "most_ms": round(max(spent), 1), "cpu_ms": round(statistics.median(cpu), 1),
            }  # fmt: skip
        found["promotion_ms"] = promotion(store, study)
    return found


def promotion(store: Store, study: StudyHandle, looks: int = 101) -> float:
    """Milliseconds until a worker knows whether a paused trial goes on: its rungs' news, and who is best there."""
    from automl_transfer.search.promoting import Promotion

    at_work = Promotion(store, study)
    at_work.waits()  # the first look, when it joins, is at all of them
    spent = []
    for _ in range(looks):
        began = time.perf_counter()
        at_work.waits()
        spent.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(spent), 2)


def crowd(again: bool) -> None:
    cells = missing([["crowd", CROWD, LARGE, seconds] for seconds in RATES], again)
    if not cells:
        return
    # They join once, not all in the same second; then trials become shorter and shorter.
    how = {"warm": 20.0, "window": 60.0, "page": False, "stagger": 0.8, "processes": 50, "patience": 900.0}
    with server() as at, tempfile.TemporaryDirectory() as folder:
        lengths = [cell[3] for cell in cells]
        for cell, found in zip(
            cells, measure(at, LARGE, Path(folder), {}, CROWD, lengths, **how), strict=True
        ):
            record(cell, found)


def beside(again: bool, workers: int = 64, rounds: int = 1) -> None:
    """`benchmarks/store.py` with 64 workers: both ask, report five times and tell, and train nothing.

    They are started by fork, so that 64 take little more memory than one.
    """
    import store as bench

    case = bench.Case("tpe", 0, workers)
    cell = ["beside", workers, 0]
    if not missing([cell], again):
        return
    with bench.databases("postgresql", {0}, connections=400) as fresh:
        found: dict[str, list[Any]] = {name: [] for name in bench.WORKER_KINDS}
        for number in range(rounds):
            for name in bench.WORKER_KINDS if number % 2 == 0 else bench.WORKER_KINDS[::-1]:
                found[name].append(bench.measure(name, fresh(0), case, start="fork").rate)
    ours, plain = (statistics.median(found[name]) for name in ("ours", "plain"))
    record(cell, {"ours": found["ours"], "plain": found["plain"], "ratio": round(ours / plain, 2)})


def history(again: bool, trials: int = 1200) -> None:
    from learnt import search

    for cell in missing([["history", most, seed] for seed in range(5) for most in (250, 500, None)], again):
        record(cell, search(cell[1], cell[2], trials))


JOINED = """
name = "joined"
[task]
dataset = "digits?per_class=20"
[search]
trials = 1000
max_epochs = 10000
pruner = "none"
profile = false
default_first = false
stop_when = "budget"
start = "cold"
[space]
truncation = 3
tune_mode = "head"
head_init = "he"
learning_rate = "search"
"""


def join(again: bool) -> None:
    """Seconds from the start of `automl-transfer worker` to its first epoch; then SIGTERM, and what is left."""
    if not missing([["join", number] for number in range(3)], again):
        return
    from filled import Store, StoreURL

    from automl_transfer.store.trials import Trials

    with server() as at, tempfile.TemporaryDirectory() as folder:
        _, url = at.database()
        environment = {**os.environ, "AUTOML_TRANSFER_STORAGE": url}
        program = [sys.executable, "-m", "automl_transfer"]
        file = Path(folder) / "joined.toml"
        file.write_text(JOINED)
        subprocess.run(
            [*program, "study", "create", str(file), "--output", f"{folder}/out"], env=environment, check=True
        )
        with Store.open(StoreURL.parse(url)) as store:
            study, trials = store.study("joined"), Trials(store)
            for number in range(-1, 3):  # the first one fills the caches
                began, trial = time.perf_counter(), None
                worker = subprocess.Popen([*program, "worker", "joined", "--threads", "1"], env=environment)
                claimed = trained = 0.0
                while not trained:
                    time.sleep(0.05)
                    held = trials.workers(study)
                    if held and not claimed:
                        claimed, trial = time.perf_counter() - began, held[0].trial_id
                        before = len(_record(trials, study, trial).epochs)
                    if claimed and len(_record(trials, study, trial).epochs) > before:
                        trained = time.perf_counter() - began
                times = psutil.Process(worker.pid).cpu_times()
                epochs = len(_record(trials, study, trial).epochs)
                left = time.perf_counter()
                worker.send_signal(signal.SIGTERM)
                code = worker.wait(timeout=60)
                left = time.perf_counter() - left
                after = _record(trials, study, trial)
                kept = trials.claim(study, "looks")
                assert kept is not None
                assert kept.trial_id == trial
                found = {
                    "claimed_s": round(claimed, 2), "first_epoch_s": round(trained, 2), "left_s": round(left, 2),
                    "cpu_s": round(times.user + times.system, 2),
                    "exit_code": code, "state": after.state.value, "epochs_seen": epochs,
                    "epochs_kept": len(after.epochs),
                    "checkpoint_epoch": None if kept.checkpoint is None else kept.checkpoint.epoch,
                }  # fmt: skip
                trials.release(kept)
                if number >= 0:
                    record(["join", number], found)


def _record(trials: Any, study: Any, trial_id: int | None) -> Any:
    return next(each for each in trials.records(study) if each.trial_id == trial_id)


def show() -> None:
    """Tables of what is recorded, and the picture."""
    cells = known()
    by = {json.dumps(cell["cell"]): cell for cell in cells}

    def of(*cell: Any) -> dict[str, Any] | None:
        return by.get(json.dumps(list(cell)))

    print("| workers | " + " | ".join(f"trials of {s:g} s" for s in sorted(SECONDS)) + " |\n|" + " --- |" * 4)
    for workers in WORKERS:
        found = [of("efficiency", workers, seconds) for seconds in sorted(SECONDS)]
        print(f"| {workers} | " + " | ".join(_percent(cell) for cell in found) + " |")
    for name in ("decision", "crowd", "beside", "history", "join"):
        print(f"\n{name}")
        for cell in cells:
            if cell["cell"][0] == name:
                print(json.dumps({key: value for key, value in cell.items() if key not in ("cpu", "cores")}))
    if any(cell["cell"][0] == "efficiency" for cell in cells):
        draw(cells)


def _percent(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "missing"
    return f"{100 * cell['efficiency']:.1f}%, {cell['trials_a_second']:.1f} a second, others {cell['others']:.1f}"


def draw(cells: list[dict[str, Any]]) -> None:
    from picture import ROOT, lay_out, save
    from plotly.subplots import make_subplots

    crowds = sorted((c for c in cells if c["cell"][0] == "crowd"), key=lambda c: -c["cell"][3])
    titles = ("Time that workers train, %", f"{CROWD} workers on {LARGE:,} trials")
    columns = 2 if crowds else 1
    figure = make_subplots(1, columns, subplot_titles=titles[:columns], horizontal_spacing=0.1)
    colors = {1.0: "#cc79a7", 10.0: "#0072b2", 60.0: "#009e73"}
    for seconds in sorted(SECONDS):
        found = sorted(
            (c for c in cells if c["cell"][0] == "efficiency" and c["cell"][2] == seconds),
            key=lambda c: c["cell"][1],
        )
        figure.add_scatter(
            x=[str(c["cell"][1]) for c in found], y=[100 * c["efficiency"] for c in found], row=1, col=1,
            name=f"trials of {seconds:g} s", mode="lines+markers", line={"color": colors[seconds], "width": 2.5},
        )  # fmt: skip
    figure.add_hline(y=95, line={"color": "#9aa1a9", "dash": "dot"}, row=1, col=1)
    if crowds:
        figure.add_scatter(
            x=[f"{c['cell'][3]:g} s" for c in crowds], y=[100 * c["efficiency"] for c in crowds], row=1, col=2,
            name=f"{CROWD} workers", mode="lines+markers", line={"color": "#d55e00", "width": 2.5},
        )  # fmt: skip
    lay_out(figure, 500 * columns + 100 * (columns == 1), 380)
    figure.update_xaxes(title="workers", type="category", row=1, col=1)
    figure.update_yaxes(range=[0, 102], row=1, col=1)
    if crowds:
        figure.update_xaxes(title="a whole trial", type="category", row=1, col=2)
        figure.update_yaxes(range=[0, 102], row=1, col=2)
    figure.update_layout(margin={"t": 92, "b": 48})
    figure.update_layout(legend={"y": 1.14})
    save(figure, ROOT / "docs" / "images" / "large.png")


PARTS = {each.__name__: each for each in (efficiency, decision, crowd, beside, history, join)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure")
    parser.add_argument("--again", action="store_true", help="measure cells that are recorded once more")
    options = parser.parse_args()
    for part in options.parts:
        PARTS[part](options.again)
    if not options.parts:
        show()


if __name__ == "__main__":
    main()
