"""What a person sees while a search runs, and when it has ended."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from automl_transfer.api.search import SearchEvents, SearchResult
from automl_transfer.cli.live_workers import LiveWorkers
from automl_transfer.cli.screen import watched
from automl_transfer.domain.records import EpochResult, TrialState
from automl_transfer.domain.spec import StudySpec
from automl_transfer.reporting.plain import plain
from automl_transfer.reporting.table import Report
from automl_transfer.reporting.warm import beginning, proposed
from automl_transfer.workers.repeated import EVERY, Pulse
from automl_transfer.workers.signals import TIME_UP

if TYPE_CHECKING:
    from automl_transfer.doctor.findings import Diagnosis
    from automl_transfer.domain.evidence import ExtraRun, FailedRun, ProfileRecord
    from automl_transfer.domain.warm import WarmStart
    from automl_transfer.search.objective import TrialEnd
    from automl_transfer.search.promoting import Ended
    from automl_transfer.store.store import Store
    from automl_transfer.store.trials import Trials
    from automl_transfer.store.values import Claim, Reaped, StudyHandle
    from automl_transfer.workers.worker import Observer


class LiveSearch(SearchEvents):
    """A progress bar of trials, a line for every trial that ends, and the incumbent.

    Where the output is no terminal, only the lines are printed, and one that says what goes on after every
    minute without any.
    """

    def __init__(self, console: Console, spec: StudySpec, *, every: float = EVERY) -> None:
        self._console = console
        self._spec = spec
        self._began = time.monotonic()
        self._ended: set[int] = set()  # roots, each strategy once: at its first pause, or its end
        self._proposed: dict[str, str] = {}
        self._best: float | None = None
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[now]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not watched(console),
        )
        self._pulse = Pulse(self._still, every)
        self._bar = self._progress.add_task("trials", total=spec.search.trials, now="")
        self._data = self._progress.add_task("images", total=None, now="", visible=False)

    def __enter__(self) -> LiveSearch:
        self._progress.start()
        if not watched(self._console):
            self._pulse.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if not watched(self._console):
            self._pulse.__exit__(kind, error, trace)

    @contextmanager
    def workers(self, store: Store, handle: StudyHandle) -> Iterator[LiveWorkers]:
        """Within the block the table of workers stands where the bar was."""
        from automl_transfer.store.trials import Trials

        self._progress.stop()
        self._pulse.doing("")  # the table has lines of its own
        with LiveWorkers(self._console) as table:
            table.watch(Trials(store), handle)
            yield table

    def observer(self) -> Observer:
        """This object itself."""
        return self

    def on_progress(self, what: str, done: int, total: int) -> None:
        """Data are being prepared."""
        self._pulse.doing(f"{what}: {done:,} of {total:,}" if done < total else what)
        self._progress.update(self._data, description=what, completed=done, total=total, visible=done < total)

    def on_doctor(self, found: Diagnosis) -> None:
        """Say in one line what the data doctor found, where that deserves a look."""
        if found.line():
            dataset = shlex.quote(self._spec.task.dataset)
            self._line(
                plain(
                    f"data doctor: {found.line()}; to look at them: automl-transfer explore {dataset} "
                    "--doctor -o FOLDER",
                    1000,
                )
            )

    def on_set_aside(self, folder: Path, aside: Path) -> None:
        """Say where the results of a study that is gone are now."""
        self._line(f"{folder} held the results of a study that is not in the store any more: now {aside}")

    def on_study(self, handle: StudyHandle, trials: Trials) -> None:
        """Say what is searched, and show trials that an earlier run finished."""
        task = handle.task
        sizes = f"{task.splits.train} / {task.splits.validation} / {task.splits.test}"
        self._line(
            f"study {handle.name}: {task.name}, {len(task.classes)} classes, {sizes} images to train, "
            f"validate and test, {task.resolution} pixels"
        )
        for line in task.account.lines() if task.account is not None else ():
            self._line(plain(line, 1000))
        records = trials.records(handle)
        going = {record.root for record in records if record.is_open and not record.is_paused}
        self._ended = {record.root for record in records if record.strategy is not None} - going
        if self._ended:
            self._best = trials.best_value(handle)
            self._line(f"going on after {len(self._ended)} finished trials")
        self._show("first answers: sources are profiled on the training images")

    def on_profile(self, profile: ProfileRecord) -> None:
        """Say which cut of a source is best before anything is trained."""
        best = profile.best
        assert best is not None
        self._line(
            f"profile of {profile.source}: {best.loo_accuracy:.3f} by leave-one-out {best.where}, "
            f"in {profile.seconds:.1f} s"
        )
        if profile.largest < 1.0 and self._spec.search.minutes is not None:
            self._line(
                f"there is little time: the first answer reads images x{profile.largest:g}, on which a pass "
                f"takes {1 / profile.largest**2:.0f} times less"
            )
        if profile.warning:
            self._line(f"profile of {profile.source}: {profile.warning}")

    def on_start(self, begun: WarmStart) -> None:
        """Say that earlier tasks propose something; what it is when it is tried."""
        for line in beginning(begun, self._spec.search.start):
            self._line(f"{self._clock()}  {plain(line, 1000)}")
        self._proposed = proposed(begun) if self._spec.search.start == "warm" else {}

    def on_confirmation(self, run: ExtraRun) -> None:
        """One of the best strategies was trained again, on a fresh split."""
        score = run.score(self._spec.task.metric)
        self._line(f"{self._clock()}  trial {run.root:>3}  {score:.3f} confirming, run {run.run + 1}")
        self._show("the best strategies are confirmed")

    def on_confirmation_failed(self, failed: FailedRun) -> None:
        """It is left out of the confirmation, and why."""
        reason = plain(failed.reason.splitlines()[0])
        self._line(f"{self._clock()}  trial {failed.root:>3}  not confirmed, run {failed.run + 1}: {reason}")

    def on_wait(self, what: str) -> None:
        """Another search does some of the work."""
        self._line(f"{self._clock()}  waiting: {what}")

    def on_claim(self, claim: Claim) -> None:
        """A trial starts, or goes on."""
        if claim.epochs:
            at = claim.epochs[-1].epoch
            self._line(f"{self._clock()}  trial {claim.number:>3}        goes on after epoch {at}")
        elif why := self._proposed.pop(claim.strategy.key(), None):
            self._line(f"{self._clock()}  trial {claim.number:>3}        {why}: {claim.strategy.describe()}")
        self._show(f"trial {claim.number} starts")

    def on_epoch(self, claim: Claim, result: EpochResult) -> None:
        """An epoch ended."""
        score = result.score(self._spec.task.metric)
        self._show(f"trial {claim.number} epoch {result.epoch}/{self._spec.search.epochs}: {score:.3f}")

    def on_end(self, claim: Claim, end: TrialEnd) -> None:
        """A trial ended: one line, with the reason where it is not complete."""
        if end.paused is not None:
            said = f"{end.value:.3f} paused {end.stop.detail}"
            self._line(f"{self._clock()}  trial {claim.number:>3}  {said}")
            self._ended.add(claim.root)
            return
        if end.state is TrialState.WAITING:
            self._line(f"{self._clock()}  trial {claim.number:>3}  released  {end.stop.detail}")
            return
        self._ended.add(claim.root)
        if end.state is TrialState.COMPLETE and end.value is not None:
            better = self._best is None or end.value > self._best
            self._best = end.value if better else self._best
            mark = " best" if better else ""
            self._line(
                f"{self._clock()}  trial {claim.number:>3}  {end.value:.3f}{mark:5}  "
                f"{claim.strategy.describe()}"
            )
        elif end.state is TrialState.PRUNED:
            value = f"{end.value:.3f}" if end.value is not None else "-"
            self._line(f"{self._clock()}  trial {claim.number:>3}  {value} pruned {end.stop.detail}")
        else:
            reason = str(end.stop).splitlines()[0]
            self._line(f"{self._clock()}  trial {claim.number:>3}  failed  {reason}")
        self._show("")

    def on_reaped(self, reaped: Reaped) -> None:
        """A dead worker's trial is handed on."""
        self._line(f"{self._clock()}  trial {reaped.number:>3}  handed on: {reaped.stop.detail}")

    def on_paused_ended(self, ended: Ended) -> None:
        """Trials that were paused will not go on."""
        for root in ended.roots:
            self._line(f"{self._clock()}  trial {root:>3}        pruned after its pause: {ended.why}")

    def on_idle(self, reason: str) -> None:
        """Nothing to do."""
        self._show(f"waiting: {reason}")

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        return f"{minutes:>3}:{seconds:02}"

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)
        self._pulse.said()

    def _still(self, doing: str) -> None:
        best = f", best {self._best:.3f}" if self._best is not None else ""
        done = f"{len(self._ended)} of {self._spec.search.trials} strategies"
        self._line(f"{self._clock()}  {doing} ({done}{best})")

    def _show(self, now: str) -> None:
        self._pulse.doing(now or "the next strategies are prepared")
        best = f"best {self._best:.3f}  " if self._best is not None else ""
        left = ""
        if self._spec.search.minutes is not None:
            seconds = max(0.0, 60 * self._spec.search.minutes - (time.monotonic() - self._began))
            left = f"  {seconds:.0f} s left"
        self._progress.update(self._bar, completed=len(self._ended), now=escape(f"{best}{now}{left}"))


