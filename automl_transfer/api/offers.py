"""What may ship in the winner's place: flips at test time, a soup of weights, an ensemble; each measured.

All is chosen and compared on the validation images. The test split is looked at for what ships only.

By the rule of a search that nobody tells otherwise (`auto`) two networks ship together where their mean is
clearly better. Two strategies that validation cannot tell apart often err on different images, and then their
mean is better than either, whichever of them would have been the better choice.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, get_args

import numpy as np

from automl_transfer.api.composing import (
    Composition,
    Ingredient,
    Logits,
    ensemble,
    networks_of,
    refitted,
    soup,
)
from automl_transfer.api.retention import KEPT_STRATEGIES
from automl_transfer.api.stored import stored
from automl_transfer.api.training import scores_of_split
from automl_transfer.data.base import Rows
from automl_transfer.domain.measured import score_of
from automl_transfer.domain.records import TrialRecord
from automl_transfer.domain.spec import ShipAs, StudySpec
from automl_transfer.domain.task import Task
from automl_transfer.errors import ConfigurationError, DataError, OutputError, StudyError
from automl_transfer.recipes.scores import Cost
from automl_transfer.recipes.shipped_as import AskedFor, Kind, Offered, ShippedAs
from automl_transfer.reporting.candidates import one_per_strategy
from automl_transfer.reporting.study_report import StudyReport
from automl_transfer.search.workbench import Workbench
from automl_transfer.training.calibration import fit_temperature, log_likelihood
from automl_transfer.training.making import Judged, split_logits

if TYPE_CHECKING:
    from automl_transfer.training.evaluate import Scores
    from automl_transfer.training.run import TrainingRun

log = logging.getLogger(__name__)

TURNS = 5
BY_RULE = 2
"""Different networks that ship together unasked: each costs its own time at every prediction."""
CLEARLY = 2.0
"""By how many standard errors their mean must be better: it was chosen by the same images among a few."""


@dataclasses.dataclass(frozen=True)
class Offer:
    """What is to ship.

    Attributes:
        kind: `winner`, `soup`, `ensemble`, or `auto`: the winner, unless an ensemble of two is clearly
            better. None: as the study says.
        flips: Predict from an image and its mirror image together.
        trials: For a soup or an ensemble, the trials it is made of; none for the best ones.
        by_study: Nobody asked for it by name.
    """

    kind: ShipAs | None = None
    flips: bool = False
    trials: tuple[int, ...] = ()
    by_study: bool = False

    def check(self, refit: bool | None) -> None:
        """Raise ConfigurationError for what cannot be, before anything is done."""
        mistakes = []
        if self.kind not in (None, *get_args(ShipAs)):
            mistakes.append(f"what ships must be winner, soup, ensemble or auto, got {self.kind!r}")
        if self.trials and self.kind not in ("soup", "ensemble"):
            mistakes.append(
                f"trials are named for a soup or an ensemble, got {list(self.trials)} for "
                f"{self.kind or 'neither'}: leave --trials out, or say --as soup or --as ensemble"
            )
        if self.trials and len(set(self.trials)) < 2:
            mistakes.append(
                f"{self.kind}: it is made of at least two trials, got {list(self.trials)}: name another"
            )
        if refit and self.kind == "soup":
            mistakes.append(
                "the winner and an ensemble can be refitted, got --refit for a soup: its parts ship as their "
                "trials left them, chosen by the validation images; leave --refit out, or ship another kind"
            )
        if mistakes:
            raise ConfigurationError(mistakes)

    def of(self, study: StudySpec) -> Offer:
        """What it is for a study."""
        if self.kind is not None:
            return self
        return dataclasses.replace(self, kind=study.search.ship_as, by_study=not self.flips)

    def told(self) -> AskedFor:
        """What a recipe says of it; of an offer that says its kind."""
        assert self.kind is not None
        return AskedFor(rule=self.kind, by_name=not self.by_study)

    @property
    def plain(self) -> bool:
        """Whether it is the winner as it is."""
        return self.kind == "winner" and not self.flips


@dataclasses.dataclass(frozen=True)
class Made:
    """What ships in the winner's place.

    Attributes:
        composition: Of which networks.
        judged: Its network, or networks, and how they are fed.
        logits: (n, classes) of the validation images.
        scores: Of these.
        cost: Of all its trainings, and of one prediction.
        source: Whose architecture it has; an ensemble knows those of its members.
    """

    composition: Composition
    judged: Judged
    shipped_as: ShippedAs
    logits: Logits
    scores: Scores
    cost: Cost
    source: str

    def refitted(self, again: Callable[[TrialRecord], TrainingRun | None], first: TrialRecord) -> Made:
        """With those parts of an ensemble that were trained anew; what validation said of it stays.

        The first one, for which time was kept, is trained before the others.
        """
        made, new = refitted(self.composition, again, first)
        parts = tuple(
            part.model_copy(update={"refit": part.root_trial in new}) for part in self.shipped_as.parts
        )
        shipped_as = self.shipped_as.model_copy(update={"parts": parts})
        return dataclasses.replace(self, judged=made.judged, shipped_as=shipped_as)


def warn_of_flips(task: Task) -> None:
    """Say where a mirror image may be of another class."""
    if not task.may("mirror"):
        log.warning(
            "flips: a mirrored image of %s may be of another class, or none, so predictions may be worse: "
            'say label_preserving = ["mirror"] for the task where it is not',
            task.name,
        )


def make(
    bench: Workbench, report: StudyReport, winner: TrialRecord, run: TrainingRun, offer: Offer
) -> Made | None:
    """Build what is offered and measure it beside the winner; None for the winner as it is.

    Args:
        bench: The study's images and networks.
        report: The study's trials, ranked.
        winner: The best of them.
        run: Its trained model, which flips from then on where that is asked for.
        offer: Not the plain one.

    Raises:
        StudyError: A soup or an ensemble is asked for, and there are fewer than two trials whose weights are
            there, a named one is missing or its weights are gone, or a soup's parts are of different sources
            or shapes.
    """
    if offer.flips:
        warn_of_flips(bench.task.task)
    first = _ingredient(bench, winner, run)
    alone = Composition("winner", run, ())
    plain, asked = [alone], alone
    if offer.kind == "auto":
        better = _clearly_better(bench, report, first, offer)
        if better is None and not offer.flips:
            return None
        if better is not None:
            plain, asked = [alone, better], better
    elif offer.kind != "winner":
        try:
            plain += _composed(_pool(bench, report, first, offer), offer, first)
        except (StudyError, DataError, OutputError) as error:  # of another one's images, for one
            if not offer.by_study:
                raise
            log.warning("the winner ships alone: %s", error)
            return None
        asked = next(each for each in plain if each.kind == offer.kind)
    ways = [_Way(each.name(), each.judged) for each in plain]
    if offer.flips:
        mirrored = [each for each in plain if each in (alone, asked)]
        ways += [_Way(each.name(flips=True), each.judged, flips=True) for each in mirrored]
    measured = list(_measured(ways))
    shipped = ShippedAs(
        kind=asked.kind,
        flips=offer.flips,
        parts=asked.parts,
        offered=tuple(each for each, *_ in measured),
        images=len(bench.task.indices["validation"]),
    )
    for network in networks_of(asked.judged.model):
        network.flips = offer.flips
    mine, logits, scores = next(each for each in measured if each[0].name == shipped.name)
    cost = _cost(asked, winner, mine.predict_ms_per_image)
    source = asked.chosen[0][0].run.plan.strategy.source if asked.chosen else run.plan.strategy.source
    return Made(asked, asked.judged, shipped, logits, scores, cost, source)


def _clearly_better(
    bench: Workbench, report: StudyReport, first: Ingredient, offer: Offer
) -> Composition | None:
    """The mean of the winner and another one's network, where it is clearly better; else None."""
    if not len(bench.task.indices["validation"]) or not np.isfinite(first.logits).all():
        return None
    try:
        pool = _pool(bench, report, first, offer)
    except StudyError:
        return None  # the winner is alone
    except (DataError, OutputError) as error:  # another one's larger images; nobody asked for it by name
        log.warning("the winner ships alone: %s", error)
        return None
    made = ensemble(pool, begin=first, most=BY_RULE)
    if len(made.chosen) < 2:
        return None
    logits = split_logits(made.judged, "validation")
    metric = bench.task.task.metric
    if round(score_of(scores_of_split(made.judged, "validation", logits), metric), 12) <= first.order[0]:
        return None
    rows = bench.task.indices["validation"]
    groups = None if bench.task.together is None else bench.task.together[rows]
    return made if clearly_likelier(logits, first.logits, bench.task.labels[rows], groups) else None


