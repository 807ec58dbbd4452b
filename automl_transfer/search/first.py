"""What a study tries before its sampler: the profile's answer, the same tuned on, the default strategy."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from automl_transfer.domain.strategy import Strategy
from automl_transfer.search.draft import fixed_draft
from automl_transfer.search.workbench import Workbench
from automl_transfer.space.space import Space
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.trials import Trials

if TYPE_CHECKING:
    from automl_transfer.training.profile import Profile

PROFILE_KEY = "first:profile"
TUNED_KEY = "first:tuned"
DEFAULT_KEY = "first:default"
KEPT_OF_PROFILE = (
    "source", "truncation", "pool", "taps", "resolution_scale", "ridge_lambda", "normalise",
)  # fmt: skip


def enqueue_first(
    bench: Workbench, trials: Trials, *, on_profile: Callable[[Profile], None] | None = None
) -> None:
    """Enqueue the first answers, each once per study, whoever calls this and how often.

    One forward pass of every pretrained source over the training split finds the cut whose
    closed-form head generalises best (leave-one-out). That strategy is the first trial; the second one
    trains on from there, as far as the space allows. No more are enqueued than the study has trials.
    """
    handle, space, search = bench.handle, bench.space, bench.handle.spec.search
    default = space.default()
    keys = [PROFILE_KEY, TUNED_KEY] * search.profile + [DEFAULT_KEY] * search.default_first
    if not keys or trials.enqueued(handle, keys[: search.trials][-1]):
        return
    first: list[tuple[str, str, Strategy]] = []

    def profiled(profile: Profile) -> None:
        from automl_transfer.training.profile import record_of

        Evidence(trials.store).add_profile(handle, record_of(profile))
        if on_profile is not None:
            on_profile(profile)

    if search.profile and (best := best_profile(bench, on_profile=profiled)) is not None:
        first.append((PROFILE_KEY, "profile", best))
        if (tuned := tuned_from(best, space, handle.spec.space)) != default or not search.default_first:
            first.append((TUNED_KEY, "profile, tuned", tuned))
    if search.default_first:
        first.append((DEFAULT_KEY, "default", default))
    for key, label, strategy in first[: search.trials]:
        trials.enqueue(handle, fixed_draft(strategy, space, label), once=key)


def tuned_from(best: Strategy, space: Space, named: Collection[str]) -> Strategy:
    """The strategy that trains everything on from a profile's answer, gently.

    It lies in the space, except that its head reads what the profile's does where the study allows that
    cut and does not name what a head reads.

    Its head starts as the solved one. What keeps that head alive are the defaults of rate, head
    multiplier and norm policy.
    """
    tuned = space.nearest({**{name: getattr(best, name) for name in KEPT_OF_PROFILE}, "freeze_depth": 0})
    if tuned.truncation != best.truncation:
        return tuned
    free = {name: getattr(best, name) for name in ("taps", "resolution_scale") if name not in named}
    return Strategy.model_validate({**tuned.model_dump(), **free}).canonical()


def best_profile(bench: Workbench, *, on_profile: Callable[[Profile], None] | None = None) -> Strategy | None:
    """The closed-form strategy of the best cut over all pretrained sources of the study."""
    from automl_transfer.training.profile import profile_source, strategy_of

    best: Profile | None = None
    for source in bench.space.sources:
        if source.startswith("scratch"):
            continue
        profile = profile_source(
            bench.backbone(source),
            source,
            bench.task,
            device=bench.device,
            seed=bench.handle.spec.search.seed,
            cache=bench.activations,
            banks=bench.banks,
        )
        if on_profile is not None:
            on_profile(profile)
        if best is None or profile.best.loo_nll < best.best.loo_nll:
            best = profile
    return None if best is None else strategy_of(best)
