"""A preparation of another package: the first layer's responses get unit variance on the target's images."""

import numpy as np
import torch


@torch.no_grad()
def unit_variance(subject):
    rows = subject.images.numbers(np.sort(subject.rows)[:64], [0])
    pixels = subject.normalise(torch.from_numpy(subject.images[rows]))
    spread = subject.model.run(pixels, 1)[0].std()
    first = next(subject.model.groups[0].parameters())
    first.div_(spread)
    return True
