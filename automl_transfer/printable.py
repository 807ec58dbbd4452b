"""Names made safe to print: what would steer a terminal becomes an escape that can be seen.

A file, a class or a study may have any name, and so a name may hold a terminal's commands, line breaks
or marks that turn the direction of text. The escapes are JSON's own: JSON in which they replace
characters still says the same.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from typing import TextIO

ERRORS = "automl_transfer.visible"
"""Name of the error handler of encodings: what an encoding lacks becomes the same kind of escape."""

_STEERING = (
    "\x00-\x1f\x7f-\x9f"  # control characters: escape sequences, line breaks
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of text
    "\u2028\u2029"  # line breaks by another name
    "\ud800-\udfff"  # halves of surrogate pairs: bytes of file names that are not UTF-8
)
UNSAFE = re.compile(f"[{_STEERING}]")
_IN_LINES = re.compile(f"(?!\r?\n|\t)[{_STEERING}]")


def visible(text: str) -> str:
    r"""One line of text in which nothing steers a terminal; line breaks and tabs are escaped, too.

    >>> print(visible("\x1b[2Jcat\n"))
    \u001b[2Jcat\n
    """
    return UNSAFE.sub(_escape, text)


def visible_lines(text: str) -> str:
    """Like `visible`, for text of several lines: line breaks and tabs stay."""
    return _IN_LINES.sub(_escape, text)


def cell(text: str) -> str:
    """A text as a cell of a CSV file, which no spreadsheet takes for a formula. Numbers stay numbers.

    No two texts become one cell: whoever reads it again finds the name whose cell it is.

    >>> cell("=1+1"), cell("'=1+1"), cell("-1.5")
    ("'=1+1", "''=1+1", '-1.5')
    """
    formula = text.lstrip("'")[:1] in ("=", "+", "-", "@", "\t", "\r") and not _is_number(text)
    return f"'{text}" if formula else text


def spreadsheet(text: str) -> str:
    """A name as a cell of a CSV file that is only looked at: `cell`, and `visible`."""
    return visible(cell(text))


class VisibleStream(io.TextIOBase):
    """A text stream in which nothing that is written steers the terminal: see `visible_lines`.

    What the encoding lacks is written as an escape.

    Attributes:
        raw: The stream itself, for a writer that makes its own control sequences.
    """

    def __init__(self, raw: TextIO) -> None:
        self.raw = raw
        if isinstance(raw, io.TextIOWrapper):
            raw.reconfigure(errors=ERRORS)

    def write(self, text: str, /) -> int:
        """Write all of the text; gives its length.

        It may begin with a carriage return: so do the progress bars of libraries that download.
        """
        begin = "\r" if text.startswith("\r") else ""
        self.raw.write(begin + visible_lines(text[len(begin) :]))
        return len(text)

    def flush(self) -> None:
        """Hand on what is kept."""
        self.raw.flush()

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return self.raw.isatty()

    def fileno(self) -> int:
        """The descriptor of the stream itself."""
        return self.raw.fileno()

    def writable(self) -> bool:
        """True."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream itself."""
        return self.raw.encoding


def for_machines(stream: TextIO) -> TextIO:
    """The same stream, in UTF-8 where no person reads it: CSV and JSON are data, not a terminal's text."""
    raw = stream.raw if isinstance(stream, VisibleStream) else stream
    if isinstance(raw, io.TextIOWrapper) and not raw.isatty():
        raw.reconfigure(encoding="utf-8", errors=ERRORS)
    return stream


def _escape(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _not_encodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(ERRORS, _not_encodable)
