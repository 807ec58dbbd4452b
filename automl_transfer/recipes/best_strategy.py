"""The best-strategy file: a strategy, what it was found on and how well it did. Runs anywhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    model_validator,
)

from automl_transfer.domain.account import Account
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.measured import Metric
from automl_transfer.domain.names import (
    CHECKPOINT,
    MAX_LABEL,
    PLACE,
    is_local,
    public_name,
    public_source,
    public_text,
)
from automl_transfer.domain.normalisation import Constants, FixedNormalisation, NormalisationFacts, facts
from automl_transfer.domain.pixel_range import Ranged
from automl_transfer.domain.spec import (
    OnBadImage,
    RareClasses,
    Seed,
    SplitFractions,
    TableColumns,
    TaskSpec,
    names_table,
)
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.strict_json import Frozen, read_json, unsaid, validate
from automl_transfer.domain.task import Change, Excluded, SplitSizes, Task, TrainingWeights
from automl_transfer.recipes.migrations import SCHEMA_NAME, SCHEMA_VERSION, to_newest
from automl_transfer.recipes.output import write_text
from automl_transfer.recipes.scores import Cost, RecipeMetrics
from automl_transfer.recipes.shipped_as import AskedFor, Kind, ShippedAs

__all__ = [
    "SCHEMA_NAME", "SCHEMA_VERSION", "Recipe", "make_recipe", "read_recipe", "read_strategy", "write_recipe",
]  # fmt: skip


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Identity = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Name = Annotated[
    str,
    Field(min_length=1, max_length=MAX_LABEL, json_schema_extra={"not": {"pattern": PLACE}}),
]
"""A name, never a path or an address."""
Versions = Annotated[dict[str, str], AfterValidator(lambda found: dict(sorted(found.items())))]
Conditions = Annotated[dict[str, str | int | bool], AfterValidator(lambda found: dict(sorted(found.items())))]


class Reading(Frozen):
    """How the images were read, where their user said so; the fields are those of `TaskSpec`.

    Where they lie is not among them: no folder, and no table of groups.
    """

    classes_from: int | str | None = None
    split_from: int | str | None = None
    min_per_class: int | None = Field(default=None, ge=1)
    rare_classes: RareClasses = "refuse"
    columns: TableColumns = TableColumns()
    group_from: str | None = None
    on_bad_image: OnBadImage = "refuse"
    label_preserving: tuple[Change, ...] | None = Field(default=None, exclude_if=unsaid)


class Files(Frozen):
    """How many files were seen, and used; and the others by reason. No names: they may tell too much."""

    seen: int = Field(ge=0)
    used: int = Field(ge=0)
    left_out: dict[str, int] = Field(default_factory=dict)


class RecipeTask(Ranged):
    """The task the strategy was found on.

    Attributes:
        pixel_range: Which stored numbers are black and white; left out for image files of 8 bits.
        reading: What the user said about classes, splits, columns and bad images; None for nothing.
        files: What became of the dataset's files; None in files of versions that did not count.
        weights: How often training images counted; left out where that is once.
        excluded: What a list of exclusions did, and its sha256; left out without one.
        split_seed, split_fractions: How the splits were drawn; None where the dataset came with its own.
    """

    name: Name
    fingerprint: Sha256
    classes: tuple[str, ...] = Field(min_length=2)
    channels: Literal[1, 3]
    resolution: int = Field(ge=8, le=4096)
    metric: Metric
    splits: SplitSizes
    split_seed: Seed | None = None
    split_fractions: SplitFractions | None = None
    reading: Reading | None = None
    files: Files | None = None
    weights: TrainingWeights | None = Field(default=None, exclude_if=unsaid)
    excluded: Excluded | None = Field(default=None, exclude_if=unsaid)
    normalisation: NormalisationFacts


class RecipeSource(Frozen):
    """The pretrained weights. A local checkpoint is known by its base name and its sha256."""

    name: Name
    revision: str | None = None
    sha256: Sha256 | None = None
    licence: str | None = None


class RecipeTraining(Frozen):
    """How the shipped model was trained.

    Attributes:
        epochs: Horizon of the schedule; training may end before it.
        passes: Over the training images, an epoch.
        steps: An epoch, instead of whole passes.
        by_data: Whether epochs and passes were chosen by the number of training images, because nobody named
            any; None in files of versions that did not say (`Recipe.by_data`).
        best_epoch: The epoch whose weights were kept.
        refit: Whether the validation images were trained on as well.
        weights_sha256: Hash over the trained model's tensors.
        conditions: What the rounding depended on (threads, device, ...): the same ones give the same
            weights, bit for bit.
    """

    epochs: int = Field(ge=0)
    passes: int = Field(default=1, ge=1, exclude_if=lambda value: value == 1)
    steps: int | None = Field(default=None, ge=1, exclude_if=unsaid)
    by_data: bool | None = Field(default=None, exclude_if=unsaid)
    best_epoch: int | None = Field(default=None, ge=0)
    batch: int = Field(ge=1)
    seed: Seed
    refit: bool = False
    weights_sha256: Sha256 | None = None
    conditions: Conditions = Field(default_factory=dict)

    @property
    def horizon(self) -> Horizon:
        """Of the schedule."""
        return Horizon(max(1, self.epochs), self.passes, self.steps, by_data=bool(self.by_data))


class Environment(Frozen):
    """The machine's kind and the software it ran; the conditions of the training say the rest.

    Attributes:
        system: As Python's `platform.system()` says; None where it is not known.
        machine: Kind of processor.
        versions: Package names to versions, Python among them.
    """

    system: str | None = Field(default=None, max_length=100)
    machine: str | None = Field(default=None, max_length=100)
    versions: Versions


class Provenance(Frozen):
    """Where the strategy comes from.

    Attributes:
        by: `search`, or `train`: somebody chose it, and there is no study; left out for a search.
        study: The study's name when the file was written; None without a study, as what follows.
        identity: The study's own for ever, as in its store; None in files of versions before identities.
        trial, root_trial: The winner's number, and that of the trial it continued.
        asked: By what was chosen what ships; None in files of versions that did not say.
    """

    by: Literal["search", "train"] = Field(default="search", exclude_if=lambda value: value == "search")
    study: Name | None = None
    identity: Identity | None = None
    trial: int | None = Field(default=None, ge=0)
    root_trial: int | None = Field(default=None, ge=0)
    asked: AskedFor | None = Field(default=None, exclude_if=unsaid)

    @model_validator(mode="after")
    def _study_or_none(self) -> Self:
        needed = (self.study, self.trial, self.root_trial)
        if self.by == "search" and None in needed:
            raise ValueError("study, trial and root_trial must be given unless by is train, got null")
        if self.by == "train" and (*needed, self.identity) != (None,) * 4:
            raise ValueError("study, identity, trial and root_trial must be null where by is train")
        return self


class Recipe(Frozen):
    """The content of `best_strategy.json`.

    Attributes:
        strategy: The winner's: what `apply` trains, whatever ships.
        shipped_as: Where the model is not the winner as it was trained: a soup, an ensemble, with flips.
        other_sources: Of networks in an ensemble whose source is not the winner's.
    """

    schema_: Literal["automl-transfer/recipe/2"] = Field(default="automl-transfer/recipe/2", alias="schema")
    strategy: Strategy
    task: RecipeTask
    source: RecipeSource
    training: RecipeTraining
    metrics: RecipeMetrics
    cost: Cost | None = None
    environment: Environment
    provenance: Provenance
    shipped_as: ShippedAs | None = Field(default=None, exclude_if=unsaid)
    other_sources: tuple[RecipeSource, ...] = Field(default=(), exclude_if=lambda value: not value)

    @model_validator(mode="after")
    def _names_are_names(self) -> Self:
        mistakes = []
        for key, name in (
            ("strategy.source", self.strategy.source),
            ("strategy.rest_init", self.strategy.rest_init),
            ("source.name", self.source.name),
            ("task.name", self.task.name),
            ("provenance.study", self.provenance.study),
            *(("other_sources.name", each.name) for each in self.other_sources),
            *(
                ("shipped_as.parts.strategy.source", each.strategy.source)
                for each in (self.shipped_as.parts if self.shipped_as else ())
            ),
        ):
            if name is not None and is_local(name):
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

    @property
    def kind(self) -> Kind:
        """What the model is."""
        return "winner" if self.shipped_as is None else self.shipped_as.kind

    @property
    def by_data(self) -> bool:
        """Whether the length of the training was chosen by the number of images, because nobody named one.

        A file that does not say is taken so where it states what only that rule gives, several passes an
        epoch, or what the rule gives for its data.
        """
        training = self.training
        if training.by_data is not None:
            return training.by_data
        return training.passes > 1 or training.horizon == Horizon.of(self.task.splits.train)

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
    cost: Cost | None,
    environment: Environment,
    study: str | None = None,
    trial: int | None = None,
    root_trial: int | None = None,
    identity: str | None = None,
    asked: AskedFor | None = None,
    shipped_as: ShippedAs | None = None,
    other_sources: Sequence[RecipeSource] = (),
) -> Recipe:
    """Put a recipe together and leave everything local out of it.

    Paths are cut to base names and addresses are dropped, in names as in licence texts. `spec` states
    how the split was drawn (None where the dataset came with its own); `normalisation` is what
    `domain.normalisation.constants` gave. Without a study, somebody chose the strategy by hand.
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
            reading=_reading(spec) if spec else None,
            files=_files(task.account) if task.account else None,
            weights=task.weights,
            excluded=task.excluded,
            normalisation=facts(normalisation),
            pixel_range=task.pixel_range,
            fit=task.fit,
        ),
        source=_public(source.model_copy(update={"name": strategy.source})),
        training=training,
        metrics=metrics,
        cost=cost,
        environment=environment.model_copy(
            update={"versions": {name: public_text(text) for name, text in environment.versions.items()}}
        ),
        provenance=Provenance(
            by="train" if study is None else "search",
            study=None if study is None else public_name(study),
            identity=identity,
            trial=trial,
            root_trial=root_trial,
            asked=asked,
        ),
        shipped_as=shipped_as,
        other_sources=tuple(_public(each) for each in other_sources),
    )


