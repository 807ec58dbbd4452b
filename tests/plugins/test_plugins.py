"""Datasets, sources and initialisers of another package, in real processes; and one that is broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import forge
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "doors"))

import installing  # noqa: E402

TINY = (
    "--set", "search.trials=1", "--set", "search.profile=false", "--set", "search.max_epochs=2",
    "--set", "space.source=tinynet", "--set", "space.rest_init=halves", "--set", "space.transfer_depth=4",
    "--set", "space.tune_mode=head",
)  # fmt: skip


def install(package: Path, target: Path) -> None:
    """What pip leaves of a package: its modules, and its entry points among its metadata."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    info = target / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for module in package.glob("*.py"):
        shutil.copy(module, target)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    for group in ("datasets", "sources", "initialisers"):
        installing.install(group, folder)
    install(HERE / "broken", folder)
    return folder


def run(*arguments: str, site: Path | None, cwd: Path) -> subprocess.CompletedProcess[str]:
    before = os.environ.get("PYTHONPATH", "")
    path = {"PYTHONPATH": os.pathsep.join((str(site), before))} if site else {}
    return subprocess.run(
        [forge.command(), *arguments],
        cwd=cwd, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **path},
    )  # fmt: skip


def test_a_search_with_the_dataset_the_source_and_the_initialiser_of_another_package(
    site: Path, tmp_path: Path
) -> None:
    done = run("search", "shells?count=30", *TINY, "--cache", "cache", "-o", "out", site=site, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    recipe = json.loads((tmp_path / "out" / "best_strategy.json").read_text())
    assert recipe["task"]["name"] == "shells?count=30"
    assert recipe["strategy"]["source"] == "tinynet"
    assert recipe["strategy"]["rest_init"] == "halves"
    assert recipe["source"]["licence"] == "CC0-1.0"
    assert recipe["environment"]["versions"]["door_dataset"] == "1.0"
    assert recipe["metrics"]["test"]["accuracy"] > 0.9
    again = run("verify", "out/best_strategy.json", "--cache", "cache", site=site, cwd=tmp_path)
    assert again.stdout.startswith("identical"), again.stdout + again.stderr
    packed = run("package", "out/model", "--format", "torch-export", site=site, cwd=tmp_path)
    assert packed.returncode == 0, packed.stderr
    # Without the package, its names are unknown: said so, and nothing is written.
    bare = run("apply", "out/best_strategy.json", "-o", "new", site=None, cwd=tmp_path)
    assert bare.returncode == 2
    assert "door_dataset 1.0" in bare.stderr
    assert not (tmp_path / "new").exists()


def test_a_broken_plugin_troubles_only_whoever_uses_it(site: Path, tmp_path: Path) -> None:
    listed = run("sources", "--json", site=site, cwd=tmp_path)
    assert listed.returncode == 0
    assert "tinynet" in {row["name"] for row in json.loads(listed.stdout)}
    (warning,) = [line for line in listed.stderr.splitlines() if "cracknet" in line]
    assert "broken-plugin 0.1" in warning
    assert "libcrack.so.3 is missing" in warning
    described = run("explore", "digits", "--cache", "cache", site=site, cwd=tmp_path)
    assert described.returncode == 0  # its claim to a name that is built in is left out
    assert "1,797 images" in described.stdout
    assert "adds 'digits' to datasets, which is built in" in described.stderr
    for arguments, name in (
        (("explore", "cracked"), "'cracked' of datasets"),
        (("search", "digits", "--set", "space.source=cracknet"), "'cracknet' of sources"),
        (("search", "digits", "--set", "space.rest_init=cracks"), "'cracks' of initialisers"),
    ):
        done = run(*arguments, "--cache", "cache", site=site, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert (
            f"the plugin broken-plugin 0.1 (broken_plugin:{'Cracked' if name[1:8] == 'cracked' else ''}"
            in done.stderr
        )
        assert f"must load, to give {name}, got ImportError: libcrack.so.3 is missing" in done.stderr
        assert "Traceback" not in done.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cache"]


def test_help_looks_for_no_plugins(site: Path, tmp_path: Path) -> None:
    code = "import sys, automl_transfer.cli.main; print('importlib.metadata' in sys.modules, 'automl_transfer.plugins' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split()[1] == "False"
    assert run("--help", site=site, cwd=tmp_path).stderr == ""


def test_two_plugins_that_claim_one_name(site: Path, tmp_path: Path) -> None:
    both = tmp_path / "site"
    shutil.copytree(site, both)
    twin = tmp_path / "twin"
    twin.mkdir()
    (twin / "pyproject.toml").write_text(
        '[project]\nname = "twin"\nversion = "3"\n[project.entry-points."automl_transfer.datasets"]\nshells = "twin:X"\n'
    )
    install(twin, both)
    done = run("explore", "shells", site=both, cwd=tmp_path)
    assert done.returncode == 2
    assert "one plugin may add 'shells' to datasets, got " in done.stderr
    assert "door_dataset 1.0" in done.stderr
    assert "twin 3" in done.stderr


GREEDY = """
[project]
name = "greedy"
version = "2"
[project.entry-points."automl_transfer.sources"]
timm = "greedy:Any"
torchvision = "greedy:Any"
scratch = "greedy:Any"
checkpoint = "greedy:Any"
efficientnet-lite0 = "greedy:Any"
seven = "greedy:seven"
raises = "greedy:raises"
number = "greedy:number"
[project.entry-points."automl_transfer.initialisers"]
he_normal = "greedy:number"
count = "greedy:number"
[project.entry-points."automl_transfer.datasets"]
fragile = "greedy:Fragile"
"""
MODULE = """
from automl_transfer.data.base import DatasetKind

number = 7
seven = lambda name: 7

def Any(name):
    raise AssertionError("a plugin took the place of what is built in")

def raises(name):
    raise KeyError("colour")

class Fragile(DatasetKind):
    options = {}
    def __init__(self):
        raise OSError("no disk")
    def open(self, request): ...
"""


def test_what_is_built_in_stays_and_a_wrong_plugin_is_one_error(tmp_path: Path) -> None:
    """FINDINGS C6: a plugin named like a library broke scratch sources and model folders."""
    package, target = tmp_path / "greedy", tmp_path / "site"
    package.mkdir()
    (package / "pyproject.toml").write_text(GREEDY)
    (package / "greedy.py").write_text(MODULE)
    install(package, target)
    code = """
from automl_transfer.errors import AutomlTransferError
from automl_transfer.data.registry import get_kind
from automl_transfer.models import base, registry
from automl_transfer.domain import methods

def get_initialiser(name):
    return methods.get("rest_init", name)

assert base.BUILT_IN == {name.rstrip("/") for name in registry._KINDS}
for name in ("timm/resnet18", "torchvision/resnet18"):
    print(registry.build_architecture(name, 3).architecture, registry.get_source(f"scratch/{name}").load(1).architecture)
print(get_initialiser("he_normal").__name__)
for get, name in (
    (registry.get_source, "seven"), (registry.get_source, "raises"), (registry.get_source, "number"),
    (get_initialiser, "count"), (get_kind, "fragile"),
):
    try:
        get(name)
    except AutomlTransferError as error:
        print(f"{type(error).__name__}: {error}")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(target), str(HERE.parents[1])]), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "timm/resnet18 timm/resnet18",
        "torchvision/resnet18 torchvision/resnet18",
        "he_normal",
        "ConfigurationError: the plugin for the source 'seven' must give a Source, got 7",
        "ConfigurationError: the plugin greedy 2 (greedy:raises) must give 'raises' of sources, got KeyError: "
        "'colour': repair or uninstall it",
        "ConfigurationError: the plugin greedy 2 (greedy:number) must give a function or class that takes the "
        "source's name for 'number' of sources, got 7",
        "ConfigurationError: the plugin greedy 2 (greedy:number) must give a function (weight, source, generator) "
        "for 'count' of initialisers, got 7",
        "ConfigurationError: the plugin greedy 2 (greedy:Fragile) must give 'fragile' of datasets, got OSError: "
        "no disk: repair or uninstall it",
    ]
    for name in ("timm", "scratch", "torchvision", "checkpoint", "efficientnet-lite0"):
        assert f"the plugin greedy 2 (greedy:Any) adds {name!r} to sources, which is built in" in done.stderr
