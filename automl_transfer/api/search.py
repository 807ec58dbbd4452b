"""A search from a specification to a shipped model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from automl_transfer.aborting import Aborted, abortable, check_abort
from automl_transfer.api.evidence import confirm_best
from automl_transfer.api.finish import Shipped, finish_search
from automl_transfer.api.training import MODEL
from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.evidence import ExtraRun, ProfileRecord
from automl_transfer.domain.spec import StudySpec
from automl_transfer.recipes.best_strategy import Recipe
from automl_transfer.recipes.output import check_output_folder, open_output_folder
from automl_transfer.reporting.publish import LivePage
from automl_transfer.reporting.ranking import Ranking
from automl_transfer.search.first import FirstAnswers
from automl_transfer.search.workbench import Backbones, Workbench, check_device, source_digests
from automl_transfer.space.space import SEARCH
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.store.values import StudyHandle
from automl_transfer.training.activation_cache import default_budget
from automl_transfer.workers.signals import StopRequest
from automl_transfer.workers.worker import Observer, SilentObserver, Worker, WorkerOptions

ARTIFACTS = "artifacts"


class SearchEvents:
    """What a caller may want to show; every method may be overridden and none must raise."""

    def on_progress(self, what: str, done: int, total: int) -> None:
        """Data are being prepared."""

    def on_study(self, handle: StudyHandle, trials: Trials) -> None:
        """The study is in the store; trials begin."""

    def on_profile(self, profile: ProfileRecord) -> None:
        """A source was profiled."""

    def on_confirmation(self, run: ExtraRun) -> None:
        """One of the best strategies was trained again."""

    def observer(self) -> Observer:
        """Told about trials of this process."""
        return SilentObserver()


@dataclass(frozen=True)
class SearchResult:
    """How a search ended.

    Attributes:
        finished: Whether the budget is used up (by trials or by time), and results were written.
        shipped: The ranking, the recipe and the model; None where no trial completed or it was interrupted.
    """

    study: str
    reason: str
    finished: bool
    interrupted: bool
    seconds: float
    output: Path
    shipped: Shipped | None

    @property
    def ranking(self) -> Ranking | None:
        """The strategies in order, with intervals; None where nothing was shipped."""
        return self.shipped.ranking if self.shipped else None

    @property
    def recipe(self) -> Recipe | None:
        """The best strategy and all about it; None where no trial completed."""
        return self.shipped.recipe if self.shipped else None

    @property
    def model(self) -> Path | None:
        """The trained winner's folder, for `load`; None where no trial completed."""
        return self.output / MODEL if self.recipe else None


@dataclass(frozen=True)
class _Checked:
    """What a study needs, found in order before anything is written."""

    task: LoadedTask
    sources: dict[str, str | None]
    backbones: Backbones
    folder: Path


def _check(
    spec: StudySpec,
    storage: StoreURL,
    output: Path,
    device: str,
    data_root: Path | None,
    cache_root: Path | None,
    events: SearchEvents,
) -> _Checked:
    """Load the data and the sources; only then open the output folder."""
    check_output_folder(output, spec.name)
    check_device(device)
    default_budget()
    _check_initialisers(spec)
    sources = source_digests(spec)
    task = load_task(spec.task, data_root=data_root, cache_root=cache_root, progress=events.on_progress)
    backbones = Backbones(task.task.channels)
    for name in sources:
        backbones.get(name)
    folder = open_output_folder(output, spec.name)
    if storage.path is not None:
        storage.path.parent.mkdir(parents=True, exist_ok=True)
    return _Checked(task, sources, backbones, folder)


def _prepare(
    spec: StudySpec,
    store: Store,
    checked: _Checked,
    device: str,
    cache_root: Path | None,
    events: SearchEvents,
) -> tuple[Workbench, FirstAnswers]:
    """Create the study, or find it again, and enqueue its first answer. Idempotent."""
    artifact_url = (checked.folder / ARTIFACTS).resolve().as_posix()
    handle = store.create_study(spec, checked.task.task, artifact_url=artifact_url, sources=checked.sources)
    bench = Workbench.open(
        handle, device=device, cache_root=cache_root, task=checked.task, backbones=checked.backbones
    )
    trials = Trials(store)
    events.on_study(handle, trials)
    first = FirstAnswers(bench, trials, events.on_profile)
    first.quick()
    return bench, first


