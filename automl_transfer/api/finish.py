"""The end of a run: the ranking, the report, the recipe, and the winner as a model, tested once."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer.aborting import Aborted, abortable_also, check_abort
from automl_transfer.api.report import ERRORS, PAGE, look_into
from automl_transfer.api.run_folder import claim_run_folder, restate, shipped_before
from automl_transfer.api.training import (
    calibration_of,
    confirmed_of,
    constants_of,
    cost_of,
    environment,
    score_on_test,
    scored,
    source_facts,
    training_of,
    winner_errors,
    write_results,
)
from automl_transfer.domain.evidence import TestLook
from automl_transfer.domain.records import TrialRecord
from automl_transfer.domain.strategy import Strategy
from automl_transfer.recipes.best_strategy import Recipe, RecipeTraining, make_recipe
from automl_transfer.recipes.output import write_text
from automl_transfer.recipes.scores import Confirmed, RecipeMetrics, Score
from automl_transfer.reporting.publish import publish
from automl_transfer.reporting.ranking import Ranking, one_per_strategy, ranked_epoch
from automl_transfer.reporting.study_report import StudyReport, read_study_report
from automl_transfer.search.checkpoints import fetch, weights_are
from automl_transfer.search.workbench import Workbench
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.files import model_key
from automl_transfer.store.store import Store
from automl_transfer.training.making import make_run, split_logits, train_to_the_end

if TYPE_CHECKING:
    from torch import Tensor

    from automl_transfer.training.run import TrainingRun

RANKING = "ranking.json"


@dataclasses.dataclass(frozen=True)
class Shipped:
    """What a finished search leaves behind.

    Attributes:
        recipe: None where no trial completed.
        refit_given_up: The winner was to be refitted, and ships as it was, because there was no time.
    """

    report: StudyReport
    recipe: Recipe | None
    refit_given_up: bool = False

    @property
    def ranking(self) -> Ranking:
        """The strategies in order."""
        return self.report.ranking


def finish_search(
    store: Store,
    bench: Workbench,
    output: Path,
    *,
    refit: bool | None = None,
    may_refit: Callable[[TrialRecord], bool] = lambda winner: True,
    stopped: str | None = None,
    refit_until: float = math.inf,
) -> Shipped:
    """Write `ranking.json` and `report.html`, and for the winner `best_strategy.json` and `model/`.

    The test split is evaluated for the winner only: where the same model was shipped before, only what was
    found out about it since is added. Every evaluation is kept in the store, and said where there were
    several.

    Args:
        store: Where the study is.
        bench: Its images and networks.
        output: The run's folder.
        refit: Train the winner on training + validation images before it ships. None does so where that may
            be, unless it shipped before as it was.
        may_refit: Whether there is time to, given the winner.
        stopped: Why the confirmation ended, for the case that some of it is left undone.
        refit_until: Give a refit up at this time of `time.monotonic()`, and ship the winner without.

    Raises:
        StudyError: The study was deleted meanwhile. (Renamed, it is written under its new name.)
        OutputError: The folder belongs to another study by now, or cannot be written.
    """
    from automl_transfer.reporting.html.study_page import study_page

    bench = dataclasses.replace(bench, handle=store.again(bench.handle))
    claim_run_folder(store, bench.handle, output)
    report = read_study_report(store, bench.handle, stopped=stopped)
    shipped = _ship(store, bench, report, output, refit=refit, may_refit=may_refit, refit_until=refit_until)
    looks = tuple(Evidence(store).looks(bench.handle))
    ranking = report.ranking.model_copy(update={"test_looks": looks})
    report = dataclasses.replace(report, ranking=ranking)
    write_text(output / RANKING, report.ranking.to_json())
    report = look_into(report, output)
    write_text(output / PAGE, study_page(report))
    publish(store, bench.handle)
    given_up = refit is not False and shipped is not None and not shipped.training.refit
    return Shipped(report, shipped, given_up)


def _ship(
    store: Store,
    bench: Workbench,
    report: StudyReport,
    output: Path,
    *,
    refit: bool | None,
    may_refit: Callable[[TrialRecord], bool],
    refit_until: float,
) -> Recipe | None:
    """The winner's recipe: of now, or of the earlier call that shipped it."""
    best = report.ranking.best
    if best is None:
        return None
    winner = next(r for r in one_per_strategy(report.records) if r.root == best.root_trial)
    confirmation = confirmed_of(best.confirmation)
    earlier = shipped_before(output, bench.handle, winner, refit=refit)
    if earlier is not None:
        return restate(output, bench.handle, earlier, confirmation)
    assert winner.strategy is not None
    # What is said of validation images, and learnt from them, is of the model that has not trained on them.
    judged, before = _trained(bench, winner, refit=False)
    logits = split_logits(judged, "validation")
    calibration = calibration_of(judged, logits)
    run, trained = judged, before
    if may_refit(winner) if refit is None else refit:
        try:
            with abortable_also(lambda: time.monotonic() >= refit_until):
                run, trained = _trained(bench, winner, refit=True)
        except Aborted:
            check_abort()
    test = _judged(store, bench, winner, run, trained)
    recipe = _recipe(bench, winner, run, trained, test, confirmation)
    errors = winner_errors(
        judged,
        logits,
        bench.handle,
        winner.root,
        test=test,
        temperature=1.0 if calibration is None else calibration.temperature,
    )
    write_text(output / ERRORS, errors.to_json())
    write_results(output, run, bench.backbone(winner.strategy.source), recipe, calibration)
    return recipe


