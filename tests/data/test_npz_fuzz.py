"""Any array in an .npz is images or one clear error; any damage to a foreign file is one clear error (E11)."""

from __future__ import annotations

import random
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from image_files import load
from safetensors.torch import save_file

from automl_transfer.errors import ConfigurationError, DataError, UserError
from automl_transfer.models.weights import read_weights
from automl_transfer.space.study_file import read_study

KINDS = st.sampled_from(
    ["u1", "<u2", ">u2", "<i4", ">i8", "<u8", "<f2", ">f4", "<f8", ">f8", "?", "<c8", "S3"]
)
SHAPES = st.sampled_from(
    [(6, 4, 5), (6, 4, 4, 1), (6, 4, 4, 3), (6, 4, 4, 4), (6, 3, 4, 4), (6, 12), (6, 0, 4), (6,)]
)
LABELS = st.sampled_from(
    [np.arange(6) % 2, np.eye(6), np.arange(6) / 2, np.array(list("abcabc")), np.zeros(5)]
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), shape=SHAPES, kind=KINDS, labels=LABELS, option=st.sampled_from(["", "?shape=3x2x2"]))
def test_any_arrays(data: Any, shape: tuple[int, ...], kind: str, labels: Any, option: str) -> None:
    values = data.draw(arrays(np.dtype(kind), shape))

    def pixels(images: np.ndarray, folder: Path) -> Any:
        np.savez(folder / "a.npz", images=images, labels=labels)
        try:
            loaded = load(f"{folder / 'a.npz'}{option}", folder / "c", resolution=8, on_bad_image="skip")
        except DataError:
            return "refused"
        return loaded.images.tolist(), [bad.key for bad in loaded.skipped]

    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        found = pixels(values, Path(folder))
        if values.dtype.kind in "buif":  # the same values, the other way round
            assert pixels(values.astype(values.dtype.newbyteorder("S")), Path(other)) == found


def written(folder: Path, kind: str) -> Path:
    path = folder / f"file.{kind}"
    if kind == "npz":
        images = np.random.default_rng(0).integers(0, 256, (6, 4, 4), dtype=np.uint8)
        np.savez_compressed(path, images=images, labels=np.arange(6) % 2, classes=np.array(["a", "b"]))
    elif kind == "toml":
        path.write_text('name = "x"\n[task]\ndataset = "digits"\n[space]\nsource = ["a", "b"]\n')
    elif kind == "safetensors":
        save_file({"a": torch.ones(3), "b": torch.zeros(2, 2)}, path)
    else:
        zipped = kind == "pt"
        torch.save({"a": torch.ones(3), "b": torch.zeros(2)}, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["npz", "pt", "pth", "safetensors", "toml"])
def test_e11_any_damage_is_one_clear_error(kind: str, tmp_path: Path) -> None:
    whole = written(tmp_path, kind).read_bytes()
    chance = random.Random(0)
    for turn in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 8])):
            damaged[chance.randrange(len(damaged))] = chance.choice([0, 255, 45, 57, chance.randrange(256)])
        if turn % 10 == 0:
            damaged = damaged[: chance.randrange(len(damaged))]
        path = tmp_path / f"{turn}.{kind}"
        path.write_bytes(damaged)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if kind == "npz":
                    load(path, tmp_path / f"c{turn}", resolution=8, on_bad_image="skip")
                elif kind == "toml":
                    read_study(path)
                else:
                    read_weights(path)
        except UserError as error:
            assert isinstance(error, ConfigurationError) or str(turn) in str(error)  # noqa: PT017
