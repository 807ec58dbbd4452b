"""How many images a model still gets right when they are changed against it."""

from __future__ import annotations

import numpy as np
import torch

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.attack import Attack, attack_of
from automl_transfer.models.heads import TargetModel
from automl_transfer.models.network import evaluating
from automl_transfer.transfer.attack import climb, margin, start_within, step_length
from automl_transfer.transfer.features import batch_for, forward_batches, pixel_elements, read_pixels
from automl_transfer.transfer.pixels import Normaliser, as_numbers
from automl_transfer.transfer.together import Ensemble

SEED = 0


def withstood_by(
    model: TargetModel | Ensemble,
    task: LoadedTask,
    rows: np.ndarray,
    normalise: Normaliser,
) -> np.ndarray | None:
    """As `withstands`, of images of the model's task, where the task's metric names an attack; else None.

    Raises:
        Aborted: That was asked for.
    """
    attack = attack_of(task.task.metric)
    if attack is None:
        return None
    return withstands(model, task.images, rows, task.labels[rows], normalise, attack)


def withstands(
    model: TargetModel | Ensemble,
    images: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
    normalise: Normaliser,
    attack: Attack,
) -> np.ndarray:
    """(n,) whether the answer is right for each image and for every step of the attack on it.

    The attacker knows the weights, and climbs the margin of the best wrong class in evaluation mode. The same
    arguments give the same start, so that models are compared under the same attack. What withstands this may
    fall to a better attack: it is an upper bound.

    Args:
        model: Whose answers; its modes stay as they were.
        images: uint8 (N, H, W, C).
        rows: (n,) of the images.
        labels: (n,) theirs.
        normalise: From pixels to the model's input, where it runs.
        attack: What is tried.

    Raises:
        OutOfMemoryError: Not even one image fits in memory.
        Aborted: That was asked for.
    """
    generator = torch.Generator().manual_seed(SEED)
    radius = 255.0 * attack.eps
    length = step_length(radius, attack.steps, from_within=attack.kind == "pgd")

    def survive(at: torch.Tensor) -> torch.Tensor:
        """Whether each image stands; those that have fallen are attacked no more."""
        place = at.numpy()
        pixels = as_numbers(read_pixels(images, rows[place]), normalise.device)
        truth = torch.from_numpy(labels[place].astype(np.int64)).to(pixels.device)
        left = torch.arange(len(truth), device=truth.device)
        right = torch.ones_like(truth, dtype=torch.bool)

        def loss_of(x: torch.Tensor) -> torch.Tensor:
            nonlocal right
            logits = model(normalise.centred(x))
            right = logits.detach().argmax(dim=1) == truth[left]
            return margin(logits, truth[left]).sum()

        x = pixels
        if attack.kind == "pgd":
            loss_of(x)  # whether it is right at all
            x, left = start_within(pixels, radius, generator)[right], left[right]
        for _ in range(attack.steps):
            if len(left):
                x = climb(x, pixels[left], loss_of, radius, length)
                x, left = x[right], left[right]
        if len(left):
            loss_of(x)
            left = left[right]
        return torch.isin(torch.arange(len(truth)), left.cpu())

    batch = batch_for(pixel_elements(images.shape[1:3], scale=model.resolution_scale), normalise.device)
    with evaluating(model.to(normalise.device)):
        return forward_batches(torch.from_numpy, survive, np.arange(len(rows)), batch).numpy()
