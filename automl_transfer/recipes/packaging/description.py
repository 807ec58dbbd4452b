"""What a packaged file says about itself: enough to feed it and to read its answers, and no more."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from automl_transfer.domain.model_description import (
    SCHEMA_TOGETHER,
    Calibration,
    Flips,
    Members,
    ModelDescription,
    Temperature,
    check_members,
    check_side,
)
from automl_transfer.domain.model_description import Network as OneNetwork
from automl_transfer.domain.names import MAX_CLASSES, check_different
from automl_transfer.domain.normalisation import NormalisationFacts
from automl_transfer.domain.pixel_range import Ranged
from automl_transfer.domain.strict_json import parse_json, validate
from automl_transfer.domain.task import LARGEST_SIDE
from automl_transfer.errors import ConfigurationError, SourceError

KEY = "automl_transfer"
"""Where it stands in the file's own metadata."""


class Network(OneNetwork):
    """How the network, or an ensemble's networks, are built: for formats that hold their weights only."""

    members: Members = ()


class PackageDescription(Ranged):
    """Input and output of a packaged model.

    Attributes:
        preprocessing: True: takes uint8 pixels (N, resolution, resolution, channels) and gives
            `probabilities`. False: takes float32 (N, channels, resolution, resolution), normalised as
            `normalisation` says, and gives `logits`.
        fit: How images became the squares that it takes.
        pixel_range: Which stored numbers are black and white; left out for image files of 8 bits.
        network: None where the file holds the program itself.
        flips: Answers are of an image and its mirror image together; a program makes both passes itself.
        networks: How many answer together; a program runs them all.
        temperature: Calibrated probabilities are softmax(logits / temperature): done already where the
            output is probabilities, left to the reader where it is logits, which are the network's own. None
            for a model that is not calibrated.
    """

    schema_: Literal["automl-transfer/package/1"] = Field(default="automl-transfer/package/1", alias="schema")
    preprocessing: bool
    output: Literal["probabilities", "logits"]
    channels: Literal[1, 3]
    resolution: int = Field(ge=8, le=LARGEST_SIDE)
    normalisation: NormalisationFacts
    classes: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=2, max_length=MAX_CLASSES)
    network: Network | None = None
    temperature: Temperature | None = None
    flips: Flips = False
    networks: int = Field(default=1, ge=1, exclude_if=lambda value: value == 1)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        check_different(self.classes)
        if self.network is not None:
            check_side(self.resolution, self.network.resolution_scale)
            check_members(self.network.members, self.resolution, self.channels)
        return self

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one input, without the batch dimension."""
        size = self.resolution
        return (size, size, self.channels) if self.preprocessing else (self.channels, size, size)

    def to_json(self) -> str:
        """On one line, keys in a fixed order."""
        return self.model_dump_json(by_alias=True, exclude_none=True)


def describe(model: ModelDescription, *, preprocessing: bool, network: bool) -> PackageDescription:
    """The description of a model folder's package."""
    return PackageDescription(
        preprocessing=preprocessing,
        output="probabilities" if preprocessing else "logits",
        channels=model.in_channels,
        resolution=model.resolution,
        normalisation=model.normalisation,
        classes=model.classes,
        network=Network(**{name: getattr(model, name) for name in Network.model_fields}) if network else None,
        temperature=model.calibration and model.calibration.temperature,
        flips=model.flips,
        networks=max(1, len(model.members)),
        pixel_range=model.pixel_range,
        fit=model.fit,
    )


def as_model(package: PackageDescription, sha256: str) -> ModelDescription:
    """A package that names its network, described like a model folder."""
    assert package.network is not None
    network = package.network
    newer = package.flips or network.members or network.adapter
    together: dict[str, Any] = {"schema_": SCHEMA_TOGETHER} if newer else {}
    return ModelDescription(
        **together,
        **package.network.model_dump(),
        flips=package.flips,
        in_channels=package.channels,
        resolution=package.resolution,
        classes=package.classes,
        normalisation=package.normalisation,
        weights_sha256=sha256,
        calibration=Calibration(temperature=package.temperature) if package.temperature else None,
        pixel_range=package.pixel_range,
        fit=package.fit,
    )


def read(text: str, where: str) -> PackageDescription:
    """The reverse of `to_json`.

    Raises:
        SourceError: It is not valid.
    """
    try:
        return validate(PackageDescription, parse_json(text, where, SourceError), where)
    except ConfigurationError as error:
        raise SourceError(str(error)) from None