def create(
    spec: StudySpec,
    *,
    storage: StoreURL,
    output: Path,
    device: str = "auto",
    data_root: Path | None = None,
    cache_root: Path | None = None,
    events: SearchEvents | None = None,
) -> StudyHandle:
    """Create a study and its first trials, for workers to run; or find it again. Runs none itself.

    Arguments and errors are those of `search`.
    """
    events = events or SearchEvents()
    checked = _check(spec, storage, output, device, data_root, cache_root, events)
    with Store.open(storage) as store:
        bench, first = _prepare(spec, store, checked, device, cache_root, events)
        first.rest()
        return bench.handle


def _check_initialisers(spec: StudySpec) -> None:
    """Raise ConfigurationError where the space names an initialiser that is not there."""
    from automl_transfer.transfer.initialise.registry import get_initialiser

    setting = spec.space.get("rest_init", ())
    for name in (setting,) if isinstance(setting, str) else setting if isinstance(setting, tuple) else ():
        if name != SEARCH:
            get_initialiser(str(name))


def run_study(
    spec: StudySpec,
    *,
    storage: StoreURL,
    output: Path,
    device: str = "auto",
    data_root: Path | None = None,
    cache_root: Path | None = None,
    refit: bool = False,
    stop: StopRequest | None = None,
    options: WorkerOptions | None = None,
    events: SearchEvents | None = None,
    run_workers: Callable[[Store, StudyHandle, StopRequest], str] | None = None,
) -> SearchResult:
    """Run a study to the end of its budget, confirm and rank its best strategies, and ship the winner.

    The same call again goes on where an earlier one stopped.

    Args:
        spec: What to search, and for how long.
        storage: Where the study lies.
        output: Folder for `ranking.json`, `report.html`, `best_strategy.json` and `model/`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        data_root: Where relative dataset folders lie on this machine.
        cache_root: Where decoded images are kept; None for the user's cache folder.
        refit: Train the winner on training and validation images together before shipping it.
        stop: Asked to stop from elsewhere (signals); its trial is released, not lost.
        options: How the worker of this process behaves.
        events: Told what happens.
        run_workers: Runs trials in other processes instead; returns why it ended.

    Raises:
        UserError: Something about data, sources, study or output is wrong; nothing was written.
        StoreUnavailableError: The store did not answer for too long; nothing is lost.
    """
    began = time.monotonic()
    events = events or SearchEvents()
    stop = stop or StopRequest()
    shipped, reason = None, ""
    try:
        with abortable(lambda: stop.signal is not None):
            checked = _check(spec, storage, output, device, data_root, cache_root, events)
            with Store.open(storage) as store:
                bench, first = _prepare(spec, store, checked, device, cache_root, events)
                if spec.search.minutes is not None:
                    stop.until(began + 60 * spec.search.minutes)
                if run_workers is not None:
                    first.rest()
                    reason = run_workers(store, bench.handle, stop)
                else:
                    worker = Worker(
                        store,
                        bench.handle,
                        lambda: bench,
                        stop=stop,
                        options=options,
                        observer=events.observer(),
                        after_trial=LivePage(store, bench.handle),
                        before_draw=first.rest,
                    )
                    reason = worker.run().reason
                check_abort()
                if spec.search.confirm:
                    confirm_best(
                        store,
                        bench,
                        strategies=spec.search.confirm,
                        max_runs=spec.search.confirm_runs,
                        bounded=True,
                        on_run=events.on_confirmation,
                    )
                shipped = finish_search(store, bench, checked.folder, refit=refit)
    except Aborted:
        reason = stop.reason or reason
    return SearchResult(
        study=spec.name,
        reason=reason,
        finished=shipped is not None,
        interrupted=shipped is None,
        seconds=time.monotonic() - began,
        output=output,
        shipped=shipped,
    )
