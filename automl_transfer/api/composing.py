"""Several trials' networks as one: a greedy soup of weights, an ensemble chosen greedily."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from automl_transfer.api.training import constants_of, scores_of_split
from automl_transfer.domain.measured import score_of
from automl_transfer.domain.model_description import Member, Network
from automl_transfer.domain.normalisation import constants, facts
from automl_transfer.domain.records import TrialRecord
from automl_transfer.errors import StudyError
from automl_transfer.recipes.shipped_as import Kind, Part, offer_name
from automl_transfer.training.calibration import calibrated_nll, fit_temperature, log_likelihood, softmax
from automl_transfer.training.making import Composed, Constants, Judged, split_logits

if TYPE_CHECKING:
    from automl_transfer.models.heads import TargetModel
    from automl_transfer.training.evaluate import Scores
    from automl_transfer.training.run import TrainingRun
    from automl_transfer.transfer.together import Ensemble

MOST_TOGETHER = 4
"""Different networks in an ensemble: each costs its own time at every prediction."""
MOST_ADDED = 12
"""Additions to an ensemble, the same network again among them."""

Logits = npt.NDArray[np.float32]


def _rounded(scores: Scores, metric: str) -> float:
    """A score in which what is equal but for its last bits ties."""
    return round(score_of(scores, metric), 12)


@dataclasses.dataclass(frozen=True)
class Ingredient:
    """A trial's trained network, and its (n, classes) logits and scores on the validation images."""

    record: TrialRecord
    run: TrainingRun
    architecture: str
    logits: Logits
    scores: Scores

    @property
    def order(self) -> tuple[float, float]:
        """Higher is better: by the task's metric, then by its likelihood after calibration, as all are."""
        return _rounded(self.scores, self.run.task.task.metric), self.likelihood

    @functools.cached_property
    def likelihood(self) -> float:
        """Mean log-likelihood of the validation images, of calibrated answers."""
        labels = self.run.task.labels[self.run.task.indices["validation"]]
        loss = calibrated_nll(self.logits, labels)
        return -math.inf if loss is None else -loss

    @property
    def words(self) -> str:
        """Its strategy."""
        return self.run.plan.strategy.describe()

    def part(self, share: float) -> Part:
        """What a recipe says of it."""
        assert self.record.strategy is not None
        return Part(
            trial=self.record.number,
            root_trial=self.record.root,
            strategy=self.record.strategy.canonical(),
            weights_sha256=self.run.weights_sha256(),
            share=share,
            epochs=0 if self.run.closed_form else self.run.max_epochs,
            best_epoch=None if self.record.outcome is None else self.record.outcome.best_epoch,
        ).public()


