"""The best-strategy file: a strategy, what it was found on and how well it did. Runs anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from automl_transfer.domain.spec import SplitFractions, TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import Metric, SplitSizes, Task
from automl_transfer.errors import ConfigurationError
from automl_transfer.recipes.normalisation import Constants, FixedNormalisation, NormalisationFacts, facts
from automl_transfer.recipes.nothing_local import (
    CHECKPOINT,
    is_local,
    public_name,
    public_source,
    public_text,
)
from automl_transfer.recipes.output import write_text
from automl_transfer.recipes.strict_json import read_json, validate

SCHEMA_NAME = "automl-transfer/recipe/"
SCHEMA_VERSION = 1

_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1, max_length=500)]


class RecipeTask(BaseModel):
    """The task the strategy was found on.

    Attributes:
        split_seed, split_fractions: How the splits were drawn; None where the dataset came with its own.
    """

    model_config = _FROZEN

    name: Name
    fingerprint: Sha256
    classes: tuple[str, ...] = Field(min_length=2)
    channels: Literal[1, 3]
    resolution: int = Field(ge=8, le=4096)
    metric: Metric
    splits: SplitSizes
    split_seed: int | None = Field(default=None, ge=0)
    split_fractions: SplitFractions | None = None
    normalisation: NormalisationFacts


class RecipeSource(BaseModel):
    """The pretrained weights. A local checkpoint is known by its base name and its sha256."""

    model_config = _FROZEN

    name: Name
    revision: str | None = None
    sha256: Sha256 | None = None
    licence: str | None = None


class RecipeTraining(BaseModel):
    """How the shipped model was trained.

    Attributes:
        epochs: Horizon of the schedule; training may end before it.
        best_epoch: The epoch whose weights were kept.
        refit: Whether the validation images were trained on as well.
        weights_sha256: Hash over the trained model's tensors.
        conditions: What the rounding depended on (threads, device, ...): the same ones give the same
            weights, bit for bit.
    """

    model_config = _FROZEN

    epochs: int = Field(ge=0)
    best_epoch: int | None = Field(default=None, ge=0)
    batch: int = Field(ge=1)
    seed: int = Field(ge=0)
    refit: bool = False
    weights_sha256: Sha256 | None = None
    conditions: dict[str, str | int | bool] = Field(default_factory=dict)


class Score(BaseModel):
    """A model on one split; `interval` is the 95% Clopper-Pearson interval of the accuracy, `nll` in nats."""

    model_config = _FROZEN

    accuracy: Share
    balanced_accuracy: Share | None = None
    macro_f1: Share | None = None
    nll: float | None = Field(default=None, ge=0.0)
    interval: tuple[Share, Share]
    n: int = Field(ge=1)


class RecipeMetrics(BaseModel):
    """Scores; the test split is evaluated once, for this strategy only, and may not exist."""

    model_config = _FROZEN

    validation: Score
    test: Score | None


class Provenance(BaseModel):
    """Where the strategy comes from. `versions` maps package names to versions."""

    model_config = _FROZEN

    study: Name
    trial: int = Field(ge=0)
    root_trial: int = Field(ge=0)
    versions: dict[str, str]

    @field_validator("versions")
    @classmethod
    def _sorted(cls, versions: dict[str, str]) -> dict[str, str]:
        return dict(sorted(versions.items()))


class Recipe(BaseModel):
    """The content of `best_strategy.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    schema_: Literal["automl-transfer/recipe/1"] = Field(default="automl-transfer/recipe/1", alias="schema")
    strategy: Strategy
    task: RecipeTask
    source: RecipeSource
    training: RecipeTraining
    metrics: RecipeMetrics
    provenance: Provenance

    @model_validator(mode="after")
    def _names_are_names(self) -> Self:
        mistakes = []
        for key, name in (
            ("strategy.source", self.strategy.source),
            ("source.name", self.source.name),
            ("task.name", self.task.name),
            ("provenance.study", self.provenance.study),
        ):
            if is_local(name):
                mistakes.append(f"{key} must be a name, not a path or an address, got {name[:80]!r}")
        if self.source.name != self.strategy.source:
            mistakes.append(
                f"source.name must equal strategy.source ({self.strategy.source[:80]!r}), "
                f"got {self.source.name[:80]!r}"
            )
        if self.source.name.startswith(CHECKPOINT) and self.source.sha256 is None:
            mistakes.append("source.sha256 must be given for a checkpoint, which is known by it, got null")
        if isinstance(self.task.normalisation, FixedNormalisation):
            lengths = {len(self.task.normalisation.mean), len(self.task.normalisation.std)}
            if lengths != {self.task.channels}:
                mistakes.append(
                    f"task.normalisation must have one mean and std per channel ({self.task.channels})"
                )
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return self

    def to_json(self) -> str:
        """The file's text: keys in a fixed order, equal recipes give equal bytes."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False) + "\n"


def make_recipe(
    *,
    strategy: Strategy,
    task: Task,
    spec: TaskSpec | None,
    normalisation: Constants | None,
    source: RecipeSource,
    training: RecipeTraining,
    metrics: RecipeMetrics,
    study: str,
    trial: int,
    root_trial: int,
    versions: Mapping[str, str],
) -> Recipe:
    """Put a recipe together and leave everything local out of it.

    Paths are cut to base names and addresses are dropped, in names as in licence texts. `spec` states
    how the split was drawn (None where the dataset came with its own); `normalisation` is what
    `data.normalise.constants` gave.
    """
    name = public_source(strategy.source)
    return Recipe(
        strategy=strategy.canonical().model_copy(update={"source": name}),
        task=RecipeTask(
            name=public_name(task.name),
            fingerprint=task.fingerprint,
            classes=task.classes,
            channels=task.channels,
            resolution=task.resolution,
            metric=task.metric,
            splits=task.splits,
            split_seed=spec.seed if spec else None,
            split_fractions=spec.splits if spec else None,
            normalisation=facts(normalisation),
        ),
        source=source.model_copy(
            update={
                "name": name,
                "revision": source.revision and public_text(source.revision),
                "licence": source.licence and public_text(source.licence),
            }
        ),
        training=training,
        metrics=metrics,
        provenance=Provenance(
            study=public_name(study),
            trial=trial,
            root_trial=root_trial,
            versions={package: public_text(version) for package, version in versions.items()},
        ),
    )


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write the file whole, or raise OutputError and leave what was there."""
    write_text(path, recipe.to_json())


def read_recipe(path: Path) -> Recipe:
    """Read and check a best-strategy file.

    Raises:
        ConfigurationError: It is no recipe of a version known here; every mistake is named with its key.
    """
    value = read_json(path)
    _check_schema(value.get("schema"), str(path))
    return validate(Recipe, value, str(path))


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema of the file (draft 2020-12)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Recipe.model_json_schema(by_alias=True),
    }


def _check_schema(schema: object, where: str) -> None:
    name, _, version = str(schema).rpartition("/")
    if not isinstance(schema, str) or f"{name}/" != SCHEMA_NAME or not version.isdecimal():
        raise ConfigurationError(
            f"schema must be {SCHEMA_NAME}{SCHEMA_VERSION}, got {str(schema)[:80]!r}: "
            "this is no best-strategy file",
            where,
        )
    if int(version) > SCHEMA_VERSION:
        raise ConfigurationError(
            f"schema must be at most {SCHEMA_NAME}{SCHEMA_VERSION}, got {schema[:80]}: "
            "a newer automl-transfer wrote it, so upgrade this one",
            where,
        )
