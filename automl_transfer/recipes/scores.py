"""Scores and costs as the best-strategy file states them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from automl_transfer.domain.measured import Shares
from automl_transfer.domain.spec import Seed
from automl_transfer.domain.strict_json import Frozen

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Score(Shares):
    """A model on one split; `interval` is the 95% interval of the accuracy, by groups if any, `nll` in nats.

    `other` is the task's metric where it is none of the other scores.
    """

    accuracy: Share
    balanced_accuracy: Share | None = None
    macro_f1: Share | None = None
    other: Share | None = None
    nll: float | None = Field(default=None, ge=0.0)
    interval: tuple[Share, Share]
    n: int = Field(ge=1)


class SeedScore(Frozen):
    """Accuracies of one training. `split_seed` is None where the dataset came with its own splits."""

    seed: Seed
    split_seed: Seed | None = None
    validation: Share
    test: Share | None


class OverSeeds(Frozen):
    """What the strategy does on average over seeds, which says more than the one model that is shipped.

    Attributes:
        accuracy: Mean over the runs: on the test split, or on validation where there is no test split.
        interval: 95%, over images as over seeds.
    """

    runs: tuple[SeedScore, ...] = Field(min_length=2)
    accuracy: Share
    interval: tuple[Share, Share]


class Confirmed(Frozen):
    """The strategy trained again with fresh seeds, each on a fresh split of training + validation images.

    Attributes:
        accuracy: Mean over `runs` trainings, which were judged on `images` different images.
        interval: 95%, over images as over seeds.
    """

    accuracy: Share
    interval: tuple[Share, Share]
    runs: int = Field(ge=1)
    images: int = Field(ge=1)


class RecipeMetrics(Frozen):
    """Scores of the shipped model on its validation and test images, and of the strategy beyond it.

    The test split is evaluated when a winner ships, and may not exist; `ranking.json` says how often it was.

    Attributes:
        confirmation: What the search's confirmation found; None where there was none.
        seeds: Of `apply` with several seeds.
    """

    validation: Score
    test: Score | None
    confirmation: Confirmed | None = None
    seeds: OverSeeds | None = None


class Cost(Frozen):
    """What the model costs, measured on the machine that trained it.

    Attributes:
        train_seconds: Of the shipped training, validation included.
        predict_ms_per_image: From stored pixels to logits, in batches of 32.
        parameters: Weights of the model; `trained_parameters` of them moved.
    """

    train_seconds: float = Field(ge=0.0)
    predict_ms_per_image: float = Field(ge=0.0)
    parameters: int = Field(ge=0)
    trained_parameters: int = Field(ge=0)
