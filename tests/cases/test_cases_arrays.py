"""Arrays as people have them (D1, D6, D13, D20, E11, E12): scaled by their values, refused with a hint, never cast."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from case_runner import Case, check, of

from automl_transfer.api import TransferClassifier

RNG = np.random.default_rng(0)
WHOLE = RNG.integers(0, 256, (12, 8, 8, 3))
WHOLE[0, 0, 0] = 0, 255, 255
LABELS = np.arange(12) % 2


def npz(**arrays: Any) -> object:
    arrays = {"images": WHOLE.astype(np.uint8), "labels": LABELS, **arrays}
    return lambda place: np.savez(place / "a.npz", **{k: v for k, v in arrays.items() if v is not None})


def damaged(position: int, count: int = 40) -> object:
    def make(place: Path) -> None:
        stream = io.BytesIO()
        np.savez(stream, images=WHOLE.astype(np.uint8), labels=LABELS)
        raw = bytearray(stream.getvalue())
        raw[position : position + count] = b"\xff" * count
        (place / "a.npz").write_bytes(raw)

    return make


def header(shape: str) -> object:
    """An array of a made-up shape."""

    def make(place: Path) -> None:
        stream = io.BytesIO()
        text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        stream.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + b"\0" * 64)
        with zipfile.ZipFile(place / "a.npz", "w") as archive:
            archive.writestr("images.npy", stream.getvalue())
            archive.writestr("labels.npy", stream.getvalue())

    return make


def member(**change: int) -> object:
    """An archive whose entries say that they are encrypted, or packed as nobody packs."""

    def make(place: Path) -> None:
        np.savez(place / "a.npz", images=WHOLE.astype(np.uint8), labels=LABELS)
        raw = bytearray((place / "a.npz").read_bytes())
        at = raw.find(b"PK\x01\x02")
        while at >= 0:
            raw[at + 8] = change.get("flag", 0)
            raw[at + 10] = change.get("method", 0)
            at = raw.find(b"PK\x01\x02", at + 1)
        (place / "a.npz").write_bytes(raw)

    return make


GOOD = ": 12 images in 2 classes"
NEARLY_12_BITS = (WHOLE * (4095 / 255)).astype(np.uint16)
BLACK = np.where(np.arange(12)[:, None, None, None] < 4, 0, WHOLE)
RUN = "explore a.npz"
CASES = [
    Case("D6 12 bits in 16", npz(images=NEARLY_12_BITS), RUN, (GOOD, "12 bits (0 to 4095)")),
    Case("D6 and big-endian", npz(images=NEARLY_12_BITS.astype(">u2")), RUN, (GOOD, "12 bits (0 to 4095)")),
    Case("D6 all 16 bits", npz(images=(WHOLE * 257).astype(np.uint16)), RUN, "16 bits (0 to 65535)"),
    Case("D6 a range that is said", npz(images=NEARLY_12_BITS), "explore 'a.npz?range=0..4095'", GOOD),
    Case("D6 a range that cannot be", npz(), "explore 'a.npz?range=9..1'", "range", 2),
    Case("D1 floats in 0..1", npz(images=(WHOLE / 255).astype(np.float32)), RUN, (GOOD, "0 to 1")),
    Case("D1 floats in -1..1", npz(images=WHOLE / 127.5 - 1), RUN, (GOOD, "-1 to 1")),
    Case("D1 floats in 0..255, most images black", npz(images=BLACK.astype(np.float64)), RUN, (GOOD, "8 bits (0 to 255)")),
    Case("D13 floats of no usual range are one refusal", npz(images=WHOLE * 300.0 - 7), "search a.npz --on-bad-image skip",
         ("must lie in a usual range", "?range=LOW..HIGH"), 2),
    Case("D13 one image of NaN", npz(images=np.where(np.arange(12)[:, None, None, None] == 7, np.nan, WHOLE)), "search a.npz",
         ("images[7]: pixels must be finite", "--on-bad-image skip"), 2),
    Case("D13 nothing but NaN", npz(images=np.full((12, 8, 8), np.nan)), "search a.npz --on-bad-image skip",
         "nothing but NaN and infinity", 2),
    Case("D13 parts of another scale", npz(images=None, labels=None, x_train=WHOLE.astype(np.uint8), y_train=LABELS,
         x_test=WHOLE / 255, y_test=LABELS), RUN, "x_test must be scaled like the others", 2),
    Case("D20 one-hot labels", npz(labels=np.eye(2)[LABELS]), RUN, ".argmax(1)", 2),
    Case("D20 object labels", npz(labels=np.array(["a", "b"] * 6, object)), RUN, "labels.astype(str)", 2),
    Case("D20 pickled images", npz(images=np.array([WHOLE[0], None], object)), RUN, "np.stack(images), all of one size", 2),
    Case("D20 several labels an image", npz(labels=np.ones((12, 3), int)), RUN, "out of scope", 2),
    Case("D20 a regression", npz(labels=np.arange(12) / 7), RUN, "out of scope", 2),
    Case("D1 rows of CIFAR", npz(images=WHOLE.reshape(12, -1).astype(np.uint8)), RUN, ("rows of 192 numbers", "?shape="), 2),
    Case("D1 and their shape", npz(images=WHOLE.reshape(12, -1).astype(np.uint8)), "explore 'a.npz?shape=8x8x3'", GOOD),
    Case("D1 channels first", npz(images=np.moveaxis(WHOLE, 3, 1).astype(np.uint8)), RUN, "np.moveaxis(images, 1, -1)", 2),
    Case("D6 splits of Keras", npz(images=None, labels=None, x_train=WHOLE.astype(np.uint8), y_train=LABELS[:, None],
         x_test=WHOLE[:6].astype(np.uint8), y_test=LABELS[:6]), RUN, ("18 images in 2 classes", "/ 6 to train")),
    Case("D20 more labels than images", npz(labels=np.arange(13) % 2), RUN, "labels", 2),
    Case("D20 other names", npz(images=None, labels=None, data=WHOLE, target=LABELS), RUN,
         ("must hold the arrays images and labels", "got ['data', 'target']"), 2),
    Case("E11 complex numbers", npz(images=WHOLE.astype(complex)), RUN, "must hold numbers, got complex128", 2),
    Case("E11 no archive", lambda place: (place / "a.npz").write_bytes(b"\x93NUMPY"), RUN, "a zip archive of arrays", 2),
    Case("E11 a broken member", damaged(300), RUN, "a.npz", 2),
    Case("E11 a broken header", damaged(36), RUN, "a.npz", 2),
    Case("E11 a negative shape", header("(---1, 8, 8)"), RUN, "a.npz", 2),
    Case("E11 an absurd shape", header("(4, 99999999999, 99999999999)"), RUN, "a.npz", 2),
    Case("E11 a shape of 64 bits", header("(18446744073709551616, 8, 8)"), RUN, "a.npz", 2),
    Case("E11 encrypted", member(flag=1), RUN, "a.npz", 2),
    Case("E11 method 99", member(method=99), RUN, "a.npz", 2),
    Case("E12 labels that expand to 7 GB", header("(7200000000,)"), RUN, "a.npz", 2),
]  # fmt: skip


@of(CASES)
def test_arrays(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(case, tmp_path, monkeypatch)


AS_THEY_COME = {
    "float32 in 0..1": (WHOLE / 255).astype(np.float32),
    "uint16": WHOLE.astype(np.uint16),
    "12 bits in 16, big-endian": np.rint(WHOLE * (4095 / 255)).astype(">u2"),
    "a torch tensor": torch.from_numpy(WHOLE / 255).float(),
}


@pytest.mark.parametrize("kind", AS_THEY_COME)
def test_d1_the_estimator_sees_the_same_images_in_every_type(kind: str) -> None:
    """D1: scikit-learn's validation cast them to uint8, which made float images black."""
    found = [
        TransferClassifier(resolution=8).explore_data(X, LABELS)
        for X in (WHOLE.astype(np.uint8), AS_THEY_COME[kind])
    ]
    tasks = [each.task for each in found]
    assert tasks[0] is not None
    assert tasks[1] is not None
    assert tasks[0].channel_mean == tasks[1].channel_mean
    assert tasks[0].channel_std == tasks[1].channel_std


def test_d1_a_row_of_cifar_is_asked_for_its_shape() -> None:
    with pytest.raises(ValueError, match=r"3,072 numbers.*say image_shape=\(32, 32, 3\)"):
        TransferClassifier().fit(np.zeros((6, 3072)), [0, 1] * 3)
