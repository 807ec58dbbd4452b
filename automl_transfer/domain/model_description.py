"""`model.json`: what the weights beside it are, enough to build the network and feed it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from automl_transfer.domain.names import MAX_CLASSES, check_different
from automl_transfer.domain.normalisation import FixedNormalisation, NormalisationFacts
from automl_transfer.domain.pixel_range import Ranged
from automl_transfer.domain.strict_json import Frozen, read_json, validate
from automl_transfer.domain.task import LARGEST_SIDE
from automl_transfer.errors import ConfigurationError, SourceError
from automl_transfer.files import kind_at

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
CARD = "README.md"
FILES = frozenset({WEIGHTS, DESCRIPTION, CARD})

SCHEMA = "automl-transfer/model/1"
SCHEMA_TOGETHER = "automl-transfer/model/2"
"""Of models that earlier versions cannot run rightly: with flips, adapters, or of several networks."""
MOST_MEMBERS = 16
Temperature = Annotated[float, Field(ge=1e-4, le=1e6)]


class Calibration(Frozen):
    """How probabilities are made of logits: softmax(logits / temperature).

    Attributes:
        images: Validation images that the temperature was fitted on; the model was not trained on them.
        nll_before, nll_after: Mean NLL of these images in nats, at temperature 1 and at this one. None, as
            is their number, where the model comes from a packaged file: that tells nothing of its making.
    """

    method: Literal["temperature"] = "temperature"
    temperature: Temperature
    split: Literal["validation"] = "validation"
    images: int | None = Field(default=None, ge=1)
    nll_before: float | None = None
    nll_after: float | None = None


def check_side(resolution: int, scale: float) -> None:
    """Refuse a description whose network would be given images of enormous size.

    Raises:
        ValueError: It would.
    """
    if resolution * scale > LARGEST_SIDE:
        raise ValueError(
            f"resolution x resolution_scale must be <= {LARGEST_SIDE} pixels, got {resolution} x {scale:g}"
        )


AdapterWidth = Annotated[int, Field(ge=0, le=1024, exclude_if=lambda width: width == 0)]


def check_members(members: Sequence[Member], resolution: int, channels: int) -> None:
    """Refuse an ensemble that cannot be.

    Raises:
        ValueError: Its shares are not of a whole, or a member does not take these images.
    """
    if not members:
        return
    if len(members) < 2 or abs(sum(each.share for each in members) - 1.0) > 1e-6:
        raise ValueError("members must be at least two whose shares are 1 together")
    for each in members:
        check_side(resolution, each.resolution_scale)
        stated = each.normalisation
        if isinstance(stated, FixedNormalisation) and {len(stated.mean), len(stated.std)} != {channels}:
            raise ValueError(f"each member's normalisation must have {channels} means and stds")


class Network(Frozen):
    """How one network is built.

    Attributes:
        architecture: As `models.registry.build_architecture` takes it.
        groups_kept: Leading layer groups of that architecture that the model has.
        pool: Height and width of the grid in front of the head.
        taps: Number of topmost group outputs that the head reads.
        resolution_scale: Images are resized by this factor in front of the first group.
        adapter: Width of the bottleneck behind each branch of its residual blocks; 0 where there is none.
    """

    architecture: str = Field(min_length=1, max_length=300)
    groups_kept: int = Field(ge=1, le=10_000)
    pool: Literal[1, 2, 4]
    taps: int = Field(default=1, ge=1, le=8)
    resolution_scale: float = Field(default=1.0, gt=0.0, le=8.0)
    adapter: AdapterWidth = 0


class Member(Network):
    """One network of an ensemble.

    Attributes:
        normalisation: Of its own input.
        share: Of its probabilities in the mean; all shares together are 1.
        temperature: Its logits are divided by it before they become probabilities.
    """

    normalisation: NormalisationFacts
    share: float = Field(gt=0.0, le=1.0)
    temperature: Temperature = 1.0


Members = Annotated[tuple[Member, ...], Field(max_length=MOST_MEMBERS, exclude_if=lambda found: not found)]
Flips = Annotated[bool, Field(exclude_if=lambda value: not value)]


class ModelDescription(Ranged):
    """The content of `model.json`.

    Attributes:
        architecture, groups_kept, pool, taps, resolution_scale, adapter: As of a `Network`; of an ensemble's
            first.
        flips: Each network's logits are the mean of those of an image and of its mirror image.
        members: Of an ensemble, whose logits are the logarithm of the members' mean probabilities; empty for
            one network.
        pixel_range: Which stored numbers are black and white; left out for image files of 8 bits.
        weights_sha256: Of the file `model.safetensors`.
        identity: Of the study that the model comes from; None where it is not known.
        calibration: None where there is none, as in models of earlier versions. A model that was trained on
            its validation images, too, has that of the model before.
    """

    schema_: Literal["automl-transfer/model/1", "automl-transfer/model/2"] = Field(
        default="automl-transfer/model/1", alias="schema"
    )
    architecture: str = Field(min_length=1, max_length=300)
    groups_kept: int = Field(ge=1, le=10_000)
    pool: Literal[1, 2, 4]
    taps: int = Field(default=1, ge=1, le=8)
    resolution_scale: float = Field(default=1.0, gt=0.0, le=8.0)
    in_channels: Literal[1, 3]
    resolution: int = Field(ge=8, le=LARGEST_SIDE)
    classes: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=2, max_length=MAX_CLASSES)
    normalisation: NormalisationFacts
    weights_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    identity: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    calibration: Calibration | None = None
    flips: Flips = False
    members: Members = ()
    adapter: AdapterWidth = 0

    @model_validator(mode="after")
    def _named(self) -> Self:
        check_different(self.classes)
        return self

    @model_validator(mode="after")
    def _together(self) -> Self:
        check_members(self.members, self.resolution, self.in_channels)
        together = self.flips or bool(self.members) or self.adapter > 0
        if together != (self.schema_ == SCHEMA_TOGETHER):
            needed = SCHEMA_TOGETHER if together else SCHEMA
            raise ValueError(f"schema must be {needed} for this model, got {self.schema_}")
        return self

    @model_validator(mode="after")
    def _channels(self) -> Self:
        check_side(self.resolution, self.resolution_scale)
        stated = self.normalisation
        if isinstance(stated, FixedNormalisation):
            lengths = (len(stated.mean), len(stated.std))
            if lengths != (self.in_channels, self.in_channels):
                raise ValueError(
                    f"normalisation must have one mean and std per channel ({self.in_channels}), "
                    f"got {lengths[0]} and {lengths[1]}"
                )
        return self

    @property
    def largest_scale(self) -> float:
        """By which images are resized at the most."""
        return max([self.resolution_scale, *(each.resolution_scale for each in self.members)])

    @property
    def temperature(self) -> float:
        """What logits are divided by before the softmax."""
        return 1.0 if self.calibration is None else self.calibration.temperature

    def to_json(self) -> str:
        """The file's text, keys in a fixed order."""
        # Without an empty calibration, versions that know none can read the file.
        without = {"calibration"} if self.calibration is None else None
        value = self.model_dump(mode="json", by_alias=True, exclude=without)
        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def read_description(folder: Path) -> ModelDescription:
    """Read and check a model folder's `model.json`.

    Raises:
        SourceError: The folder is not a model folder, or its description is not valid.
    """
    path = folder / DESCRIPTION
    if kind_at(path, "a model folder", SourceError) != "file":
        raise SourceError(
            f"a model folder must hold {DESCRIPTION} and {WEIGHTS}, got {folder}: "
            "give the folder `model` of a run"
        )
    value = read_json(path, SourceError)
    schema = value.get("schema")
    if schema not in (SCHEMA, SCHEMA_TOGETHER):
        raise SourceError(
            f"schema must be {SCHEMA} or {SCHEMA_TOGETHER} in {path}, got {str(schema)[:80]!r}: "
            "a newer automl-transfer may have written it, then upgrade this one"
        )
    try:
        return validate(ModelDescription, value, str(path))
    except ConfigurationError as error:
        raise SourceError(str(error)) from None