def clearly_likelier(ours: Logits, theirs: Logits, labels: Rows, groups: Rows | None = None) -> bool:
    """Whether the same images are likelier by `CLEARLY` standard errors; arguments as for `likelier_by`."""
    return likelier_by(ours, theirs, labels, groups) > CLEARLY


def likelier_by(ours: Logits, theirs: Logits, labels: Rows, groups: Rows | None = None) -> float:
    """By how many standard errors the same images are likelier, after each one's calibration.

    Args:
        ours: (n, classes) finite logits.
        theirs: The same of what it is compared with.
        labels: (n,) true classes.
        groups: (n,) the same number for images that belong together: these are one observation, so the
            standard error is that of a mean over clusters (Liang & Zeger 1986). None where none do.
    """
    heat = [fit_temperature(logits, labels).temperature for logits in (ours, theirs)]
    gains = log_likelihood(ours, labels, heat[0]) - log_likelihood(theirs, labels, heat[1])
    off = gains - gains.mean()
    if groups is not None:
        off = np.bincount(np.unique(groups, return_inverse=True)[1], weights=off)
    if len(off) < 2:
        return 0.0
    error = math.sqrt(float((off**2).sum()) * len(off) / (len(off) - 1)) / len(gains)
    return float(gains.mean()) / error if error > 0.0 else 0.0


