"""How many images a model still gets right when they are changed against it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from automl_transfer.aborting import check_abort
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.attack import Attack, attack_of
from automl_transfer.models.heads import TargetModel
from automl_transfer.models.network import evaluating
from automl_transfer.transfer.attack import climb, margin, start_within, step_length
from automl_transfer.transfer.features import batch_for, pixel_elements, read_pixels
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
    labels, device = task.labels[rows], normalise.device
    return withstands(model, task.images, rows, labels, normalise, device, attack, between=check_abort)


def withstands(
    model: TargetModel | Ensemble,
    images: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
    normalise: Normaliser,
    device: torch.device | str,
    attack: Attack,
    *,
    between: Callable[[], None] = lambda: None,
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
        normalise: From pixels to the model's input.
        device: Where it runs.
        attack: What is tried.
        between: Called before each batch; may raise `Aborted`.
    """
    generator = torch.Generator().manual_seed(SEED)
    radius = 255.0 * attack.eps
    length = step_length(radius, attack.steps, from_within=attack.kind == "pgd")
    batch = batch_for(pixel_elements(images.shape[1:3], scale=model.resolution_scale), device)
    found = np.empty(len(rows), dtype=bool)
    with evaluating(model.to(device)):
        for start in range(0, len(rows), batch):
            between()
            part = slice(start, start + batch)
            pixels = as_numbers(read_pixels(images, rows[part]), normalise.device)
            truth = torch.from_numpy(labels[part].astype(np.int64)).to(pixels.device)
            right = torch.ones_like(truth, dtype=torch.bool)

            def loss_of(x: torch.Tensor, truth: torch.Tensor = truth) -> torch.Tensor:
                nonlocal right
                logits = model(normalise.centred(x))
                right &= logits.detach().argmax(dim=1) == truth
                return margin(logits, truth).sum()

            x = pixels
            if attack.kind == "pgd":
                with torch.no_grad():
                    loss_of(x)  # whether it is right at all
                x = start_within(pixels, radius, generator)
            for _ in range(attack.steps):
                x = climb(x, pixels, loss_of, radius, length)
            with torch.no_grad():
                loss_of(x)
            found[part] = right.cpu().numpy()
    return found
