"""What ships where it is not one trial's network as it was trained: a mean, several, with flips."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from automl_transfer.domain.model_description import MOST_MEMBERS
from automl_transfer.domain.names import public_source
from automl_transfer.domain.spec import ShipAs
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.strict_json import Frozen, unsaid

Kind = Literal["winner", "soup", "ensemble"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Part(Frozen):
    """One trial's network in what ships.

    Attributes:
        trial, root_trial: Its number, and that of the trial it continued.
        strategy: As it was trained.
        weights_sha256: Over its tensors, as the trial left them.
        share: Of the average, of weights or of probabilities.
        refit: Whether the network that ships was trained anew, on validation images as well.
        epochs: Horizon of its schedule; 0 where it was solved.
        best_epoch: The epoch whose weights were kept.
    """

    trial: int = Field(ge=0)
    root_trial: int = Field(ge=0)
    strategy: Strategy
    weights_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    share: Share
    refit: bool = Field(default=False, exclude_if=lambda value: value is False)
    epochs: int | None = Field(default=None, ge=0, exclude_if=unsaid)
    best_epoch: int | None = Field(default=None, ge=0, exclude_if=unsaid)

    def public(self) -> Part:
        """Without what is local."""
        name = public_source(self.strategy.source)
        return self.model_copy(update={"strategy": self.strategy.model_copy(update={"source": name})})


class Offered(Frozen):
    """One way to ship, and how it did on the validation images.

    Attributes:
        name: "winner", "soup of 3", "ensemble of 4, flips".
        score: By the task's metric.
        nll: In nats, of probabilities that are calibrated on the same images.
        predict_ms_per_image: On the machine that measured it, from stored pixels to logits.
    """

    name: str = Field(min_length=1, max_length=100)
    score: Share
    nll: float = Field(ge=0.0)
    predict_ms_per_image: float = Field(ge=0.0)


class ShippedAs(Frozen):
    """How the model was made of the study's trials.

    Attributes:
        kind: The winner alone; a soup: the mean of several trials' weights (Wortsman et al. 2022, section 2);
            an ensemble: the mean of their probabilities (Caruana et al. 2004).
        flips: Each network's logits are the mean of those of an image and of its mirror image.
        parts: Of a soup or an ensemble, the best alone first.
        offered: The ways that were measured, the winner first. Soup and ensemble were chosen by the images
            that this was measured on.
        images: How many those are.
    """

    kind: Kind
    flips: bool = False
    parts: tuple[Part, ...] = Field(default=(), max_length=MOST_MEMBERS)
    offered: tuple[Offered, ...] = ()
    images: int = Field(ge=1)

    @property
    def name(self) -> str:
        """In words: "soup of 3, flips"."""
        return offer_name(self.kind, len(self.parts), self.flips)

    def comparison(self) -> str:
        """What was measured, on one line."""
        if not self.offered:
            return "on no images"
        told = ", ".join(f"{each.name} {each.score:.4f}" for each in self.offered)
        mine = next((each for each in self.offered if each.name == self.name), None)
        first, slower = self.offered[0], ""
        if mine is not None and first.predict_ms_per_image > 0.0:
            times = mine.predict_ms_per_image / first.predict_ms_per_image
            slower = f"; the {self.name} predicts {times:.1f} x as long as the winner alone"
        return f"on validation: {told} (n = {self.images}){slower}"


class AskedFor(Frozen):
    """By what a model was chosen, so that a later call knows whether to choose again.

    Attributes:
        rule: `winner`, `soup`, `ensemble` or `auto`.
        by_name: Somebody asked for it (`export --as`, `--flips`): it stays until somebody asks for another.
            Else it is the study's rule (its `ship_as`).
    """

    rule: ShipAs
    by_name: bool = Field(default=False, exclude_if=lambda value: value is False)


def offer_name(kind: Kind, parts: int, flips: bool) -> str:
    """A way to ship in words.

    >>> offer_name("soup", 3, True), offer_name("winner", 0, False)
    ('soup of 3, flips', 'winner')
    """
    return kind + (f" of {parts}" if kind != "winner" else "") + (", flips" if flips else "")
