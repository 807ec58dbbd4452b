"""The end of a run: the ranking, the report, the recipe, and the winner as a model, tested once."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from automl_transfer.aborting import Aborted, abortable_also, check_abort
from automl_transfer.api.offers import Made, Offer, make
from automl_transfer.api.report import ERRORS, PAGE, look_into
from automl_transfer.api.retention import KEPT_STRATEGIES
from automl_transfer.api.run_folder import (
    RANKING,
    alike,
    asked_before,
    best_before,
    claim_run_folder,
    is_refitted,
    named_before,
    restate,
    shipped_before,
)
from automl_transfer.api.stored import trained
from automl_transfer.api.training import (
    calibration_of,
    confirmed_of,
    constants_of,
    cost_of,
    environment,
    score_on_test,
    scored,
    source_facts,
    winner_errors,
    write_results,
)
from automl_transfer.domain.evidence import TestLook
from automl_transfer.domain.records import TrialRecord
from automl_transfer.errors import TrialError
from automl_transfer.recipes.best_strategy import Recipe, RecipeTraining, make_recipe
from automl_transfer.recipes.output import write_text
from automl_transfer.recipes.scores import Confirmed, RecipeMetrics, Score
from automl_transfer.recipes.shipped_as import AskedFor
from automl_transfer.reporting.candidates import one_per_strategy, ranked_epoch
from automl_transfer.reporting.confirmed import epoch_interval
from automl_transfer.reporting.publish import publish
from automl_transfer.reporting.ranking import Ranking
from automl_transfer.reporting.study_report import StudyReport, read_study_report
from automl_transfer.search.workbench import Workbench
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.store import Store
from automl_transfer.training.making import Judged, split_logits

if TYPE_CHECKING:
    from automl_transfer.training.run import TrainingRun

log = logging.getLogger(__name__)

_Composed = tuple["TrainingRun", RecipeTraining, Made | None]
"""The winner as it was trained, and what ships in its place; None for itself."""
MayRefit = Callable[[TrialRecord, bool], bool]
"""Whether there is time to refit a trial; told whether time was kept for it, as for the winner's."""


@dataclasses.dataclass(frozen=True)
class Shipped:
    """What a finished search leaves behind.

    Attributes:
        recipe: None where no trial completed.
        not_refitted: Why the winner ships as it was judged although nobody said so; empty where it was
            refitted, and where that was not wanted.
    """

    report: StudyReport
    recipe: Recipe | None
    not_refitted: str = ""

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
    may_refit: MayRefit = lambda record, kept: True,
    stopped: str | None = None,
    refit_until: float = math.inf,
    offer: Offer | None = None,
    by_rule: bool = False,
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
        may_refit: Whether there is time to; asked for each network that ships.
        stopped: Why the confirmation ended, for the case that some of it is left undone.
        refit_until: Give a refit up at this time of `time.monotonic()`, and ship the winner without.
        offer: What ships: the winner, with flips or without, a soup or an ensemble. None leaves the winner as
            somebody exported it by name, else does as the study says (`ship_as`).
        by_rule: Without `offer`: what was exported by name gives way to what the study says.

    Raises:
        ConfigurationError, StudyError: What is offered cannot be; nothing was written.
        StudyError: The study was deleted meanwhile. (Renamed, it is written under its new name.)
        OutputError: The folder belongs to another study by now, or cannot be written.
    """
    from automl_transfer.reporting.html.study_page import study_page

    if offer is not None:
        offer.check(refit)
    bench = dataclasses.replace(bench, handle=store.again(bench.handle))
    report = read_study_report(store, bench.handle, stopped=stopped)
    composed = None  # before anything is written: it may not be possible
    winner = _winner(report)
    found = shipped_before(output, bench.handle, winner) if winner is not None and offer is None else None
    if found is not None and asked_before(found).by_name and not by_rule:
        asked = _asked_again(found)
    else:
        asked = (offer or Offer()).of(bench.handle.spec)
        named = None if found or offer or by_rule or not winner else named_before(output, bench.handle)
        if named is not None:
            log.warning(
                "%s: the %s that was exported by name is not of today's winner, which ships as the study "
                "says; `export --as %s` makes it anew",
                output,
                named,
                named,
            )
    if refit and asked.kind == "soup":
        log.warning("%s: it ships as the soup that was exported by name, which is not refitted", output)
        refit = None
    stays = found is not None and is_refitted(found, refit) and _stays(found, output, report, asked)
    earlier = found if stays else None
    if winner is not None and earlier is None and not asked.plain:
        composed = _compose(bench, report, winner, asked)
    claim_run_folder(store, bench.handle, output)
    shipped = _ship(
        store,
        bench,
        report,
        output,
        refit=refit,
        may_refit=may_refit,
        refit_until=refit_until,
        earlier=earlier,
        composed=composed,
        asked=asked.told(),
    )
    looks = Evidence(store).looks(bench.handle)
    if shipped.look is not None and shipped.look not in looks:  # of a store that may only be read
        looks.append(shipped.look)
    ranking = report.ranking.model_copy(update={"test_looks": tuple(looks)})
    report = dataclasses.replace(report, ranking=ranking)
    write_text(output / RANKING, report.ranking.to_json())
    report = look_into(report, output)
    write_text(output / PAGE, study_page(report))
    publish(store, bench.handle)
    return Shipped(report, shipped.recipe, shipped.not_refitted)


class _Ended(NamedTuple):
    """The winner's recipe, the look at the test split that it took, and why it was not refitted."""

    recipe: Recipe | None
    look: TestLook | None = None
    not_refitted: str = ""


