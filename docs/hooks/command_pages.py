"""The reference of commands: what each command's own --help prints, as headings and tables."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pieces import block, code, table
from typer.testing import CliRunner

from automl_transfer.cli.main import app

PROGRAM = "automl-transfer"
_ENTRY = re.compile(r"^  (?P<name>\S.*?)(?:  +(?P<text>.*))?$")
_TAIL = re.compile(r"\s*\[(?P<facts>(?:default: |required|[\w.<>=]*x[<>=]).*)\]$")


def commands() -> str:
    """A section for each command, then the options that come before any command."""
    own = _sections(())
    parts = [part for name in _names(own, ()) for part in _section(name)]
    parts += ["## Before any command", _options(own["Options"])]
    return "\n\n".join(parts)


def _names(sections: dict[str, str], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, _ in _entries(sections.get("Commands", "")):
        path = (*above, name)
        inner = _sections(path)
        if "Commands" in inner:
            yield from _names(inner, path)
        else:
            yield path


def _section(name: tuple[str, ...]) -> Iterator[str]:
    sections = _sections(name)
    text, _, sample = sections["text"].partition("\n\n$ ")
    yield f"## {' '.join(name)}"
    yield text
    yield block("sh", sections["usage"])
    if "Arguments" in sections:
        rows = ((code(argument), _split(text)[0]) for argument, text in _entries(sections["Arguments"]))
        yield table(("Argument", "Meaning"), rows)
    options = _options(sections["Options"])
    if options:
        yield options
    if sample:
        yield "For example:\n\n" + block("text", "$ " + sample)


def _sections(command: tuple[str, ...]) -> dict[str, str]:
    """The help of a command: `usage`, `text`, and its Arguments, Options and Commands."""
    done = CliRunner().invoke(app, [*command, "--help"], prog_name=PROGRAM, terminal_width=1000)
    if done.exit_code != 0:
        raise RuntimeError(f"{PROGRAM} {' '.join(command)} --help ended with {done.exit_code}")
    usage, _, rest = done.output.partition("\n\n")
    found = re.split(r"^(Arguments|Options|Commands):\n", rest, flags=re.MULTILINE)
    text = "\n".join(line.removeprefix("  ") for line in found[0].splitlines()).strip()
    return {
        "usage": usage.removeprefix("Usage: "),
        "text": text,
        **dict(zip(found[1::2], found[2::2], strict=True)),
    }


def _entries(section: str) -> Iterator[tuple[str, str]]:
    for line in section.splitlines():
        if entry := _ENTRY.match(line):
            yield entry["name"], entry["text"] or ""


def _options(section: str) -> str:
    rows = [(code(name), *_split(text)) for name, text in _entries(section) if name != "-h, --help"]
    return table(("Option", "Meaning", "Default"), rows) if rows else ""


def _split(text: str) -> tuple[str, str]:
    """The meaning, with its bounds, and the default, which --help prints in brackets at the end."""
    tail = _TAIL.search(text)
    if tail is None:
        return text, ""
    facts = tail["facts"].split("; ")
    default = "".join(code(fact.removeprefix("default: ")) for fact in facts if fact.startswith("default: "))
    bounds = ", ".join(code(fact) for fact in facts if re.search(r"x[<>=]", fact))
    return text[: tail.start()] + (f" ({bounds})" if bounds else ""), default
