"""Nothing that is printed steers a terminal, and nothing fails for its encoding (E5, D10)."""

import io
import json

import pytest
from rich.live import Live
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from automl_transfer.cli.screen import console, safe_streams
from automl_transfer.printable import VisibleStream, for_machines, spreadsheet, visible, visible_lines

HOSTILE = "\x1b[2J\x1b]0;title\x07cat\r\n\u202egnp.\x9b31m\u2028\ud800"


def test_names_become_one_visible_line() -> None:
    shown = visible(HOSTILE)
    assert shown.isprintable()
    assert json.loads(f'"{shown}"') == HOSTILE  # the escapes are JSON's: nothing is lost
    assert visible("größe 猫 \U0001f600") == "größe 猫 \U0001f600"
    assert visible_lines("a\r\nb\tc\n\x1b[1m") == "a\r\nb\tc\n\\u001b[1m"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("@a", "'@a"),
        ("-x", "'-x"),
        ("-1.5", "-1.5"),
        ("+3", "+3"),
        ("a=b", "a=b"),
        ("'a", "'a"),
        ("'=1", "''=1"),
    ],
)
def test_no_cell_is_a_formula_and_numbers_stay_numbers(name: str, shown: str) -> None:
    assert spreadsheet(name) == shown


def test_a_progress_bar_of_a_library_still_moves() -> None:
    raw = io.StringIO()
    stream = VisibleStream(raw)
    stream.write("\r 10%")
    stream.write("a\rb")
    assert raw.getvalue() == "\r 10%a\\rb"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_stream_of_any_encoding_takes_any_text(encoding: str) -> None:
    raw = io.BytesIO()
    stream = VisibleStream(io.TextIOWrapper(raw, encoding))
    print(json.dumps([HOSTILE, "猫 \U0001f600"], ensure_ascii=False), file=stream)
    stream.flush()
    written = raw.getvalue().decode(encoding)
    assert "\x1b" not in written
    assert json.loads(written) == [HOSTILE, "猫 \U0001f600"]


def test_data_for_machines_are_utf_8_whatever_the_terminal() -> None:
    raw = io.BytesIO()
    stream = for_machines(VisibleStream(io.TextIOWrapper(raw, "ascii")))  # type: ignore[arg-type]
    stream.write("猫\n")
    stream.flush()
    assert raw.getvalue().decode() == "猫\n"


def test_whatever_rich_prints_is_filtered_and_its_own_colours_are_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with safe_streams():
        screen = console()
        table = Table(HOSTILE)
        table.add_row(Text(HOSTILE, style="red"))
        for shown in (HOSTILE, Text(HOSTILE), table):
            screen.print(shown, markup=False) if isinstance(shown, str) else screen.print(shown)
        with Live(Text(HOSTILE), console=screen, auto_refresh=False):
            print(HOSTILE)
        with Progress(console=screen, auto_refresh=False) as bar:
            bar.add_task(HOSTILE.replace("[", "("))
    out = capsys.readouterr().out
    assert "\x1b[31m" in out  # red
    for piece in ("\x1b[2J", "\x1b]0;", "\x07", "\x9b", "\u202e", "\u2028"):
        assert piece not in out
