"""What tests of the store run in real processes. `python store_processes.py FUNCTION ARGUMENTS...`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy import event
from store_helpers import CRASH, DONE, OUTCOME, checkpoint, draft, epoch, open_study

from automl_transfer.domain.records import StopKind, StopReason, TrialState
from automl_transfer.store.rungs import Rungs
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import Claim, Mark, StudyHandle


def _ready() -> None:
    """Wait at the line until the test lets all processes go at once."""
    print("ready", flush=True)
    sys.stdin.readline()


def open_empty(url: str) -> None:
    """Open an empty database and make one trial."""
    _ready()
    store, study = open_study(url)
    claim = Trials(store).create(study, draft(os.getpid()), f"w{os.getpid()}", limit=None)
    assert claim is not None
    print(claim.number)


def claim_all(url: str) -> None:
    """Claim and finish until nothing waits; print the numbers."""
    store, study = open_study(url)
    trials = Trials(store)
    _ready()
    while (claim := trials.claim(study, f"w{os.getpid()}")) is not None:
        trials.finish(claim, TrialState.COMPLETE, 0.5, DONE, OUTCOME)
        print(claim.number)


def create_up_to(url: str, limit: str) -> None:
    store, study = open_study(url)
    trials = Trials(store)
    _ready()
    number = os.getpid()
    while (claim := trials.create(study, draft(number), "w", limit=int(limit))) is not None:
        print(claim.number)


def enqueue_once(url: str) -> None:
    store, study = open_study(url)
    _ready()
    print(Trials(store).enqueue(study, draft(), once="profile"))


def reap_all(url: str) -> None:
    store, study = open_study(url)
    _ready()
    print(len(Trials(store).reap(study, grace=60)))


def claim_and_wait(url: str) -> None:
    """Claim one trial and never beat: the test kills this process."""
    store, study = open_study(url)
    claim = Trials(store).claim(study, "doomed")
    assert claim is not None
    print(claim.number, flush=True)
    signal.pause()


def train(url: str, trials_wanted: str) -> None:
    """A worker's loop without training; says each number when it is done."""
    store, study = open_study(url)
    trials = Trials(store)
    while (claim := trials.create(study, draft(), f"w{os.getpid()}", limit=int(trials_wanted))) is not None:
        for number in range(3):
            trials.record_epoch(claim, epoch(number, 0.1 * number), 0.1 * number)
            assert trials.beat([claim]) == []
        trials.finish(claim, TrialState.COMPLETE, claim.number / 1000, DONE, OUTCOME)
        print(claim.number, flush=True)


def _mark(claim: Claim) -> Mark:
    return Mark(claim.root, 2, "fresh head", 0.5, 1.0, 2.0)


def _pause(trials: Trials, study: StudyHandle, claim: Claim) -> None:
    stop = StopReason(kind=StopKind.PAUSED)
    Rungs(trials.store, study).pause(claim, _mark(claim), stop, OUTCOME)


Step = Callable[[Trials, StudyHandle, Claim], object]
_STEPS: dict[str, Step] = {
    "create": lambda trials, study, _: trials.create(study, draft(7), "w", limit=None),
    "record": lambda trials, _, claim: trials.record_epoch(claim, epoch(3, 0.9), 0.9),
    "finish": lambda trials, _, claim: trials.finish(claim, TrialState.COMPLETE, 0.9, DONE, OUTCOME),
    "release": lambda trials, _, claim: trials.release(claim),
    "fail": lambda trials, _, claim: trials.fail(claim, CRASH, retry=True),
    "restart": lambda trials, _, claim: trials.restart(claim),
    "reap": lambda trials, study, _: trials.reap(study, grace=0),
    "pause": _pause,
    "go on": lambda trials, study, claim: Rungs(trials.store, study).go_on(claim, _mark(claim)),
    "promote": lambda trials, study, claim: Rungs(trials.store, study).promote(_mark(claim), "w"),
    "end": lambda trials, study, _: Rungs(trials.store, study).end("others were better"),
}
_BEFORE: dict[str, Step] = {"promote": _pause, "end": _pause}


