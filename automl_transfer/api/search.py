"""A search from a specification to a shipped model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer.aborting import Aborted, abortable, abortable_also, check_abort
from automl_transfer.api.evidence import confirm_best
from automl_transfer.api.finish import Shipped, finish_search
from automl_transfer.api.offers import Offer
from automl_transfer.api.run_folder import check_run_folder, claim_run_folder
from automl_transfer.api.shared_search import SearchTime, SharedFirst
from automl_transfer.api.time_plan import TimePlan
from automl_transfer.api.training import MODEL
from automl_transfer.data.far import is_far, refuse_password
from automl_transfer.data.signature import signature_of
from automl_transfer.data.task import LoadedTask, load_with_details
from automl_transfer.doctor.examine import examine
from automl_transfer.doctor.findings import Diagnosis
from automl_transfer.domain.dimensions import is_pretrained
from automl_transfer.domain.evidence import ExtraRun, FailedRun, ProfileRecord
from automl_transfer.domain.measured import unknown_metric
from automl_transfer.domain.spec import StudySpec
from automl_transfer.domain.warm import WarmStart
from automl_transfer.errors import ConfigurationError
from automl_transfer.machine import path_of
from automl_transfer.models.registry import source_traits
from automl_transfer.recipes.best_strategy import Recipe
from automl_transfer.recipes.output import check_output_folder, make_folder, resolved
from automl_transfer.reporting.publish import LivePage
from automl_transfer.reporting.ranking import Ranking
from automl_transfer.search.auto_sources import begun_with, is_auto, settle, with_sources
from automl_transfer.search.noise import asked_for_more
from automl_transfer.search.workbench import Backbones, Workbench, check_device, source_digests
from automl_transfer.space.space import Space, cannot_take, unknown_methods
from automl_transfer.store.artifacts import ArtifactStore
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.signatures import Signatures
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.store.values import StudyHandle
from automl_transfer.training.activation_cache import default_budget
from automl_transfer.workers.sharing import FIRST, SHIP, Founder, SharedWork, founding
from automl_transfer.workers.signals import TIME_UP, StopRequest
from automl_transfer.workers.timekeeper import SupervisorTime, TimeKeeper
from automl_transfer.workers.worker import Observer, SilentObserver, Worker, WorkerOptions

if TYPE_CHECKING:
    from automl_transfer.training.source_race import Race

ARTIFACTS = "artifacts"


class SearchEvents:
    """What a caller may want to show; every method may be overridden and none must raise."""

    def on_progress(self, what: str, done: int, total: int) -> None:
        """Data are being prepared."""

    def on_doctor(self, found: Diagnosis) -> None:
        """The cheap checks of the data doctor have looked at the images; nothing was changed."""

    def on_set_aside(self, folder: Path, aside: Path) -> None:
        """The output folder held the results of a study that is gone from the store; they are kept."""

    def on_study(self, handle: StudyHandle, trials: Trials) -> None:
        """The study is in the store; trials begin."""

    def on_profile(self, profile: ProfileRecord) -> None:
        """A source was profiled."""

    def on_start(self, begun: WarmStart) -> None:
        """All first answers are enqueued, and what earlier tasks propose after these is decided."""

    def on_confirmation(self, run: ExtraRun) -> None:
        """One of the best strategies was trained again."""

    def on_confirmation_failed(self, failed: FailedRun) -> None:
        """One of the best strategies could not be trained again; the others go on."""

    def on_wait(self, what: str) -> None:
        """Another search of this study does some of the work: this one waits for it."""

    def observer(self) -> Observer:
        """Told about trials of this process."""
        return SilentObserver()


@dataclass(frozen=True)
class SearchResult:
    """How a search ended.

    Attributes:
        finished: Whether the budget is used up (by trials or by time), and results were written.
        shipped: The ranking, and recipe and model where a trial completed; None where it was interrupted.
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
    """What a study needs, found in order before anything is written; `race` where its sources had one."""

    spec: StudySpec
    task: LoadedTask
    sources: dict[str, str | None]
    backbones: Backbones
    folder: Path
    race: Race | None


