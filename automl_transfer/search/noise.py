"""When searching on is not worth it: what is left to gain is below the noise of the validation images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from automl_transfer.domain.measured import MEASURED, Metric
from automl_transfer.domain.spec import SearchSpec, StudySpec
from automl_transfer.domain.task import Task

if TYPE_CHECKING:
    from automl_transfer.store.trials import Trials
    from automl_transfer.store.values import StudyHandle

LEVEL = 0.05
"""Of the test that would have to tell a flawless strategy from the best one."""
SMALL = 0.02
"""More than two points are worth a search, however few the images are that would have to show them."""


def nothing_left(best: float | None, images: int, metric: Metric) -> str | None:
    """Why no strategy could be shown to be better than the best one, in words; None where one could.

    A flawless strategy differs from the best one on the images that this one gets wrong, w of them, always in
    its own favour. The exact one-sided sign test (McNemar 1947, Psychometrika 12:153) then has p = 2^-w: with
    four or fewer, not even that shows a difference at 5%. And at most two points may be left.

    Args:
        best: The best validation score of a complete trial; None where there is none.
        images: Of the validation split.
        metric: What the score is. Of others than the accuracy, only a full score says how many images are
            wrong; of another package's nothing does.

    >>> nothing_left(357 / 359, 359, "accuracy")
    'what is left to gain is below the noise of 359 validation images: the best strategy gets 2 of them \
wrong, and not even a flawless one could be told from it (p = 0.25)'
    >>> nothing_left(352 / 359, 359, "accuracy"), nothing_left(71 / 74, 74, "accuracy")
    (None, None)
    """
    if best is None or not 1.0 - SMALL <= best <= 1.0 or metric not in MEASURED:
        return None
    wrong = round((1.0 - best) * images)
    if (metric != "accuracy" and best < 1.0) or 0.5**wrong <= LEVEL:
        return None
    gets = f"gets {wrong} of them wrong" if wrong else "gets all of them right"
    return (
        f"what is left to gain is below the noise of {images} validation images: the best strategy {gets}, "
        f"and not even a flawless one could be told from it (p = {0.5**wrong:g})"
    )


def search_is_over(trials: Trials, study: StudyHandle) -> str | None:
    """Why no more strategies are drawn although there is budget for them; None where they are.

    One number is read. That best strategy may be of any process; trials that are waiting are run whatever
    this says.
    """
    return over_by(study.spec.search, study.task, lambda: trials.best_value(study))


def over_by(search: SearchSpec, task: Task, best: Callable[[], float | None]) -> str | None:
    """The same, of a study whose best value is known to the caller; asked for where it decides."""
    if search.stop_when == "budget":
        return None
    return nothing_left(best(), task.splits.validation, task.metric)


def asked_for_more(trials: Trials, before: StudyHandle | None, spec: StudySpec) -> StudySpec:
    """The specification with which a study goes on, where somebody asks for more than it was to try.

    Who raises `trials` of a study that ended because nothing was left to gain knows that, and wants more all
    the same: from then on it ends with its budget. So does the same command again.

    Args:
        trials: Of its store.
        before: The study as it is; None where it is new.
        spec: What is asked for.
    """
    if before is None or spec.search.stop_when == "budget":
        return spec
    then, now = before.spec.search, spec.search
    goes_on = then.stop_when == "budget" and now.trials == then.trials
    more = now.trials > then.trials and over_by(now, before.task, lambda: trials.best_value(before))
    if not goes_on and not more:
        return spec
    return spec.model_copy(update={"search": now.model_copy(update={"stop_when": "budget"})})


def raised_budget(trials: Trials, began: StudyHandle, now: StudyHandle) -> str | None:
    """What a worker says that began with a smaller budget than its study has `now`; None where it did not."""
    then, search = began.spec.search, now.spec.search
    more = search.trials > then.trials or (then.stop_when == "noise" and search.stop_when == "budget")
    if not more or trials.is_full(now, search.trials) or search_is_over(trials, now):
        return None
    return (
        f"the study may try more by now ({_budget(now)}) than this worker knew when it began "
        f"({_budget(began)}): start another one, which goes on"
    )


def _budget(study: StudyHandle) -> str:
    return f"search.trials={study.spec.search.trials}, search.stop_when={study.spec.search.stop_when}"


def why_finished(trials: Trials, study: StudyHandle, *, nothing_new: bool = False) -> str:
    """Why a study is finished of which nothing is open, in words; `nothing_new` is drawn any more."""
    counts = trials.counts(study)
    if counts.paused:
        return f"{counts.paused} of its strategies stay paused: a longer search goes on with the best of them"
    if counts.roots < study.spec.search.trials and (why := search_is_over(trials, study)):
        return f"{why}; with search.stop_when=budget, or with more search.trials, it goes on"
    if nothing_new:
        return f"nothing new is drawn from the space: its {counts.roots} strategies were tried"
    return "the study is finished"
