"""What moves, and when: surgical and low-rank training, the head's rate, and groups that freeze one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import CPU, make_run, small_backbone, strategy
from torch import nn
from torch.nn.utils import parametrize

from automl_transfer.data.task import LoadedTask
from automl_transfer.errors import TrialDataError
from automl_transfer.training.run import TrainingRun
from automl_transfer.training.state import read_checkpoint, write_checkpoint
from automl_transfer.transfer.build import build_plan
from automl_transfer.transfer.terms.low_rank import LowRank


def moved(task: LoadedTask, **changes: Any) -> dict[str, torch.Tensor]:
    """How far each parameter moved in two epochs, by name."""
    run = make_run(task, max_epochs=2, **changes)
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    list(run.epochs())
    after = dict(run.model.named_parameters())
    return {name: after[name].detach() - start for name, start in before.items()}


@pytest.mark.parametrize(("block", "group"), [("first", 0), ("middle", 1), ("last", 2)])
def test_surgical_training_moves_one_third_and_the_head(task: LoadedTask, block: str, group: int) -> None:
    found = {
        name.rsplit(".", 2)[0]
        for name, by in moved(task, tune_mode="surgical", block=block).items()
        if by.any()
    }
    assert {name.split(".")[1] for name in found if name.startswith("groups")} == {str(group)}
    assert any(name.startswith("head") for name in found)


def test_low_rank_training_moves_weights_by_matrices_of_that_rank(task: LoadedTask) -> None:
    steps = moved(task, tune_mode="lora", rank=2, learning_rate=1e-2)
    kernels = {name: by for name, by in steps.items() if name.startswith("groups") and by.dim() == 4}
    assert len(kernels) == 3
    for name, by in kernels.items():
        assert torch.linalg.matrix_rank(by.reshape(len(by), -1), rtol=1e-3) == 2, name
    vectors = [name for name, by in steps.items() if name.startswith("groups") and by.dim() == 1 and by.any()]
    assert vectors == []


def factors_of(run: TrainingRun) -> LowRank:
    (found,) = (term for term in run.plan.terms if isinstance(term, LowRank))
    return found


class Sum(nn.Module):
    """W0 + B A, as the paper writes it."""

    def __init__(self, a: torch.Tensor, outputs: int) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(a.clone()), nn.Parameter(torch.zeros(outputs, len(a)))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + (self.b @ self.a).view_as(weight)


class Mixing(nn.Module):
    """A linear layer over the channels of each place, as networks of tokens have."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)
        nn.init.normal_(self.linear.weight, std=0.2, generator=torch.Generator().manual_seed(0))
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.movedim(1, -1)).movedim(-1, 1)


@pytest.mark.parametrize("extra", [None, Mixing])
def test_low_rank_steps_are_those_of_the_sum_differentiated_by_torch(
    task: LoadedTask, extra: type[nn.Module] | None
) -> None:
    """Hu et al. 2022, 4.1: h = W0 x + B A x; our model holds the sum, and gradients pass to its factors."""
    own, other = (small_backbone(extra=extra and extra()) for _ in range(2))
    run = make_run(task, backbone=own, max_epochs=1, tune_mode="lora", rank=2, learning_rate=1e-2)
    start = {name: tensor.clone() for name, tensor in factors_of(run).state().items()}
    reference = build_plan(
        strategy(tune_mode="lora", rank=2, learning_rate=1e-2), other, task, seed=0, device=CPU
    ).model
    pairs = []
    for name, layer in reference.groups.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.requires_grad_(False)
            pair = Sum(start[f"{name}.weight.a"], len(layer.weight))
            parametrize.register_parametrization(layer, "weight", pair)
            pairs.append(pair)
    assert len(pairs) == len(start) / 2 == (3 if extra is None else 4)
    trained = [*(p for pair in pairs for p in pair.parameters()), *reference.head.parameters()]
    assert run._stepper is not None
    mine = torch.optim.SGD(trained, lr=0.1)
    images = run.plan.normaliser(CPU)(torch.from_numpy(task.images[task.indices["train"][:16]]))
    labels = torch.from_numpy(task.labels[task.indices["train"][:16]])
    factors = factors_of(run)
    ours = torch.optim.SGD([p for g in run.plan.parameter_groups for p in g["params"]], lr=0.1)
    run.model.eval()
    reference.eval()
    for _ in range(3):
        nn.functional.cross_entropy(run.model(images), labels).backward()
        factors.differentiated()
        ours.step()
        ours.zero_grad()
        factors.stepped()
        nn.functional.cross_entropy(reference(images), labels).backward()
        mine.step()
        mine.zero_grad()
    with torch.no_grad():
        assert torch.allclose(run.model(images), reference(images), atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"tune_mode": "lora", "rank": 3, "phases": "lp_ft"},
        {"tune_mode": "lora", "rank": 2, "transfer_depth": 4},
        {"tune_mode": "surgical", "block": "middle"},
        {"phases": "freezing"},
    ],
)
def test_an_interrupted_run_ends_with_the_same_weights(
    task: LoadedTask, tmp_path: Path, changes: dict[str, Any]
) -> None:
    whole = make_run(task, **changes)
    list(whole.epochs())
    for stop in (1, 2, 3):
        first = make_run(task, **changes)
        first.train_to(stop)
        first.save(tmp_path / str(stop))
        second = make_run(task, **changes)
        assert second.restore(tmp_path / str(stop)).identical
        second.train_to(4)
        assert second.weights_sha256() == whole.weights_sha256()


