"""Builds a transfer plan from a strategy, a source's backbone and a task."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain import methods
from automl_transfer.domain.dimensions import SOLVED
from automl_transfer.domain.normalisation import chosen_constants
from automl_transfer.domain.strategy import DIMENSIONS, Strategy, require_methods
from automl_transfer.domain.task import LARGEST_SIDE, scaled
from automl_transfer.errors import ConfigurationError, OutOfMemoryError, SourceError
from automl_transfer.models.adapters import insert_adapters
from automl_transfer.models.heads import PooledHead
from automl_transfer.models.network import Backbone
from automl_transfer.models.traits import branch_drops
from automl_transfer.transfer.counting import counting
from automl_transfer.transfer.drawn import Draw
from automl_transfer.transfer.freeze import TransferModel, freeze
from automl_transfer.transfer.heads import HeadInput, Reader, initialise_head
from automl_transfer.transfer.initialise.layers import initialise
from automl_transfer.transfer.modify import prune_smallest, scale_weights, shrink_and_perturb
from automl_transfer.transfer.optimise import group_rates
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.plan import GroupRow, TransferPlan
from automl_transfer.transfer.prepare.adabn import adabn
from automl_transfer.transfer.prepare.base import Keep, KeepsNothing, Prepare, Prepared, Subject
from automl_transfer.transfer.prepare.whiten import initialise_in
from automl_transfer.transfer.select import Selection, select_groups
from automl_transfer.transfer.terms.adversarial import Adversarial, InputNoise
from automl_transfer.transfer.terms.averages import EMA, Wise
from automl_transfer.transfer.terms.base import Beginning, Term
from automl_transfer.transfer.terms.dropping import Dropout, DropPath
from automl_transfer.transfer.terms.low_rank import LowRank
from automl_transfer.transfer.terms.stoch_norm import StochNorm
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
    keep: Keep | None = None,
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
        keep: Where the result of a preparation is kept, for whoever makes the same one again.

    Raises:
        ConfigurationError: The strategy names a method that is not installed (lists those that are), or
            wants adapters in a network without residual blocks.
        SourceError: The backbone takes other channels than the task has, or larger images than are judged or
            trained on.
        DataError: A head cannot be solved from these images.
        OutOfMemoryError: The strategy enlarges the images beyond what a model may be given.
        OutputError: It reads larger images, and these cannot be kept.
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
    require_methods(strategy)
    task = task.read_by(strategy)
    selection = select_groups(strategy, len(backbone.groups), pretrained=backbone.pretrained)
    generator = torch.Generator().manual_seed(seed)
    body = _cut(backbone, selection.kept)
    rest_init = _rest_init(strategy, backbone)
    for group in body.groups[selection.transferred :]:
        initialise(group, rest_init, generator)
    transferred = list(body.groups[: selection.transferred])
    prune_smallest(transferred, strategy.source_prune)
    scale_weights(transferred, strategy.weight_scale)
    shrink_and_perturb(transferred, strategy.shrink, strategy.perturb, generator)

    size = scaled(task.task.resolution, strategy.resolution_scale)
    if strategy.tune_mode == "adapter":
        _adapt(body, backbone, strategy.adapter_width, size, generator)
    shapes = body.shapes(size)[-strategy.taps :]
    head = PooledHead(shapes, len(task.task.classes), strategy.pool, body.prefix_tokens)
    still = task.still(strategy.resolution_scale)
    draw = Draw.of(strategy, seed, task.task, still)
    if draw is not None and (side := draw.side(task.side)) < task.side:
        _prove(body, scaled(side, still), strategy.train_scale)
    model = TransferModel(body.groups, head, still).to(device)  # type: ignore[no-untyped-call, unused-ignore]
    model = model.to(memory_format=torch.channels_last)
    model.adapter = strategy.adapter_width if strategy.tune_mode == "adapter" else 0
    freeze(model, strategy, selection.transferred, strategy.tune_mode, selection.frozen)
    model.eval()

    fixed = chosen_constants(strategy.normalise, task.task, backbone.mean, backbone.std)
    mean, std = fixed if fixed is not None else (None, None)
    normalise = Normaliser(mean, std, device)
    train = task.indices["train"]
    prepared = Prepared()
    augment = Augment.of(strategy, seed if views_seed is None else views_seed)
    terms: tuple[Term, ...] = ()
    if weights is not None:
        model.load_state_dict(weights)
    else:
        images = Views(task.images, augment)
        subject = Subject(
            model,
            strategy,
            selection,
            images,
            train,
            normalise,
            generator,
            task.unlabelled.load,
            task.task.fingerprint,
            keep or KeepsNothing(),
        )
        prepare: Prepare = methods.get("prepare", strategy.prepare)
        did = prepare(subject)
        prepared = did if isinstance(did, Prepared) else Prepared(did)
        changed = adabn(subject) or prepared.changed
        unchanged = (
            selection.transferred == selection.kept
            and strategy.weight_scale == strategy.shrink == 1.0
            and strategy.source_prune == 0.0
            and not changed
        )
        asked = HeadInput(strategy, model, images, train, normalise)
        can_know = unchanged and (strategy.head_init in SOLVED or prepared.basis is not None)
        read = (known.features(asked) if known is not None and can_know else None) or asked.compute

        def begin_head(read: Reader) -> None:
            initialise_head(
                model.head.linear,
                strategy,
                task.labels,
                train,
                read,
                generator,
                augment.count,
                counting(task, train),
            )

        if prepared.basis is None:
            begin_head(read)
        else:
            initialise_in(prepared.basis, asked, read, task.unlabelled.load(), begin_head)
        terms = tuple(term for term in _terms(strategy) if type(term) is not Term)
        if strategy.tune_mode == "lora":
            terms = (*terms, LowRank(model, selection.transferred, strategy.rank, generator))
    for term in terms:
        classes = len(task.task.classes)
        term.begin(
            Beginning(
                model,
                backbone,
                selection.transferred,
                strategy,
                task.images,
                train,
                task.labels,
                classes,
                normalise,
                task.weights,
            )
        )
    return TransferPlan(
        strategy=strategy,
        selection=selection,
        model=model,
        rows=_rows(model, strategy, selection, backbone, prepared),
        terms=terms,
        mean=mean,
        std=std,
        augment=augment,
        draw=draw,
        reconstructions=prepared.reconstructions,
    )


def _adapt(body: Backbone, source: Backbone, width: int, size: int, generator: torch.Generator) -> None:
    """Put adapters into what is kept of a source; perhaps none, where it is cut early."""
    if next(branch_drops(source.groups), None) is None:
        raise ConfigurationError(
            f"tune_mode must not be adapter where the network has no residual blocks, got "
            f"{source.architecture}: take another tune_mode, such as lora, or another source"
        )
    insert_adapters(body, width, size, generator)


def _prove(body: Backbone, size: int, scale: float) -> None:
    """Crops that are smaller than what is judged must be large enough, too."""
    try:
        body.shapes(size)
    except SourceError as error:
        raise SourceError(
            f"train_scale must leave crops that the network can take, got {scale:g}: {error}"
        ) from error


ALONE: tuple[tuple[str, type[Term]], ...] = (
    ("input_noise", InputNoise),
    ("stoch_norm", StochNorm),
    ("drop_path", DropPath),
    ("dropout", Dropout),
    ("ema", EMA),
    ("wise_alpha", Wise),
)
"""Dimensions that are one term's strength, in the order in which these act; at its default there is none."""


