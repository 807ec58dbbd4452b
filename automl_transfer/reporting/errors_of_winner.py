"""What the shipped winner gets wrong: confusion, calibration, and its worst images."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CalibrationBin(BaseModel):
    """Images whose highest probability lies in [low, high): how sure the model was, how often right."""

    model_config = _FROZEN

    low: float
    high: float
    images: int
    confidence: float
    correct: int


class WrongImage(BaseModel):
    """An image that was taken for another class.

    Attributes:
        probability: What the model gave its own answer; `of_truth`: what it gave the right one.
        thumbnail: PNG as base64.
    """

    model_config = _FROZEN

    file: str
    truth: str
    answer: str
    probability: float
    of_truth: float
    thumbnail: str


class WinnerErrors(BaseModel):
    """The content of `errors.json`, written when a winner ships.

    Attributes:
        identity: Of the study; None in files of versions before identities.
        split: Which images these are about. Validation, which the search has seen, unless the model was
            refitted on them: then the single evaluation of the test split.
        confusion: Rows are the truth, columns the answer, in the order of `classes`.
        worst: The wrong answers, the surest first.
        test_accuracy, test_interval, test_images: Of the winner's single look at the test split.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    schema_: Literal["automl-transfer/errors/1"] = Field(default="automl-transfer/errors/1", alias="schema")
    study: str
    identity: str | None = None
    root_trial: int
    split: Literal["validation", "test"]
    images: int
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration: tuple[CalibrationBin, ...]
    expected_calibration_error: float
    wrong: int
    worst: tuple[WrongImage, ...]
    test_accuracy: float | None = None
    test_interval: tuple[float, float] | None = None
    test_images: int = 0

    def to_json(self) -> str:
        """The file's text."""
        return self.model_dump_json(by_alias=True, indent=1) + "\n"
