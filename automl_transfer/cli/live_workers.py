"""The live table of workers: who runs which trial, how fast, and when it last gave a sign of life."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from automl_transfer.cli.screen import watched
from automl_transfer.errors import StoreUnavailableError
from automl_transfer.workers.repeated import EVERY

if TYPE_CHECKING:
    from automl_transfer.store.trials import Trials
    from automl_transfer.store.values import Counts, StudyHandle, WorkerRow
    from automl_transfer.workers.supervisor import Slot


class LiveWorkers:
    """Shows the workers of a study. Where the output is no terminal, a line whenever a trial has ended.

    Args:
        console: Where.
        every: Seconds between two looks.
        silence: Seconds after which a line is due although none has ended.
    """

    def __init__(self, console: Console, *, every: float = 1.0, silence: float = EVERY) -> None:
        self._console = console
        self._every = every
        self._next = 0.0
        self._began = time.monotonic()
        self._ended = -1
        self._silence = silence
        self._said_at = time.monotonic()
        self._live = Live(console=console, transient=True, auto_refresh=False)
        self._trials: Trials | None = None
        self._study: StudyHandle | None = None

    def watch(self, trials: Trials, study: StudyHandle) -> None:
        """From now on show this study."""
        self._study = study
        # A display must not wait for a database that is away.
        self._trials = type(trials)(trials.store.with_patience(0.0))

    def __enter__(self) -> LiveWorkers:
        if watched(self._console):
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def __call__(self, slots: Sequence[Slot]) -> None:
        """Look again, at most once in `every` seconds."""
        now = time.monotonic()
        if now < self._next or self._trials is None or self._study is None:
            return
        self._next = now + self._every
        try:
            counts = self._trials.counts(self._study)
            rows = self._trials.workers(self._study)
            best = self._trials.best_value(self._study)
        except StoreUnavailableError:
            text = Text("the database does not answer; workers go on and wait")
            if watched(self._console):
                self._live.update(text, refresh=True)
            elif now >= self._said_at + self._silence:
                self._console.print(text)
                self._said_at = now
            return
        line = Text(f"{_clock(now - self._began)}  {progress_line(counts, self._study, best)}")
        ended = counts.complete + counts.pruned + counts.given_up
        if watched(self._console):
            self._live.update(Group(line, workers_table(rows, slots)), refresh=True)
        elif ended != self._ended or now >= self._said_at + self._silence:
            self._console.print(line, soft_wrap=True)
            self._said_at = now
        self._ended = ended


def progress_line(counts: Counts, study: StudyHandle, best: float | None) -> str:
    """One line: what is done, runs and waits, and the incumbent."""
    done = counts.complete + counts.pruned + counts.given_up
    parts = [f"{done}/{study.spec.search.trials} strategies", f"{counts.complete} complete"]
    parts += [f"{counts.pruned} pruned", f"{counts.running} running", f"{counts.waiting} waiting"]
    if counts.paused:
        parts.append(f"{counts.paused} paused")
    if counts.failed:
        parts.append(f"{counts.failed} failed ({counts.given_up} given up)")
    if best is not None:
        parts.append(f"best {best:.3f}")
    return ", ".join(parts)


def workers_table(rows: Sequence[WorkerRow], slots: Sequence[Slot] = ()) -> Table:
    """One row a worker; idle workers of this launcher included."""
    table = Table(box=None, pad_edge=False)
    for column in ("worker", "trial", "root", "attempt", "epoch", "epochs/min", "last beat"):
        table.add_column(column, justify="left" if column == "worker" else "right", no_wrap=True)
    ours = {slot.worker.name: slot for slot in slots if slot.worker is not None}
    shown = set()
    for row in rows:
        machine, _, rest = row.worker.partition("/")
        pid = rest.partition("-")[0]
        slot = ours.get(pid)
        if slot is not None:
            shown.add(slot.index)
        name = f"{slot.index}" if slot is not None else f"{machine.partition('.')[0]} {pid}"
        rate = f"{60 * row.epoch / row.held:.1f}" if row.epoch and row.held > 0 else "-"
        table.add_row(
            Text(name),
            str(row.number),
            str(row.root),
            str(row.attempt),
            "-" if row.epoch is None else str(row.epoch),
            rate,
            f"{max(0.0, row.beat_age):.0f} s ago",
        )
    for slot in slots:
        if slot.index not in shown:
            table.add_row(str(slot.index), _state(slot), *[""] * 5)
    return table


def _state(slot: Slot) -> str:
    if slot.ended is not None:
        return "left" if slot.ended == 0 else f"ended ({slot.ended})"
    return "idle" if slot.worker is not None else "starts"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:>3}:{rest:02}"
