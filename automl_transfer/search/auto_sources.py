"""`source = "auto"`: which networks a study compares, where the person leaves that to the machine.

`auto` stands for what is on this machine, `auto+downloads` for the strong ones of the catalogue besides,
which are fetched. Those that would take too long for the study's time are left out, the others race on a part
of the training images, and the best two become the study's sources, for good: workers elsewhere and later
calls find these in the store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.spec import StudySpec
from automl_transfer.errors import SourceError
from automl_transfer.search.answers import fixed_by
from automl_transfer.search.workbench import Backbones
from automl_transfer.space.space import Space
from automl_transfer.store.store import Store
from automl_transfer.store.url import StoreURL

if TYPE_CHECKING:
    import numpy as np
    import torch

    from automl_transfer.models.network import Backbone
    from automl_transfer.training.profile import Profiler
    from automl_transfer.training.source_race import Race

AUTO, WITH_DOWNLOADS = "auto", "auto+downloads"
SHARE, LEAST_SECONDS, MOST_SECONDS = 0.05, 15.0, 600.0
"""Of a study's time, one source's profile may take so much, within these bounds."""

log = logging.getLogger(__name__)

OnSource = Callable[[str, int, int], None]


def is_auto(spec: StudySpec) -> bool:
    """Whether a study leaves its sources, or some of them, to the machine."""
    return bool({AUTO, WITH_DOWNLOADS} & set(_named(spec)))


def _named(spec: StudySpec) -> tuple[str, ...]:
    setting = spec.space.get("source", ())
    return tuple(map(str, setting if isinstance(setting, tuple) else (setting,)))


def with_sources(spec: StudySpec, names: Sequence[str]) -> StudySpec:
    """The study with these sources instead of "auto"; what it names besides stays."""
    others = [name for name in _named(spec) if name not in (AUTO, WITH_DOWNLOADS)]
    found = tuple(dict.fromkeys([*names, *others]))
    source = found if len(found) > 1 else found[0]
    return spec.model_copy(update={"space": {**spec.space, "source": source}})


def settle(
    spec: StudySpec,
    task: LoadedTask,
    *,
    device: str = "auto",
    cache_root: Path | None = None,
    on_source: OnSource = lambda name, done, total: None,
) -> tuple[StudySpec, Race]:
    """The study with sources instead of "auto", and how these were chosen.

    Raises:
        SourceError: No source is on this machine, or none can be used with these images.
    """
    from automl_transfer.training.activation_cache import disk_cache
    from automl_transfer.training.device import resolve_device
    from automl_transfer.training.profile import Profiler
    from automl_transfer.training.source_race import race

    where = resolve_device(device)
    found = candidates(spec, accelerated=where.type != "cpu")
    backbones = Backbones(task.task.channels, most=len(found))
    usable = _affordable(spec, task, found, backbones.get, where)
    fixed = {
        name: value
        for name, value in fixed_by(spec.space, Space.from_settings(spec.space)).items()
        if name != "source"
    }
    cache = disk_cache(cache_root)

    def look(name: str, rows: np.ndarray) -> Profiler:
        return Profiler(
            backbones.get(name),
            name,
            task,
            device=where,
            seed=spec.search.seed,
            normalise=fixed.get("normalise", "source"),
            cache=cache,
            fixed=fixed,
            rows=rows,
        )

    ended = race(usable, task, look, seed=spec.search.seed, on_source=on_source)
    return with_sources(spec, ended.kept), ended


def candidates(spec: StudySpec, *, accelerated: bool) -> list[str]:
    """Names of the sources that "auto" stands for, on this machine and now.

    With downloads, strong ones are fetched that a study of this length has the time for; one that cannot
    be fetched is left out with a warning, and no other is tried after it.

    Raises:
        SourceError: There is none.
    """
    from automl_transfer.models.catalogue import STRONG
    from automl_transfer.models.registry import get_source, list_sources

    found = [info.name for info in list_sources() if info.available and not info.name.startswith("scratch")]
    if WITH_DOWNLOADS in _named(spec):
        minutes = spec.search.minutes
        for name, least in STRONG.items():
            if name in found or not (accelerated or minutes is None or minutes >= least):
                continue
            try:
                get_source(name).load(spec.task.channels or 3)
            except SourceError as error:
                log.warning("sources are compared without downloads: %s", error)
                break
            found.append(name)
    if not found:
        raise SourceError(
            f"source = {AUTO!r} needs a source on this machine, got none: pip install "
            f"'automl-transfer[timm]', or name one ('automl-transfer sources' lists them)"
        )
    return found


def _affordable(
    spec: StudySpec,
    task: LoadedTask,
    names: Sequence[str],
    backbone: Callable[[str], Backbone],
    device: torch.device,
) -> list[str]:
    """Those whose profile fits the study's time, by counted multiply-adds; the cheapest in any case."""
    minutes = spec.search.minutes
    allowed = MOST_SECONDS if minutes is None else min(MOST_SECONDS, SHARE * 60.0 * minutes)
    seconds: dict[str, float] = {}
    for name in names:
        try:
            seconds[name] = _seconds(backbone(name), task, device)
        except SourceError as error:
            log.warning("the source %s is left out: %s", name, error)
    if not seconds:
        raise SourceError(
            f"a source must take these images, got none on this machine that does: {', '.join(names)}"
        )
    return _within(seconds, max(LEAST_SECONDS, allowed))


def _within(seconds: Mapping[str, float], allowed: float) -> list[str]:
    cheapest = min(seconds, key=lambda name: seconds[name])
    for name, needed in seconds.items():
        if name != cheapest and needed > allowed:
            log.warning("the source %s is left out: its profile takes %.0f s of %.0f", name, needed, allowed)
    return [name for name, needed in seconds.items() if name == cheapest or needed <= allowed]


def _seconds(backbone: Backbone, task: LoadedTask, device: torch.device) -> float:
    """What a profile at the task's resolution is expected to take."""
    from automl_transfer.training.cache_plan import multiply_adds, rate_of
    from automl_transfer.training.source_race import MOST_ROWS

    with multiply_adds(backbone) as counted:
        backbone.shapes(task.task.resolution)
    return min(len(task.indices["train"]), MOST_ROWS) * counted[0] / rate_of(device)


def begun_with(storage: StoreURL, study: str) -> tuple[str, ...]:
    """The sources of a study that is in the store; none where it is not."""
    if storage.is_missing:
        return ()
    with Store.open(storage) as store:
        found = store.find(name=study)
    return () if found is None else Space.of_study(found.spec).sources
