"""Where everything that a command prints passes: the two streams of the process, and rich's console."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from automl_transfer.printable import VisibleStream

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


def make_console(*, stderr: bool = False) -> Console:
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
