"""Imports go down the storeys only, rooms of a storey do not know each other, and nothing is circular."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "automl_transfer"

STOREYS = {
    "aborting": 0,
    "files": 1,
    "machine": 0,
    "redaction": 0,
    "errors": 0,
    "importing": 0,
    "printable": 0,
    "domain": 2,
    "plugins": 1,
    "data": 3,
    "models": 3,
    "space": 3,
    "knowledge": 3,
    "transfer": 4,
    "training": 5,
    "store": 6,
    "doctor": 6,
    "search": 7,
    "workers": 8,
    "reporting": 8,
    "recipes": 8,
    "api": 9,
    "dashboard": 9,
    "cli": 10,
    "__main__": 11,
    "__init__": 11,  # it offers some names of the front door, when they are asked for
}
NO_OPTUNA = {"domain", "data", "models", "space", "knowledge", "transfer", "training"}
NO_TORCH = {"domain", "data", "space", "knowledge", "store", "reporting", "dashboard"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the whole name"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def rooms_imported(path: Path) -> set[str]:
    parts = [name.split(".") for name in imports(path) if name.startswith("automl_transfer.")]
    return {part[1] for part in parts if part[1] in STOREYS}


def test_every_room_has_a_storey() -> None:
    assert {room(path) for path in modules()} <= set(STOREYS)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    here = room(path)
    for other in rooms_imported(path) - {here}:
        assert STOREYS[other] < STOREYS[here], f"{here} (storey {STOREYS[here]}) must not import {other}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_lower_storeys_do_not_know_optuna_or_torch(path: Path) -> None:
    here = room(path)
    names = {name.split(".")[0] for name in imports(path)}
    if here in NO_OPTUNA:
        assert "optuna" not in names
    at_top = {name.split(".")[0] for name in imports(path, top_level_only=True)}
    if here in NO_TORCH:
        assert "torch" not in at_top


def test_no_cycles_between_modules() -> None:
    """FINDINGS C14: imports within functions and for type checking count, too."""
    names = {
        "automl_transfer." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in modules()
    }
    graph = {name: {other for other in imports(path) if other in names}
             for name, path in names.items()}  # fmt: skip
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail, name])
        if name in done:
            return
        for other in graph[name]:
            visit(other, (*trail, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def test_files_can_be_read_in_one_sitting() -> None:
    long = {
        str(path.relative_to(PACKAGE)): lines
        for path in modules()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long, f"split these files: {long}"
