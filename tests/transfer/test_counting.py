"""What images count in closed form: weights are repetitions, and what belongs together is left out as one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.strategy import Strategy
from automl_transfer.transfer import heads, ridge_at
from automl_transfer.transfer.counting import Counting, counting
from automl_transfer.transfer.heads import initialise_head, solve_ncm, thin
from automl_transfer.transfer.ridge import Ridge, standardisation, standardised
from automl_transfer.transfer.ridge_at import ridge_head

SIZES = pytest.mark.parametrize(("n", "features"), [(40, 7), (24, 60)], ids=["primal", "dual"])


def sample(n: int, features: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, labels, whole weights and blocks of three or four rows, some of more than one class."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(n) % 3)
    x = random.normal(size=(3, features))[labels] + random.normal(size=(n, features)) + 3.0
    weights = random.integers(1, 5, n).astype(np.float64)
    blocks = random.permutation(np.arange(n) * 2 // 7)
    return torch.from_numpy(x.astype(np.float32)), *map(torch.from_numpy, (labels, weights, blocks))


def left_out_by_hand(x: Tensor, labels: Tensor, weights: Tensor, blocks: Tensor, penalty: float) -> Tensor:
    """One weighted ridge regression (intercept not penalised) for each block that is left out."""
    mean, scale = standardisation(x, weights)
    z, y = (x.double() - mean) / scale, torch.nn.functional.one_hot(labels, 3).double()
    found = torch.empty(len(z), 3, dtype=torch.float64)
    for block in blocks.unique():
        out = blocks == block
        w, a, b = weights[~out], z[~out], y[~out]
        centre, middle = w @ a / w.sum(), w @ b / w.sum()
        a, b = (a - centre) * w.sqrt()[:, None], (b - middle) * w.sqrt()[:, None]
        eye = torch.eye(z.shape[1], dtype=torch.float64)
        solved = torch.linalg.solve(a.T @ a + penalty * z.shape[1] * eye, a.T @ b)
        found[out] = (z[out] - centre) @ solved + middle
    return found


@SIZES
@pytest.mark.parametrize("ridge_lambda", [1e-2, 1.0])
def test_leaving_blocks_of_weighted_rows_out_is_what_fitting_without_them_gives(
    n: int, features: int, ridge_lambda: float
) -> None:
    x, labels, weights, blocks = sample(n, features)
    expected = left_out_by_hand(x, labels, weights, blocks, ridge_lambda)
    counts = Counting(weights, blocks)
    ridge = Ridge(x, labels, 3, counts)
    assert ridge.primal == (features <= n)
    torch.testing.assert_close(ridge.leave_one_out([ridge_lambda])[0], expected, atol=1e-7, rtol=1e-6)
    rows = standardised(x, weights)
    summed = Ridge.of_kernel(rows @ rows.T, features, labels, 3, counts)
    torch.testing.assert_close(summed.leave_one_out([ridge_lambda])[0], expected, atol=1e-7, rtol=1e-6)


@SIZES
@pytest.mark.parametrize("views", [1, 2])
def test_whole_weights_are_repetitions_that_are_left_out_together(n: int, features: int, views: int) -> None:
    x, labels, weights, _ = sample(n, features)
    many = weights.long()
    again, repeated = labels.repeat_interleave(many), Counting(blocks=torch.arange(n).repeat_interleave(many))
    images = x.repeat_interleave(views, 0) + 0.1 * torch.randn(
        n * views, features, generator=torch.Generator().manual_seed(1)
    )
    rows = images.view(n, views, -1).repeat_interleave(many, 0).flatten(0, 1)
    for solve in (
        lambda *given: ridge_head(*given[:3], 0.3, *given[3:]),
        lambda *given: solve_ncm(*given[:3], Strategy(), *given[3:]),
    ):
        one = solve(images, labels.repeat_interleave(views), 3, views, Counting(weights))
        other = solve(rows, again.repeat_interleave(views), 3, views, repeated)
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)
    if views == 1:
        weighed, listed = Ridge(images, labels, 3, Counting(weights)), Ridge(rows, again, 3, repeated)
        for score, expected in zip(weighed.scores([0.1, 1.0]), listed.scores([0.1, 1.0]), strict=True):
            assert dataclasses.astuple(score) == pytest.approx(dataclasses.astuple(expected), rel=1e-6)


def test_the_mean_of_a_class_is_one_without_the_images_that_belong_together() -> None:
    x, labels, weights, blocks = sample(24, 5)
    given: list[Tensor] = []
    before = heads.calibrate

    def seen(scores: Tensor, *rest: Tensor) -> float:
        given.append(scores)
        return before(scores, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "calibrate", seen)
        solve_ncm(x, labels, 3, Strategy(), 1, Counting(weights, blocks))
    mean, scale = standardisation(x, weights)
    z = (x.double() - mean) / scale
    for row in range(24):
        kept = blocks != blocks[row]
        for label in labels[~kept].unique():
            own = kept & (labels == label)
            centre = weights[own] @ z[own] / weights[own].sum()
            expected = z[row] @ centre - 0.5 * centre.square().sum()
            assert float(given[0][row, label]) == pytest.approx(float(expected), abs=1e-9)


def test_a_head_that_is_solved_in_parts_keeps_blocks_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels, weights, _ = sample(120, 6)
    blocks = torch.arange(120) % 30
    counts = Counting(weights, blocks)
    linear, parts = torch.nn.Linear(6, 3), torch.nn.Linear(6, 3)

    def solve(layer: torch.nn.Linear) -> None:
        initialise_head(
            layer, Strategy(), labels.numpy(), np.arange(120), lambda rows: x[rows], torch.Generator(), 1, counts
        )  # fmt: skip

    solve(linear)
    monkeypatch.setattr(heads, "MOST_VALUES", 6 * 60)  # the first part is half of the rows, 15 blocks
    solve(parts)
    similar = torch.cosine_similarity(linear.weight.flatten(), parts.weight.flatten(), dim=0)
    assert float(similar.detach()) > 0.999999
    order = counts.order(np.random.default_rng(0).permutation(120))
    assert np.array_equal(np.sort(order), np.arange(120))
    assert len(np.flatnonzero(np.diff(blocks.numpy()[order]))) == 29


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize(
    ("features", "kept", "limits"),
    [
        (90, 40, {}),
        (90, 20, {"MOST_KEPT": 90 * 20, "MOST_GRAM": 0}),
        (90, 20, {"MOST_SQUARE": 20**2, "MOST_GRAM": 80**2}),
        (25, 20, {"MOST_SQUARE": 20**2, "MOST_GRAM": 24**2}),
    ],
    ids=["all", "values are few", "rows are few", "features are many, but fewer than rows"],
)
def test_a_head_of_many_features_never_has_a_matrix_of_features_by_features(
    monkeypatch: pytest.MonkeyPatch, views: int, features: int, kept: int, limits: dict[str, int]
) -> None:
    """Its size is that of all rows which may be kept, read in parts, as if they were solved at once."""
    x, labels, weights, blocks = sample(40, features * views)
    x, counts = x.reshape(40 * views, features), Counting(weights, blocks)
    rows = thin(np.arange(40), kept if kept == 40 else kept // views)
    own = (views * torch.from_numpy(rows)[:, None] + torch.arange(views)).flatten()
    penalty = Strategy().ridge_lambda
    expected = ridge_head(
        x[own], labels[rows].repeat_interleave(views), 3, penalty, views, counts.at(rows)
    )  # fmt: skip
    read = []

    def reader(asked: np.ndarray) -> Tensor:
        read.append(len(asked))
        return x.view(40, views, features)[asked].flatten(0, 1)

    def refuse(*given: object) -> None:
        pytest.fail("sums of features by features were begun")

    for name, value in {"MOST_VALUES": features * views * 8, **limits}.items():
        monkeypatch.setattr(heads, name, value)
    monkeypatch.setattr(ridge_at, "_BLOCK", 7 * 40)
    monkeypatch.setattr(ridge_at.NormalEquations, "add", refuse)
    linear = torch.nn.Linear(features, 3)
    initialise_head(
        linear, Strategy(), labels.numpy(), np.arange(40), reader, torch.Generator(), views, counts
    )  # fmt: skip
    assert max(read) == 8
    torch.testing.assert_close(linear.weight, expected[0].float())
    torch.testing.assert_close(linear.bias, expected[1].float())


def test_a_head_of_more_features_than_many_rows_is_solved_on_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows x rows would be larger than features x features may be: nothing is left out."""
    x, labels, weights, blocks = sample(40, 50)
    counts = Counting(weights, blocks)
    heads_of = []
    for limits in ({}, {"MOST_VALUES": 50 * 8, "MOST_SQUARE": 20**2, "MOST_GRAM": 50**2}):
        for name, value in limits.items():
            monkeypatch.setattr(heads, name, value)
        heads_of.append(torch.nn.Linear(50, 3))
        initialise_head(
            heads_of[-1], Strategy(), labels.numpy(), np.arange(40), lambda rows: x[rows], torch.Generator(), 1, counts
        )  # fmt: skip
    similar = torch.cosine_similarity(heads_of[0].weight.flatten(), heads_of[1].weight.flatten(), dim=0)
    assert float(similar.detach()) > 0.999  # calibrated on some of them


