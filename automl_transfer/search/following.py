"""A trial on several devices: what the first member of a crew tells the others, and what these do.

The first one talks to the store, judges every epoch and decides. It hands out, in this order: the study,
once; a strategy, where a trial begins; what a preparation made of its source, as an array, where it has one;
the folder of its checkpoint, or none; the number of every epoch; and `OVER`, once, when the trial has ended,
however. `None` ends it all.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from automl_transfer.aborting import Aborted
from automl_transfer.domain.dimensions import CLOSED_FORM
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import TrialDataError, TrialError
from automl_transfer.store.values import StudyHandle

if TYPE_CHECKING:
    from automl_transfer.search.workbench import Workbench
    from automl_transfer.training.crew import Crew
    from automl_transfer.training.run import TrainingRun


def crew_of(bench: Workbench, strategy: Strategy) -> Crew | None:
    """Who trains a strategy: a head that is solved takes the first member alone."""
    return None if strategy.tune_mode == CLOSED_FORM else bench.crew


def begin(crew: Crew | None, strategy: Strategy) -> None:
    """Tell the others that a trial begins, before its model is built: they build it at the same time."""
    if crew is not None:
        crew.hand_out(strategy)


def go_on(crew: Crew | None, checkpoint: Path | None) -> None:
    """Tell the others where the trial goes on from; the folder may go when this returns.

    Raises:
        TrialDataError: One of them cannot.
    """
    if crew is None:
        return
    crew.hand_out(checkpoint)
    if trouble := crew.agree(""):
        raise TrialDataError(f"all devices must be able to train, got {trouble} on another one")


def end(crew: Crew | None) -> None:
    """Tell the others that the trial has ended. Never raises: a crew that is lost knows it."""
    from automl_transfer.training.crew import OVER

    if crew is not None:
        with suppress(TrialDataError):
            crew.hand_out(OVER)


def follow(crew: Crew, open_bench: Callable[[StudyHandle], Workbench]) -> None:
    """Train along with the first member, until it leaves."""
    handle: StudyHandle | None = crew.hand_out(None)
    if handle is None:
        return
    bench: Workbench | None = None
    while (told := crew.hand_out(None)) is not None:
        if isinstance(told, Strategy):
            bench = bench or open_bench(handle)
            _train_along(bench, crew, told)


def _train_along(bench: Workbench, crew: Crew, strategy: Strategy) -> None:
    from automl_transfer.training.crew import OVER, Over
    from automl_transfer.training.making import make_run

    trouble, run = "", None
    try:
        run = make_run(
            strategy,
            bench.task,
            bench.backbone(strategy.source),
            horizon=bench.horizon,
            seed=bench.handle.spec.search.seed,
            device=bench.device,
            cache=bench.activations,
            known=bench.banks,
            crew=crew,
            precision=bench.handle.spec.search.precision,
        )
    except Over:
        return
    except Exception as error:  # whatever it is, the first member has to know
        trouble = f"{type(error).__name__}: {error}"
    while isinstance(checkpoint := crew.hand_out(None), np.ndarray):
        pass  # prepared for a model that could not be made here
    if checkpoint == OVER:
        return
    if run is not None and checkpoint is not None:
        trouble = _restored(run, checkpoint)
    if crew.agree(trouble) or run is None:
        return
    # On all members at once; the first one says why.
    with suppress(Over, Aborted, TrialError, RuntimeError):
        run.follow()


def _restored(run: TrainingRun, checkpoint: Path) -> str:
    try:
        run.restore(checkpoint)
    except (TrialDataError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return ""
