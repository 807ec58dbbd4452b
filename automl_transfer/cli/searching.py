"""One search as a person sees it: live, in this process or with workers, stopped by Ctrl-C."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from automl_transfer.api.search import SearchResult
    from automl_transfer.domain.spec import StudySpec
    from automl_transfer.store.store import Store
    from automl_transfer.store.url import StoreURL
    from automl_transfer.store.values import StudyHandle
    from automl_transfer.workers.signals import StopRequest


@dataclass(frozen=True)
class Searching:
    """Where and with what searches run.

    Attributes:
        workers: Processes that run trials; with one, and no launcher, this one does.
        launcher: What starts them; None for processes of this machine.
        refit, by_rule: As for `api.search.run_study`.
        settings: The launcher's own.
        devices, shard: As for `LaunchOptions`; several devices are a worker's, this process has one.
    """

    storage: StoreURL
    workers: int = 1
    launcher: str | None = None
    device: str = "auto"
    data_root: Path | None = None
    cache: Path | None = None
    refit: bool | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    by_rule: bool = False
    devices: int = 1
    shard: str = "ddp"

    @property
    def launches(self) -> bool:
        """Whether workers run the trials."""
        return self.workers > 1 or self.launcher is not None or self.devices > 1

    def check(self) -> None:
        """Raise ConfigurationError where workers cannot be started so, or settings are given to none."""
        from automl_transfer.workers import members

        if self.settings and not self.launches:
            raise ConfigurationError(
                f"--launcher-set is for what starts workers, got {', '.join(self.settings)} and neither "
                "--launcher nor --workers: add one, or leave it out"
            )
        members.check_shard(self.shard, self.devices)
        if self.devices > 1 and self.launcher in (None, "local"):
            members.check(self.devices, self.device)
        if self.launcher is not None:
            from automl_transfer.workers import launchers

            launchers.check(self.launcher)

    def search(self, spec: StudySpec, folder: Path, screen: Console) -> SearchResult:
        """Search one study to its end, or until a signal; results go into the folder."""
        from automl_transfer.api.search import run_study
        from automl_transfer.cli.live import LiveSearch
        from automl_transfer.workers.signals import StopRequest, stop_on_signals

        stop = StopRequest()
        with stop_on_signals(stop), LiveSearch(screen, spec) as live:

            def run_workers(store: Store, handle: StudyHandle, stop: StopRequest) -> str:
                from automl_transfer.workers import launching
                from automl_transfer.workers.supervisor import SupervisorOptions

                options = launching.LaunchOptions(
                    self.workers,
                    device=self.device,
                    data_root=self.data_root,
                    cache_root=self.cache,
                    launcher=self.launcher or "local",
                    settings=self.settings,
                    devices=self.devices,
                    shard=self.shard,
                )
                if handle.spec.search.minutes is not None:
                    options = replace(options, supervisor=SupervisorOptions(patience=15.0))
                with live.workers(store, handle) as on_tick:
                    return launching.run_workers(store, handle, stop, options, on_tick=on_tick)

            return run_study(
                spec,
                storage=self.storage,
                output=folder,
                device=self.device,
                data_root=self.data_root,
                cache_root=self.cache,
                refit=self.refit,
                by_rule=self.by_rule,
                stop=stop,
                events=live,
                run_workers=run_workers if self.launches else None,
            )
