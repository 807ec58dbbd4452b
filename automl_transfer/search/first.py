"""What a study tries before its sampler: the profile's answer, then the default strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from automl_transfer.domain.strategy import Strategy
from automl_transfer.search.draft import fixed_draft
from automl_transfer.search.workbench import Workbench
from automl_transfer.store.trials import Trials

if TYPE_CHECKING:
    from automl_transfer.training.profile import Profile

PROFILE_KEY = "first:profile"
DEFAULT_KEY = "first:default"


def enqueue_first(
    bench: Workbench, trials: Trials, *, on_profile: Callable[[Profile], None] | None = None
) -> None:
    """Enqueue the first answers, each once per study, whoever calls this and how often.

    One forward pass of every pretrained source over the training split finds the cut whose
    closed-form head generalises best (leave-one-out). That strategy is the first trial.
    """
    handle = bench.handle
    if handle.spec.search.profile and not trials.enqueued(handle, PROFILE_KEY):
        best = best_profile(bench, on_profile=on_profile)
        if best is not None:
            trials.enqueue(handle, fixed_draft(best, bench.space, "profile"), once=PROFILE_KEY)
    if handle.spec.search.default_first:
        default = bench.space.default()
        trials.enqueue(handle, fixed_draft(default, bench.space, "default"), once=DEFAULT_KEY)


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
        )
        if on_profile is not None:
            on_profile(profile)
        if best is None or profile.best.loo_accuracy > best.best.loo_accuracy:
            best = profile
    return None if best is None else strategy_of(best)
