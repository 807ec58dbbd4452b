"""Builds a transfer plan from a strategy, a source's backbone and a task."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from automl_transfer.data.normalise import constants
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.conditions import is_active
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import LARGEST_SIDE
from automl_transfer.errors import OutOfMemoryError, SourceError
from automl_transfer.models.heads import PooledHead, scaled
from automl_transfer.models.network import Backbone
from automl_transfer.transfer.freeze import TransferModel, freeze
from automl_transfer.transfer.head_input import HeadInput, Reader
from automl_transfer.transfer.heads import SOLVED, initialise_head
from automl_transfer.transfer.initialise.registry import get_initialiser, initialise
from automl_transfer.transfer.modify import scale_weights, shrink_and_perturb
from automl_transfer.transfer.norms import adapt_statistics, batch_norms
from automl_transfer.transfer.optimise import group_rates, parameter_groups
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.plan import GroupRow, TransferPlan
from automl_transfer.transfer.select import Selection, select_groups
from automl_transfer.transfer.views import Augment, Views


class KnownFeatures(Protocol):
    """Somebody who may know what a source's pooled activations are."""

    def features(self, asked: HeadInput) -> Reader | None:
        """Reads what a head on unchanged groups of the source reads of the training rows, or None."""


def build_plan(
    strategy: Strategy,
    backbone: Backbone,
    task: LoadedTask,
    *,
    seed: int,
    device: torch.device,
    known: KnownFeatures | None = None,
    views_seed: int | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> TransferPlan:
    """Apply a strategy: the same arguments give the same weights; the backbone stays as it is.

    Args:
        strategy: What to do.
        backbone: The source's network.
        task: Its training split is looked at where a head is solved or statistics are adapted.
        seed: Of everything that is drawn.
        views_seed: Of augmented views, where it is another one.
        weights: What such a model's `state_dict` was once trained: nothing is solved or adapted then, and the
            plan is one to predict with, not to train.
        device: Where the model will train.
        known: Asked before a pass over the images; what it knows are the bits of that pass.

    Raises:
        ConfigurationError: `rest_init` is no initialiser; the message lists those that are.
        SourceError: The backbone takes other channels than the task has, or larger images.
        DataError: A head cannot be solved from these images.
        OutOfMemoryError: The strategy enlarges the images beyond what a model may be given.
        RuntimeError: `weights` are of another model.
    """
    if backbone.in_channels != task.task.channels:
        raise SourceError(
            f"the source must take the task's {task.task.channels} channels, got one for "
            f"{backbone.in_channels}: load it with in_channels={task.task.channels}"
        )
    if task.task.resolution * strategy.resolution_scale > LARGEST_SIDE:
        raise OutOfMemoryError(
            f"resolution x resolution_scale must be <= {LARGEST_SIDE} pixels, got {task.task.resolution} x "
            f"{strategy.resolution_scale:g}"
        )
    get_initialiser(strategy.rest_init)  # before any work is done
    selection = select_groups(strategy, len(backbone.groups), pretrained=backbone.pretrained)
    generator = torch.Generator().manual_seed(seed)
    body = _cut(backbone, selection.kept)
    rest_init = _rest_init(strategy, backbone)
    for group in body.groups[selection.transferred :]:
        initialise(group, rest_init, generator)
    transferred = list(body.groups[: selection.transferred])
    scale_weights(transferred, strategy.weight_scale)
    shrink_and_perturb(transferred, strategy.shrink, strategy.perturb, generator)

    shapes = body.shapes(scaled(task.task.resolution, strategy.resolution_scale))[-strategy.taps :]
    head = PooledHead(shapes, len(task.task.classes), strategy.pool, body.prefix_tokens)
    model = TransferModel(body.groups, head, strategy.resolution_scale).to(device)  # type: ignore[no-untyped-call, unused-ignore]
    model = model.to(memory_format=torch.channels_last)
    freeze(model, strategy, selection)
    model.eval()

    fixed = constants(strategy.normalise, task.task, backbone.mean, backbone.std)
    mean, std = fixed if fixed is not None else (None, None)
    normalise = Normaliser(mean, std, device)
    train = task.indices["train"]
    augment = Augment.of(strategy, seed if views_seed is None else views_seed)
    if weights is not None:
        model.load_state_dict(weights)
    else:
        adapted = _to_adapt(model, strategy, selection)
        adapt_statistics(model, adapted, task.images, train, normalise)
        unchanged = (
            selection.transferred == selection.kept
            and strategy.weight_scale == strategy.shrink == 1.0
            and not adapted
        )
        asked = HeadInput(strategy, model, Views(task.images, augment), train, normalise)
        can_know = unchanged and strategy.head_init in SOLVED
        read = known.features(asked) if known is not None and can_know else None
        initialise_head(
            model.head.linear, strategy, task.labels, train, read or asked.compute, generator, augment.count
        )

    anchor = _anchor(model, strategy, selection)
    return TransferPlan(
        strategy=strategy,
        model=model,
        rows=_rows(model, strategy, selection, backbone),
        parameter_groups=parameter_groups(model, strategy, frozenset(anchor or ())),
        anchor=anchor,
        frozen_prefix=model.frozen_prefix,
        mean=mean,
        std=std,
        augment=augment,
    )


def _rest_init(strategy: Strategy, backbone: Backbone) -> str:
    """The initialiser to use: weights that were never trained have no statistics to draw from."""
    needs_source = strategy.rest_init == "mean_var" and not backbone.pretrained
    return "he_normal" if needs_source else strategy.rest_init


def _cut(backbone: Backbone, kept: int) -> Backbone:
    """A copy of the first groups, in evaluation mode."""
    return Backbone(
        backbone.architecture,
        [copy.deepcopy(group) for group in backbone.groups[:kept]],
        backbone.group_notes[:kept],
        in_channels=backbone.in_channels,
        mean=backbone.mean,
        std=backbone.std,
        resolution=backbone.resolution,
        pretrained=backbone.pretrained,
        prefix_tokens=backbone.prefix_tokens,
    ).eval()


def _to_adapt(
    model: TransferModel, strategy: Strategy, selection: Selection
) -> list[torch.nn.modules.batchnorm._BatchNorm]:
    """Batch norms whose statistics come from the target's images before training.

    All of them under the policy "adapt". Under a solved head also those of fresh groups, and those
    that will be in training mode: the head is to fit the features that training begins with, and
    these are normalised by the target's statistics, not by the source's.
    """
    if strategy.norm_policy == "adapt" and is_active("norm_policy", strategy.model_dump()):
        return batch_norms(model.groups)
    if strategy.head_init not in SOLVED:
        return []
    model.train()
    moving = [layer for layer in batch_norms(model.groups) if layer.training]
    model.eval()
    fresh = batch_norms(list(model.groups)[selection.transferred :])
    return list(dict.fromkeys([*moving, *fresh]))


def _anchor(model: TransferModel, strategy: Strategy, selection: Selection) -> dict[str, Tensor] | None:
    """Starting values of transferred parameters that train (L2-SP, Li et al. 2018)."""
    if strategy.anchor != "l2sp" or selection.transferred == 0:
        return None
    prefixes = tuple(f"groups.{number}." for number in range(selection.transferred))
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and name.startswith(prefixes)
    } or None


