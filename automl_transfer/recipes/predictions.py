"""One prediction a file, and its ways out: CSV and JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says about one image.

    Attributes:
        file: As it was named by the caller; the position for images given as an array.
        label: The most probable class; None where the image could not be read.
        probability: Of that class, in [0, 1].
        top: The most probable classes with their probabilities, best first.
        error: Why there is no prediction.
    """

    file: str
    label: str | None
    probability: float | None
    top: tuple[tuple[str, float], ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Written:
    """How many rows were written, and how many of them are errors."""

    rows: int
    errors: int


def write_csv(predictions: Iterable[Prediction], stream: TextIO, top: int = 1) -> Written:
    """Write rows as they come: file, label, probability, label_2, probability_2, ..., error."""
    writer = csv.writer(stream, lineterminator="\n")
    more = [name for place in range(2, top + 1) for name in (f"label_{place}", f"probability_{place}")]
    writer.writerow(["file", "label", "probability", *more, "error"])
    rows = errors = 0
    for each in predictions:
        pairs = [value for label, p in each.top[1:top] for value in (_utf8(label), f"{p:.6f}")]
        pairs += [""] * (len(more) - len(pairs))
        probability = "" if each.probability is None else f"{each.probability:.6f}"
        writer.writerow(
            [_utf8(each.file), _utf8(each.label or ""), probability, *pairs, _utf8(each.error or "")]
        )
        rows += 1
        errors += each.error is not None
    return Written(rows, errors)


def write_json_lines(predictions: Iterable[Prediction], stream: TextIO) -> Written:
    """Write one object a line: file, label, probability, top, and error where there is one."""
    rows = errors = 0
    for each in predictions:
        if each.error is None:
            value = {
                "file": each.file,
                "label": each.label,
                "probability": each.probability,
                "top": [{"label": label, "probability": p} for label, p in each.top],
            }
        else:
            value = {"file": each.file, "error": each.error}
        stream.write(_utf8(json.dumps(value, ensure_ascii=False)) + "\n")
        rows += 1
        errors += each.error is not None
    return Written(rows, errors)


def _utf8(text: str) -> str:
    """File names that are not valid UTF-8 get a visible escape in the place of each wrong byte."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