def _ship(
    store: Store,
    bench: Workbench,
    report: StudyReport,
    output: Path,
    *,
    refit: bool | None,
    may_refit: MayRefit,
    refit_until: float,
    earlier: Recipe | None,
    composed: _Composed | None,
    asked: AskedFor,
) -> _Ended:
    """The winner's recipe: of now, or of the earlier call that shipped it."""
    best, winner = report.ranking.best, _winner(report)
    if best is None or winner is None:
        return _Ended(None)
    confirmation = confirmed_of(best.confirmation)
    made = composed[2] if composed is not None else None
    if earlier is None:
        way = made.shipped_as if made is not None else None
        shipped = shipped_before(output, bench.handle, winner)
        same = shipped is not None and is_refitted(shipped, refit) and alike(shipped.shipped_as, way)
        earlier = shipped if same else None
    if earlier is not None:
        recipe = restate(output, bench.handle, earlier, confirmation, asked)
        may = refit is None and not recipe.training.refit and recipe.kind != "soup"
        return _Ended(recipe, not_refitted="it had shipped so before" if may else "")
    from automl_transfer.training.state import sha256_of

    assert winner.strategy is not None
    # What is said of validation images, and learnt from them, is of the model that has not trained on them.
    before, training, _ = composed or (*trained(bench, winner, refit=False), None)
    judged: Judged = before if made is None else made.judged
    logits = split_logits(judged, "validation") if made is None else made.logits
    calibration = calibration_of(judged, logits)
    run = judged
    why_not = ""

    def again(record: TrialRecord) -> tuple[TrainingRun, RecipeTraining] | None:
        nonlocal why_not
        if refit is False:
            return None
        if refit is None and not may_refit(record, record is winner):
            why_not = "that had no place in the time"
            return None
        try:
            with abortable_also(lambda: time.monotonic() >= refit_until):
                return trained(bench, record, refit=True)
        except Aborted:
            check_abort()
            why_not = "the time was up before that was done"
            return None
        except TrialError as error:
            if refit:
                raise
            why_not = "that failed"
            log.warning("trial %d ships as it was judged, its refit failed: %s", record.number, error)
            return None

    if made is None or made.shipped_as.kind == "winner":
        if (found := again(winner)) is not None:
            refitted, training = found
            refitted.model.flips = before.model.flips
            run = refitted
    else:
        if made.shipped_as.kind == "ensemble":
            made = made.refitted(lambda record: (again(record) or (None, None))[0], winner)
            run = made.judged
        anew = any(part.refit for part in made.shipped_as.parts)
        training = training.model_copy(update={"weights_sha256": sha256_of(run.model), "refit": anew})
    test, look = _judged(store, bench, winner, run, training, made)
    recipe = _recipe(bench, winner, judged, training, test, confirmation, made, asked)
    errors = winner_errors(
        judged,
        logits,
        bench.handle,
        winner.root,
        test=test,
        temperature=1.0 if calibration is None else calibration.temperature,
        shipped_as="" if made is None else made.shipped_as.name,
    )
    write_text(output / ERRORS, errors.to_json())
    source = winner.strategy.source if made is None else made.source
    write_results(output, run, bench.backbone(source), recipe, calibration)
    return _Ended(recipe, look, "" if training.refit else why_not)


