"""What a study tries before its sampler: the profile's answers, fine-tuning gentle and whole, the default."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from automl_transfer.data.signature import signature_of
from automl_transfer.domain.evidence import ProfileRecord
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.warm import WarmStart
from automl_transfer.search.answers import (
    JUDGED_LARGER,
    MOST_VIEWS,
    finetuned_from,
    fixed_by,
    judged_larger,
    keeps,
    tuned_from,
)
from automl_transfer.search.draft import fixed_draft
from automl_transfer.search.earlier import begin
from automl_transfer.search.in_time import SMALLER, InTime
from automl_transfer.search.noise import search_is_over
from automl_transfer.search.promotion import JUDGED_LABEL
from automl_transfer.search.workbench import Workbench
from automl_transfer.space.space import Space
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.signatures import Signatures
from automl_transfer.store.trials import Trials
from automl_transfer.store.warm import (
    DEFAULT_KEY,
    DEFAULT_LABEL,
    is_owed,
    keep_owed,
    keep_warm_start,
    read_warm_start,
)

if TYPE_CHECKING:
    import numpy as np

    from automl_transfer.search.cost import Cost
    from automl_transfer.training.profile import Profiler

PROFILE_KEY = "first:profile"
LARGER_KEY = "first:larger"
VIEWS_KEY = "first:views"
TUNED_KEY = "first:tuned"
FINETUNED_KEY = "first:finetuned"
VIEWED_PIXELS = 70e6
"""Pixels of all views of all training images together, up to which a head is solved on views."""
LEAST_VIEWS = 4
VIEWED_PENALTY = 0.3
"""With views a head needs less of the penalty that leave-one-out chose without them."""
COMPARED = 0.4
"""What the scores of a source take of the time that a look at it took, at most."""
JUDGED_KEY = "judged:finetuned"
FINETUNED_LABEL, TUNED_LABEL = "fine-tuned whole", "profile, tuned"
RUN_TO_THE_END = frozenset({FINETUNED_LABEL, TUNED_LABEL})
"""Labels of trials that neither pause nor stop: what others are to be better than must be known, and with a
fresh head they are ahead of a solved one only when their learning rate has come down."""


class FirstAnswers:
    """Enqueues the first answers of a study, each once, whoever calls this and how often; no strategy twice.

    One forward pass of every pretrained source over the training split finds the cut whose closed-form
    head generalises best (leave-one-out): the first trial, seconds after the start. The second one reads
    larger images, where that generalises better: with more detail, where the files have it. The third one
    solves the head of the better of them on augmented views, where images are few enough. Where images are
    large or many, the whole network is then fine-tuned under a fresh head, to the end of the horizon, unless
    the first answer leaves nothing to gain (`search.noise`). The next one trains on from the solved head, as
    far as the space allows. Then come the whole network once more, judged on larger images than it trains on,
    what earlier tasks propose (`search.warm`), and the default. No more are enqueued than the study has
    trials, and none that has another value than the study fixes.

    Where there is no time for that, sources are profiled on smaller images, and the first answer reads these;
    where there is none to train on larger ones, training goes on from the best head on smaller ones. What
    could not be trained to its end at all is not begun. What found no time, or no place in the budget, is
    owed: a later command that goes on with the study enqueues it, as far as it has room for it.

    Args:
        bench: The study's images and networks.
        trials: Where they are enqueued.
        on_profile: Told what is known of a source, whenever that is more.
        left: Seconds that the command has left, all that comes after trials included.
        on_start: Told what earlier tasks propose, which is decided once all first answers are known.
    """

    def __init__(
        self,
        bench: Workbench,
        trials: Trials,
        on_profile: Callable[[ProfileRecord], None] = lambda profile: None,
        left: Callable[[], float] = lambda: math.inf,
        on_start: Callable[[WarmStart], None] = lambda begun: None,
    ) -> None:
        self._bench = bench
        self._trials = trials
        self._on_profile = on_profile
        self._on_start = on_start
        self._time = InTime(left)
        self._fixed = fixed_by(bench.handle.spec.space, bench.space)
        self._profiler: Profiler | None = None
        self._pace: tuple[str, float] | None = None
        self._profiles: dict[str, ProfileRecord] = {}
        self._kept: tuple[str, ...] = ()
        self._dropped: tuple[ProfileRecord, ...] = ()
        self._compared: tuple[ProfileRecord, ...] = ()
        self._looked: dict[str, Profiler] = {}
        self._done = False
        # Two searches that begin together do not both look: what is owed then, a third one may have time for.
        self._owes_before = is_owed(trials.store, bench.handle)
        self._owes = False

    def quick(self) -> None:
        """Enqueue the profile's answer at the task's own resolution."""
        if self._bench.handle.spec.search.profile and not self._trials.enqueued(
            self._bench.handle, PROFILE_KEY
        ):
            self._look()
            if (best := self._best()) is not None:
                self._enqueue(PROFILE_KEY, "profile", self._solved(best))

    def rest(self) -> bool:
        """Enqueue the others, and keep the profiles; whether there was anything left to do."""
        if self._done:
            return False
        handle, store = self._bench.handle, self._trials.store
        begun = read_warm_start(store, handle)
        search = handle.spec.search
        last = [TUNED_KEY] * search.profile + [DEFAULT_KEY] * search.default_first
        due = bool(last) and (self._owes_before or (begun is None and not self._is_enqueued(last[-1])))
        left = due and not self._is_full()
        if left:
            self._enqueue_rest()
        elif due:
            self._owes = True
        self._compare()
        evidence = Evidence(store)
        for profile in (*self._profiles.values(), *self._dropped):
            evidence.add_profile(handle, profile)
        known = self._compared or evidence.profiles(handle)
        Signatures(store).keep(signature_of(self._bench.task, known))
        self._on_start(self._begin() if begun is None else begun)
        if begun is not None and due and search.default_first and not begun.proposals:
            self._enqueue(DEFAULT_KEY, DEFAULT_LABEL, self._bench.space.default())
        if due and (self._owes or self._owes_before):
            keep_owed(store, handle, self._owes)
        self._done = True
        return left

    def _is_enqueued(self, last: str) -> bool:
        """Whether another process did this; the last answer may be one of the others, and then has no key."""
        handle = self._bench.handle
        profiles = Evidence(self._trials.store).profiles(handle) if handle.spec.search.profile else []
        kept = self._bench.space.sources
        return self._trials.enqueued(handle, last) or any(profile.source in kept for profile in profiles)

    def _begin(self) -> WarmStart:
        """What earlier tasks propose; the default comes after that, as it mostly is no better."""
        handle, store, space = self._bench.handle, self._trials.store, self._bench.space
        default = space.default() if handle.spec.search.default_first else None
        begun = begin(store, handle, space, default)
        if default is not None and not begun.proposals:
            self._enqueue(DEFAULT_KEY, DEFAULT_LABEL, default)
        keep_warm_start(store, handle, begun)  # last of all: what is noted is done
        return begun

    def _compare(self) -> None:
        """Score the sources that were looked at, where there is time: answers have not waited for it."""
        looked, self._looked = self._looked, {}
        if self._compared:
            return
        for source, profiler in looked.items():
            record = self._profiles[source]
            if self._time.spares(COMPARED * record.seconds):
                self._profiles[source] = profiler.compared(record)

    def _enqueue_rest(self) -> None:
        if self._bench.handle.spec.search.profile:
            self._look()
            if (small := self._best()) is not None:
                best = self._look_closer(small)
                solved = self._solved(best)
                if best != small or self._owes_before:  # the first answer may have read smaller images
                    self._enqueue(LARGER_KEY, "profile, larger images", solved)
                if (viewed := self._viewed(solved)) is not None:
                    self._enqueue(VIEWS_KEY, "profile, augmented views", viewed)
                for key, label, strategy in self._trained(small, best, solved):
                    self._enqueue(key, label, strategy)

    def _trained(
        self, small: ProfileRecord, best: ProfileRecord, solved: Strategy
    ) -> list[tuple[str, str, Strategy]]:
        """Keys, labels and strategies of the first answers that train, in their order."""
        space, spec, task = self._bench.space, self._bench.handle.spec, self._bench.task
        tuned = tuned_from(self._to_train(small, best), space, spec.space, spec.task.metric)
        found = [(TUNED_KEY, TUNED_LABEL, tuned)]
        if tuned == space.default() and spec.search.default_first:
            found = []
        elif not self._is_time_for(tuned):
            self._owes, found = True, []
        whole = finetuned_from(solved, space, spec.space, task.task, self._bench.horizon)
        # Where the solved head leaves nothing to gain, a fresh one could at best come there.
        if whole is None or search_is_over(self._trials, self._bench.handle) is not None:
            return found
        # Where a task gains by it, it gains most, and takes longest: it must not come too late. But where
        # there is too little time for it and its refit, what takes less comes before it.
        first = self._is_in_time(whole, trainings=2)
        if not first and not self._is_time_for(whole, *(strategy for _, _, strategy in found)):
            self._owes = True
            return found
        found.insert(0 if first else len(found), (FINETUNED_KEY, FINETUNED_LABEL, whole))
        detailed = task.has_detail(JUDGED_LARGER["resolution_scale"])
        larger = judged_larger(whole, self._fixed) if detailed else None
        if larger is not None and self._is_in_time(larger, trainings=3):
            found.append((JUDGED_KEY, JUDGED_LABEL, larger))
        elif larger is not None:
            self._owes = True
        return found

    def _look(self) -> None:
        """Profile the pretrained sources of the study at the task's own resolution: of many, the best few."""
        from automl_transfer.training.profile import Profiler
        from automl_transfer.training.source_race import race

        bench = self._bench

        def profiler_of(source: str, rows: np.ndarray | None = None) -> Profiler:
            return Profiler(
                bench.backbone(source),
                source,
                bench.task,
                device=bench.device,
                seed=bench.handle.spec.search.seed,
                normalise=self._fixed.get("normalise", "source"),
                cache=bench.activations,
                banks=bench.banks if rows is None else None,
                fixed=self._fixed,
                rows=rows,
            )

        sources = [name for name in bench.space.sources if not name.startswith("scratch")]
        if not self._profiles:
            ended = race(sources, bench.task, profiler_of, seed=bench.handle.spec.search.seed)
            self._kept, self._dropped, self._compared = ended.kept, ended.dropped, ended.first
            for record in ended.dropped:
                self._on_profile(record)
        unknown = [name for name in self._kept if name not in self._profiles]
        smaller = [] if "resolution_scale" in self._fixed else [s for s in SMALLER if self._may_be(s)]
        for place, source in enumerate(unknown):
            profiler = profiler_of(source)
            scale = self._time.first(profiler, smaller, len(unknown) - place)
            self._owes = self._owes or scale != profiler.scales[0]
            profiler.look(scale)
            if not self._compared:
                self._looked[source] = profiler
            self._tell(profiler.record())
            if self._best() == self._profiles[source]:
                self._profiler = profiler  # of the others, the record is enough

    def _look_closer(self, small: ProfileRecord) -> ProfileRecord:
        """Profile the best source at its larger resolutions as well; what it knows then."""
        profiler, self._profiler = self._profiler, None
        if profiler is None:
            return small
        self._pace = small.source, profiler.seconds_of(1, 1.0)
        looked = False
        for scale in profiler.scales:
            if scale <= small.largest:
                continue
            if self._time.is_enough_for(profiler, scale):
                profiler.look(scale)
                looked = True
            else:
                self._owes = True
        if not looked:
            return small
        found = profiler.record()
        self._tell(found)
        return found if _nll(found) < _nll(small) else small

    def _to_train(self, small: ProfileRecord, best: ProfileRecord) -> Strategy:
        """The head that training goes on from: on smaller images, where there is no time for larger ones."""
        solved = self._solved(best)
        if best == small:
            return solved
        spec = self._bench.handle.spec
        tuned = tuned_from(solved, self._bench.space, spec.space, spec.task.metric)
        return solved if self._is_in_time(tuned) else self._solved(small)

    def _is_in_time(self, strategy: Strategy, *, trainings: int = 1) -> bool:
        """Whether so many trainings fit into the time, of several the last with the validation images."""
        splits = self._bench.task.task.splits
        times = trainings + (splits.validation / max(1, splits.train) if trainings > 1 else 0.0)
        return self._time.is_enough_to_train(lambda: times * self._cost.seconds(strategy))

    def _is_time_for(self, *strategies: Strategy) -> bool:
        """Whether these can be trained one after another, if nothing but them took any time."""
        return self._time.is_enough_to_train(lambda: sum(map(self._cost.seconds, strategies)), share=1.0)

    @functools.cached_property
    def _cost(self) -> Cost:
        """What trainings take at the pace that the profile has found; networks are looked through once."""
        cost = self._bench.cost()
        if self._pace is not None:
            cost.at_pace(*self._pace)
        return cost

    def _may_be(self, scale: float) -> bool:
        """Whether the study lets images be resized by this factor: it does where it does not name that."""
        named = "resolution_scale" in self._bench.handle.spec.space
        return not named or _offers(self._bench.space, "resolution_scale", scale)

    def _viewed(self, strategy: Strategy) -> Strategy | None:
        """The same head solved on augmented views; None where they are too many or not wanted."""
        bench = self._bench
        if "augmentation" in bench.handle.spec.space and not _offers(bench.space, "augmentation", "affine"):
            return None
        side = bench.task.task.resolution * strategy.resolution_scale
        affordable = VIEWED_PIXELS / (len(bench.task.indices["train"]) * side**2)
        if affordable < LEAST_VIEWS:
            return None
        views = min(MOST_VIEWS, 2 ** int(math.log2(affordable)))
        penalty = max(1e-6, VIEWED_PENALTY * strategy.ridge_lambda)
        changes = {"augmentation": "affine", "views": views, "ridge_lambda": penalty}
        changes |= {name: self._fixed[name] for name in ("views", "ridge_lambda") if name in self._fixed}
        return strategy.model_copy(update=changes).canonical()

    def _tell(self, profile: ProfileRecord) -> None:
        self._profiles[profile.source] = profile
        self._on_profile(profile)

    def _best(self) -> ProfileRecord | None:
        known = (profile for profile in self._profiles.values() if profile.best is not None)
        return min(known, key=_nll, default=None)

    def _solved(self, profile: ProfileRecord) -> Strategy:
        """The profile's head; with the penalty that the study fixes, if it does."""
        from automl_transfer.training.profile import strategy_of

        solved = strategy_of(profile)
        penalty = self._fixed.get("ridge_lambda", solved.ridge_lambda)
        return solved.model_copy(update={"ridge_lambda": penalty})

    def _is_full(self) -> bool:
        handle = self._bench.handle
        return self._trials.counts(handle).roots >= handle.spec.search.trials

    def _enqueue(self, key: str, label: str, strategy: Strategy) -> None:
        handle = self._bench.handle
        if not keeps(strategy, self._fixed):
            return
        draft, limit = fixed_draft(strategy, self._bench.space, label), handle.spec.search.trials
        made = self._trials.enqueue(handle, draft, once=key, limit=limit, distinct=True)
        if made is None and self._is_full():
            self._owes = True


def _offers(space: Space, name: str, value: Any) -> bool:
    """Whether a strategy of this space can have this value."""
    return (
        any(d.name == name and value in d.choices for d in space.searched) or space.fixed.get(name) == value
    )


def _nll(profile: ProfileRecord) -> float:
    assert profile.best is not None
    return profile.best.loo_nll