def _composed(pool: Sequence[Ingredient], offer: Offer, first: Ingredient) -> list[Composition]:
    """Soup and ensemble; one that is not asked for is measured where it is possible."""
    makers: dict[Kind, Callable[[], Composition]] = {
        "soup": lambda: soup(pool, of_all=bool(offer.trials) and offer.kind == "soup"),
        "ensemble": lambda: ensemble(pool, begin=first),
    }
    made = []
    for kind, maker in makers.items():
        try:
            made.append(maker())
        except StudyError:
            if kind == offer.kind:
                raise
            log.info("no %s is possible here, so none is measured", kind)
    return made


@dataclasses.dataclass(frozen=True)
class _Way:
    """One way to ship."""

    name: str
    judged: Judged
    flips: bool = False

    @contextmanager
    def ready(self) -> Iterator[Judged]:
        """Its model, flipping where it is to."""
        networks = networks_of(self.judged.model)
        before = [network.flips for network in networks]
        for network in networks:
            network.flips = self.flips
        try:
            yield self.judged
        finally:
            for network, flips in zip(networks, before, strict=True):
                network.flips = flips


def _measured(ways: Sequence[_Way]) -> Iterator[tuple[Offered, Logits, Scores]]:
    """Scores on the validation images with their logits, and what a prediction takes, measured in turns."""
    from automl_transfer.training.evaluate import measure_latency

    taken: list[list[float]] = [[] for _ in ways]
    for _ in range(TURNS):
        for way, found in zip(ways, taken, strict=True):
            with way.ready() as judged:
                normalise = judged.plan.normaliser(judged.device)
                images = judged.task.images
                found.append(measure_latency(judged.model, images, normalise, judged.device, repeats=1))
    for way, found in zip(ways, taken, strict=True):
        with way.ready() as judged:
            logits = split_logits(judged, "validation")
            scores = scores_of_split(judged, "validation", logits)  # here: an attack sees the flips, too
        labels = judged.task.labels
        fitted = fit_temperature(logits, labels[judged.task.indices["validation"]])
        offered = Offered(
            name=way.name,
            score=score_of(scores, judged.task.task.metric),
            nll=fitted.nll_after,
            predict_ms_per_image=statistics.median(found),
        )
        yield offered, logits, scores


def _pool(bench: Workbench, report: StudyReport, first: Ingredient, offer: Offer) -> list[Ingredient]:
    """The winner and the other best trials whose weights are there, or those that were named."""
    by_root = {record.root: record for record in one_per_strategy(report.records)}
    if offer.trials:
        wanted = [_named(number, by_root.values()) for number in dict.fromkeys(offer.trials)]
    else:
        wanted = [by_root[row.root_trial] for row in report.ranking.rows[:KEPT_STRATEGIES]]
    found, gone = [], []
    for record in wanted:
        run = first.run if record.root == first.record.root else stored(bench, record)
        if run is not None:
            found.append(first if run is first.run else _ingredient(bench, record, run))
            continue
        gone.append(f"trial {record.number}")
        if offer.trials:
            raise StudyError(
                f"the weights of each part must be among the study's files, those of trial {record.number} "
                "are gone, or are not what the trial left: leave it out of --trials"
            )
    if gone:
        log.warning("left out, because their weights are gone or changed: %s", ", ".join(gone))
    if len(found) < 2:
        raise StudyError(
            f"{offer.kind}: it is made of at least two trials with kept weights, got {len(found)} in "
            f"study {bench.handle.name!r}: search on for more trials, or take --as winner"
        )
    return sorted(found, key=lambda each: each.order, reverse=True)


def _named(number: int, records: Iterable[TrialRecord]) -> TrialRecord:
    for record in records:
        if number in (record.number, record.root):
            return record
    raise StudyError(
        f"--trials must name complete trials of the study, got {number}: 'automl-transfer report STUDY' "
        "lists them"
    )


def _ingredient(bench: Workbench, record: TrialRecord, run: TrainingRun) -> Ingredient:
    run.model.eval()
    logits = split_logits(run, "validation")
    architecture = bench.backbone(run.plan.strategy.source).architecture
    return Ingredient(record, run, architecture, logits, scores_of_split(run, "validation", logits))


def _cost(asked: Composition, winner: TrialRecord, ms: float) -> Cost:
    records = [each.record for each, _ in asked.chosen] or [winner]
    outcomes = [record.outcome for record in records if record.outcome is not None]
    parameters = sum(p.numel() for p in asked.judged.model.parameters())
    return Cost(
        train_seconds=sum(each.train_seconds for each in outcomes),
        predict_ms_per_image=ms,
        parameters=parameters,
        trained_parameters=min(parameters, sum(each.trained_parameters for each in outcomes)),
    )
