"""The answer of a study in sentences: the same ones on the page and in the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from automl_transfer.domain.records import TrialState
from automl_transfer.reporting.plain import plain, seconds
from automl_transfer.reporting.study_report import StudyReport
from automl_transfer.reporting.warm import beginning, outcome

GOING = (TrialState.RUNNING, TrialState.WAITING)


def headline(report: StudyReport) -> str:
    """What the study found, or why nothing can be said yet. One sentence."""
    study, best = plain(report.study, 60), report.ranking.best
    if report.task is None:
        return _foreign(report)
    task = plain(report.task.name, 60)
    if best is None:
        if not report.records:
            return f"Study {study} on {task} has no trials yet: run `search` with its study file."
        going = any(record.state in GOING for record in report.records)
        then = "wait for the running ones" if going else "run `search` again to add trials"
        return f"Study {study} on {task}: no trial to rank yet, for none is complete; {then}."
    confirmed = best.confirmation
    if confirmed is not None:
        low, high = confirmed.interval
        how = (
            f"confirmed {report.metric_name} {100 * confirmed.score:.2f}% over {confirmed.runs} fresh "
            f"trainings (accuracy 95%: {100 * low:.1f} to {100 * high:.1f}%)"
        )
    else:
        score = best.validation
        how = f"validation {report.metric_name} {100 * score.score:.2f}% of {score.n} images"
    return f"Study {study} on {task}: best is trial {best.root_trial}, {how}."


def _foreign(report: StudyReport) -> str:
    study = plain(report.study, 60)
    if not report.records:
        return f"Study {study} was made by plain Optuna and has no trials."
    scored = [(report.score(r), r.number) for r in report.complete]
    finished = f"{len(report.records)} trials" if len(report.records) > 1 else "one trial"
    if not scored:
        return (
            f"Study {study} was made by plain Optuna: {finished}, none of them complete with a finite value."
        )
    values = sorted((value, number) for value, number in scored if value is not None)
    (low, at_low), (high, at_high) = values[0], values[-1]
    return (
        f"Study {study} was made by plain Optuna: {finished}, values from {low:.5g} (trial {at_low}) to "
        f"{high:.5g} (trial {at_high}). It holds no strategies to rank."
    )


def caveats(report: StudyReport) -> Iterator[str]:
    """What to know before deciding by the answer."""
    account = report.task.account if report.task is not None else None
    if account is not None and account.summary:
        yield plain(account.summary, 600)
    if paused := report.summary.paused:
        yield (
            f"{paused} of the strategies {'is' if paused == 1 else 'are'} paused at a rung, checkpoint kept: "
            "a longer search of this study goes on with the best of what is paused."
        )
    if report.task is not None and report.task.weights is not None:
        yield report.task.weights.describe().capitalize() + "."
    yield from warm_start(report)
    if report.ranking.ended is not None:
        yield f"The search ended before its budget: {plain(report.ranking.ended, 400)}."
    best = report.ranking.best
    if best is None:
        return
    together = [row for row in report.ranking.rows if row.set is not None]
    if len(together) > 1:
        unconfirmed = sum(row.confirmation is None for row in together)
        were = "was" if unconfirmed == 1 else "were"
        tail = f"; {unconfirmed} of them {were} not confirmed" if best.confirmation and unconfirmed else ""
        yield (
            f"Set a: {len(together)} strategies cannot be told apart from the best by these data "
            f"(5% error over all comparisons{tail})."
        )
    if report.task is not None and report.task.grouping and report.task.group_numbers is None:
        yield (
            "Images come in groups, and are counted as if each were drawn by itself: intervals are too "
            "narrow, and more strategies may be as good as the best than set a holds."
        )
    yield from _confirmation(report)
    if best.confirmation is None and (confirmed := [row for row in report.ranking.rows if row.confirmation]):
        were = "others were" if len(confirmed) > 1 else "other was"
        yield (
            f"{len(confirmed)} {were} confirmed; trial {best.root_trial} was not, and is ahead of them by "
            "the validation score alone."
        )
    progress = report.ranking.confirmation
    if best.confirmation is None and (progress is None or progress.stopped is None):
        yield (
            "The best was picked by this score, so on new images expect less: confirm it with "
            "`report --confirm`, or see the test split."
        )
    elif best.confirmation is not None:
        fell = best.validation.score - best.confirmation.score
        if abs(fell) >= 0.0005:
            yield (
                f"Its validation score was {100 * best.validation.score:.2f}%: "
                f"{abs(100 * fell):.2f} points {'more' if fell > 0 else 'less'} than the confirmed one."
            )
        if best.confirmation.left_out:
            won = best.confirmation.flattery
            yield (
                f"Confirmed scores are of {best.confirmation.images} images that did not choose the "
                f"candidates; {best.confirmation.left_out} that did are left out"
                + (f", and {100 * won:.2f} points are taken off for having won." if won >= 0.00005 else ".")
            )
    yield from _test(report)


def warm_start(report: StudyReport) -> Iterator[str]:
    """What earlier tasks proposed, and what that brought."""
    if report.begun is None or report.spec is None:
        return
    search = report.spec.search
    images = None if report.task is None else report.task.splits.validation
    rung, start = search.first_rung, search.start
    yield from list(beginning(report.begun, start))[:1]
    yield from outcome(report.begun, report.records, report.first, report.metric, rung, images, start)


def _confirmation(report: StudyReport) -> Iterator[str]:
    """What of the confirmation is left undone, and what failed."""
    found = report.ranking.confirmation
    if found is None:
        return
    if not found.complete and (found.done or found.stopped):
        why = f", {found.stopped}" if found.stopped else ""
        yield (
            f"Confirmation: {found.done} of at least {found.planned} trainings are done{why}: "
            f"`automl-transfer report {shlex.quote(plain(report.study, 200))} --confirm` goes on."
        )
    for failed in found.failed:
        reason = plain(failed.reason.splitlines()[0] if failed.reason else "", 200)
        yield f"Trial {failed.root} could not be confirmed, run {failed.run + 1} failed: {reason}."


def _test(report: StudyReport) -> Iterator[str]:
    """The winner's score on the test split, and how often that was looked at."""
    winner, looks = report.winner, report.ranking.test_looks
    if winner is None or winner.test_accuracy is None or winner.test_interval is None:
        return
    low, high = winner.test_interval
    yield (
        f"On the test split, looked at {times(len(looks))}, {winner.who} has accuracy "
        f"{100 * winner.test_accuracy:.2f}% (95%: {100 * low:.1f} to {100 * high:.1f}%, "
        f"{winner.test_images} images)."
    )
    if len(looks) > 1:
        told = [
            f"trial {look.root}{' refitted' if look.refit else ''}"
            f"{f' ({look.shipped_as})' if look.shipped_as else ''} {100 * look.accuracy:.2f}%"
            for look in looks
        ]
        yield (
            f"Its looks were {', '.join(told)}: a score is innocent only if nothing was decided by an "
            "earlier one."
        )


def times(looks: int) -> str:
    """How often the test split was looked at; an unknown number, of earlier versions, is called once."""
    return {0: "once", 1: "once", 2: "twice"}.get(looks, f"{looks} times")


def spent(report: StudyReport) -> str:
    """How long the study took from its first trial to its last, in words; empty where that is unknown."""
    ends = [at for at in map(report.elapsed, report.records) if at is not None]
    return seconds(max(ends)) if ends else ""
