"""The code blocks of a page, and a session that runs them in order, as a reader would.

- `sh` runs in bash, with the real `automl-transfer`, from its `forge`; a folder, exports and `cd` last for the whole page.
- `python` runs in one interpreter a page.
- Any block with a `title="FILE"` is a file that the reader makes: it is written there.
- `text` right after one that ran is what it prints: words must match, numbers nearly (`alike`).
- `toml` and `json` must parse. `*Not run by the tests: REASON.*` above a block leaves it out, visibly.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import forge

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
NOT_RUN = re.compile(r"^\*Not run by the tests: (.+)\.\*$")
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>\w*)(?P<rest>.*)$")
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One fenced block: where it is, what it holds, and why it is not run, if it is not."""

    page: str
    line: int
    language: str
    title: str | None
    text: str
    not_run: str | None

    @property
    def place(self) -> str:
        return f"docs/{self.page}:{self.line}"


def pages() -> list[str]:
    """All pages, relative to docs/."""
    return sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


TUTORIALS = [page for page in pages() if page == "index.md" or page.startswith("tutorials/")]


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page in order."""
    found: list[Block] = []
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    reason: str | None = None
    number = 0
    while number < len(lines):
        opened = _FENCE.match(lines[number])
        if opened is None:
            if lines[number].strip():
                said = NOT_RUN.match(lines[number].strip())
                reason = said[1] if said else None
            number += 1
            continue
        indent, fence = opened["indent"], opened["fence"]
        end = next(n for n in range(number + 1, len(lines)) if lines[n].strip() == fence)
        body = [line.removeprefix(indent) for line in lines[number + 1 : end]]
        title = _TITLE.search(opened["rest"])
        found.append(
            Block(
                page,
                number + 1,
                opened["language"],
                title[1] if title else None,
                "\n".join(body) + "\n",
                reason,
            )
        )
        reason, number = None, end + 1
    return found


_BEGUN: dict[str, tuple[Path, str]] = {}
"""First commands of pages: the folder as it was afterwards, and what was printed."""


@dataclass
class Session:
    """Runs the blocks of one page in a folder."""

    folder: Path
    environment: dict[str, str]
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    printed: str | None = None

    def __post_init__(self) -> None:
        self._state = self.folder.parent / f"{self.folder.name}.state"

    def run(self, block: Block) -> None:
        """Run one block; what is wrong with it is an AssertionError that names its line."""
        if block.not_run is not None:
            self.printed = None
        elif block.title is not None:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "sh":
            self.printed = self._shell(block)
        elif block.language == "python":
            self.printed = self._python(block)
        elif block.language == "text":
            if self.printed is not None:
                compare(block, self.printed)
            self.printed = None
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "json":
            json.loads(block.text)
        else:
            raise AssertionError(f"{block.place}: nothing runs a block of {block.language or 'no language'}")

    def begin(self, block: Block) -> None:
        """Run a page's first block; where an earlier page began with the same command, take what it left."""
        known = _BEGUN.get(block.text)
        if known is None or block.language != "sh":
            self.run(block)
            if self.printed is not None:
                kept = self.folder.parent / f"{self.folder.name}-begun"
                shutil.copytree(self.folder, kept)
                _BEGUN[block.text] = (kept, self.printed)
        else:
            shutil.copytree(known[0], self.folder, dirs_exist_ok=True)
            self.printed = known[1]

    def _shell(self, block: Block) -> str:
        before = f'if [ -f "{self._state}" ]; then . "{self._state}"; fi\n'
        after = f'\n{{ export -p; echo "cd $(printf %q "$PWD")"; }} > "{self._state}"\n'
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", before + block.text + after],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block.place} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def _python(self, block: Block) -> str:
        printed = io.StringIO()
        code = compile(block.text, block.place, "exec")
        with (
            contextlib.chdir(self.folder),
            _environment(self.environment),
            contextlib.redirect_stdout(printed),
        ):
            exec(code, self.names)
        return printed.getvalue()


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def session(folder: Path, **more: str) -> Session:
    """A session in a folder, whose caches, settings and installed packages are its own."""
    folder.mkdir(parents=True, exist_ok=True)
    site = folder.parent / f"{folder.name}-site"
    environment = {
        **os.environ,
        "PATH": os.pathsep.join(
            [str(Path(forge.command()).parent), str(Path(sys.executable).parent), os.environ["PATH"]]
        ),
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
        "XDG_CACHE_HOME": str(folder.parent / "cache"),
        "XDG_STATE_HOME": str(folder.parent / "state"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        # `pip install ./package` goes beside the session, without a network.
        "PIP_TARGET": str(site),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_QUIET": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        **more,
    }
    environment.pop("AUTOML_TRANSFER_STORAGE", None)
    return Session(folder, environment)


NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_FREE = re.compile(
    r"\d+:\d\d\b|\d[\d.,]* ?(?:ms|s|min|kB|MB|GB|k|M)\b|[0-9a-f]{12,}|\d+\.\d{5,}|\d{4}-\d\d-\d\d"
)
"""Times, sizes, digests and many digits: these differ between machines."""
NEAR = 0.1


def compare(block: Block, printed: str) -> None:
    """Every line of a block must be printed, in this order; `...` stands for anything."""
    lines = [_words(line) for line in printed.splitlines()]
    at = 0
    for shown in block.text.splitlines():
        wanted = _words(shown)
        if not wanted or wanted == "...":
            continue
        while at < len(lines) and not alike(wanted, lines[at]):
            at += 1
        assert at < len(lines), f"{block.place} shows {shown!r}, which was not printed:\n{printed}"
        at += 1


def alike(wanted: str, got: str) -> bool:
    """Equal but for free numbers; other numbers differ by at most a tenth; `...` stands for any text."""
    pattern = re.escape(NUMBER.sub("\0", _FREE.sub("\1", wanted)))
    pattern = pattern.replace(re.escape("..."), ".*").replace("\0", f"({NUMBER.pattern})")
    pattern = pattern.replace("\1", f"(?:{_FREE.pattern})")
    found = re.fullmatch(pattern, got)
    if found is None:
        return False
    numbers = NUMBER.findall(_FREE.sub("", wanted))
    return all(_near(_value(a), _value(b)) for a, b in zip(numbers, found.groups(), strict=True))


def _words(line: str) -> str:
    return " ".join(line.split())


def _value(text: str) -> float:
    plain = text.replace(",", "")
    return float(plain) if plain.count(".") < 2 else 0.0


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= NEAR * max(abs(a), abs(b), 0.5)
