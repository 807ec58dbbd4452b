"""A mix of another package: every image is blended with the next one of its batch."""

from automl_transfer.transfer.terms.base import Term


class NextOne(Term):
    mixes = True

    def batch(self, rest, targets):
        x, below = rest
        part = self.strength / 10.0
        blended = tuple(None if t is None else (1 - part) * t + part * t.roll(1, 0) for t in (x, below))
        return blended, (1 - part) * targets + part * targets.roll(1, 0)