def how_it_ended(result: SearchResult) -> str:
    """When, and why."""
    kept = ", but for what confirmation and shipping may take" if result.reason == TIME_UP else ""
    return f"ended after {result.seconds:.0f} s: {result.reason}{kept}"


def print_result(console: Console, result: SearchResult) -> None:
    """The ranked table, the winner's test score, and where the files are."""
    if result.interrupted:
        console.print(f"stopped: {result.reason}. The same command goes on; nothing is lost.")
        return
    if result.shipped is None:
        return
    console.print(Report(result.shipped.report))
    recipe = result.shipped.recipe
    console.print(how_it_ended(result))
    if recipe is None:
        console.print("no trial completed: there is no model to ship")
        return
    if why := result.shipped.not_refitted:
        console.print(
            f"what ships is as it was judged, not trained on the validation images as well: {why}. "
            "`search --refit` insists on it"
        )
    if (shipped_as := recipe.shipped_as) is not None:
        told = f"ships as {shipped_as.name}, {shipped_as.comparison()}"
        asks = ". `--as winner` ships one network" if shipped_as.kind == "ensemble" else ""
        console.print(Text(told + asks), soft_wrap=True)
    if recipe.metrics.test is not None:
        low, high = recipe.metrics.test.interval
        refit = ", refitted on training + validation" if recipe.training.refit else ""
        if refit and shipped_as is not None and not all(part.refit for part in shipped_as.parts):
            again = sum(part.refit for part in shipped_as.parts)
            refit = f", {again} of its {len(shipped_as.parts)} networks refitted on training + validation"
        who = "winner" if shipped_as is None else shipped_as.name
        console.print(
            f"test accuracy of the {who}{refit}: {recipe.metrics.test.accuracy:.3f} "
            f"[{low:.3f}, {high:.3f}] (n = {recipe.metrics.test.n})",
            markup=False,
        )
    console.print(
        Text(f"wrote {result.output}/: ranking.json, report.html, best_strategy.json, model/"), soft_wrap=True
    )
