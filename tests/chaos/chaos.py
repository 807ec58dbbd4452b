"""Kills workers, reapers and databases while a study runs, then counts what became of every strategy.

    python tests/chaos/chaos.py --database sqlite --trials 200 --workers 8

On PostgreSQL the storage URL has a password, which is looked for in all that the run leaves, and in command lines
while it runs. The last line is `LOST n DUPLICATE n STUCK n UNEXPLAINED n`; the exit code is 0 where all are 0 and
every fault happened. Workers come from the forge that `FORGE` names, where it names one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1]), str(HERE.parent), str(HERE.parent / "workers")]
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("AUTOML_TRANSFER_STORAGE", None)

import forge  # noqa: E402
from secrets_left import Watch  # noqa: E402
from worker_helpers import TinyStudy, tiny_study  # noqa: E402

from automl_transfer.domain.records import TrialRecord, TrialState  # noqa: E402
from automl_transfer.domain.strategy import Strategy  # noqa: E402
from automl_transfer.errors import StoreUnavailableError  # noqa: E402
from automl_transfer.store.files import study_files  # noqa: E402
from automl_transfer.store.rungs import Rungs  # noqa: E402
from automl_transfer.workers.heartbeat import reap_lost  # noqa: E402
from automl_transfer.workers.signals import StopRequest  # noqa: E402
from automl_transfer.workers.worker import Worker  # noqa: E402

ATTEMPTS, BEAT = 10, 0.5
OUTAGES = (1.0, 3.0)  # seconds beyond the grace period
SECRET = "Zq7Tr0ub4dor-Xk"
ARMED = ("reap", "beat", "tell")
FAULTS = ["kill"] * 20 + ["reap"] * 2 + ["beat", "tell"] + ["term"] * 2 + ["outage"] * 2


def strategies(number: int, long_every: int) -> list[Strategy]:
    """Mostly solved heads (well under a second), and now and then a long training of the head."""
    made = []
    for i in range(number):
        rate = 1e-3 * (1 + i)
        if i % long_every == 0:
            long = Strategy(truncation=3, tune_mode="head", head_init="he", learning_rate=min(rate, 1.0))
            made.append(long.canonical())
        else:
            short = Strategy(truncation=3, tune_mode="closed_form", head_init="ridge", ridge_lambda=rate)
            made.append(short.canonical())
    return made


class Chaos:
    """One run on one database.

    Half of the workers believe to be on machines of their own, with clocks that are wrong: nobody can
    see that such a process is gone, and only its silence gives it away.
    """

    def __init__(
        self,
        study: TinyStudy,
        folder: Path,
        workers: int,
        grace: float,
        outage: Callable[[float], None],
        say: Any,
    ) -> None:
        self.study, self.folder, self.workers, self.outage, self.say = study, folder, workers, outage, say
        self.grace = grace
        self.random = random.Random(0)
        self.forged = "FORGE" in os.environ
        self.processes: list[subprocess.Popen[bytes] | forge.Forged] = []
        self.armed: dict[Path, tuple[str, subprocess.Popen[bytes] | forge.Forged]] = {}
        self.done: Counter[str] = Counter()
        self.started = 0
        self.watch = Watch(SECRET)

    def start(self, point: str = "none") -> subprocess.Popen[bytes] | forge.Forged:
        """One more worker; with a point, one that kills itself there."""
        self.started += 1
        away = self.started % 2 == 0
        machine = f"machine-{self.started}" if away else socket.gethostname()
        clock = (3600.0 if self.started % 4 else -3600.0) if away else 0.0
        marker = self.folder / f"fired-{self.started}"
        if point == "reap":
            self.reaper(marker).touch()
        options = ["--threads", "1", "--grace", str(self.grace), "--beat", str(BEAT), "--checkpoint", "0.5"]
        program = [str(HERE / "faulty_worker.py"), point, str(marker), machine, str(clock)]
        program += ["tiny", *options, "--device", "cpu"]
        environment = {**os.environ, "AUTOML_TRANSFER_STORAGE": self.study.url}
        process: subprocess.Popen[bytes] | forge.Forged
        with (self.folder / "workers.log").open("ab") as log:
            if self.forged:
                process = forge.start(program, environment, log)
            else:
                process = subprocess.Popen(
                    [sys.executable, *program], env=environment, cwd=HERE.parents[1],
                    stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
        self.processes.append(process)
        if point != "none":
            self.armed[marker] = point, process
        return process

    def reaper(self, marker: Path) -> Path:
        """While it is there, only those reap that are to die in it."""
        return self.folder / f"reaper-{marker.name}"

    def run(self, faults: list[str], limit: float) -> list[str]:
        """Keep the workers going, do one fault after another, spread over the study, until it is finished.

        Returns the faults that did not happen.
        """
        began = time.monotonic()
        waiting = list(faults)
        self.random.shuffle(waiting)
        waiting.sort(key=lambda fault: fault not in ARMED)  # these wait for their moment themselves
        total, number = len(faults), len(self.study.records())
        looks = 0
        while time.monotonic() - began < limit:
            self.processes = [p for p in self.processes if p.poll() is None]
            waiting = self.fired() + waiting
            counts = self.study.trials.counts(self.study.handle)
            if counts.open_roots == 0:
                break
            while len(self.processes) < self.workers:
                self.start()
            if looks % 20 == 0:
                self.watch.command_lines()
            looks += 1
            share = min(
                1.0, (counts.complete + counts.pruned + counts.paused) / (0.8 * number)
            )  # the last ones need trials to hit, too
            due = waiting and (waiting[0] in ARMED or (total - len(waiting)) / total <= share)
            if due and self.do(waiting[0]):
                waiting.pop(0)
                self.say(f"{time.monotonic() - began:6.0f} s {counts} faults {dict(self.done)}")
            time.sleep(0.05)
        for process in self.processes:
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
        waiting += self.fired() + [point for point, _ in self.armed.values()]
        reap_lost(self.study.trials, self.study.handle, grace=self.grace)
        self.say(f"{time.monotonic() - began:6.0f} s ended; faults {dict(self.done)}, not done {waiting}")
        return waiting

    def fired(self) -> list[str]:
        """Count the armed faults that went off; returns those whose process ended without."""
        failed = []
        for marker, (point, process) in list(self.armed.items()):
            if marker.exists():
                self.done[point] += 1
            elif process.poll() is None:
                continue
            else:
                failed.append(point)
            self.reaper(marker).unlink(missing_ok=True)
            del self.armed[marker]
        return failed

    def do(self, fault: str) -> bool:
        """One fault; False where there is nobody to hit at the moment."""
        if fault in ARMED:
            self.start(fault)
            return True
        # A reaper that is to die must be there before it has something to reap.
        if not all(marker.with_suffix(".ready").exists() for marker in self.armed):
            return False
        if fault == "outage":
            self.outage(self.grace + OUTAGES[self.done["outage"] % 2])
            self.done[fault] += 1
            return True
        safe = {process.pid for _, process in self.armed.values()}
        ours = {process.pid for process in self.processes} - safe
        pids = [
            int(row.worker.split("/")[1].split("-")[0])
            for row in self.study.trials.workers(self.study.handle)
        ]
        pids = [pid for pid in pids if pid in ours]
        if not pids:
            return False
        try:
            os.kill(self.random.choice(pids), signal.SIGKILL if fault == "kill" else signal.SIGTERM)
        except ProcessLookupError:  # it ended this moment
            return False
        self.done[fault] += 1
        return True


def judge(
    records: list[TrialRecord], expected: dict[str, tuple[float | None, str | None]]
) -> tuple[dict[str, int], float]:
    """Count what is wrong, and the seconds that were trained twice."""
    roots: dict[int, list[TrialRecord]] = defaultdict(list)
    for record in records:
        roots[record.root].append(record)
    wrong = dict.fromkeys(("LOST", "DUPLICATE", "STUCK", "UNEXPLAINED"), 0)
    twice = 0.0
    for line in roots.values():
        complete = [r for r in line if r.state is TrialState.COMPLETE]
        ended = [r for r in line if r.state is TrialState.PRUNED and not r.is_paused]
        wrong["LOST"] += not complete and not ended
        wrong["DUPLICATE"] += len(ended) > 1 or bool(complete and ended)
        wrong["DUPLICATE"] += len(complete) > 1 or len({r.attempt for r in line}) < len(line)
        wrong["STUCK"] += any(not r.state.finished or r.is_paused for r in line)
        for record in line:
            children = [r for r in line if r.attempt == record.attempt + 1]
            if record.state is TrialState.FAIL:
                used_up = record.attempt + 1 >= ATTEMPTS
                wrong["UNEXPLAINED"] += len(children) != 1 and not used_up
                inherited = max(
                    (e.epoch for c in children for e in c.epochs if e in record.epochs), default=0
                )
                twice += sum(e.seconds for e in record.epochs if e.epoch > inherited)
        for record in complete:
            assert record.strategy is not None
            assert record.outcome is not None
            found = record.value, record.outcome.weights_sha256
            wrong["UNEXPLAINED"] += found != expected[record.strategy.key()]
    wrong["LOST"] += len(expected) - len(roots)
    return wrong, twice


def judge_rungs(study: TinyStudy, say: Callable[[str], None]) -> dict[str, int]:
    """Count rungs where somebody still waits, checkpoints that nothing needs, and those that were not there."""
    files = [key for key in study_files(study.handle).list() if "/state-" in key]
    marks = Rungs(study.store, study.handle).news()
    went_on = {mark.root for mark in marks} & {
        r.root for r in study.records() if r.state is TrialState.COMPLETE
    }
    say(f"{len(marks)} strategies came to the rung, {len(went_on)} of them went on to their end")
    gone = sum(record.restarts for record in study.records())
    return {"PAUSED": sum(mark.paused for mark in marks), "LEFT": len(files), "GONE": gone}


def undisturbed(folder: Path, items: list[Strategy], epochs: int) -> dict[str, Any]:
    """Values and weight digests of the same strategies, trained one after the other in this process."""
    import torch

    torch.set_num_threads(1)
    folder.mkdir()
    with tiny_study(f"sqlite:///{folder / 's.db'}", folder, items, max_epochs=epochs) as study:
        Worker(study.store, study.handle, study.bench, stop=StopRequest()).run()
        return {
            r.strategy.key(): (r.value, r.outcome.weights_sha256)
            for r in study.records()
            if r.strategy is not None and r.outcome is not None
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=600)
    parser.add_argument("--long-every", type=int, default=10)
    parser.add_argument("--faults", nargs="+", default=FAULTS, choices=sorted(set(FAULTS)), metavar="FAULT")
    parser.add_argument("--pruner", choices=["none", "promote"], default="none", help="promote: with rungs")
    parser.add_argument(
        "--grace", type=float, default=4.0, help="seconds of silence after which a worker is lost"
    )
    parser.add_argument("--undisturbed", type=Path, help="what the strategies come to: read, or else written")
    parser.add_argument("--limit", type=float, default=540.0, help="seconds")
    parser.add_argument("--progress", type=Path, default=Path("chaos-progress.txt"))
    options = parser.parse_args()
    server: Any = None
    missing = list(options.faults)
    with tempfile.TemporaryDirectory(prefix="chaos-") as place, options.progress.open("w") as progress:

        def say(line: str) -> None:
            print(line, flush=True)
            print(line, file=progress, flush=True)

        folder = Path(place)
        items = strategies(options.trials, options.long_every)
        known = options.undisturbed
        if known is not None and known.exists():
            expected = {key: tuple(pair) for key, pair in json.loads(known.read_text()).items()}
        else:
            expected = undisturbed(folder / "undisturbed", items, options.epochs)
            if known is not None:
                known.write_text(json.dumps(expected))
        say(f"undisturbed: {len(expected)} strategies")
        if options.database == "sqlite":
            url = f"sqlite:///{folder / 'chaos.db'}"
        else:
            from conftest import PostgresServer

            server = PostgresServer()
            url = server.new_database()[1].replace("postgres:@", f"postgres:{SECRET}@")
        try:
            search = {"max_epochs": options.epochs, "max_attempts": ATTEMPTS, "pruner": options.pruner}
            with tiny_study(url, folder, items, **search) as study:

                def outage(seconds: float) -> None:
                    if server is None:
                        with study.store.engine.begin():  # BEGIN IMMEDIATE: nobody else can write
                            time.sleep(seconds)
                    else:
                        server.stop()
                        time.sleep(seconds)
                        server.start()

                chaos = Chaos(study, folder, options.workers, options.grace, outage, say)
                try:
                    missing = chaos.run(options.faults, options.limit)
                except StoreUnavailableError as error:
                    say(f"the store stayed away: {error}")
                finally:
                    for process in chaos.processes:
                        if process.poll() is None:
                            process.kill()
                wrong, twice = judge(study.records(), expected)
                if options.pruner == "promote":
                    wrong |= judge_rungs(study, say)
                chaos.watch.folder(folder)
                chaos.watch.database(study.store.engine)
                say(str(chaos.watch))
                crashed = [r for r in study.records() if r.state is TrialState.FAIL]
                say(f"{options.database}: {len(crashed)} failed attempts, {twice:.1f} s trained twice")
        finally:
            if server is not None:
                server.close()
        say(" ".join(f"{name} {count}" for name, count in wrong.items()))
        leaked = server is not None and (chaos.watch.found or SECRET in options.progress.read_text())
    return int(any(wrong.values()) or bool(missing) or bool(leaked))


if __name__ == "__main__":
    sys.exit(main())
