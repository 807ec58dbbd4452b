"""A best-strategy file from a PostgreSQL study, carried elsewhere alone: it runs, and it gives nothing away."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import forge
import numpy as np
from jsonschema import Draft202012Validator
from PIL import Image

from automl_transfer.recipes.best_strategy import read_recipe
from automl_transfer.recipes.schemas import recipe_schema

TINY = (
    "--set", "search.trials=1", "--set", "search.profile=false", "--set", "search.max_epochs=2", "--confirm", "off",
    "--set", "space.truncation=2", "--set", "space.freeze_depth=8",
)  # fmt: skip


def images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name, level in (("cat", 60), ("dog", 160)):
        (folder / name).mkdir(parents=True)
        for number in range(15):
            pixels = level + rng.integers(0, 60, (20, 20, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [forge.command(), *arguments], cwd=cwd, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def test_from_postgresql_to_another_place(postgres_url: str, tmp_path: Path) -> None:
    first, other = tmp_path / "hidden-lab", tmp_path / "elsewhere"
    for folder in (first, other):
        (folder / "home").mkdir(parents=True)
    images(first / "patients-confidential" / "pets")
    source = first / "weights-confidential" / "resnet.safetensors"
    make_checkpoint(source)
    run(
        "search", str(first / "patients-confidential" / "pets"), *TINY, "--study-name", "pets", "-o", "out",
        "--set", f"space.source=checkpoint/torchvision/resnet18@{source}",
        cwd=first, HOME=str(first / "home"), AUTOML_TRANSFER_STORAGE=postgres_url,
    )  # fmt: skip
    out = first / "out"
    url = urlsplit(postgres_url)
    secrets = {
        "hidden-lab",
        "confidential",
        str(tmp_path),
        url.path.lstrip("/"),
        "postgresql",
        "/" + getpass.getuser(),
    }
    shipped = [out / "best_strategy.json", out / "ranking.json", *(out / "model").iterdir()]
    assert len(shipped) == 5
    for file in shipped:
        content = file.read_bytes()
        assert [secret for secret in secrets if secret.encode() in content] == [], file.name
    assert (
        read_recipe(out / "best_strategy.json").source.name
        == "checkpoint/torchvision/resnet18@resnet.safetensors"
    )

    # The file alone goes to another machine, which has the same photographs and weights in its own places.
    shutil.copy(out / "best_strategy.json", other)
    shutil.copytree(first / "patients-confidential" / "pets", other / "photos")
    shutil.copy(source, other / "mine.safetensors")
    shutil.move(first, tmp_path / "gone")
    mine = ("--source", "checkpoint/torchvision/resnet18@mine.safetensors")
    verified = run(
        "verify", "best_strategy.json", "--dataset", "photos", *mine, cwd=other, HOME=str(other / "home")
    )
    assert verified.stdout.startswith("identical: the same weights, bit for bit"), verified.stdout
    run(
        "apply", "best_strategy.json", "--dataset", "photos", *mine, "--seeds", "2", "-o", "new",
        cwd=other, HOME=str(other / "home"),
    )  # fmt: skip
    written = read_recipe(other / "new" / "best_strategy.json")
    assert (
        list(
            Draft202012Validator(recipe_schema()).iter_errors(written.model_dump(mode="json", by_alias=True))
        )
        == []
    )
    assert written.metrics.seeds is not None


def make_checkpoint(path: Path) -> None:
    import torch
    import torchvision
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path.parent.mkdir(parents=True)
    save_file(torchvision.models.resnet18().state_dict(), str(path))