def _judged(
    store: Store, bench: Workbench, winner: TrialRecord, run: TrainingRun, training: RecipeTraining
) -> Score | None:
    """The winner on the test split, and a note of that in the store; the same model is judged once.

    None where the task has no test split.
    """
    evidence = Evidence(store)
    for look in evidence.looks(bench.handle):
        if (look.root, look.refit, look.weights_sha256) == (
            winner.root,
            training.refit,
            training.weights_sha256,
        ):
            return Score(**look.shares(), nll=look.nll, interval=look.interval, n=look.images)
    found = score_on_test(run)
    if found is not None:
        look = TestLook(
            root=winner.root,
            refit=training.refit,
            weights_sha256=training.weights_sha256,
            **found.shares(),
            nll=found.nll,
            interval=found.interval,
            images=found.n,
        )
        if not store.read_only:
            evidence.add_look(bench.handle, look)
    return found


def _trained(bench: Workbench, winner: TrialRecord, *, refit: bool) -> tuple[TrainingRun, RecipeTraining]:
    """The winner's trained model: its stored weights, or trained again where there are none."""
    assert winner.strategy is not None
    search = bench.handle.spec.search
    best_epoch = winner.outcome.best_epoch if winner.outcome else None
    run = None if refit else _stored(bench, winner)
    stored = run is not None
    if run is None:
        run = _made(bench, winner.strategy, refit=refit)
        if best_epoch is not None:  # of a refit the validation images judge nothing; else it is known
            run.train_to(best_epoch)
            run.load_shown()
        else:
            train_to_the_end(run)
    run.model.eval()
    training = training_of(
        run,
        bench.horizon,
        search.seed,
        best_epoch=best_epoch,
        refit=refit,
        conditions=winner.outcome.conditions if stored and winner.outcome else None,
    )
    return run, training


def _made(
    bench: Workbench, strategy: Strategy, *, refit: bool = False, weights: Mapping[str, Tensor] | None = None
) -> TrainingRun:
    search = bench.handle.spec.search
    return make_run(
        strategy,
        bench.task,
        bench.backbone(strategy.source),
        horizon=bench.horizon,
        seed=search.seed,
        device=bench.device,
        refit=refit,
        cache=bench.activations,
        known=bench.banks,
        weights=weights,
    )


def _stored(bench: Workbench, winner: TrialRecord) -> TrainingRun | None:
    """The winner with the weights that its trial left; None where they are gone, or not what they were."""
    from safetensors.torch import load_file

    assert winner.strategy is not None
    is_right = weights_are(winner.outcome.weights_sha256 if winner.outcome else None)
    with tempfile.TemporaryDirectory(prefix="automl-transfer-") as folder:
        file = Path(folder) / "model.safetensors"
        try:
            if not fetch(bench.handle, model_key(winner.root, winner.attempt), file, is_right):
                return None
            return _made(bench, winner.strategy, weights=load_file(str(file)))
        except (OSError, RuntimeError):
            return None


def _recipe(
    bench: Workbench,
    winner: TrialRecord,
    run: TrainingRun,
    training: RecipeTraining,
    test: Score | None,
    confirmation: Confirmed | None,
) -> Recipe:
    assert winner.strategy is not None
    handle = bench.handle
    best = ranked_epoch(winner, handle.task.metric)
    n = handle.task.splits.validation
    validation = scored(best, best.validation_loss, n)
    return make_recipe(
        strategy=winner.strategy,
        task=handle.task,
        spec=handle.spec.task,
        normalisation=constants_of(run),
        source=source_facts(winner.strategy.source, handle.sources.get(winner.strategy.source)),
        training=training,
        metrics=RecipeMetrics(validation=validation, test=test, confirmation=confirmation),
        cost=cost_of(winner.outcome) if winner.outcome else None,
        environment=environment(),
        study=handle.name,
        trial=winner.number,
        root_trial=winner.root,
        identity=handle.identity,
    )
