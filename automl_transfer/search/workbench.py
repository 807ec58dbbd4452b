"""What a worker keeps between trials: the task's images, the sources' networks and the device."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.measured import check_metric
from automl_transfer.domain.spec import Precision, StudySpec
from automl_transfer.errors import StudyError
from automl_transfer.importing import import_torch
from automl_transfer.search.cost import Cost
from automl_transfer.space.space import Space
from automl_transfer.store.values import StudyHandle

if TYPE_CHECKING:
    import torch

    from automl_transfer.models.network import Backbone
    from automl_transfer.training.activation_cache import ActivationCache
    from automl_transfer.training.crew import Crew
    from automl_transfer.training.feature_bank import FeatureBanks

KEPT_BACKBONES = 2


def source_digests(spec: StudySpec) -> dict[str, str | None]:
    """The sha256 of every source in the study's space; None for scratch. Downloads what is not here yet.

    Raises:
        SourceError: A source is unknown or not on this machine.
    """
    return {name: digest_of(name, spec.task.channels or 3) for name in Space.of_study(spec).sources}


def digest_of(name: str, channels: int = 3) -> str | None:
    """The sha256 of a source; None for scratch. Downloads what is not here yet.

    Raises:
        SourceError: It is unknown or not on this machine.
    """
    from automl_transfer.models.registry import get_source

    source = get_source(name)
    digest = source.sha256()
    if digest is None and not name.startswith("scratch"):
        source.load(channels)
        digest = source.sha256()
    return digest


def check_device(name: str, precision: Precision = "fp32") -> None:
    """Raise ConfigurationError where this machine has no such device, or that cannot train so."""
    import_torch()
    from automl_transfer.training.device import resolve_device
    from automl_transfer.training.precision import check_precision

    check_precision(precision, resolve_device(name))


class Backbones:
    """The sources' networks for images of `channels`, each loaded once; the last few used are kept."""

    def __init__(self, channels: int, most: int = KEPT_BACKBONES) -> None:
        self._channels, self._most = channels, most
        self._kept: OrderedDict[str, Backbone] = OrderedDict()

    def get(self, source: str) -> Backbone:
        """A source's network. Callers must not change it.

        Raises:
            SourceError: The source is unknown, not on this machine, or its weights do not fit.
        """
        if source not in self._kept:
            from automl_transfer.models.registry import get_source

            self._kept[source] = get_source(source).load(self._channels)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        self._kept.move_to_end(source)
        return self._kept[source]


@dataclass
class Workbench:
    """Everything that trials of one study share within one process. Not safe between threads.

    Attributes:
        crew: The devices that train a model together; None: one device.
    """

    handle: StudyHandle
    task: LoadedTask
    device: torch.device
    space: Space
    backbones: Backbones
    activations: ActivationCache
    banks: FeatureBanks
    crew: Crew | None = None

    @classmethod
    def open(
        cls,
        handle: StudyHandle,
        *,
        device: str = "auto",
        data_root: Path | None = None,
        cache_root: Path | None = None,
        task: LoadedTask | None = None,
        backbones: Backbones | None = None,
        progress: Callable[[str, int, int], None] | None = None,
        crew: Crew | None = None,
    ) -> Workbench:
        """Load the data and check that it, and the sources' weights, are those of the study.

        Raises:
            ConfigurationError: The study's metric is of a package that is not installed here, or the device
                cannot train in its precision.
            StudyError: The data or a source on this machine differ from the study's, saying which.
        """
        from automl_transfer.training.activation_cache import disk_cache
        from automl_transfer.training.device import resolve_device
        from automl_transfer.training.feature_bank import FeatureBanks

        check_metric(handle.task.metric)
        check_device(device, handle.spec.search.precision)
        if task is None:
            task = load_task(handle.spec.task, data_root=data_root, cache_root=cache_root, progress=progress)
        if task.task.fingerprint != handle.task.fingerprint:
            raise StudyError(
                f"the data of study {handle.name!r} must be the same on every machine (fingerprint "
                f"{handle.task.fingerprint[:12]}), got {task.task.fingerprint[:12]} for {task.task.name!r}: "
                "copy the same files here, or point --data-root at them"
            )
        if regrouped := handle.task.regrouped(task.task):
            raise StudyError(
                f"the data of study {handle.name!r} must be the same on every machine, got another "
                f"{regrouped}: copy the same table of groups here"
            )
        here = source_digests(handle.spec)
        for name, digest in handle.sources.items():
            if here.get(name) != digest:
                raise StudyError(
                    f"source {name!r} of study {handle.name!r} must have sha256 {(digest or 'none')[:12]}, "
                    f"got {(here.get(name) or 'none')[:12]}: install the same weights on this machine"
                )
        return cls(
            handle,
            task,
            resolve_device(device),
            Space.of_study(handle.spec).suited(task.task),
            backbones or Backbones(task.task.channels),
            disk_cache(cache_root),
            FeatureBanks(),
            crew,
        )

    @property
    def horizon(self) -> Horizon:
        """How long a trial of the study trains."""
        return self.handle.spec.search.horizon(self.task.task.splits.train)

    def backbone(self, source: str) -> Backbone:
        """The source's network, see `Backbones.get`."""
        return self.backbones.get(source)

    def cost(self) -> Cost:
        """Predicts what strategies take, on this machine as far as that is known beforehand."""
        from automl_transfer.training.cache_plan import multiply_adds_by_group, rate_of

        task = self.task.task
        sizes = functools.cache(lambda source: multiply_adds_by_group(self.backbone(source), task.resolution))
        return Cost(task.splits.train, task.splits.validation, self.horizon, sizes, rate_of(self.device))
