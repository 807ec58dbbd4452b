"""Workers pause trials at rungs and go on with the best: nothing is trained twice, nothing is left over."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from worker_helpers import Process, TinyStudy, strategy, tiny_study, until

from automl_transfer.aborting import check_abort
from automl_transfer.domain.records import EpochResult, StopKind, StopReason, TrialOutcome, TrialState
from automl_transfer.search.promoting import Promotion
from automl_transfer.store.files import study_files
from automl_transfer.store.rungs import Rungs
from automl_transfer.store.values import Claim, Mark
from automl_transfer.workers.signals import StopRequest
from automl_transfer.workers.worker import SilentObserver, Worker, WorkerOptions, WorkerReport

RATES = [10.0 ** (-6 + number / 2) for number in range(9)]
STUDY = {"max_epochs": 3, "min_epochs": 1, "pruner": "promote"}


class Epochs(SilentObserver):
    """Counts what is trained; asks to stop after so many epochs."""

    def __init__(self, stop: StopRequest, most: int = 10_000) -> None:
        self.seen: Counter[tuple[int, int]] = Counter()
        self.order: list[int] = []
        self._stop, self._most = stop, most

    def on_epoch(self, claim: Claim, result: EpochResult) -> None:
        self.seen[claim.root, result.epoch] += 1
        self.order.append(claim.root)
        if len(self.order) >= self._most:
            self._stop.ask("enough")


def run(study: TinyStudy, most: int = 10_000, **options: object) -> tuple[Epochs, WorkerReport]:
    stop = StopRequest()
    observer = Epochs(stop, most)
    settings = WorkerOptions(**options)  # type: ignore[arg-type]
    report = Worker(
        study.store, study.handle, study.bench, stop=stop, options=settings, observer=observer
    ).run()
    return observer, report


def weights(study: TinyStudy) -> dict[str, str | None]:
    """Of what ran to its end, by strategy."""
    return {
        r.strategy.key(): r.outcome.weights_sha256
        for r in study.records()
        if r.state is TrialState.COMPLETE and r.outcome is not None and r.strategy is not None
    }


def states_left(study: TinyStudy) -> list[str]:
    return [key for key in study_files(study.handle).list() if "/state-" in key]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    folder = tmp_path_factory.mktemp("whole")
    items = [strategy(rate) for rate in RATES]
    with tiny_study(f"sqlite:///{folder / 's.db'}", folder, items, pruner="none") as study:
        run(study)
        return weights(study)


def test_the_best_third_goes_on_and_ends_as_if_it_had_never_paused(
    tmp_path: Path, uninterrupted: dict[str, str | None]
) -> None:
    items = [strategy(rate) for rate in RATES]
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, items, **STUDY) as study:
        observer, report = run(study)
        records = study.records()
        assert (report.finished, report.trials) == (True, 9)
        assert max(observer.seen.values()) == 1  # no epoch is trained twice
        whole = {r.root for r in records if r.state is TrialState.COMPLETE}
        assert {r.root for r in records if r.state is TrialState.PRUNED} == set(range(9)) - whole
        assert len(records) == 9
        # The third that is best after epoch 1, and those that were among the best when few had come there.
        first = sorted(records, key=lambda r: (-r.epochs[0].accuracy, r.epochs[0].validation_loss))
        assert {r.root for r in first[:3]} <= whole
        assert 3 <= len(whole) <= 6
        stopped = next(r for r in records if r.state is TrialState.PRUNED)
        assert stopped.stop is not None
        assert str(stopped.stop) == "pruned: paused after epoch 1; others were better there"
        done = weights(study)
        assert done == {key: uninterrupted[key] for key in done}
        assert states_left(study) == []
        ran = next(r for r in records if r.root in whole)
        assert ran.outcome is not None
        assert ran.outcome.train_seconds >= ran.seconds * 0.9  # what it trained before its pause counts


def test_a_stopped_search_keeps_what_is_paused_and_goes_on_with_it(
    tmp_path: Path, uninterrupted: dict[str, str | None]
) -> None:
    items = [strategy(rate) for rate in RATES]
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, items, **STUDY) as study:
        before, _ = run(study, most=4)
        paused = [r for r in study.records() if r.is_paused]
        assert paused
        assert len(states_left(study)) >= len(paused)
        after, report = run(study)
        assert report.finished
        assert max((before.seen + after.seen).values()) == 1
        done = weights(study)
        assert done == {key: uninterrupted[key] for key in done}
        assert states_left(study) == []


def test_a_killed_worker_loses_no_rung_and_none_is_claimed_twice(
    tmp_path: Path, postgres_url: str, uninterrupted: dict[str, str | None]
) -> None:
    items = [strategy(rate) for rate in RATES]
    with tiny_study(postgres_url, tmp_path, items, max_attempts=10, **STUDY) as study:
        command = ("worker", "tiny", "--device", "cpu", "--threads", "1", "--beat", "0.5", "--grace", "3")
        first = Process(postgres_url, *command, log=tmp_path / "first.log")
        try:
            until(lambda: study.trials.counts(study.handle).paused >= 2, first)
            first.signal(signal.SIGKILL)
            first.wait()
        finally:
            first.close()
        others = [Process(postgres_url, *command, log=tmp_path / f"{n}.log") for n in range(2)]
        try:
            assert [each.wait() for each in others] == [0, 0], [each.said()[-2000:] for each in others]
        finally:
            for each in others:
                each.close()
        rungs = Rungs(study.store, study.handle).news()
        assert sorted(mark.root for mark in rungs) == list(range(9))
        assert not any(mark.paused for mark in rungs)
        finished = [r for r in study.records() if r.state.finished and r.state is not TrialState.FAIL]
        assert sorted(r.root for r in finished) == list(range(9))
        done = weights(study)
        assert len(done) >= 3
        assert done == {key: uninterrupted[key] for key in done}


def test_where_the_time_is_short_the_best_paused_one_that_may_end_goes_on(tmp_path: Path) -> None:
    items = [strategy(rate) for rate in RATES[:2]]
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, items, **STUDY) as study:
        seconds = (10.0, 4.0)  # to the first of three epochs
        for value in (0.9, 0.5):
            claim = study.trials.claim(study.handle, "w")
            assert claim is not None
            at = Mark(claim.root, 1, "fresh head", value, 1.0, seconds[claim.root])
            stop = StopReason(kind=StopKind.PAUSED)
            Rungs(study.store, study.handle).pause(claim, at, stop, TrialOutcome())
        promotion = Promotion(study.store, study.handle)
        assert promotion.next("w") is None  # two are too few to choose from
        assert (
            promotion.last("w", 7.0, any_=True) is None
        )  # twice as long as to the rung, and nothing is that short
        second = promotion.last("w", 9.0, any_=True)
        assert second is not None
        assert second.root == 1
        first = promotion.last("w")
        assert first is not None
        assert first.root == 0


def test_a_checkpoint_that_is_gone_starts_its_trial_over_once_and_counts(tmp_path: Path) -> None:
    items = [strategy(rate) for rate in RATES[:2]]
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, items, **STUDY) as study:
        run(study, most=2)
        files = study_files(study.handle)
        for key in states_left(study):
            files.delete(key.rsplit("/", 1)[0])
        observer, report = run(study)
        assert report.finished
        assert sum(r.restarts for r in study.records()) == len(
            [r for r in study.records() if r.state is TrialState.COMPLETE]
        )
        assert max(observer.seen.values()) == 1
        assert Counter(r.stop.kind for r in study.records() if r.stop) <= Counter(
            {StopKind.COMPLETED: 2, StopKind.PRUNED: 2}
        )


def test_a_study_that_lets_paused_trials_go_brings_them_to_an_end(tmp_path: Path) -> None:
    """A pruner may change: what paused before goes on by the same rule, and nothing new pauses."""
    items = [strategy(rate) for rate in RATES[:4]]
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, items, **STUDY) as study:
        run(study, most=2)
        assert any(r.is_paused for r in study.records())
        spec = study.handle.spec
        none = spec.model_copy(update={"search": spec.search.model_copy(update={"pruner": "none"})})
        study.handle = study.store.create_study(
            none, study.task.task, artifact_url=study.handle.artifact_url, sources=study.handle.sources
        )
        _, report = run(study)
        assert report.finished
        assert all(r.state.finished and not r.is_paused for r in study.records())
        assert {2, 3} <= {r.root for r in study.records() if r.state is TrialState.COMPLETE}


def at_rung(study: TinyStudy, value: float, seconds: float) -> Claim:
    """Pause the next waiting trial at the first rung, with a curve and no checkpoint."""
    claim = study.trials.claim(study.handle, "w")
    assert claim is not None
    at = Mark(claim.root, 1, "fresh head", value, 1.0, seconds)
    stop = StopReason(kind=StopKind.PAUSED)
    Rungs(study.store, study.handle).pause(claim, at, stop, TrialOutcome())
    return claim


def test_a_search_whose_time_is_too_short_for_what_waits_keeps_it(tmp_path: Path) -> None:
    """All strategies are drawn, and the best that waits would not come to its end in the time that is left."""
    items = [strategy(rate) for rate in RATES[:4]]
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, items, **STUDY) as study:
        for value in (0.5, 0.6, 0.7, 0.8):
            at_rung(study, value, 10_000.0)
        stop = StopRequest(time.monotonic() + 500.0)
        report = Worker(study.store, study.handle, study.bench, stop=stop).run()
        assert not report.finished
        assert (
            report.reason == "4 of its strategies stay paused: a longer search goes on with the best of them"
        )
        assert study.trials.counts(study.handle).paused == 4
        _, report = run(study)  # there is no hurry now
        assert report.finished
        done = [r.root for r in study.records() if r.state is TrialState.COMPLETE]
        assert 3 in done
        assert study.trials.counts(study.handle).paused == 0


def test_a_worker_that_began_with_a_smaller_budget_leaves_what_is_paused(tmp_path: Path) -> None:
    """The budget was raised while it ran: it ended all that waited, and dropped the checkpoints."""
    items = [strategy(rate) for rate in RATES[:4]]
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, items, **STUDY) as study:
        for value in (0.5, 0.6, 0.7, 0.8):
            at_rung(study, value, 1.0)
        spec = study.handle.spec
        more = spec.model_copy(update={"search": spec.search.model_copy(update={"trials": 5})})
        raised = study.store.create_study(
            more, study.task.task, artifact_url=study.handle.artifact_url, sources=study.handle.sources
        )
        observer, report = run(study)
        assert set(observer.order) == {2, 3}  # the best third, rounded up
        assert (report.trials, report.finished) == (2, False)
        assert "more by now (search.trials=5, " in report.reason
        assert study.trials.counts(study.handle).paused == 2
        study.handle = raised
        _, report = run(study)
        assert report.finished
        counts = study.trials.counts(study.handle)
        assert (counts.roots, counts.paused) == (5, 0)


def test_a_pause_is_one_of_the_trials_after_which_a_worker_leaves(tmp_path: Path) -> None:
    items = [strategy(rate) for rate in RATES[:4]]
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, items, **STUDY) as study:
        observer, report = run(study, max_trials=1)
        assert (observer.order, report.trials) == ([0], 1)
        assert report.reason == "its number of trials is reached"
        assert [r.is_paused for r in study.records()] == [True, False, False, False]


def test_what_another_worker_pauses_in_the_last_moment_still_goes_on(tmp_path: Path) -> None:
    """A worker finds nothing to do, and then the last trial that was running comes to its rung."""
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy(1e-3)], **STUDY) as study:
        other = study.trials.claim(study.handle, "other")
        assert other is not None

        class Late(Worker):
            looks = 0

            def _next(self, *arguments: object) -> Claim | None:
                claim = super()._next(*arguments)  # type: ignore[arg-type]
                if not self.looks:
                    assert claim is None
                    at = Mark(other.root, 1, "fresh head", 0.5, 1.0, 1.0)
                    stop = StopReason(kind=StopKind.PAUSED)
                    Rungs(study.store, study.handle).pause(other, at, stop, TrialOutcome())
                self.looks += 1
                return claim

        report = Late(study.store, study.handle, study.bench, stop=StopRequest()).run()
        assert report.finished
        assert [r.state for r in study.records()] == [TrialState.COMPLETE]


def test_who_is_asked_to_stop_while_it_looks_for_work_ends_nothing(tmp_path: Path) -> None:
    """The first answers are looked for when no trial waits; Ctrl-C comes while they are."""
    items = [strategy(rate) for rate in RATES[:2]]
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, items, **STUDY | {"trials": 9}) as study:
        for value in (0.5, 0.6):
            at_rung(study, value, 1.0)
        stop = StopRequest()

        def first_answers() -> bool:
            stop.ask("SIGINT received")
            check_abort()
            return False

        report = Worker(study.store, study.handle, study.bench, stop=stop, before_draw=first_answers).run()
        assert (report.reason, report.finished) == ("SIGINT received", False)
        assert study.trials.counts(study.handle).paused == 2


def test_where_the_time_is_up_and_all_wait_the_best_of_them_becomes_the_answer(tmp_path: Path) -> None:
    items = [strategy(rate) for rate in RATES[:2]]
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, items, **STUDY | {"trials": 9}) as study:
        for value in (0.5, 0.6):
            at_rung(study, value, 1.0)
        stop = StopRequest(time.monotonic() - 1.0)
        Worker(study.store, study.handle, study.bench, stop=stop).run()
        records = study.records()
        assert [r.root for r in records if r.state is TrialState.COMPLETE] == [1]
        assert len(records) == 2


def test_a_trial_that_went_on_is_paused_no_more(tmp_path: Path) -> None:
    with tiny_study(f"sqlite:///{tmp_path / 's.db'}", tmp_path, [strategy()], **STUDY) as study:
        at_rung(study, 0.5, 1.0)
        assert [(r.is_paused, r.is_open) for r in study.records()] == [(True, True)]
        assert Promotion(study.store, study.handle).last("w") is not None
        assert [(r.is_paused, r.is_open) for r in study.records()] == [(False, True)]