def _head_note(model: TransferModel) -> str:
    pooled = f"pooled {model.head.grid}x{model.head.grid}, linear"
    return pooled if model.head.taps == 1 else f"top {model.head.taps} outputs {pooled}"


def _rows(
    model: TransferModel, strategy: Strategy, selection: Selection, backbone: Backbone
) -> tuple[GroupRow, ...]:
    rates, head_rate = group_rates(strategy, selection.kept)
    rows = []
    layers = [*model.groups, model.head]
    for number, layer in enumerate(layers):
        is_head = layer is model.head
        trained = sum(p.numel() for p in layer.parameters() if p.requires_grad)
        transferred = number < selection.transferred
        init = "source" if transferred else _rest_init(strategy, backbone)
        if transferred and strategy.shrink < 1.0:
            init = "source, shrunk and perturbed"
        elif transferred and strategy.weight_scale != 1.0:
            init = f"source x {strategy.weight_scale:.3g}"
        rows.append(
            GroupRow(
                name="head" if is_head else backbone.group_names[number],
                note=_head_note(model) if is_head else backbone.group_notes[number],
                transferred=transferred,
                frozen=trained == 0,
                init=strategy.head_init if is_head else init,
                parameters=sum(p.numel() for p in layer.parameters()),
                trained=trained,
                learning_rate=(head_rate if is_head else rates[number]) if trained else None,
            )
        )
    return tuple(rows)
