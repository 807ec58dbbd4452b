"""The checks that look at features, on real digits with real faults put in."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from planted import SOURCE, changed

from automl_transfer.data.task import LoadedDetails
from automl_transfer.doctor.base import Patient
from automl_transfer.doctor.checks.clusters import ActivationClusters
from automl_transfer.doctor.checks.spectral import SpectralSignatures
from automl_transfer.doctor.features import Features, looker
from automl_transfer.doctor.findings import Finding
from automl_transfer.doctor.neighbours import neighbours_of
from automl_transfer.doctor.opinion import _best_near
from automl_transfer.doctor.registry import all_checks
from automl_transfer.doctor.screens import standing_out
from automl_transfer.transfer.ridge import LAMBDAS, Ridge


def check(name: str, details: LoadedDetails, seen: Features) -> list[Finding]:
    found = next(each for each in all_checks() if each.name == name)
    return list(found.examine(Patient(details, lambda task, rows: seen)))


def test_wrong_labels_are_found_and_right_ones_are_left_alone(digits: LoadedDetails, seen: Features) -> None:
    random = np.random.default_rng(0)
    patient = Patient(digits, None)
    labels = digits.loaded.labels.copy()
    wrong = random.permutation(patient.pool)[: len(patient.pool) // 10]
    labels[wrong] = (labels[wrong] + random.integers(1, 10, len(wrong))) % 10
    (found,) = check("labels", changed(digits, labels=labels), seen)
    keys = {digits.loaded.keys[row] for row in wrong}
    listed = {each.image for each in found.suspects}
    assert len(listed & keys) >= 0.9 * len(keys)
    assert len(listed & keys) >= 0.9 * len(listed)
    truth = dict(zip(digits.loaded.keys, digits.loaded.labels.tolist(), strict=True))
    named = [each.what == f"looks like {truth[each.image]}" for each in found.suspects if each.image in keys]
    assert np.mean(named) >= 0.9
    assert found.false_alarms is not None
    assert found.false_alarms < 0.2 * len(listed)
    assert all(each.leave_out_of == "training" and each.trust <= 0.5 for each in found.suspects)
    assert {each.split for each in found.suspects} == {"train", "validation"}  # test labels are not judged
    clean = check("labels", digits, seen)
    assert sum(each.images for each in clean) <= 3


def test_a_near_copy_across_splits_is_found_and_other_images_are_not(
    digits: LoadedDetails, seen: Features, cache: Path
) -> None:
    images = np.array(digits.loaded.images)
    train, test = digits.loaded.indices["train"], digits.loaded.indices["test"]
    images[train[5]] = (0.8 * images[test[3]]).astype(np.uint8)
    turned = Image.fromarray(images[test[4]].squeeze()).rotate(2, Image.Resampling.BICUBIC)
    images[train[9]] = np.asarray(turned)[:, :, None]
    planted = changed(digits, images)
    (found, *_) = check(
        "near", planted, looker(SOURCE, device="cpu", cache_root=cache)(planted.loaded, seen.rows)
    )
    assert found.weight == "grave"
    keys = digits.loaded.keys
    assert {(each.image, each.twin) for each in found.suspects} == {
        (keys[train[5]], keys[test[3]]),
        (keys[train[9]], keys[test[4]]),
    }
    assert all(each.leave_out_of == "training" for each in found.suspects)
    assert check("near", digits, seen) == []


def test_an_exact_copy_does_not_hide_a_near_one(digits: LoadedDetails, seen: Features, cache: Path) -> None:
    """The one that is left once the exact copy is left out still trains."""
    images = np.array(digits.loaded.images)
    train, test = digits.loaded.indices["train"], digits.loaded.indices["test"]
    images[train[2]] = images[test[3]]
    images[train[5]] = (0.8 * images[test[3]]).astype(np.uint8)
    planted = changed(digits, images)
    found = check("near", planted, looker(SOURCE, device="cpu", cache_root=cache)(planted.loaded, seen.rows))[
        0
    ]
    keys = digits.loaded.keys
    assert [(each.image, each.twin) for each in found.suspects] == [(keys[train[5]], keys[test[3]])]
    assert found.weight == "grave"


def test_a_patch_that_makes_a_label_is_found_and_named(digits: LoadedDetails, seen: Features) -> None:
    patient = Patient(digits, None)
    others = patient.pool[digits.loaded.labels[patient.pool] != 7]
    stamped = np.random.default_rng(1).permutation(others)[:40]
    images, labels = np.array(digits.loaded.images), digits.loaded.labels.copy()
    images[stamped, -5:-1, -5:-1] = 255
    labels[stamped] = 7
    (found, *_) = check("patches", changed(digits, images, labels), seen)
    assert found.title == "A patch that only 7 has"
    listed, planted = {each.image for each in found.suspects}, {digits.loaded.keys[row] for row in stamped}
    assert len(listed & planted) >= 0.8 * len(planted)
    assert len(listed - planted) <= 2
    assert re.search(r"at row 2\d, column 2\d \(of 32\)", found.says)
    assert not any(each.leave_out_of for each in found.suspects)
    sound = check("patches", digits, seen)  # of drawings as coarse as these, one class may look stamped
    assert sum(each.images for each in sound if each.weight != "note") <= 15


def test_a_part_of_one_class_stands_out_and_parts_of_most_classes_do_not() -> None:
    values = np.random.default_rng(0).normal(size=(200, 20))
    values[:30, 0] += 12.0
    values -= values.mean(axis=0)
    for screen in (SpectralSignatures(), ActivationClusters()):
        part, _, strength = screen.part(values)
        assert np.flatnonzero(part).tolist() == list(range(30))
        assert strength >= screen.least
        assert screen.part(values[30:] - values[30:].mean(axis=0))[2] < screen.least
    assert standing_out([9.0, 8.0, 0.0, 7.5, 9.5], 5.0) == ([], [0, 1, 3, 4])  # two cameras, say
    assert standing_out([9.0, 30.0, 0.0, 7.5, 9.5], 5.0) == ([1], [0, 3, 4])


def test_what_is_unlike_everything_is_shown_and_not_listed(digits: LoadedDetails, seen: Features) -> None:
    late = seen.late.copy()
    late[7] += 60 * late.std(axis=0)
    (found,) = check("outliers", digits, dataclasses.replace(seen, late=late))
    assert found.suspects[0].image == digits.loaded.keys[seen.rows[7]]
    assert all(each.leave_out_of is None for each in found.suspects)


def test_by_chance_about_so_many_points_have_so_near_a_neighbour() -> None:
    """The model is that of points at an even density: here it is true."""
    for dimension in (3, 8):
        points = np.random.default_rng(dimension).random((3000, dimension)).astype(np.float32)
        found = neighbours_of(points)
        assert found.dimension == pytest.approx(dimension, rel=0.25)
        assert 10 <= (found.chance() < 0.01).sum() <= 90  # 30 expected
        points[1] = points[0] + 1e-4
        assert neighbours_of(points).chance()[:2].max() < 1e-6


def test_a_later_fit_finds_the_penalty_that_the_whole_grid_has() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 120)
    values = generator.normal(size=(120, 20)) + 1.5 * np.eye(3, 20)[labels]
    ridge = Ridge(torch.from_numpy(values), torch.from_numpy(labels), 3)
    assert {_best_near(ridge, place).ridge_lambda for place in range(len(LAMBDAS))} == {
        ridge.best().ridge_lambda
    }