def _check(
    spec: StudySpec,
    storage: StoreURL,
    output: Path,
    device: str,
    data_root: Path | None,
    cache_root: Path | None,
    events: SearchEvents,
) -> _Checked:
    """Load the data and the sources; nothing is written, the output folder is not opened."""
    check_output_folder(output)
    check_device(device, spec.search.precision)
    default_budget()
    if mistakes := unknown_metric(spec.task.metric) + unknown_methods(spec.space):
        raise ConfigurationError(mistakes)
    race: Race | None = None
    auto = is_auto(spec)
    if auto and (begun := begun_with(storage, spec.name)):
        spec, auto = with_sources(spec, begun), False
    sources = {} if auto else source_digests(spec)
    details = load_with_details(
        spec.task, data_root=data_root, cache_root=cache_root, progress=events.on_progress
    )
    if spec.search.doctor:
        events.on_doctor(examine(details))
    task = details.loaded
    if auto:
        spec, race = settle(
            spec,
            task,
            device=device,
            cache_root=cache_root,
            on_source=lambda name, done, total: events.on_progress(f"comparing sources: {name}", done, total),
        )
        sources = source_digests(spec)
    backbones = Backbones(task.task.channels)
    for name in sources:
        backbones.get(name)
    traits = {name: source_traits(name) for name in sources if is_pretrained({"source": name})}
    if mistakes := cannot_take(spec.space, traits):
        raise ConfigurationError(mistakes)
    Space.of_study(spec).warn_of(task.task)
    if storage.path is not None:
        make_folder(storage.path.parent)
    return _Checked(spec, task, sources, backbones, output, race)


def _prepare(
    store: Store,
    checked: _Checked,
    founder: Founder,
    device: str,
    cache_root: Path | None,
    events: SearchEvents,
    artifacts: str | None = None,
) -> Workbench:
    """Create the study, or find it again. Idempotent."""
    trials, before = Trials(store), store.find(name=checked.spec.name)
    spec = asked_for_more(trials, before, checked.spec)
    check_run_folder(store, spec.name, checked.folder)
    artifact_url = artifacts or (checked.folder / ARTIFACTS).resolve().as_posix()
    handle = store.create_study(
        spec, checked.task.task, artifact_url=artifact_url, sources=checked.sources, also=founder.take_first
    )
    if (aside := claim_run_folder(store, handle, checked.folder)) is not None:
        events.on_set_aside(checked.folder, aside)
    bench = Workbench.open(
        handle, device=device, cache_root=cache_root, task=checked.task, backbones=checked.backbones
    )
    events.on_study(handle, trials)
    if checked.race is not None:
        for profile in checked.race.dropped:
            Evidence(store).add_profile(handle, profile)
            events.on_profile(profile)
        Signatures(store).keep(signature_of(bench.task, checked.race.first))
    return bench


def create(
    spec: StudySpec,
    *,
    storage: StoreURL,
    output: Path,
    device: str = "auto",
    data_root: Path | None = None,
    cache_root: Path | None = None,
    artifacts: str | None = None,
) -> StudyHandle:
    """Create a study and its first trials, for workers to run; or find it again. Runs none itself.

    Arguments and errors are those of `search`, and `artifacts`: where checkpoints and models lie, a folder or
    a URL that fsspec knows; None for a folder below `output`.

    Raises:
        ConfigurationError: The URL holds a password, which would stand in the store.
        UserError: Its driver is not installed.
    """
    if artifacts is not None:
        refuse_password(artifacts, "the URL of artifacts")
        artifacts = artifacts if is_far(artifacts) else resolved(path_of(artifacts)).as_posix()
        ArtifactStore(artifacts)
    events = SearchEvents()
    checked = _check(spec, storage, output, device, data_root, cache_root, events)
    with Store.open(storage) as store, founding() as founder:
        bench = _prepare(store, checked, founder, device, cache_root, events, artifacts)
        with SharedWork(store, bench.handle, founder) as shared:
            first = SharedFirst(bench, Trials(store), shared, events.on_profile, events.on_wait)
            first.quick()
            first.rest()
        return bench.handle


