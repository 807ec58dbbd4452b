"""Files of others (E9, E10, E11, E14, E17): weights, study files, model folders, recipes. One error, within seconds."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from case_runner import Case, all_of, check, image, nothing, of, written
from conftest import Finished

PT = "search digits --set space.source=checkpoint/timm/resnet18@w.pt --set search.trials=1"


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("owned",)


def weights(content: Any, name: str = "w.pt", **options: Any) -> object:
    return lambda place: torch.save(content, place / name, **options)


def pickled(place: Path) -> None:
    (place / "w.pt").write_bytes(pickle.dumps({"a": Evil()}))


def half(place: Path) -> None:
    torch.save({"a": torch.ones(900)}, place / "w.pt")
    raw = (place / "w.pt").read_bytes()
    (place / "w.pt").write_bytes(raw[: len(raw) // 2])


def deep(of_what: str, ends: str) -> str:
    return of_what * 100_000 + ends * 100_000


TOML = '[task]\ndataset = "digits"\n'
FOREIGN = [
    Case("E11 code in a checkpoint does not run", pickled, PT, "w.pt", 2),
    Case("E11 a whole model", weights(torch.nn.Linear(2, 2)), PT, "w.pt", 2),
    Case("E11 half a checkpoint", half, PT, "w.pt", 2),
    Case("E11 sparse tensors", weights({"a": torch.eye(3).to_sparse()}), PT, "must be", 2),
    Case("E11 tensors without numbers", weights({"a": torch.empty(3, device="meta")}), PT, "must be", 2),
    Case("E11 a list", weights([torch.ones(3)]), PT, "w.pt", 2),
    Case("E11 keys that climb", weights({"../../a": torch.ones(3)}), PT, "w.pt", 2),
    Case("E12 a kilobyte that says a gigabyte", weights({"a": torch.zeros(1).expand(1 << 28)}), PT, "w.pt", 2),
    Case("E11 another architecture", weights({"a.weight": torch.ones(3)}), PT, "w.pt", 2),
    Case("E11 a checkpoint that is not there", nothing, PT, "w.pt is missing", 2),
    Case("E11 a table for text in a study file", written("s.toml", "x = 5\n"), "search s.toml", "x", 2),
    Case("E11 TOML of 40 kB that takes 1.7 GB", written("s.toml", ".".join("a" * 20_000) + " = 1\n"), "search s.toml", "s.toml", 2),
    Case("E11 TOML that nests", written("s.toml", "x = " + deep("[", "]")), "search s.toml", "s.toml", 2),
    Case("E11 a seed of 65 bits", written("s.toml", TOML + "seed = 18446744073709551616\n"), "search s.toml", "seed", 2),
    Case("E11 a seed that is negative", nothing, "search digits --set task.seed=-1", "seed", 2),
    Case("E11 a study file in Latin-1", written("s.toml", b'name = "K\xe4se"\n'), "search s.toml", "UTF-8", 2),
    Case("E11 an unknown key", written("s.toml", TOML + 'datset = "x"\n'), "search s.toml", ("datset", "line 3"), 2),
    Case("E9 a recipe with 100,000 keys", written("r.json", "{" + ", ".join(f'"k{n}": 0' for n in range(99_999)) + ', "k1": 1}'),
         "apply r.json --dataset digits -o new", "the key 'k1' twice", 2),
    Case("E11 a recipe that nests", written("r.json", '{"a": ' + deep("[", "]") + "}"), "verify r.json", "nest at most 32 deep", 2),
    Case("E11 a recipe of a later version", written("r.json", '{"schema": "automl-transfer/recipe/99"}'), "verify r.json",
         "a newer automl-transfer wrote it", 2),
    Case("E11 a recipe that is none", written("r.json", "[1]"), "apply r.json --dataset digits -o new", "r.json", 2),
    Case("E11 a recipe of bytes", written("r.json", b"\xff\xfe\0"), "verify r.json", "r.json", 2),
    Case("E14 deep JSON in a ranking is not read by report", nothing, "report none", "a study must exist, got no database", 2),
    Case("E10 a source that is no model folder", lambda place: (place / "m").mkdir(),
         "search digits --set space.source=checkpoint/@m", "folder with model.json", 2),
]  # fmt: skip


@of(FOREIGN)
def test_foreign_files(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(case, tmp_path, monkeypatch)
    assert not (tmp_path / "owned").exists()


def changed(**keys: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        described = json.loads((folder / "model.json").read_text())
        described.update(keys)
        (folder / "model.json").write_text(json.dumps(described))

    return change


def text(content: str | bytes) -> Callable[[Path], None]:
    return written("model.json", content)


def cut(folder: Path) -> None:
    raw = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(raw[:-8])


def twice(folder: Path) -> None:
    raw = (folder / "model.json").read_text()
    (folder / "model.json").write_text(raw.rstrip()[:-1] + ', "resolution": 8}')


def nan(folder: Path) -> None:
    described = (folder / "model.json").read_text()
    mean = json.loads(described)["normalisation"]
    (folder / "model.json").write_text(described.replace(json.dumps(mean["mean"][0]), "NaN", 1))


BROKEN_MODELS: dict[str, Callable[[Path], object]] = {
    "E10 an unknown key": changed(surprise=1),
    "E10 a key twice": twice,
    "E10 a mean of NaN": nan,
    "E10 no classes": changed(classes=[]),
    "E10 depth 100,000": text('{"a": ' + deep("[", "]") + "}"),
    "E11 4,096 pixels": changed(resolution=4096 * 8),
    "E11 a schema of a later version": changed(schema="automl-transfer/model/99"),
    "E11 an architecture that is a path": changed(architecture="../../x"),
    "E11 weights cut short": cut,
    "E11 weights of another description": changed(weights_sha256="0" * 64),
    "E11 no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "E11 no description": lambda folder: (folder / "model.json").unlink(),
    "E11 a description in Latin-1": text(b'{"a": "\xe4"}'),
    "E3 an empty class": changed(classes=["cat", ""]),
    "E11 more classes than outputs": changed(classes=["cat", "dog", "emu"]),
}


@pytest.mark.parametrize("use", ["predict m a.png", "evaluate m p", "package m --format safetensors -o m.safetensors",
                                 "search digits --set space.source=checkpoint/@m"])  # fmt: skip
@pytest.mark.parametrize("what", BROKEN_MODELS)
def test_model_folders(
    what: str, use: str, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E10: one reader for all that take a model folder."""

    def make(place: Path) -> None:
        shutil.copytree(str(finished.names["model"]), place / "m")
        shutil.copytree(finished.place / "p", place / "p")
        image("a.png")(place)
        BROKEN_MODELS[what](place / "m")

    if what.endswith("than outputs") and use.startswith("search"):
        pytest.skip("a source's own classes are not asked for")
    check(Case(what, make, use, code=2), tmp_path, monkeypatch)


def test_e17_a_shipped_model_can_be_packaged(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E17: `package` refused its own model."""
    case = Case(
        "E17", nothing, "package {model} --format safetensors -o m.safetensors", writes=("m.safetensors",)
    )
    check(case, tmp_path, monkeypatch, **finished.names)
    again = Case(
        "E17 again", all_of(), "package {model} --format safetensors -o m.safetensors", "which exists", 2
    )
    check(again, tmp_path, monkeypatch, **finished.names)
