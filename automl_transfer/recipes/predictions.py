"""One prediction a file, and its ways out: CSV and JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from automl_transfer.printable import spreadsheet, visible


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says about one image.

    Attributes:
        file: As it was named by the caller; the position for images given as an array.
        label: The most probable class; None where the image could not be read, or where the model is less
            sure than the threshold asks for.
        probability: Of the most probable class, in [0, 1].
        top: The most probable classes with their probabilities, best first.
        error: Why there is no prediction.
    """

    file: str
    label: str | None
    probability: float | None
    top: tuple[tuple[str, float], ...] = ()
    error: str | None = None

    @property
    def best(self) -> str | None:
        """The most probable class, however sure the model is; None where the image could not be read."""
        return self.top[0][0] if self.top else self.label


@dataclass(frozen=True)
class Written:
    """How many rows were written, and how many of them are errors, or have no label for want of certainty."""

    rows: int
    errors: int
    unsure: int = 0


def none_word(classes: Sequence[str]) -> str:
    """What stands in the place of a label that is not sure enough: never the name of a class.

    >>> none_word(["cat", "dog"]), none_word(["none", "some"])
    ('none', 'none of these')
    """
    taken = {name.casefold() for name in classes}
    word = "none"
    while word.casefold() in taken:
        word = "none of these" if word == "none" else f"({word})"
    return word


def write_csv(
    predictions: Iterable[Prediction], stream: TextIO, top: int = 1, none: str | None = None
) -> Written:
    """Write rows as they come: file, label, probability, label_2, probability_2, ..., error.

    With `none`, the word for a label that is not sure enough, there is one column more, `best`: the most
    probable class, however sure.
    """
    writer = csv.writer(stream, lineterminator="\n")
    best = [] if none is None else ["best"]
    more = [name for place in range(2, top + 1) for name in (f"label_{place}", f"probability_{place}")]
    writer.writerow(["file", "label", *best, "probability", *more, "error"])
    rows = errors = unsure = 0
    for each in predictions:
        pairs = [value for label, p in each.top[1:top] for value in (spreadsheet(label), f"{p:.6f}")]
        pairs += [""] * (len(more) - len(pairs))
        failed = each.error is not None
        label = none if each.label is None and not failed else each.label
        probability = "" if each.probability is None else f"{each.probability:.6f}"
        writer.writerow(
            [
                spreadsheet(each.file),
                spreadsheet(label or ""),
                *([spreadsheet(each.best or "")] if best else []),
                probability,
                *pairs,
                spreadsheet(each.error or ""),
            ]
        )
        rows += 1
        errors += failed
        unsure += each.label is None and not failed
    return Written(rows, errors, unsure)


def write_json_lines(predictions: Iterable[Prediction], stream: TextIO) -> Written:
    """Write one object a line: file, label, probability, top, and error where there is one.

    A label that is not sure enough is null; `best` beside it is the most probable class.
    """
    rows = errors = unsure = 0
    for each in predictions:
        if each.error is not None:
            value: dict[str, Any] = {"file": each.file, "error": each.error}
        else:
            value = {
                "file": each.file,
                "label": each.label,
                **({"best": each.best} if each.label is None else {}),
                "probability": each.probability,
                "top": [{"label": label, "probability": p} for label, p in each.top],
            }
        # JSON's own escapes: the values are those of the prediction.
        stream.write(visible(json.dumps(value, ensure_ascii=False)) + "\n")
        rows += 1
        errors += each.error is not None
        unsure += each.error is None and each.label is None
    return Written(rows, errors, unsure)


def write_summary(stream: TextIO, written: Written, left_out: Mapping[str, int]) -> None:
    """The last of JSON lines where folders held files that are no images: how many of each kind."""
    counts = {"rows": written.rows, "errors": written.errors, "left_out": dict(sorted(left_out.items()))}
    stream.write(visible(json.dumps({"summary": counts}, ensure_ascii=False)) + "\n")