def kill_at_every_statement(url: str, step: str) -> None:
    """SIGKILL a process before its 1st, 2nd, ... statement and before its COMMIT; check the whole store.

    Each time the store must look as before the step or as after it. Prints how often it was killed.
    """
    before = after = ""
    kills = 0
    while True:
        claim = _fresh_claim(url, kills)
        if step in _BEFORE:
            with Store.open(_parse(url)) as store:
                _BEFORE[step](Trials(store), store.study(f"study {kills}"), claim)
        before = _picture(url, claim)
        child = os.fork()
        if child == 0:
            _die_at(url, claim, step, kills)
        _, status = os.waitpid(child, 0)
        now = _picture(url, claim)
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            assert now != before, f"{step} did nothing"
            break
        # A reaper works in several transactions: what it only marks does not show in the picture.
        assert now == before or step == "reap", f"{step} killed at statement {kills} left half of it:\n{now}"
        if step == "reap" and now != before:
            assert now == after or not after, f"half a reaped trial:\n{now}"
            after = now
        _clean(url)
        kills += 1
    print(kills)


def add_runs(url: str, name: str, number: str) -> None:
    """Add confirmation runs 0, 1, 2, ... of trial 0."""
    from test_store_evidence import run_of

    from automl_transfer.store.evidence import Evidence

    store = Store.open(_parse(url))
    study, evidence = store.study(name), Evidence(store)
    for run in range(int(number)):
        evidence.add_run(study, run_of(0, run))
    store.close()


def take_work(url: str, number: str) -> None:
    """Take on what can be had of so many pieces of work, and keep it; print which."""
    from automl_transfer.store.claims import Claims

    store, study = open_study(url)
    claims = Claims(store, study, f"w{os.getpid()}", grace=600, is_dead=lambda name: False)
    for work in range(int(number)):
        if claims.take(str(work)):
            print(work)
    store.close()


def _fresh_claim(url: str, name: int) -> Claim:
    store, study = open_study(url, f"study {name}")
    trials = Trials(store)
    claim = trials.create(study, draft(1), "w", limit=None)
    assert claim is not None
    for number in range(3):
        trials.record_epoch(claim, epoch(number), 0.5)
    trials.save_checkpoint_ref(claim, checkpoint(1))
    store.close()
    return claim


def _die_at(url: str, claim: Claim, step: str, statement: int) -> None:
    store, study = open_study(url, f"study {statement}")
    store.read(lambda c: c.execute(sa.text("SELECT 1")), "connect")
    count = 0

    def maybe_die(*_: object) -> None:
        nonlocal count
        if count == statement:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    event.listen(store.engine, "before_cursor_execute", maybe_die)
    event.listen(store.engine, "commit", maybe_die)
    _STEPS[step](Trials(store), study, claim)
    os._exit(0)


def _clean(url: str) -> None:
    store, _ = open_study(url)
    for summary in store.studies():
        store.delete(summary.name)
    store.close()


_TABLES = (
    "at_rungs",
    "at_rungs WHERE taken IS NULL",
    "trials",
    "trial_params",
    "trial_values",
    "trial_intermediate_values",
    "trial_user_attributes",
    "at_trials",
    "at_epochs",
    "at_checkpoints",
    "at_leases",
)


def _picture(url: str, claim: Claim) -> str:
    """Every fact about the study that does not depend on time or tokens, as text."""
    store = Store.open(_parse(url))
    trials = Trials(store)
    with store.engine.connect() as connection:
        lines = [
            f"{table} {connection.execute(sa.text(f'SELECT count(*) FROM {table}')).scalar()}"
            for table in _TABLES
        ]
    lines += [
        f"{r.number} {r.state} {r.root} {r.attempt} {r.value} {r.stop and r.stop.kind} "
        f"{[(e.epoch, e.accuracy) for e in r.epochs]}"
        for r in trials.records(claim.study_id)
    ]
    store.close()
    return "\n".join(lines)


def _parse(url: str):  # type: ignore[no-untyped-def]
    from automl_transfer.store.url import StoreURL

    return StoreURL.parse(url)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