def _terms(strategy: Strategy) -> Iterator[Term]:
    """What the strategy adds to each step, mixes first."""
    active = strategy.active()
    roles: tuple[tuple[methods.Role, str], ...] = (("mix", "mix_alpha"), ("anchor", "anchor_weight"))
    for role, strength in roles:
        if role in active:
            yield methods.get(role, active[role])(active.get(strength, 0.0))
    if active.get("adversarial", 0.0):
        yield Adversarial(active["adversarial"], active["adversarial_steps"])
    for name, term in ALONE:
        if name in active and active[name] != DIMENSIONS[name].default:
            yield term(active[name])


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


def _head_note(model: TransferModel) -> str:
    pooled = f"pooled {model.head.grid}x{model.head.grid}, linear"
    return pooled if model.head.taps == 1 else f"top {model.head.taps} outputs {pooled}"


def _rows(
    model: TransferModel, strategy: Strategy, selection: Selection, backbone: Backbone, prepared: Prepared
) -> tuple[GroupRow, ...]:
    rates, head_rate = group_rates(strategy, selection.kept, model.head.linear.in_features)
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
        if transferred and strategy.source_prune > 0.0:
            init += f", {100 * strategy.source_prune:.3g}% pruned"
        if transferred and prepared.changed:
            init += f", {strategy.prepare}"
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
