"""What an evaluation of a model on labelled images says: the content of `evaluate --json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from automl_transfer.domain.strict_json import Frozen, unsaid
from automl_transfer.domain.task import Split
from automl_transfer.reporting.errors_of_winner import CalibrationBin, WrongImage

Interval = tuple[float, float]


class ClassScore(Frozen):
    """One class of the model: how often it is right about it.

    Attributes:
        images: Judged images of this class.
        answers: Judged images that were taken for it.
        precision, recall, f1: None where they are 0 / 0: no answers, no images, neither.
        recall_interval: Exact 95% interval (Clopper and Pearson).
        auroc: Of this class against all others; None where there is only one kind of image.
    """

    name: str
    images: int
    answers: int
    precision: float | None
    recall: float | None
    f1: float | None
    recall_interval: Interval | None
    auroc: float | None


class ConfusionCell(Frozen):
    """How many images of `truth` were answered with `answer`: positions in `classes`."""

    truth: int
    answer: int
    images: int


class AtThreshold(Frozen):
    """What `predict --threshold` would do.

    Attributes:
        images: Judged images that keep their label; `coverage` is their share.
        accuracy, interval: Of these; None where there are none.
        of_other_classes: Images of classes that the model does not know and that would get a label all the
            same.
    """

    threshold: float
    images: int
    coverage: float
    accuracy: float | None
    interval: Interval | None
    of_other_classes: int


class NotJudged(Frozen):
    """Images of the dataset that could not be judged.

    Attributes:
        unreadable: Images that cannot be read, or lie in no class; `examples` names some with their reason.
        other_classes: Images of classes that the model does not know, by class.
        not_finite: Images for which the model's output is not a number.
    """

    unreadable: int = 0
    examples: tuple[tuple[str, str], ...] = ()
    other_classes: dict[str, int] = Field(default_factory=dict)
    not_finite: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.unreadable + sum(self.other_classes.values()) + self.not_finite


class UnderAttack(Frozen):
    """How often the model is right where each image was changed against it.

    Attributes:
        attack: In words: `PGD-10 8/255`.
        accuracy, interval: Of the judged images; an image counts where no step of the attack made it wrong.
    """

    attack: str
    kind: Literal["fgsm", "pgd"]
    eps: float
    steps: int
    accuracy: float
    interval: Interval


class Evaluation(Frozen):
    """A model's scores on labelled images.

    Attributes:
        model, dataset: Their names; never a whole path.
        split: Which images of the dataset; None for all.
        images: How many were judged.
        classes: Of the model, in its order.
        missing: Classes of the model without a judged image.
        interval: Exact 95% interval of the accuracy, for images that are drawn independently.
        balanced_accuracy: Mean recall of the classes that occur.
        macro_f1: Mean over the classes that occur among images or answers.
        nll: Mean negative log likelihood in nats.
        auroc: One class against the others, mean over the classes that occur; of two classes, the second.
        calibration: Bins of the model's probability of its answer; empty ones are left out.
        expected_calibration_error: Mean distance of confidence and accuracy over them, weighted by images.
        temperature: What logits were divided by; None for a model that is not calibrated.
        uncalibrated_nll, uncalibrated_error: The same two at temperature 1.
        confusion: Cells that are not zero.
        worst: The wrong answers, the surest first.
        attacked: None where no attack was asked for.
        notes: What a reader has to know before believing the numbers.
    """

    schema_: Literal["automl-transfer/evaluation/1"] = Field(
        default="automl-transfer/evaluation/1", alias="schema"
    )
    model: str
    weights_sha256: str
    dataset: str
    split: Split | None
    images: int
    not_judged: NotJudged
    classes: tuple[str, ...]
    missing: tuple[str, ...]
    accuracy: float
    interval: Interval
    balanced_accuracy: float
    macro_f1: float
    nll: float
    auroc: float | None
    calibration: tuple[CalibrationBin, ...]
    expected_calibration_error: float
    temperature: float | None
    uncalibrated_nll: float
    uncalibrated_error: float
    thresholds: tuple[AtThreshold, ...]
    by_class: tuple[ClassScore, ...]
    confusion: tuple[ConfusionCell, ...]
    wrong: int
    worst: tuple[WrongImage, ...]
    attacked: UnderAttack | None = Field(default=None, exclude_if=unsaid)
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The file's text."""
        return self.model_dump_json(by_alias=True, indent=1) + "\n"