def _public(source: RecipeSource) -> RecipeSource:
    """Without what is local."""
    told = {
        "name": public_source(source.name),
        "revision": source.revision and public_text(source.revision),
        "licence": source.licence and public_text(source.licence),
    }
    return source.model_copy(update=told)


def _reading(spec: TaskSpec) -> Reading | None:
    said = {name: getattr(spec, name) for name in Reading.model_fields}
    if spec.group_from is not None and names_table(spec.group_from):
        said["group_from"] = None
    found = Reading.model_validate(said)
    return None if found == Reading() else found


def _files(account: Account) -> Files:
    left_out = {each.reason: each.files for each in account.left_out}
    return Files(seen=account.seen, used=account.used, left_out=left_out)


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write the file whole, or raise OutputError and leave what was there."""
    write_text(path, recipe.to_json())


def read_recipe(path: str | Path) -> Recipe:
    """Read and check a best-strategy file; files of earlier versions are brought up to this one.

    Raises:
        ConfigurationError: It is no recipe of a version known here; every mistake is named with its key.
    """
    return _recipe(read_json(Path(path)), path)


def read_strategy(path: str | Path) -> Strategy:
    """The strategy of a best-strategy file, or of a JSON file that holds nothing but a strategy's fields.

    Raises:
        ConfigurationError: It is neither; every mistake is named with its key.
    """
    value = read_json(Path(path))
    return _recipe(value, path).strategy if "schema" in value else validate(Strategy, value, str(path))


def _recipe(value: dict[str, Any], path: str | Path) -> Recipe:
    return validate(Recipe, to_newest(value, str(path)), str(path))
