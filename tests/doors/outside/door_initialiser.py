"""An initialiser of another package."""

import torch


def halves(weight, source, generator):
    weight.copy_(torch.randint(2, weight.shape, generator=generator) - 0.5)