def run_study(
    spec: StudySpec,
    *,
    storage: StoreURL,
    output: Path,
    device: str = "auto",
    data_root: Path | None = None,
    cache_root: Path | None = None,
    refit: bool | None = None,
    by_rule: bool = False,
    stop: StopRequest | None = None,
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
        refit: Train the winner on training and validation images together before shipping it; None does so
            where it takes no more than 45% of `minutes`.
        by_rule: What was exported by name gives way to what the study says (`ship_as`).
        stop: Asked to stop from elsewhere (signals, another thread): whatever is under way is given up, its
            trial released and not lost, and nothing is shipped. With `minutes` its deadline
            is set here.
        events: Told what happens.
        run_workers: Runs trials in other processes instead; returns why it ended.

    Raises:
        UserError: Something about data, sources, study or output is wrong; nothing was written.
        StoreUnavailableError: The store did not answer for too long; nothing is lost.
    """
    began = time.monotonic()
    events, stop = events or SearchEvents(), stop or StopRequest()
    Offer(spec.search.ship_as).check(refit)
    shipped, reason = None, ""
    try:
        with abortable(lambda: stop.asked is not None):
            checked = _check(spec, storage, output, device, data_root, cache_root, events)
            with Store.open(storage) as store, founding() as founder:
                bench = _prepare(store, checked, founder, device, cache_root, events)
                plan = _plan(spec, bench, began, refit)
                with SharedWork(store, bench.handle, founder) as shared:
                    reason = _run_trials(store, bench, plan, shared, stop, events, run_workers)
                    check_abort()
                    shipped = _conclude(store, bench, plan, shared, checked.folder, refit, by_rule, events)
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


def _plan(spec: StudySpec, bench: Workbench, began: float, refit: bool | None) -> TimePlan | None:
    if spec.search.minutes is None:
        return None
    return TimePlan(began, 60.0 * spec.search.minutes, spec.search, bench.handle.task, refit)


def _run_trials(
    store: Store,
    bench: Workbench,
    plan: TimePlan | None,
    shared: SharedWork,
    stop: StopRequest,
    events: SearchEvents,
    run_workers: Callable[[Store, StudyHandle, StopRequest], str] | None,
) -> str:
    """First answers, then trials while there is budget and time for them; returns why they ended."""
    handle, trials = bench.handle, Trials(store)
    left = plan.left if plan is not None else lambda: math.inf
    first = SharedFirst(bench, trials, shared, events.on_profile, events.on_wait, left, events.on_start)
    first.quick()
    search_time = SearchTime(plan, store, handle, shared) if plan is not None else None
    with TimeKeeper(stop, search_time) if search_time is not None else nullcontext():
        worker = Worker(
            store,
            handle,
            lambda: bench,
            stop=stop,
            options=WorkerOptions(max_trials=None if run_workers is None else 1),
            observer=events.observer(),
            after_trial=LivePage(store, handle),
            before_draw=first.rest,
        )
        if run_workers is None:
            return worker.run().reason
        if first.answers:
            worker.run()  # what was profiled is in memory here: an answer, before the others have begun
            check_abort()
        try:
            with abortable_also(lambda: search_time is not None and search_time.is_up):
                first.rest()
        except Aborted:  # workers still give an answer where there is none
            check_abort()
            shared.give_back(FIRST)
    with TimeKeeper(stop, SupervisorTime(search_time, store, handle)) if search_time else nullcontext():
        reason = run_workers(store, handle, stop)
        return TIME_UP if stop.asked is None and search_time is not None and search_time.is_up else reason


def _conclude(
    store: Store,
    bench: Workbench,
    plan: TimePlan | None,
    shared: SharedWork,
    folder: Path,
    refit: bool | None,
    by_rule: bool,
    events: SearchEvents,
) -> Shipped:
    """Confirm the best strategies as far as there is time, and ship the winner."""
    search = bench.handle.spec.search
    if search.confirm:
        confirm_best(
            store,
            bench,
            strategies=search.confirm,
            max_runs=search.confirm_runs,
            bounded=True,
            until=(lambda records, runs: math.inf) if plan is None else plan.confirmation_ends,
            on_run=events.on_confirmation,
            on_failure=events.on_confirmation_failed,
            on_wait=lambda: events.on_wait("another search of this study trains what is left to confirm"),
        )
    shared.wait(SHIP, lambda: events.on_wait("another search of this study ships its winner"))
    return finish_search(
        store,
        bench,
        folder,
        refit=refit,
        may_refit=(lambda record, kept: True) if plan is None else plan.refits_now,
        stopped=TIME_UP if plan is not None else None,
        refit_until=plan.refit_ends() if plan is not None else math.inf,
        by_rule=by_rule,
    )
