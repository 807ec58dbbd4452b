"""Where everything that a command prints passes: the two streams of the process, and rich's console."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from automl_transfer.printable import VisibleStream, for_machines

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def safe_streams() -> Iterator[None]:
    """Within the block nothing printed steers the terminal, and nothing fails for its encoding."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = VisibleStream(sys.stdout), VisibleStream(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def console(*, stderr: bool = False) -> Console:
    """A console for people: its own colours and movements reach the terminal, those in a text do not."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    from automl_transfer.printable import visible_lines

    class SafeConsole(Console):
        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                if segment.control or segment.text.isprintable():
                    yield segment
                else:
                    yield Segment(visible_lines(segment.text), segment.style)

    stream = sys.stderr if stderr else sys.stdout
    file = stream.raw if isinstance(stream, VisibleStream) else None
    return SafeConsole(file=file, stderr=stderr, highlight=False)


def watched(screen: Console) -> bool:
    """Whether a person looks at a console; what redraws itself fills a file, whatever FORCE_COLOR says."""
    return screen.is_terminal and screen.file.isatty()


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print_data(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def print_data(text: str) -> None:
    """Print lines for machines: in UTF-8, unless they go to a terminal of another encoding."""
    for_machines(sys.stdout)
    typer.echo(text, nl=False)
