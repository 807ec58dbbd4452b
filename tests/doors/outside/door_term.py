"""A term of another package: keeps trained weights near their own running average."""

import torch

from automl_transfer.transfer.terms.base import Term


class NearAverage(Term):
    """Strength / 2 |w - mean of w so far|^2, decoupled; what it keeps is the mean."""

    def begin(self, beginning):
        self._weights = list(beginning.transferred_parameters().values())
        self._means = [weight.detach().clone() for weight in self._weights]

    @torch.no_grad()
    def pull(self, rate_of):
        for weight, mean in zip(self._weights, self._means, strict=True):
            mean.lerp_(weight, 0.1)
            weight.sub_(weight - mean, alpha=rate_of(weight) * self.strength)

    def state(self):
        return {str(number): mean for number, mean in enumerate(self._means)}

    def load_state(self, tensors):
        self._means = [tensors[str(number)].clone() for number in range(len(self._means))]
