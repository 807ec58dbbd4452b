"""What the shipped winner gets wrong: confusion, calibration, and its worst images."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from automl_transfer.domain.strict_json import Frozen, unsaid
from automl_transfer.reporting.membership import Membership


class CalibrationBin(Frozen):
    """Images whose highest probability lies in [low, high): how sure the model was, how often right."""

    low: float
    high: float
    images: int
    confidence: float
    correct: int


class WrongImage(Frozen):
    """An image that was taken for another class.

    Attributes:
        probability: What the model gave its own answer; `of_truth`: what it gave the right one.
        thumbnail: PNG as base64.
    """

    file: str
    truth: str
    answer: str
    probability: float
    of_truth: float
    thumbnail: str


class WinnerErrors(Frozen):
    """The content of `errors.json`, written when a winner ships.

    Attributes:
        identity: Of the study; None in files of versions before identities.
        split: Which images these are about: validation, which the search has seen, by the winner before it is
            refitted. Test in files of earlier versions about refitted winners.
        confusion: (truth, answer, images) wherever there are images, as positions in `classes`: with many
            classes nearly all pairs have none.
        worst: The wrong answers, the surest first.
        membership: What its losses say about which images it was trained on; None in earlier files.
        test_accuracy, test_interval, test_images: Of the winner's single look at the test split.
        shipped_as: What all of this is about, where that is not the winner alone: "ensemble of 2".
    """

    schema_: Literal["automl-transfer/errors/2"] = Field(default="automl-transfer/errors/2", alias="schema")
    study: str
    identity: str | None = None
    root_trial: int
    split: Literal["validation", "test"]
    images: int
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, int, int], ...]
    calibration: tuple[CalibrationBin, ...]
    expected_calibration_error: float
    wrong: int
    worst: tuple[WrongImage, ...]
    membership: Membership | None = Field(default=None, exclude_if=unsaid)
    test_accuracy: float | None = None
    test_interval: tuple[float, float] | None = None
    test_images: int = 0
    shipped_as: str = Field(default="", max_length=100, exclude_if=lambda value: not value)

    @property
    def who(self) -> str:
        """Whom all of this is about, in words."""
        return f"the {self.shipped_as or 'winner'}"

    @model_validator(mode="before")
    @classmethod
    def _from_1(cls, value: Any) -> Any:
        """The first version had the whole table: rows are the truth, columns the answer."""
        if not isinstance(value, dict) or value.get("schema") != "automl-transfer/errors/1":
            return value
        table = value.get("confusion")
        if not isinstance(table, list) or not all(isinstance(row, list) for row in table):
            return value
        cells = [(t, a, n) for t, row in enumerate(table) for a, n in enumerate(row) if n]
        return {**value, "schema": "automl-transfer/errors/2", "confusion": cells}

    @model_validator(mode="after")
    def _of_its_classes(self) -> Self:
        if any(not 0 <= at < len(self.classes) for pair in self.confusion for at in pair[:2]):
            raise ValueError(f"confusion must be of the {len(self.classes)} classes, got another position")
        return self

    def to_json(self) -> str:
        """The file's text."""
        return self.model_dump_json(by_alias=True, indent=1) + "\n"
