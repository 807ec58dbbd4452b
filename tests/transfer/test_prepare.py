"""Preparations: what they do before labels are used, and that a model stays what it was to everyone else."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.covariance import ledoit_wolf_shrinkage
from small_plans import plan, small_backbone, strategy
from torch import nn

from automl_transfer.aborting import Aborted, abortable
from automl_transfer.data.task import LoadedTask
from automl_transfer.data.unlabelled import Unlabelled
from automl_transfer.models.architectures import build_architecture
from automl_transfer.models.network import Backbone
from automl_transfer.training.activation_cache import DiskCache, MemoryCache
from automl_transfer.training.evaluate import predict_logits
from automl_transfer.transfer.build import build_plan
from automl_transfer.transfer.plan import TransferPlan
from automl_transfer.transfer.prepare.reconstruct import _Adapting, hidden, noisy
from automl_transfer.transfer.prepare.whiten import ledoit_wolf, whitening

CPU = torch.device("cpu")
SHORT = {"tune_mode": "closed_form", "head_init": "ridge", "prepare_steps": 8}
RECONSTRUCTING = ("denoise", "masked")


def features(n: int, size: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(size, size, generator=generator)
    return torch.randn(n, size, generator=generator) @ mixed + 3.0


def test_whitened_features_have_the_identity_as_covariance() -> None:
    x = features(200, 6)
    z = whitening(x, shrinkage=0.0)(x).double()
    assert z.mean(0).abs().max() < 1e-5
    assert torch.allclose(z.T @ z / len(z), torch.eye(6, dtype=torch.float64), atol=1e-5)


def test_whitening_by_hand() -> None:
    """Two standardised features of correlation 0.6: A has 1 / sqrt(1.6) and 1 / sqrt(0.4) on the diagonals."""
    x = torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
    x = torch.cat([x, -x])
    along, across = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    basis = whitening(x, shrinkage=0.0)
    assert torch.allclose(basis(along[None])[0], along / 1.6**0.5, atol=1e-5)
    assert torch.allclose(basis(across[None])[0], across / 0.4**0.5, atol=1e-5)


@pytest.mark.parametrize(("n", "size"), [(30, 12), (10, 40)])
def test_shrinkage_is_that_of_scikit_learn(n: int, size: int) -> None:
    x = features(n, size).double()
    x = x - x.mean(0)
    variances = torch.linalg.eigvalsh(x.T @ x / n)
    assert ledoit_wolf(x, variances) == pytest.approx(ledoit_wolf_shrinkage(x.numpy(), assume_centered=True))


@pytest.mark.parametrize("n", [50, 9])
def test_a_head_in_the_basis_folds_into_one_on_features(n: int) -> None:
    x = features(n, 20)
    basis, linear = whitening(x), nn.Linear(20, 3)
    wanted = linear(basis(x)).detach()
    basis.fold(linear)
    assert torch.allclose(linear(x), wanted, atol=1e-4)


def test_whitening_turns_the_solved_head_and_nothing_else(task: LoadedTask) -> None:
    plain, turned = plan(task, **SHORT), plan(task, prepare="whiten", **SHORT)
    assert _same(plain.model.groups, turned.model.groups)
    assert not torch.allclose(plain.model.head.linear.weight, turned.model.head.linear.weight, rtol=0.1)


def test_what_networks_see_of_an_image() -> None:
    x = torch.ones(4, 2, 10, 10)
    seen, weight = hidden(x, 3, torch.Generator().manual_seed(0))
    share = float(weight.mean())
    assert 0.5 < share < 0.75
    assert torch.equal(seen == 0.0, weight.bool().expand_as(seen))
    assert weight.shape == (4, 1, 10, 10)
    assert len({tuple(each.flatten().tolist()) for each in weight}) == 4
    seen, weight = noisy(x, 3, torch.Generator().manual_seed(0))
    assert float((seen - x).std()) == pytest.approx(0.5, abs=0.05)
    assert bool((weight == 1).all())


def test_the_error_is_that_of_the_pixels_that_count() -> None:
    """Worked by hand: what a masked image is judged by is what was hidden (He et al. 2022, section 3)."""
    x, generator = torch.zeros(2, 3, 4, 4), torch.Generator().manual_seed(0)
    made = torch.randn(2, 3, 4, 4, generator=generator)
    asked: Any = types.SimpleNamespace(_encode=lambda seen: seen, _decoder=lambda encoded: encoded)
    weight = torch.zeros(2, 1, 4, 4)
    weight[0, 0, :2, :2] = 1.0  # four pixels of three colours in the first image, none in the second
    loss = _Adapting._loss(asked, x, made, weight)
    assert float(loss) == pytest.approx(float(made[0, :, :2, :2].square().sum()) / 12, rel=1e-6)
    everywhere = _Adapting._loss(asked, x, made, torch.ones(2, 1, 4, 4))
    assert float(everywhere) == pytest.approx(float(nn.functional.mse_loss(made, x)), rel=1e-6)


@pytest.mark.parametrize("name", RECONSTRUCTING)
def test_the_encoder_learns_to_reconstruct_digits(task: LoadedTask, name: str) -> None:
    """With the decoder as good as it gets alone, the encoder makes the error smaller."""
    found = plan(task, prepare=name, **{**SHORT, "prepare_steps": 60}).reconstructions
    assert found is not None
    assert found.after < 0.97 * found.before
    assert found.images.shape == (3, 6, 16, 16, 1)
    clean, seen, made = found.images.astype(float)
    first = task.images[task.indices["train"][0]]
    assert abs(np.corrcoef(clean[0].ravel(), np.asarray(first).ravel())[0, 1]) > 0.999
    assert np.abs(made - clean).mean() < np.abs(clean.mean((1, 2, 3), keepdims=True) - clean).mean()
    assert not np.array_equal(seen, clean)


@pytest.mark.parametrize("name", RECONSTRUCTING)
def test_only_weights_of_transferred_groups_move(task: LoadedTask, name: str) -> None:
    """Norm statistics stay those of whole images; gradients, modes and what trains are left as they were."""
    changes: dict[str, Any] = {**SHORT, "tune_mode": "suffix", "transfer_depth": 5, "freeze_depth": 4}
    before, after = plan(task, **changes), plan(task, prepare=name, **changes)
    assert after.selection.transferred == 3
    assert not _same(before.model.groups[:3], after.model.groups[:3])
    pairs = zip(before.model.groups[:3].buffers(), after.model.groups[:3].buffers(), strict=True)
    for buffer, other in pairs:
        assert torch.equal(buffer, other)
    assert _same(before.model.groups[3:], after.model.groups[3:])
    assert [p.requires_grad for p in before.model.parameters()] == [
        p.requires_grad for p in after.model.parameters()
    ]
    assert all(p.grad is None for p in after.model.parameters())
    assert not after.model.training
    assert f"source, {name}" in after.describe()
    source = small_backbone()
    assert _same(before.model.groups[:3], source.groups[:3])  # the source itself is untouched


def test_adapted_statistics_are_those_of_clean_images_under_the_new_weights(task: LoadedTask) -> None:
    changes = {**SHORT, "tune_mode": "head", "norm_policy": "adapt", "prepare": "denoise"}
    found = plan(task, **changes)
    first = found.model.groups[0]
    rows = task.indices["train"]
    x = first[0](found.normaliser(CPU)(torch.from_numpy(np.asarray(task.images[rows]))))
    assert torch.allclose(first[1].running_mean, x.mean((0, 2, 3)), atol=1e-4)


def test_a_preparation_is_made_once_for_all_who_may_see_the_same_images(
    task: LoadedTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from automl_transfer.transfer.prepare import reconstruct

    steps: list[int] = []
    step = reconstruct._Adapting._step
    monkeypatch.setattr(
        reconstruct._Adapting, "_step", lambda self, *given: (steps.append(1), step(self, *given))
    )
    keep = DiskCache(tmp_path, 10**8)
    alone = _prepared(task, None)
    first, again = _prepared(task, keep, seed=1), _prepared(task, keep, seed=2)
    assert len(steps) == 16
    assert _same(alone.model.groups, first.model.groups)
    assert _same(first.model.groups, again.model.groups)
    assert np.array_equal(first.reconstructions.images, again.reconstructions.images)  # type: ignore[union-attr]
    fewer = dataclasses.replace(task, indices={**task.indices, "train": task.indices["train"][:-1]})
    spare = np.asarray(task.images[task.indices["validation"]])
    more = dataclasses.replace(task, unlabelled=Unlabelled(len(spare), lambda: spare))
    others = [_prepared(each, keep).model.groups for each in (fewer, more)]
    assert len(steps) == 32
    assert not _same(first.model.groups, others[0])
    assert not _same(first.model.groups, others[1])


def test_what_is_hidden_does_not_depend_on_threads_or_devices(task: LoadedTask) -> None:
    """Devices that train one model began with other weights, and `verify` on another machine as well."""
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(plan(task, prepare="masked", **SHORT))
    finally:
        torch.set_num_threads(threads)
    one, other = found
    assert np.array_equal(one.reconstructions.images[1], other.reconstructions.images[1])  # type: ignore[union-attr]
    for mine, theirs in zip(one.model.groups.parameters(), other.model.groups.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4)


def test_an_interrupted_preparation_starts_over_without_loss(task: LoadedTask) -> None:
    keep, whole = MemoryCache(), _prepared(task, None)
    asked = [0]

    def stop() -> bool:
        asked[0] += 1
        return asked[0] > 9

    with pytest.raises(Aborted), abortable(stop):
        _prepared(task, keep)
    assert not keep._kept
    assert _same(_prepared(task, keep).model.groups, whole.model.groups)


def test_without_memory_for_a_whole_batch_it_goes_on_in_parts(task: LoadedTask) -> None:
    class Limited(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if torch.is_grad_enabled() and len(x) > 8:
                raise torch.OutOfMemoryError("no memory")
            return x

    backbone, whole = small_backbone(), _prepared(task, None)
    backbone.groups[1].append(Limited())
    found = build_plan(strategy(prepare="denoise", **SHORT), backbone, task, seed=0, device=CPU)
    for mine, theirs in zip(found.model.groups.parameters(), whole.model.groups.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-3)


def test_models_from_scratch_are_left_alone(task: LoadedTask) -> None:
    scratch = small_backbone(pretrained=False)
    found = [
        build_plan(strategy(source="scratch", prepare=name), scratch, task, seed=0, device=CPU)
        for name in ("none", "denoise")
    ]
    assert _same(found[0].model.groups, found[1].model.groups)


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("test_efficientnet", "denoise"),
        ("test_resnet", "masked"),
        ("test_convnext", "whiten"),
        ("test_vit", "masked"),
    ],
)
def test_the_model_saves_loads_and_predicts(
    architecture: str, name: str, task: LoadedTask, tmp_path: Path
) -> None:
    backbone = _pretrained(build_architecture(f"timm/{architecture}", 1))
    changes = {**SHORT, "prepare": name, "prepare_steps": 2, "truncation": 6, "pool": 2}
    # The networks' own strides leave little of 16 pixels.
    found = build_plan(strategy(resolution_scale=2.0, **changes), backbone, task, seed=0, device=CPU)
    rows = task.indices["test"][:20]
    wanted = predict_logits(found.model, task.images, rows, found.normaliser(CPU), CPU)
    assert np.isfinite(wanted).all()
    file = tmp_path / "weights.safetensors"
    save_file({n: t.contiguous() for n, t in found.model.state_dict().items()}, file)
    same = {"weights": load_file(file), "seed": 1, "device": CPU}
    again = build_plan(strategy(resolution_scale=2.0, **changes), backbone, task, **same)  # type: ignore[arg-type]
    assert again.reconstructions is None  # nothing is prepared for a model that has its weights
    assert np.array_equal(predict_logits(again.model, task.images, rows, again.normaliser(CPU), CPU), wanted)


def _prepared(task: LoadedTask, keep: Any, seed: int = 0) -> TransferPlan:
    wanted = strategy(prepare="denoise", **SHORT)
    return build_plan(wanted, small_backbone(), task, seed=seed, device=CPU, keep=keep)


def _pretrained(backbone: Backbone) -> Backbone:
    backbone.pretrained = True
    return backbone


def _same(mine: nn.ModuleList, theirs: nn.ModuleList) -> bool:
    return all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))