@dataclasses.dataclass(frozen=True)
class Composition:
    """Chosen networks with their shares, and what they are as one."""

    kind: Kind
    judged: Judged
    chosen: tuple[tuple[Ingredient, float], ...]

    def name(self, *, flips: bool = False) -> str:
        """In words."""
        return offer_name(self.kind, len(self.chosen), flips)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What a recipe says of them."""
        return tuple(each.part(share) for each, share in self.chosen)


def _shape(run: TrainingRun) -> tuple[object, ...]:
    """Equal for networks whose weights can be averaged."""
    model = run.model
    tensors = tuple((name, tuple(tensor.shape)) for name, tensor in model.state_dict().items())
    fed = (
        run.plan.mean, run.plan.std, run.task.side, model.resolution_scale, model.head.grid, model.head.taps
    )  # fmt: skip
    return run.plan.strategy.source, fed, tensors


def soup(pool: Sequence[Ingredient], *, of_all: bool = False) -> Composition:
    """The greedy soup of the best trials that share a source and a shape (Wortsman et al. 2022, recipe 1).

    An ingredient stays where the validation score is no worse for it. Statistics of batch norms that differ
    between the ingredients are estimated anew on training images, for each soup that is tasted.

    Args:
        pool: The best first.
        of_all: Refuse a pool of which some cannot be averaged with the others.

    Raises:
        StudyError: No two of them can.
    """
    groups: dict[tuple[object, ...], list[Ingredient]] = {}
    for each in pool:
        groups.setdefault(_shape(each.run), []).append(each)
    kin = [group for group in groups.values() if len(group) > 1]
    if not kin or (of_all and len(groups) > 1):
        told = "; ".join(f"trial {group[0].record.number}: {group[0].words}" for group in groups.values())
        raise StudyError(
            "a soup must be of trials that share a source and a shape (groups kept, pooling, outputs read, "
            f"resolution, normalisation), got {told}: take --as ensemble, or other --trials"
        )
    return max((_greedy(group) for group in kin), key=lambda made: made[0])[1]


def _greedy(kin: Sequence[Ingredient]) -> tuple[float, Composition]:
    """The soup of some that can be averaged, and its validation score."""
    chosen, run, best = [kin[0]], kin[0].run, kin[0].order[0]
    model, metric = copy.deepcopy(run.model), run.task.task.metric
    tasted = Composed(run.task, model, run.device, run.plan)
    for each in kin[1:]:
        _average([*(one.run for one in chosen), each.run], model)
        found = scores_of_split(tasted, "validation", split_logits(tasted, "validation"))
        score = _rounded(found, metric)
        if score >= best:
            chosen, best = [*chosen, each], score
    _average([each.run for each in chosen], model)
    return best, Composition("soup", tasted, tuple((each, 1.0 / len(chosen)) for each in chosen))


def averaged(runs: Sequence[TrainingRun]) -> Composed:
    """The soup of these."""
    run, model = runs[0], copy.deepcopy(runs[0].model)
    _average(runs, model)
    return Composed(run.task, model, run.device, run.plan)


def _average(runs: Sequence[TrainingRun], model: TargetModel) -> None:
    """Put the mean of the runs' weights into a model, and statistics that fit it."""
    import torch

    from automl_transfer.transfer.norms import adapt_statistics, batch_norms

    run = runs[0]
    states = [each.model.state_dict() for each in runs]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(0) if first.is_floating_point() else first
        for name, first in states[0].items()
    }
    model.load_state_dict(mean)
    model.eval()
    layers = [batch_norms([each.model]) for each in runs]
    differ = [
        not all(torch.equal(layer.running_mean, same[0].running_mean) for layer in same)
        for same in zip(*layers, strict=True)
    ]
    moved = [layer for layer, other in zip(batch_norms([model]), differ, strict=True) if other]
    adapt_statistics(
        model,
        moved,
        run.task.images,
        run.task.indices["train"],
        run.plan.normaliser(run.device),
    )


def ensemble(
    pool: Sequence[Ingredient], *, begin: Ingredient | None = None, most: int = MOST_TOGETHER
) -> Composition:
    """Networks chosen greedily, with replacement, by the NLL of their mean (Caruana et al. 2004, section 2).

    It ends where no addition makes the validation images more likely. Members that were chosen more often
    have a larger share. Each one's probabilities are calibrated first: scales of logits differ, between
    solved and trained heads most of all.

    Args:
        pool: The best first.
        begin: Whom it begins with; None for the best one.
        most: Different networks in it.
    """
    usable = [each for each in pool if np.isfinite(each.logits).all()]
    task = usable[0].run.task
    chosen = chosen_greedily(
        [each.logits for each in usable],
        task.labels[task.indices["validation"]],
        begin=next((at for at, each in enumerate(usable) if each is begin), 0),
        most=most,
    )
    return together([(usable[at], share, temperature) for at, share, temperature in chosen])


def chosen_greedily(
    logits: Sequence[Logits], labels: npt.NDArray[np.int64], *, begin: int = 0, most: int = MOST_TOGETHER
) -> list[tuple[int, float, float]]:
    """Position, share and temperature of each network that is chosen.

    Args:
        logits: (n, classes) finite ones of each network.
        labels: (n,) true classes.
        begin: With which of them it begins.
        most: Different ones at most.
    """
    heat = [fit_temperature(each, labels).temperature for each in logits]
    answers = [softmax(each, t) for each, t in zip(logits, heat, strict=True)]

    def nll(counts: dict[int, int]) -> float:
        mean = sum(count * answers[at] for at, count in counts.items()) / sum(counts.values())
        return -float(log_likelihood(np.log(np.maximum(mean, 1e-30)), labels).mean())

    counts = {begin: 1}
    best = nll(counts)
    for _ in range(MOST_ADDED):
        open_ = [at for at in range(len(logits)) if at in counts or len(counts) < most]
        tried = [(nll({**counts, at: counts.get(at, 0) + 1}), at) for at in open_]
        lowest, at = min(tried)
        if lowest >= best - 1e-6:
            break
        best, counts = lowest, {**counts, at: counts.get(at, 0) + 1}
    total = sum(counts.values())
    return [(at, count / total, heat[at]) for at, count in sorted(counts.items())]


