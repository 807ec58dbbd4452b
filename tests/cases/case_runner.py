"""One case: what a user has, what the user types, and what must be seen."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from automl_transfer.cli.main import main

SECRETS = ("Tr0ub", "dor@", "@dor")
"""Parts of the password of every case about secrets: no output may hold one."""

Maker = Callable[[Path], object]
"""Puts what the user has into a folder, which is the current one, too."""


@dataclass(frozen=True)
class Case:
    """A line of a table of cases.

    Attributes:
        name: The finding's number, then what it is about.
        make: What lies there; `d` is the dataset by custom.
        command: As it is typed after `automl-transfer`; `{model}`, `{runs}` and `{recipe}` are those of a
            small finished search.
        says: What must be seen, white space aside; nothing of `never` may be.
        code: The exit code. With 2 there is one error, and no file is new or other than before.
        writes: Files that must be there afterwards.
        leaves: A file that a refused command may leave: the empty database that it asked.
        stdin: What comes in.
        env: Variables of the environment.
    """

    name: str
    make: Maker
    command: str
    says: str | tuple[str, ...] = ()
    code: int = 0
    never: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    leaves: str = ""
    stdin: str = ""
    env: dict[str, str] = field(default_factory=dict)


def of(cases: Sequence[Case]) -> Any:
    """The table as parameters of a test, by their names."""
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), "two cases have one name"
    return pytest.mark.parametrize("case", cases, ids=names)


@dataclass(frozen=True)
class Done:
    """How a command ended. `text` is all that it said, without line breaks."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return " ".join((self.out + " " + self.err).split())


def typed(*words: str) -> Done:
    """Run a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(words))
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Done(code, out.getvalue(), err.getvalue())


def files(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Everything below a folder, with what changes when it is written; a database's side files aside."""
    found = {}
    for parent, _, names in os.walk(folder):  # it passes over what cannot be listed
        for path in (Path(parent, name) for name in names):
            if not path.name.endswith(("-wal", "-shm", ".db.lock")):
                stat = path.lstat()
                found[str(path.relative_to(folder))] = (stat.st_mode, stat.st_size, stat.st_mtime_ns)
    return found


def check(case: Case, place: Path, monkeypatch: pytest.MonkeyPatch, **names: object) -> Done:
    """Make what the case needs, run its command, and judge all that can be seen."""
    monkeypatch.chdir(place)
    case.make(place)
    for name, value in case.env.items():
        monkeypatch.setenv(name, value)
    stdin = io.TextIOWrapper(io.BytesIO(case.stdin.encode("utf-8", "surrogateescape")))
    monkeypatch.setattr(sys, "stdin", stdin)
    before = files(place)
    words = shlex.split(case.command.format(**names) if names else case.command)
    done = typed(*words)
    shown = f"{words}\nexit code {done.code}\n{done.out}\n{done.err}"
    assert done.code == case.code, shown
    for text in (case.says,) if isinstance(case.says, str) else case.says:
        assert text in done.text, f"{text!r} is not in\n{shown}"
    for text in ("Traceback", *SECRETS, *case.never):
        assert text not in done.out + done.err, f"{text!r} is in\n{shown}"
    steering = {char for char in done.out + done.err if not char.isprintable()} - {"\n", "\r"}
    assert not steering, f"{steering} reach the terminal:\n{shown!r}"
    if case.code == 2:
        assert done.err.count("error: ") == 1 or "Usage:" in done.err, shown
        after = files(place)
        after.pop(case.leaves, None)
        assert after == before, f"a refused command wrote something: {set(after) ^ set(before)}"
    for name in case.writes:
        assert Path(name).exists(), f"{name} is not written:\n{shown}"
    return done


def nothing(_: Path) -> None:
    """Nothing lies there."""


def all_of(*makers: Maker) -> Maker:
    def make(place: Path) -> None:
        for maker in makers:
            maker(place)

    return make


def pixels(seed: int, side: int = 8, level: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(level, min(level + 120, 256), (side, side, 3), dtype=np.uint8)


def images(root: str, **folders: int) -> Maker:
    """So many PNG images in each folder below `root`; a name's double underscore is a slash."""

    def make(place: Path) -> None:
        for at, (name, count) in enumerate(folders.items()):
            folder = place / root / name.replace("__", "/")
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                Image.fromarray(pixels(at * 1000 + number, level=at * 30 % 136)).save(
                    folder / f"{number:02d}.png"
                )

    return make


def image(name: str, seed: int = 7, **options: Any) -> Maker:
    """One more image, in the format that its name says or `format` does."""

    def make(place: Path) -> None:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(seed)).save(place / name, **options)

    return make


def written(name: str, content: str | bytes, mode: int = 0o644) -> Maker:
    def make(place: Path) -> None:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
        path.chmod(mode)

    return make


PETS = images("d", cat=6, dog=6)
