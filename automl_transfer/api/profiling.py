"""The comparison of sources with a task, before any search: what a solved head reaches at every cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.evidence import ProfileRecord
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import scaled

if TYPE_CHECKING:
    import torch

    from automl_transfer.models.network import Backbone


@dataclass(frozen=True)
class Sized:
    """What a model costs: parameters, and milliseconds to predict one image (median over batches)."""

    parameters: int
    milliseconds: float


@dataclass(frozen=True)
class AtResolution:
    """The best solved head on single cuts at one resolution, and what it costs.

    Attributes:
        scale: Images are so many times as large as the task's.
        detail: They show what the files have beyond the task's own; else these are resized.
        pixels: Height and width that the network takes.
        accuracy: By leave-one-out.
        milliseconds: To predict one image, on this machine at this moment.
    """

    scale: float
    detail: bool
    pixels: int
    accuracy: float
    milliseconds: float


@dataclass(frozen=True)
class SourceProfile:
    """One source on a task.

    Attributes:
        record: Accuracy over cuts, with scores.
        strategy: The best solved head, as a strategy.
        winner, whole: What it costs, and what the whole source with a new head costs.
        resolutions: Those that were looked at, the cheapest first.
    """

    record: ProfileRecord
    strategy: Strategy
    winner: Sized
    whole: Sized
    resolutions: tuple[AtResolution, ...] = ()


def profile_sources(
    task: LoadedTask,
    sources: Sequence[str],
    *,
    device: str = "auto",
    cache_root: Path | None = None,
    on_source: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> list[SourceProfile]:
    """Profile pretrained sources on a task; only training images are looked at.

    Raises:
        SourceError: A source is unknown, not on this machine, or its network too deep for the images.
        DataError: Activations are not finite at any cut.
    """
    from automl_transfer.models.registry import get_source
    from automl_transfer.training.activation_cache import disk_cache
    from automl_transfer.training.device import resolve_device
    from automl_transfer.training.profile import Profiler, strategy_of

    where = resolve_device(device)
    found = []
    for number, name in enumerate(sources):
        on_source(name, number, len(sources))
        backbone = get_source(name).load(task.task.channels)
        profiler = Profiler(backbone, name, task, device=where, cache=disk_cache(cache_root))
        profile = profiler.compared(profiler.whole())
        best = strategy_of(profile)
        whole = Strategy(source=name, tune_mode="closed_form")
        winner_size, whole_size = (_size(strategy, backbone, task, where) for strategy in (best, whole))
        resolutions = _resolutions(profile, backbone, task, where)
        found.append(SourceProfile(profile, best, winner_size, whole_size, resolutions))
    return found


def _resolutions(
    profile: ProfileRecord, backbone: Backbone, task: LoadedTask, device: torch.device
) -> tuple[AtResolution, ...]:
    from automl_transfer.training.profile import strategy_of

    reached = [cut for cut in profile.cuts if cut.truncation is not None]
    found = []
    for scale in sorted({cut.resolution_scale for cut in reached}):
        best = min((cut for cut in reached if cut.resolution_scale == scale), key=lambda cut: cut.loo_nll)
        cost = _size(strategy_of(profile, best), backbone, task, device)
        pixels = scaled(task.task.resolution, scale)
        found.append(AtResolution(scale, best.detail, pixels, best.loo_accuracy, cost.milliseconds))
    return tuple(found)


def _size(strategy: Strategy, backbone: Backbone, task: LoadedTask, device: torch.device) -> Sized:
    from automl_transfer.training.evaluate import measure_latency
    from automl_transfer.transfer.build import build_plan

    # Costs do not depend on what the head knows.
    cheap = strategy.model_copy(update={"tune_mode": "head", "head_init": "zero"})
    task = task.read_by(cheap)
    plan = build_plan(cheap, backbone, task, seed=0, device=device)
    return Sized(plan.parameters, measure_latency(plan.model, task.images, plan.normaliser(device), device))
