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

    def check(self) -> None:
        """Raise ConfigurationError where there is no such launcher, or settings are given to none."""
        if self.settings and self.launcher is None and self.workers == 1:
            raise ConfigurationError(
                f"--launcher-set is for what starts workers, got {', '.join(self.settings)} and neither "
                "--launcher nor --workers: add one, or leave it out"
            )
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
                run_workers=run_workers if self.workers > 1 or self.launcher is not None else None,
            )