def test_factors_are_of_weights_that_they_make_smaller(task: LoadedTask) -> None:
    """A product of rank 8 takes as many numbers as a 16 x 16 matrix has; depthwise kernels are no matrices."""
    separable = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 16, 1))
    found = {}
    for rank in (2, 8):
        run = make_run(task, backbone=small_backbone(extra=separable), tune_mode="lora", rank=rank)
        weights = dict(run.model.groups.named_parameters())
        found[rank] = {name for name, weight in weights.items() if weight.requires_grad}
        factors = factors_of(run).state()
        assert {name.rpartition(".")[0] for name in factors} == found[rank]
        assert sum(each.numel() for each in factors.values()) < sum(weights[n].numel() for n in found[rank])
    assert found == {
        2: {"0.0.weight", "1.0.weight", "2.0.weight", "2.3.1.weight"},
        8: {"1.0.weight", "2.0.weight"},
    }


def test_an_average_takes_in_the_low_rank_step_that_was_just_made(task: LoadedTask) -> None:
    given = {"tune_mode": "lora", "rank": 2, "head_init": "he", "schedule": "constant", "warmup": 0.0}
    run = make_run(task, max_epochs=1, batch=500, ema=0.99, norm_policy="frozen", **given)  # one step
    start = {name: p.detach().clone() for name, p in run.model.named_parameters() if p.requires_grad}
    run.train_to(1)
    now = {name: p.detach().clone() for name, p in run.model.named_parameters() if name in start}
    run.load_shown()
    assert len(start) == 5
    for name, shown in run.model.named_parameters():
        if name in start:
            assert not torch.equal(now[name], start[name]), name
            torch.testing.assert_close(shown.detach(), torch.lerp(start[name], now[name], 9 / 11))


def test_a_checkpoint_with_factors_of_other_weights_is_refused(task: LoadedTask, tmp_path: Path) -> None:
    """Earlier versions had more of them; plain SGD keeps nothing that would not fit."""
    given = {"tune_mode": "lora", "rank": 2, "optimizer": "sgd", "momentum": 0.0}
    run = make_run(task, **given)
    run.train_to(1)
    run.save(tmp_path / "state")
    tensors, kept = read_checkpoint(tmp_path / "state", run._identity())
    more = {**tensors, "terms.0.2.3.0.weight.b": torch.zeros(16, 2)}
    write_checkpoint(tmp_path / "state", more, kept.model_dump(mode="json"))
    with pytest.raises(
        TrialDataError, match=r"must be of the same weights, got others: .*2\.3\.0\.weight\.b"
    ):
        make_run(task, **given).restore(tmp_path / "state")


def test_groups_freeze_from_the_bottom_up_under_one_schedule(task: LoadedTask) -> None:
    run = make_run(task, max_epochs=6, phases="freezing", norm_policy="train", warmup=0.0)
    frozen, rates = [], []
    for result in run.epochs():
        frozen.append(run.plan.frozen_prefix)
        rates.append(result.learning_rate)
    assert frozen == [0, 0, 1, 1, 2, 2]
    plain = [result.learning_rate for result in make_run(task, max_epochs=6, warmup=0.0).epochs()]
    assert rates == pytest.approx(plain)


def test_the_rate_of_a_head_falls_with_what_it_reads(task: LoadedTask) -> None:
    def rate(**changes: Any) -> float:
        plan = build_plan(strategy(**changes), small_backbone(), task, seed=0, device=CPU)
        head = plan.rows[-1].learning_rate
        assert head is not None
        return head

    assert rate(pool=1, head_rate="plain") == rate(pool=4, head_rate="plain") == 3e-3
    assert rate(pool=1, head_rate="fan_in") == pytest.approx(3e-3 * 1280 / 16)
    assert rate(pool=4, head_rate="fan_in") == pytest.approx(3e-3 * 1280 / 256)