def test_images_that_are_thinned_have_every_class(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.zeros(400, np.int64)
    labels[200:] = 1
    labels[33] = 2
    monkeypatch.setattr(heads, "MOST_VALUES", 4 * 40)
    read = []

    def reader(asked: np.ndarray) -> Tensor:
        read.extend(asked.tolist())
        return torch.randn(len(asked), 4, generator=torch.Generator().manual_seed(0))

    initialise_head(
        torch.nn.Linear(4, 3), Strategy(head_init="ncm"), labels, np.arange(400), reader, torch.Generator()
    )  # fmt: skip
    assert len(read) == 41
    assert 33 in read


def test_what_a_task_says_its_images_count(task: LoadedTask) -> None:
    rows = task.indices["train"]
    nothing = counting(task, rows)
    assert nothing.weights is None
    assert nothing.blocks is None
    weighted = dataclasses.replace(task, weights=np.linspace(1.0, 3.0, len(task.labels)))
    assert torch.equal(counting(weighted, rows).weights, torch.from_numpy(weighted.weights[rows]))  # type: ignore[index, arg-type]
    few = rows[(task.labels[rows] > 1) | (np.arange(len(rows)) % 4 == 0)]
    alike = task.task.model_copy(update={"metric": "macro_f1"})
    for each in (task, weighted):
        weights = counting(dataclasses.replace(each, task=alike), few).weights
        assert weights is not None
        sums = np.bincount(task.labels[few], weights=weights.numpy())
        assert sums == pytest.approx(sums[0])
        assert sums.sum() == pytest.approx(len(few) if each.weights is None else each.weights[few].sum())


def test_a_class_of_one_group_is_left_out_image_by_image(task: LoadedTask) -> None:
    rows = task.indices["train"]
    groups = tuple("all of class 0" if label == 0 else f"{row % 5}" for row, label in enumerate(task.labels))
    twins = np.arange(len(task.labels))
    zeros = rows[task.labels[rows] == 0]
    twins[zeros[1]] = twins[zeros[0]]
    blocks = counting(dataclasses.replace(task, groups=groups, twins=twins), rows).blocks
    assert blocks is not None
    sizes = np.bincount(blocks.numpy())
    assert sorted(sizes[blocks.numpy()[task.labels[rows] == 0]]) == [1] * (len(zeros) - 2) + [2, 2]
    assert min(sizes[sizes > 2]) > 10
