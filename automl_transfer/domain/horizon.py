"""How long a trial trains: epochs, and what an epoch is."""

from __future__ import annotations

from dataclasses import dataclass, field

EPOCHS = 9
"""Epochs where a study names none: trials pause after a third of them."""
LEAST_STEPS, LEAST_BATCH = 500, 32
"""Steps that fine-tuning wants at least, however few the images (BiT's shortest schedule, Kolesnikov et al.
2020, section 3.3), and the images of a step by which that is counted: strategies of any batch see as many."""


@dataclass(frozen=True)
class Horizon:
    """The whole of a trial, over which schedules are laid out.

    Attributes:
        epochs: Times that the model is judged.
        passes: Over the training images, an epoch.
        steps: An epoch, instead of whole passes: some of one, or several.
        by_data: Whether it was chosen by the number of images, because nobody named one. Two that are as long
            are equal, however they came about.
    """

    epochs: int
    passes: int = 1
    steps: int | None = None
    by_data: bool = field(default=False, compare=False, repr=False)

    @classmethod
    def of(cls, images: int, max_epochs: int | None = None, max_steps: int | None = None) -> Horizon:
        """The horizon that a study names; where it names none, one that is long enough for the data.

        Args:
            images: Of the training split.
            max_epochs: Epochs, of one pass each; the most that there are, where steps are named as well.
            max_steps: Steps in all, whatever a strategy's batch, rounded up to whole epochs.

        >>> Horizon.of(200), Horizon.of(3000), Horizon.of(200, max_epochs=9), Horizon.of(200, max_steps=600)
        (Horizon(epochs=9, passes=9, steps=None), Horizon(epochs=9, passes=1, steps=None), \
Horizon(epochs=9, passes=1, steps=None), Horizon(epochs=9, passes=1, steps=67))
        >>> Horizon.of(200, max_steps=10).text, Horizon.of(200, max_epochs=100, max_steps=101).text
        ('5 epochs of 2 steps', '51 epochs of 2 steps')
        """
        epochs = max_epochs or EPOCHS
        if max_steps is not None:
            steps = -(-max_steps // min(epochs, max_steps))
            return cls(-(-max_steps // steps), steps=steps)  # as few as have them all
        if max_epochs is not None:
            return cls(epochs)
        passes = max(1, -(-LEAST_STEPS * LEAST_BATCH // (max(1, images) * epochs)))
        return cls(epochs, passes, by_data=True)

    def images(self, train: int, batch: int) -> int:
        """Images that a whole trial sees, of so many in the training split.

        A step has a whole batch, however few there are: it goes on into the next pass.
        """
        each = self.passes * train if self.steps is None else self.steps * batch
        return self.epochs * each

    @property
    def text(self) -> str:
        """In words."""
        if self.steps is not None:
            return f"{self.epochs} epochs of {self.steps} steps"
        return f"{self.epochs} epochs" + (f" of {self.passes} passes" if self.passes > 1 else "")


def rungs_of(first: int, factor: int, epochs: int) -> tuple[int, ...]:
    """The epochs after which trials are compared, each `factor` times further than the one before.

    >>> rungs_of(3, 3, 9), rungs_of(1, 3, 27), rungs_of(9, 3, 9)
    ((3,), (1, 3, 9), ())
    """
    found = []
    while first < epochs:
        found.append(first)
        first *= factor
    return tuple(found)