def together(members: Sequence[tuple[Ingredient, float, float]]) -> Composition:
    """The ensemble of these, with their shares and temperatures; one alone is itself."""
    judged = mean_of([Voice(each.run, each.architecture, share, heat) for each, share, heat in members])
    return Composition("ensemble", judged, tuple((each, share) for each, share, _ in members))


@dataclasses.dataclass(frozen=True)
class Voice:
    """A trained network in an ensemble."""

    run: TrainingRun
    architecture: str
    share: float
    temperature: float


def mean_of(voices: Sequence[Voice]) -> Judged:
    """The networks that answer together; one alone is itself.

    They take images decoded at the largest side that one of them reads, and the others scale them down.
    """
    from automl_transfer.transfer.together import Ensemble

    largest = max((each.run for each in voices), key=lambda run: run.task.side)
    if len(voices) == 1:
        return largest
    networks = [_reading(each.run, largest.task.side) for each in voices]
    members = [_member(each, network) for each, network in zip(voices, networks, strict=True)]
    model = Ensemble(networks, members, largest.device).eval()
    mean, std = constants(model.normalisation) or (None, None)
    return Composed(largest.task, model, largest.device, Constants(mean, std))


def refitted(
    made: Composition, again: Callable[[TrialRecord], TrainingRun | None], first: TrialRecord
) -> tuple[Composition, frozenset[int]]:
    """An ensemble with the networks that were trained anew on validation images as well.

    Shares and temperatures stay those that the validation images chose, which nothing is left to choose anew.

    Args:
        made: The ensemble.
        again: Trains one part again; None where it stays as it is.
        first: Which one is trained before the others.

    Returns:
        The new one, and the roots of the parts that are new.
    """
    from automl_transfer.transfer.together import Ensemble

    model = made.judged.model
    new: dict[int, TrainingRun] = {}
    for each, _ in sorted(made.chosen, key=lambda pair: pair[0].record.root != first.root):
        if (run := again(each.record)) is not None:
            new[each.record.root] = run
    if not new:
        return made, frozenset()
    heat = [each.temperature for each in model.facts] if isinstance(model, Ensemble) else [1.0]
    members = [
        (dataclasses.replace(each, run=new.get(each.record.root, each.run)), share, temperature)
        for (each, share), temperature in zip(made.chosen, heat, strict=True)
    ]
    found = together(members)
    for network in networks_of(found.judged.model):
        network.flips = model.flips
    return found, frozenset(new)


def networks_of(model: TargetModel | Ensemble) -> list[TargetModel]:
    """The members of an ensemble; any other model alone."""
    from automl_transfer.transfer.together import Ensemble

    return model.networks if isinstance(model, Ensemble) else [model]


def _reading(run: TrainingRun, side: int) -> TargetModel:
    """A run's network, for images decoded at another side; its layers are the same objects."""
    from automl_transfer.models.heads import TargetModel

    own = run.model
    if run.task.side == side:
        return own
    network = TargetModel(own.groups, own.head, own.resolution_scale * run.task.side / side)
    network.flips, network.adapter = own.flips, own.adapter
    return network.eval()


def _member(voice: Voice, network: TargetModel) -> Member:
    from automl_transfer.transfer.together import structure

    built = structure(network, voice.architecture)
    return Member(
        **{name: built[name] for name in Network.model_fields},
        normalisation=facts(constants_of(voice.run)),
        share=voice.share,
        temperature=voice.temperature,
    )
