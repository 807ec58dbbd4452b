"""What a study tries before its sampler: the profile's answers, the best tuned on, the default strategy."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from automl_transfer.domain.evidence import ProfileRecord
from automl_transfer.domain.strategy import Strategy
from automl_transfer.search.draft import fixed_draft
from automl_transfer.search.workbench import Workbench
from automl_transfer.space.space import Space
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.trials import Trials

if TYPE_CHECKING:
    from automl_transfer.training.profile import Profiler

PROFILE_KEY = "first:profile"
LARGER_KEY = "first:larger"
VIEWS_KEY = "first:views"
TUNED_KEY = "first:tuned"
DEFAULT_KEY = "first:default"
KEPT_OF_PROFILE = (
    "source", "truncation", "pool", "taps", "resolution_scale", "ridge_lambda", "normalise",
)  # fmt: skip
TUNED_ON = {"freeze_depth": 4, "head_lr_mult": 0.01}
"""How training goes on from a solved head without destroying it (docs/performance.md)."""
VIEWED_PIXELS = 70e6
"""Pixels of all views of all training images together, up to which a head is solved on views."""
LEAST_VIEWS, MOST_VIEWS = 4, 16
VIEWED_PENALTY = 0.3
"""With views a head needs less of the penalty that leave-one-out chose without them."""


class FirstAnswers:
    """Enqueues the first answers of a study, each once, whoever calls this and how often.

    One forward pass of every pretrained source over the training split finds the cut whose closed-form
    head generalises best (leave-one-out): the first trial, seconds after the start. The second one reads
    larger images, where that generalises better. The third one solves the head of the better of them on
    augmented views, where images are few enough. The fourth one trains on from it, as far as the space
    allows. Then comes the default. No more are enqueued than the study has trials.

    Args:
        bench: The study's images and networks.
        trials: Where they are enqueued.
        on_profile: Told what is known of a source, whenever that is more.
    """

    def __init__(
        self,
        bench: Workbench,
        trials: Trials,
        on_profile: Callable[[ProfileRecord], None] = lambda profile: None,
    ) -> None:
        self._bench = bench
        self._trials = trials
        self._on_profile = on_profile
        self._profilers: dict[str, Profiler] = {}
        self._profiles: dict[str, ProfileRecord] = {}
        self._done = False

    def quick(self) -> None:
        """Enqueue the profile's answer at the task's own resolution."""
        if self._bench.handle.spec.search.profile and not self._trials.enqueued(
            self._bench.handle, PROFILE_KEY
        ):
            self._look()
            if (best := self._best()) is not None:
                self._enqueue(PROFILE_KEY, "profile", _strategy(best))

    def rest(self) -> bool:
        """Enqueue the others, and keep the profiles; whether there was anything left to do."""
        if self._done:
            return False
        search = self._bench.handle.spec.search
        last = [TUNED_KEY] * search.profile + [DEFAULT_KEY] * search.default_first
        left = bool(last) and not self._trials.enqueued(self._bench.handle, last[-1]) and not self._is_full()
        if left:
            self._enqueue_rest()
        for profile in self._profiles.values():
            Evidence(self._trials.store).add_profile(self._bench.handle, profile)
        self._done = True
        return left

    def _enqueue_rest(self) -> None:
        space, spec = self._bench.space, self._bench.handle.spec
        default = space.default()
        if spec.search.profile:
            self._look()
            if (small := self._best()) is not None:
                best = self._look_closer(small)
                if best != small:
                    self._enqueue(LARGER_KEY, "profile, larger images", _strategy(best))
                if (viewed := self._viewed(_strategy(best))) is not None:
                    self._enqueue(VIEWS_KEY, "profile, augmented views", viewed)
                tuned = tuned_from(_strategy(best), space, spec.space)
                if tuned != default or not spec.search.default_first:
                    self._enqueue(TUNED_KEY, "profile, tuned", tuned)
        if spec.search.default_first:
            self._enqueue(DEFAULT_KEY, "default", default)

    def _look(self) -> None:
        """Profile the pretrained sources of the study at the task's own resolution."""
        from automl_transfer.training.profile import Profiler

        bench = self._bench
        for source in bench.space.sources:
            if source.startswith("scratch") or source in self._profiles:
                continue
            profiler = Profiler(
                bench.backbone(source),
                source,
                bench.task,
                device=bench.device,
                seed=bench.handle.spec.search.seed,
                cache=bench.activations,
                banks=bench.banks,
            )
            profiler.look(profiler.scales[0])
            self._profilers[source] = profiler
            self._tell(profiler.record())

    def _look_closer(self, small: ProfileRecord) -> ProfileRecord:
        """Profile the best source at its larger resolutions as well; what it knows then."""
        profiler = self._profilers[small.source]
        if len(profiler.scales) == 1:
            return small
        for scale in profiler.scales[1:]:
            profiler.look(scale)
        found = profiler.record()
        self._tell(found)
        return found if _nll(found) < _nll(small) else small

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
        return strategy.model_copy(update=changes).canonical()

    def _tell(self, profile: ProfileRecord) -> None:
        self._profiles[profile.source] = profile
        self._on_profile(profile)

    def _best(self) -> ProfileRecord | None:
        return min(self._profiles.values(), key=_nll, default=None)

    def _is_full(self) -> bool:
        handle = self._bench.handle
        return self._trials.counts(handle).roots >= handle.spec.search.trials

    def _enqueue(self, key: str, label: str, strategy: Strategy) -> None:
        handle = self._bench.handle
        draft = fixed_draft(strategy, self._bench.space, label)
        self._trials.enqueue(handle, draft, once=key, limit=handle.spec.search.trials)


def tuned_from(best: Strategy, space: Space, named: Collection[str]) -> Strategy:
    """The strategy that trains the upper half on from a profile's answer, gently.

    It lies in the space, except that its head reads what the profile's does where the study allows that
    cut and does not name what a head reads.

    The head starts as the solved one. Adam moves every weight of it by the rate at each step, whatever
    its gradient; with thousands of features that adds up to other logits, so the head's rate is a
    hundredth of the body's.
    """
    tuned = space.nearest({**{name: getattr(best, name) for name in KEPT_OF_PROFILE}, **TUNED_ON})
    if tuned.truncation != best.truncation:
        return tuned
    free = {name: getattr(best, name) for name in ("taps", "resolution_scale") if name not in named}
    return Strategy.model_validate({**tuned.model_dump(), **free}).canonical()


def _offers(space: Space, name: str, value: Any) -> bool:
    """Whether a strategy of this space can have this value."""
    return (
        any(d.name == name and value in d.choices for d in space.searched) or space.fixed.get(name) == value
    )


def _strategy(profile: ProfileRecord) -> Strategy:
    from automl_transfer.training.profile import strategy_of

    return strategy_of(profile)


def _nll(profile: ProfileRecord) -> float:
    assert profile.best is not None
    return profile.best.loo_nll
