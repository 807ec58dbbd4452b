"""The signature of a task: numbers by which tasks are compared, and nothing that tells what is in the images.

It holds no path, no name of a dataset or of a class, no pixel: it may be shown, kept and shared where the
images may not. Sources are named, without where their files lie (`public_source`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from automl_transfer.domain.names import MAX_CLASSES, MAX_LABEL, name_mistake, public_source
from automl_transfer.domain.strict_json import Frozen, unsaid
from automl_transfer.domain.task import LARGEST_SIDE, Change

MOST_SOURCES, MOST_SCORES = 200, 50
LONGEST_SIDE = 1_000_000
"""Pixels of a stored image's side."""

Cut = Annotated[int, Field(ge=1, le=8)]
"""How much of a source is kept, in eighths of its groups, as `Strategy.truncation` says it: the same for
networks of any depth. A cut that no eighths reach has no place here."""
Name = Annotated[str, Field(min_length=1, max_length=MAX_LABEL)]
ScoreName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Curve = dict[Cut, float]
Accuracies = dict[Cut, Share]
Images = Annotated[int, Field(ge=0, le=10**12)]
Side = Annotated[float, Field(ge=1.0, le=LONGEST_SIDE)]


class TaskSignature(Frozen):
    """What is known of a task before anything is trained on it.

    Attributes:
        task: The task's fingerprint (`Task.fingerprint`), a digest: equal for the same data.
        images: Training images.
        classes: How many there are, with or without training images.
        least, most: Training images of the smallest and of the largest class.
        entropy: Of the classes' shares of the training images, over the logarithm of `classes`: 1 where all
            have as many, near 0 where nearly all images are of one class.
        width, height: Medians over the stored images, in pixels.
        resolution: Height and width in pixels at which the task is worked at.
        channels: 1 (gray) or 3 (RGB).
        channel_mean, channel_std: Over the training split, of pixels in [0, 1], one a channel.
        label_preserving: What leaves an image's class as it is; None where nobody said.
        profile: Leave-one-out accuracy of the best solved head on one cut, by source and cut.
        scores: What each score says of a source cut there, by score, source and cut; more is better.
        measured: Training images that a source's profile and scores were made of, by source: scores of two
            sources can be compared where these are as many (they are the same images then).
        frechet: A distance of the task's activations from those the source was trained on, by source; None
            where that has no statistics of these (`training.frechet`).
    """

    task: str = Field(pattern=r"^[0-9a-f]{64}$")
    images: Annotated[int, Field(ge=1, le=10**12)]
    classes: Annotated[int, Field(ge=2, le=MAX_CLASSES)]
    least: Images
    most: Annotated[int, Field(ge=1, le=10**12)]
    entropy: Share
    width: Side
    height: Side
    resolution: Annotated[int, Field(ge=8, le=LARGEST_SIDE)]
    channels: Literal[1, 3]
    channel_mean: tuple[Share, ...]
    channel_std: tuple[Share, ...]
    label_preserving: tuple[Change, ...] | None = Field(default=None, exclude_if=unsaid)
    profile: dict[Name, Accuracies] = Field(default_factory=dict, max_length=MOST_SOURCES)
    scores: dict[ScoreName, dict[Name, Curve]] = Field(default_factory=dict, max_length=MOST_SCORES)
    measured: dict[Name, Annotated[int, Field(ge=1, le=10**12)]] = Field(
        default_factory=dict, max_length=MOST_SOURCES
    )
    frechet: dict[Name, Annotated[float, Field(ge=0.0)] | None] = Field(
        default_factory=dict, max_length=MOST_SOURCES
    )

    @field_validator("profile", "measured", "frechet")
    @classmethod
    def _sources(cls, by_source: Mapping[str, Any]) -> Mapping[str, Any]:
        _check_sources(by_source)
        return by_source

    @field_validator("scores")
    @classmethod
    def _scored(cls, by_score: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
        for by_source in by_score.values():
            _check_sources(by_source)
        return by_score

    @model_validator(mode="after")
    def _agree(self) -> TaskSignature:
        if not self.least <= self.most <= self.images:
            raise ValueError(
                "least <= most <= images must hold for the images of classes, "
                f"got {self.least}, {self.most} and {self.images}"
            )
        if not self.least * self.classes <= self.images <= self.most * self.classes:
            raise ValueError(
                f"{self.images} images must fit {self.classes} classes of {self.least} to {self.most} each"
            )
        for name in ("channel_mean", "channel_std"):
            if len(getattr(self, name)) != self.channels:
                raise ValueError(f"{name} must have {self.channels} numbers, got {len(getattr(self, name))}")
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources that anything is known of, sorted."""
        known = {
            *self.profile,
            *self.measured,
            *self.frechet,
            *(name for each in self.scores.values() for name in each),
        }
        return tuple(sorted(known))

    def with_sources_of(self, other: TaskSignature) -> TaskSignature:
        """This signature with what another one of the same task knows of sources that this one does not."""
        known = set(self.sources)

        def joined(ours: dict[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
            return {**{name: value for name, value in theirs.items() if name not in known}, **ours}

        names = {**self.scores, **other.scores}
        scores = {name: joined(self.scores.get(name, {}), other.scores.get(name, {})) for name in names}
        return self.model_copy(
            update={
                "profile": joined(self.profile, other.profile),
                "scores": {name: by_source for name, by_source in scores.items() if by_source},
                "measured": joined(self.measured, other.measured),
                "frechet": joined(self.frechet, other.frechet),
            }
        )

    def to_json(self) -> str:
        """As text, which `from_json` reads; keys in a fixed order."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> TaskSignature:
        """Read what `to_json` wrote.

        Raises:
            pydantic.ValidationError: A number is out of its range, or a key unknown. (`strict_json.validate`
                makes a ConfigurationError of it, for files of people.)
        """
        return cls.model_validate_json(text, strict=True)


def _check_sources(names: Mapping[str, Any]) -> None:
    if len(names) > MOST_SOURCES:
        raise ValueError(f"there must be at most {MOST_SOURCES} sources, got {len(names)}")
    for name in names:
        if (mistake := name_mistake(name)) is not None:
            raise ValueError(f"the name of a source {mistake}")
        if public_source(name) != name:
            raise ValueError(f"the name of a source must not say where its file lies, got {name[:80]!r}")