def _asked_again(found: Recipe) -> Offer:
    """What somebody exported by name, to be kept as it is, or refitted."""
    rule, shipped_as = asked_before(found).rule, found.shipped_as
    if shipped_as is None:
        return Offer(rule)
    parts = shipped_as.parts if rule in ("soup", "ensemble") else ()
    return Offer(rule, flips=shipped_as.flips, trials=tuple(part.trial for part in parts))


def _winner(report: StudyReport) -> TrialRecord | None:
    best = report.ranking.best
    if best is None:
        return None
    return next(r for r in one_per_strategy(report.records) if r.root == best.root_trial)


def _stays(found: Recipe, output: Path, report: StudyReport, asked: Offer) -> bool:
    """Whether what shipped before need not be thought about again.

    Somebody asked for it by name; or it was chosen by the same rule, from those strategies that are the best
    now.
    """
    if asked_before(found) != asked.told():
        return False
    best = frozenset(row.root_trial for row in report.ranking.rows[:KEPT_STRATEGIES])
    return not asked.by_study or asked.plain or best_before(output) == best


def _compose(bench: Workbench, report: StudyReport, winner: TrialRecord, offer: Offer) -> _Composed:
    run, training = trained(bench, winner, refit=False)
    return run, training, make(bench, report, winner, run, offer)


def _judged(
    store: Store,
    bench: Workbench,
    winner: TrialRecord,
    run: Judged,
    training: RecipeTraining,
    made: Made | None,
) -> tuple[Score | None, TestLook | None]:
    """The winner on the test split, with a note of that for the store; the same model is judged once.

    None where the task has no test split.
    """
    evidence = Evidence(store)
    shipped_as = made.shipped_as.name if made is not None else ""
    mine = (winner.root, training.refit, training.weights_sha256, shipped_as)
    for look in evidence.looks(bench.handle):
        if (look.root, look.refit, look.weights_sha256, look.shipped_as) == mine:
            return Score(**look.shares(), nll=look.nll, interval=look.interval, n=look.images), look
    found = score_on_test(run)
    if found is None:
        return None, None
    look = TestLook(
        root=winner.root,
        refit=training.refit,
        weights_sha256=training.weights_sha256,
        **found.shares(),
        nll=found.nll,
        interval=found.interval,
        images=found.n,
        shipped_as=shipped_as,
    )
    if store.read_only:
        log.warning("that the test split was looked at is not kept: the store may only be read")
    else:
        evidence.add_look(bench.handle, look)
    return found, look


def _recipe(
    bench: Workbench,
    winner: TrialRecord,
    judged: Judged,
    training: RecipeTraining,
    test: Score | None,
    confirmation: Confirmed | None,
    made: Made | None,
    asked: AskedFor,
) -> Recipe:
    assert winner.strategy is not None
    handle = bench.handle
    names = (
        {each.record.strategy.source for each, _ in made.composition.chosen if each.record.strategy}
        if made
        else set()
    )
    if made is None:
        best = ranked_epoch(winner, handle.task.metric)
        validation = Score(
            **best.shares(),
            nll=best.validation_loss,
            interval=epoch_interval(best, handle.task),  # as in ranking.json
            n=handle.task.splits.validation,
        )
        cost = cost_of(winner.outcome) if winner.outcome else None
    else:
        validation, cost = scored(made.scores, bench.task, "validation", made.logits), made.cost
    return make_recipe(
        strategy=winner.strategy,
        task=handle.task,
        spec=handle.spec.task,
        normalisation=constants_of(judged),
        source=source_facts(winner.strategy.source, handle.sources.get(winner.strategy.source)),
        training=training,
        metrics=RecipeMetrics(validation=validation, test=test, confirmation=confirmation),
        cost=cost,
        environment=environment(),
        study=handle.name,
        trial=winner.number,
        root_trial=winner.root,
        identity=handle.identity,
        asked=asked,
        shipped_as=None if made is None else made.shipped_as,
        other_sources=[
            source_facts(name, handle.sources.get(name)) for name in sorted(names - {winner.strategy.source})
        ],
    )
