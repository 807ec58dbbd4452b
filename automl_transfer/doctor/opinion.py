"""What features say about labels: confident learning on out-of-fold probabilities.

Ridge regression on the features predicts every image by leave-one-out, and its calibrated probabilities
p(given label | image) are those of models that were not fitted on the image (nor on what belongs together
with it). As in confident learning (Northcutt et al. 2021, sections 3.1 and 3.2) an image counts as
confidently of class j where p_j is at least the mean p_j of the images labelled j; the counts of (given,
confident) pairs estimate the joint distribution of given and true labels, and so the noise
T = p(given | true).

From here on it is Bayes' rule: the true classes q(true | image) that explain p best under T are found by
expectation maximisation, and a label is wrong with probability
1 - T[given, given] q_given / sum_t T[given, t] q_t.

The model itself was fitted on the wrong labels, too. So it is fitted twice more, without the images whose
labels it does not believe: this finds about a fifth more of them (`benchmarks/doctor.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from automl_transfer.aborting import check_abort
from automl_transfer.data.base import Rows
from automl_transfer.data.splits import in_shares
from automl_transfer.data.task import LoadedTask
from automl_transfer.doctor.features import Features
from automl_transfer.transfer.counting import Counting, counting
from automl_transfer.transfer.ridge import LAMBDAS, Ridge, RidgeScore

Array = npt.NDArray[np.float64]

MOST_ROWS = 10_000
"""Images that are fitted together: of more, parts in the classes' shares are judged one by one."""
FITS = 3
DISBELIEVED = 1e-3
"""What an image counts in a fit whose label is not believed: its own prediction stays exact."""
UNSEEN = 0.5
"""Wrong labels that each class is taken to have beyond those seen: none seen is not none there."""
STEPS, MOST_WORK = 30, 2e10


@dataclass(frozen=True)
class Opinion:
    """About each of some rows.

    Attributes:
        rows: (n,).
        probabilities: (n, C) of the classes, by models that were not fitted on the image.
        answers: (n,) the class that explains the image best.
        wrong: (n,) how likely the given label is wrong.
        noise: Share of wrong labels, estimated from the first fit.
        accuracy: Share of the given labels that are predicted.
    """

    rows: Rows
    probabilities: Array
    answers: Rows
    wrong: Array
    noise: float
    accuracy: float


def opinion_of(task: LoadedTask, rows: Rows, features: Features) -> Opinion:
    """What is likely about the labels of some rows."""
    classes, labels = len(task.task.classes), task.labels[rows]
    values, counts = features.late[features.at(rows)], counting(task, rows)
    weights = counts.weights
    if weights is not None:  # an image that is not trained on is judged all the same
        counts = Counting(weights.clamp_min(DISBELIEVED), counts.blocks)
    wrong = np.zeros(len(rows))
    noise, chosen = 0.0, dict[int, int]()
    for fit in range(FITS):
        probabilities = _probabilities(values, labels, classes, _believing(counts, wrong < 0.5), chosen)
        joint = joint_of(probabilities, labels, classes)
        if fit == 0:
            noise = float(1.0 - np.trace(joint) / joint.sum())
        wrong, true = wrongness(probabilities, labels, joint)
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return Opinion(rows, probabilities, true.argmax(axis=1).astype(np.int64), wrong, noise, accuracy)


def joint_of(probabilities: Array, labels: Rows, classes: int) -> Array:
    """(C, C) how many images are given class i and confidently of class j; rows sum to the classes' sizes."""
    own = probabilities[np.arange(len(labels)), labels]
    sizes = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=own, minlength=classes)
    # Of a class that nobody is given, no image is confidently.
    least = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf)
    confident = np.where(probabilities >= least, probabilities, -1.0)
    found, sure = confident.argmax(axis=1), confident.max(axis=1) >= 0.0
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[sure], found[sure]), 1.0)
    total = joint.sum(axis=1, keepdims=True)
    joint = np.where(total > 0, joint, np.eye(classes))
    return np.asarray(joint / joint.sum(axis=1, keepdims=True) * sizes[:, None])


def wrongness(probabilities: Array, labels: Rows, joint: Array) -> tuple[Array, Array]:
    """(n,) how likely each label is wrong, and (n, C) the true classes q, under the noise of a joint."""
    noise = joint + UNSEEN / max(1, len(joint) - 1)
    noise /= noise.sum(axis=0, keepdims=True)  # (given, true)
    true = probabilities.copy()
    steps = int(np.clip(MOST_WORK // (4 * len(labels) * len(joint) ** 2), 3, STEPS))
    for _ in range(steps):
        explained = np.maximum(true @ noise.T, 1e-12)
        true *= (probabilities / explained) @ noise
        true /= np.maximum(true.sum(axis=1, keepdims=True), 1e-300)
    given = noise[labels] * true
    place = np.arange(len(labels))
    right = given[place, labels] / np.maximum(given.sum(axis=1), 1e-300)
    return np.clip(1.0 - right, 0.0, 1.0), true


def _believing(counts: Counting, believed: npt.NDArray[np.bool_]) -> Counting:
    if believed.all():
        return counts
    trust = torch.from_numpy(np.where(believed, 1.0, DISBELIEVED))
    return Counting(trust if counts.weights is None else counts.weights * trust, counts.blocks)


def _probabilities(
    values: npt.NDArray[np.float32], labels: Rows, classes: int, counts: Counting, chosen: dict[int, int]
) -> Array:
    """(n, C) by leave-one-out; `chosen` has each part's place in `LAMBDAS`, for the next fit to begin at."""
    found = np.empty((len(labels), classes))
    order = in_shares(labels, np.random.default_rng(0))
    parts = max(1, -(-len(labels) // MOST_ROWS))
    for part in range(parts):
        check_abort()
        at = np.sort(order[part::parts])
        ridge = Ridge(torch.from_numpy(values[at]), torch.from_numpy(labels[at]), classes, counts.at(at))
        best = ridge.best() if part not in chosen else _best_near(ridge, chosen[part])
        chosen[part] = LAMBDAS.index(best.ridge_lambda)
        predicted = ridge.leave_one_out([best.ridge_lambda])[0]
        found[at] = torch.softmax(best.beta * predicted, 1).numpy()
    return found


def _best_near(ridge: Ridge, place: int) -> RidgeScore:
    """The best lambda that is reached downhill from a place in `LAMBDAS`: it moves little."""
    scores: dict[int, RidgeScore] = {}
    while True:
        around = range(max(0, place - 1), min(len(LAMBDAS), place + 2))
        new = [at for at in around if at not in scores]
        if not new:
            return scores[place]
        scores |= zip(new, ridge.scores([LAMBDAS[at] for at in new]), strict=True)
        place = min(around, key=lambda at: scores[at].nll)
