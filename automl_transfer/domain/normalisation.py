"""How pixels are normalised, as it stands in recipes and model folders."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from automl_transfer.domain.strict_json import Frozen

Constants = tuple[tuple[float, ...], tuple[float, ...]]


class FixedNormalisation(Frozen):
    """Mean and standard deviation per channel, of pixels in [0, 1]."""

    kind: Literal["fixed"] = "fixed"
    mean: tuple[float, ...] = Field(min_length=1, max_length=3)
    std: tuple[Annotated[float, Field(gt=0.0)], ...] = Field(min_length=1, max_length=3)


class PerImageNormalisation(Frozen):
    """Every image is centred and scaled by its own mean and standard deviation."""

    kind: Literal["per_image"] = "per_image"


NormalisationFacts = Annotated[FixedNormalisation | PerImageNormalisation, Field(discriminator="kind")]


def facts(constants: Constants | None) -> FixedNormalisation | PerImageNormalisation:
    """What `data.normalise.constants` gave, as it stands in files."""
    if constants is None:
        return PerImageNormalisation()
    mean, std = constants
    return FixedNormalisation(mean=mean, std=std)


def constants(stated: FixedNormalisation | PerImageNormalisation) -> Constants | None:
    """The reverse of `facts`."""
    return (stated.mean, stated.std) if isinstance(stated, FixedNormalisation) else None
