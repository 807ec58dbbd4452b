"""Sources scored on real features: with the profile's own pass, on tasks with hardly anything to score, and by
how far the images are from those that a network was trained on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_runs import CPU, small_backbone

from automl_transfer.data.in_memory import task_in_memory
from automl_transfer.data.signature import signature_of
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.normalisation import chosen_constants
from automl_transfer.domain.scores import SCORES
from automl_transfer.domain.signature import TaskSignature
from automl_transfer.models.network import Backbone
from automl_transfer.training.activation_cache import MemoryCache
from automl_transfer.training.frechet import frechet_distance
from automl_transfer.training.profile import Profiler
from automl_transfer.transfer.norms import batch_norms
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.scores.base import Seen, scored


def in_memory(images: np.ndarray, labels: np.ndarray, classes: int) -> LoadedTask:
    names = tuple(f"c{number}" for number in range(classes))
    return task_in_memory(images, labels.astype(np.int64), names, held_out=0.0, seed=0).loaded


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 16, 16, 1), dtype=np.uint8)


def trained(backbone: Backbone) -> Backbone:
    backbone.pretrained = True
    return backbone


def test_every_cut_is_scored_from_the_profiles_pass(task: LoadedTask) -> None:
    backbone = trained(small_backbone())
    passes = []
    backbone.groups[-1].register_forward_hook(lambda module, given, output: passes.append(len(output)))
    profiler = Profiler(backbone, "small", task, device=CPU, cache=MemoryCache(10**9))
    profiler.look(1.0)
    record, before = profiler.record(), sum(passes)
    compared = profiler.compared(record)

    assert sum(passes) - before <= 64  # a few for the distance; scores pass none
    assert [cut.model_copy(update={"scores": {}}) for cut in compared.cuts] == list(record.cuts)
    assert {cut.cut for cut in compared.cuts if cut.scores} == {1, 2, 3}
    assert all(set(cut.scores) == (set(SCORES) if cut.grid == 1 else set()) for cut in compared.cuts)
    for cut in compared.cuts:
        if cut.grid == 1:
            assert cut.scores["ridge"] == cut.loo_accuracy
    (last,) = (cut for cut in compared.cuts if cut.cut == 3 and cut.grid == 1)
    with torch.no_grad():
        pixels = torch.from_numpy(np.array(task.images[task.indices["train"]]))
        constants = chosen_constants("source", task.task, backbone.mean, backbone.std)
        maps = backbone.run(Normaliser(*(constants or (None, None)), CPU)(pixels))
    seen = Seen(maps.mean((2, 3)), torch.from_numpy(task.labels[task.indices["train"]]), 10)
    alone = scored(seen, ["knn", "logme", "gbc", "h_score"])
    assert {name: last.scores[name] for name in alone} == pytest.approx(alone, rel=1e-2)


SPARSE = {
    "two classes, 20 images": (noise(20), np.arange(20) % 2, 2),
    "a class of one image": (noise(20), (np.arange(20) == 7).astype(int), 2),
    "all images are black": (np.zeros((20, 16, 16, 1), np.uint8), np.arange(20) % 2, 2),
    "images of one gray": (np.full((20, 16, 16, 1), 90, np.uint8), np.arange(20) % 2, 2),
    "one image a class": (noise(4), np.arange(4), 4),
}


@pytest.mark.parametrize(("images", "labels", "classes"), SPARSE.values(), ids=SPARSE)
def test_a_sparse_task_has_a_signature_of_finite_numbers(
    images: np.ndarray, labels: np.ndarray, classes: int
) -> None:
    task = in_memory(images, labels, classes)
    profiler = Profiler(trained(small_backbone()), "small", task, device=CPU)
    profiler.look(1.0)
    record = profiler.compared(profiler.record())
    signature = signature_of(task, [record])

    assert TaskSignature.from_json(signature.to_json()) == signature
    assert record.unscored == {}
    assert set(signature.scores) == set(SCORES)
    values = [
        v for by_source in signature.scores.values() for curve in by_source.values() for v in curve.values()
    ]
    assert len(values) == len(SCORES) * 3
    assert all(map(math.isfinite, values))
    assert signature.frechet["small"] is not None
    assert (signature.images, signature.classes) == (len(images), classes)
    assert (signature.least, signature.most) == (np.bincount(labels).min(), np.bincount(labels).max())


def test_the_classes_entropy_says_how_even_they_are() -> None:
    labels = np.arange(40) % 4
    even = signature_of(in_memory(noise(40), labels, 4))
    odd = signature_of(in_memory(noise(40), np.where(labels < 3, 0, labels - 2 + (np.arange(40) % 2)), 3))
    assert even.entropy == pytest.approx(1.0)
    assert 0.0 < odd.entropy < 0.9
    assert (even.width, even.height, even.channels, even.profile) == (16.0, 16.0, 1, {})


def moved_to(images: np.ndarray, backbone: Backbone) -> None:
    """The network's norms know these images, as after training on them."""
    norms = batch_norms(backbone.groups)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    backbone.train()
    with torch.no_grad():
        backbone.run(Normaliser((0.5,), (0.5,), CPU)(torch.from_numpy(images)))
    backbone.eval()


def test_the_distance_is_none_from_a_networks_own_images_and_grows_with_the_change() -> None:
    own, backbone = noise(64), trained(small_backbone())
    moved_to(own, backbone)
    changed = [own, own // 2 + 64, np.full_like(own, 250) - own // 32]
    labels = np.arange(64) % 2

    def distance(images: np.ndarray) -> float:
        task = in_memory(images, labels, 2)
        found = frechet_distance(backbone, task, Normaliser((0.5,), (0.5,), CPU), task.indices["train"])
        assert found is not None
        return found

    near, further, far = map(distance, changed)
    assert near < 0.02
    assert near < further < far


def test_a_network_without_batch_norms_or_without_training_has_no_distance() -> None:
    task = in_memory(noise(20), np.arange(20) % 2, 2)
    for backbone in (trained(small_backbone(norms=False)), small_backbone()):
        backbone.pretrained = backbone.pretrained and not batch_norms(backbone.groups)
        normalise = Normaliser((0.5,), (0.5,), CPU)
        assert frechet_distance(backbone, task, normalise, task.indices["train"]) is None
