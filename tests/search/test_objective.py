"""One trial from its claim to its end, with the packaged source on real digits."""

from __future__ import annotations

import base64
import dataclasses
import math
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forge
import pytest
import torch
from search_helpers import DIGITS, DONE, digits, epoch, objective, open_study
from watched import Watched

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.records import StopKind, TrialState
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import StudyError, TrialLostError
from automl_transfer.reporting.html.document import figures_of
from automl_transfer.reporting.study_report import read_study_report
from automl_transfer.search.answers import tuned_from
from automl_transfer.search.draft import fixed_draft
from automl_transfer.search.first import FINETUNED_LABEL, TUNED_LABEL, FirstAnswers
from automl_transfer.search.objective import TrialEnd
from automl_transfer.search.workbench import Workbench
from automl_transfer.space.space import Space
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import Claim, StudyHandle
from automl_transfer.store.warm import is_owed

HEAD = Strategy(tune_mode="head", head_init="he", learning_rate=0.01)
SUFFIX = Strategy(freeze_depth=7, learning_rate=1e-3)
CLOSED = Strategy(tune_mode="closed_form", truncation=4, pool=2, ridge_lambda=1.0)
LARGER, VIEWS = "profile, larger images", "profile, augmented views"
PREPARED = CLOSED.model_copy(update={"truncation": 2, "prepare": "denoise", "prepare_steps": 4})


@pytest.fixture(scope="module")
def task() -> LoadedTask:
    return digits()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def created(store: Store, study: StudyHandle, strategy: Strategy, label: str = "") -> Claim:
    draft = fixed_draft(strategy, Space.from_settings(study.spec.space), label)
    claim = Trials(store).create(study, draft, "w")
    assert claim is not None
    return claim


def after_an_epoch(trials: Trials, study: StudyHandle) -> Callable[[], str | None]:
    """Asks to stop once the store has an epoch."""
    return lambda: "SIGTERM received" if trials.records(study)[0].epochs else None


def end_of(folder: Path, task: LoadedTask, strategy: Strategy, **search: object) -> TrialEnd:
    store, study = open_study(folder, task, max_epochs=search.pop("max_epochs", 2), **search)
    with store:
        return objective(store, study, task)(created(store, study, strategy))


def test_a_closed_form_trial_is_good_after_epoch_0(tmp_path: Path, task: LoadedTask) -> None:
    end = end_of(tmp_path, task, CLOSED)
    assert end.state is TrialState.COMPLETE
    assert end.stop == DONE
    assert end.value is not None
    assert end.value > 0.8
    assert end.outcome is not None
    assert end.outcome.best_epoch == 0
    assert end.outcome.predict_ms_per_image > 0
    assert list((tmp_path / "artifacts").rglob("model-0.safetensors"))


def test_what_a_preparation_reconstructs_is_shown_in_the_report(tmp_path: Path, task: LoadedTask) -> None:
    store, study = open_study(tmp_path, task)
    with store:
        trials = Trials(store)
        for strategy in (CLOSED, PREPARED):
            claim = created(store, study, strategy)
            end = objective(store, study, task)(claim)
            assert ("reconstructions.png" in {each.filename for each in end.artifacts}) == (
                strategy is PREPARED
            )
            trials.finish(claim, end.state, end.value, end.stop, end.outcome, end.artifacts)
        report = read_study_report(store, study)
        shown = figures_of(report)["reconstructions"]
        assert "prepared by denoise (4 steps)" in shown.text
        (image,) = shown.value["layout"]["images"]
        assert base64.b64decode(image["source"].partition(",")[2]).startswith(b"\x89PNG")
        # A file that is no picture, or a store elsewhere, costs the figure and nothing else.
        (file,) = (tmp_path / "artifacts").rglob("trial-000001/reconstructions.png")
        file.write_bytes(b"nothing")
        assert "reconstructions" not in figures_of(read_study_report(store, study))


def test_not_a_number_is_a_failure_with_its_reason(tmp_path: Path, task: LoadedTask) -> None:
    # Bounded activations and batch statistics survive the rate alone: such a decay overshoots zero.
    strategy = Strategy(
        tune_mode="bias", optimizer="sgd", learning_rate=10.0, head_lr_mult=1000.0, weight_decay=1.0,
        schedule="constant", warmup=0.0, batch=8,
    )  # fmt: skip
    end = end_of(tmp_path, task, strategy)
    assert end.state is TrialState.FAIL
    assert end.stop.kind is StopKind.NOT_A_NUMBER
    assert "must be finite" in end.stop.detail
    assert "rate" in end.stop.detail


@pytest.mark.parametrize(
    ("strategy", "word"),
    [
        (HEAD.model_copy(update={"rest_init": "magic", "transfer_depth": 4}), "magic"),
        (HEAD.model_copy(update={"source": "timm/no-such-network"}), "no-such-network"),
    ],
)
def test_what_cannot_be_built_fails_clearly(
    tmp_path: Path, task: LoadedTask, strategy: Strategy, word: str
) -> None:
    end = end_of(tmp_path, task, strategy)
    assert end.state is TrialState.FAIL
    assert word in end.stop.detail
    assert "Traceback" not in end.stop.detail


def test_a_released_trial_goes_on_to_the_same_weights(tmp_path: Path, task: LoadedTask) -> None:
    ends = []
    for name in ("undisturbed", "released"):
        (tmp_path / name).mkdir()
        store, study = open_study(tmp_path / name, task, max_epochs=3, pruner="none")
        with store:
            trials = Trials(store)
            claim = created(store, study, SUFFIX)
            if name == "released":
                end = objective(store, study, task, after_an_epoch(trials, study))(claim)
                assert end.state is TrialState.WAITING
                assert str(end.stop) == "released: SIGTERM received"
                trials.release(claim, end.stop)
                again = trials.claim(study, "other worker")
                assert again is not None
                assert again.number == claim.number
                assert [e.epoch for e in again.epochs] == [1]
                claim = again
            end = objective(store, study, task)(claim)
            assert end.state is TrialState.COMPLETE
            assert end.outcome is not None
            assert end.outcome.identical
            ends.append((end.value, end.outcome.best_epoch, end.outcome.weights_sha256))
            assert [e.epoch for e in trials.records(study)[0].epochs] == [1, 2, 3]
    assert ends[0] == ends[1]
    assert ends[0][2] is not None


@pytest.mark.parametrize("strategy", [CLOSED, SUFFIX.model_copy(update={"head_init": "he"}), PREPARED])
def test_a_pass_over_images_is_given_up_and_begins_again(
    tmp_path: Path, task: LoadedTask, strategy: Strategy
) -> None:
    """The pass that solves a head, that fills the cache, or that prepares, is long on a large task."""
    images = Watched(task.images)
    watched = dataclasses.replace(task, images=images)
    ends = []
    for name in ("undisturbed", "given up"):
        (tmp_path / name).mkdir()
        store, study = open_study(tmp_path / name, watched, max_epochs=2, pruner="none")
        with store:
            trials, claim = Trials(store), created(store, study, strategy)
            cache = tmp_path / name / "cache"
            if name == "given up":
                images.read.clear()
                stop = objective(store, study, watched, lambda: "no time" if images.read else None, cache)
                end = stop(claim)
                assert (end.state, str(end.stop)) == (TrialState.WAITING, "released: no time")
                assert len(images.read) == 1
                assert not list(cache.rglob("values.npy"))
                trials.release(claim, end.stop)
                again = trials.claim(study, "other worker")
                assert again is not None
                claim = again
            end = objective(store, study, watched, cache=cache)(claim)
            assert end.outcome is not None
            ends.append((end.state, end.value, end.outcome.weights_sha256))
    assert ends[0] == ends[1]
    assert ends[0][0] is TrialState.COMPLETE


def test_the_first_solved_head_is_due_when_time_is_up(tmp_path: Path, task: LoadedTask) -> None:
    """A search that ends without any answer would have wasted its time; a second one is not due."""
    store, study = open_study(tmp_path, task)
    with store:
        trials, asked = Trials(store), []

        def should_stop(*, during_epoch: bool = False, answer_due: bool = False) -> str | None:
            asked.append(answer_due)
            return None if answer_due else "the time of the search is used up"

        for state in (TrialState.COMPLETE, TrialState.WAITING):
            claim = created(store, study, CLOSED)
            trial = objective(store, study, task)
            trial.should_stop = should_stop
            end = trial(claim)
            assert end.state is state
            if end.state.finished:
                trials.finish(claim, end.state, end.value, end.stop, end.outcome)
        assert set(asked) == {True, False}


def test_a_checkpoint_that_is_gone_starts_the_trial_over(tmp_path: Path, task: LoadedTask) -> None:
    store, study = open_study(tmp_path, task, max_epochs=2, pruner="none")
    with store:
        trials = Trials(store)
        claim = created(store, study, HEAD)
        end = objective(store, study, task, lambda: "stop" if trials.records(study)[0].epochs else None)(
            claim
        )
        trials.release(claim, end.stop)
        for file in (tmp_path / "artifacts").rglob("state.*"):
            file.write_bytes(b"damaged")
        again = trials.claim(study, "w")
        assert again is not None
        end = objective(store, study, task)(again)
        assert end.state is TrialState.COMPLETE
        assert [e.epoch for e in trials.records(study)[0].epochs] == [1, 2]


def test_a_lost_trial_raises_and_writes_nothing(tmp_path: Path, task: LoadedTask) -> None:
    store, study = open_study(tmp_path, task, max_epochs=2)
    with store:
        trials = Trials(store)
        claim = created(store, study, HEAD)
        trials.finish(claim, TrialState.COMPLETE, 0.5, DONE)
        with pytest.raises(TrialLostError):
            objective(store, study, task)(claim)
        assert trials.records(study)[0].epochs == ()
        assert trials.records(study)[0].value == 0.5


def test_a_pruned_trial_says_by_what_and_when(tmp_path: Path, task: LoadedTask) -> None:
    store, study = open_study(tmp_path, task, max_epochs=9, pruner="median")
    with store:
        trials = Trials(store)
        for _ in range(5):
            claim = created(store, study, HEAD)
            for number in range(1, 4):
                trials.record_epoch(claim, epoch(number, 1.0), 1.0)
            trials.finish(claim, TrialState.COMPLETE, 1.0, DONE)
        end = objective(store, study, task)(created(store, study, HEAD))
        last = trials.records(study)[-1].epochs[-1]
        assert end.state is TrialState.PRUNED
        assert str(end.stop) == f"pruned: by median after epoch {last.epoch}"
        assert end.value == last.accuracy
        assert last.epoch < 9
        # The same one would have been stopped, were it not the fine-tuned first answer.
        end = objective(store, study, task)(created(store, study, HEAD, FINETUNED_LABEL))
        assert end.state is TrialState.COMPLETE
        assert trials.records(study)[-1].epochs[-1].epoch == 9


@pytest.mark.parametrize("pruner", ["asha", "hyperband"])
def test_what_runs_to_its_end_is_what_others_are_compared_with_at_rungs(
    tmp_path: Path, task: LoadedTask, pruner: str
) -> None:
    store, study = open_study(tmp_path, task, max_epochs=2, min_epochs=1, pruner=pruner)
    slow = HEAD.model_copy(update={"learning_rate": 1e-5})
    with store:
        trials, ends = Trials(store), []
        for strategy, label in ((HEAD, TUNED_LABEL), (slow, ""), (slow, FINETUNED_LABEL)):
            claim = created(store, study, strategy, label)
            end = objective(store, study, task)(claim)
            trials.finish(claim, end.state, end.value, end.stop, end.outcome)
            ends.append(end)
        assert [end.state for end in ends] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]
        assert str(ends[1].stop) == f"pruned: by {pruner} after epoch 1"


def test_first_answers_are_enqueued_once_even_from_two_processes(tmp_path: Path, task: LoadedTask) -> None:
    store, study = open_study(tmp_path, task, {"truncation": (1, 8)})
    with store:
        helper = Path(__file__).with_name("search_helpers.py")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(helper.parents[2])}
        other = subprocess.Popen([forge.command(), str(helper), str(tmp_path)], env=environment)
        bench, seen = Workbench.open(study, device="cpu", task=task), []
        for _ in range(2):
            first = FirstAnswers(bench, Trials(store), seen.append)
            first.quick()
            first.rest()
            first.rest()
        assert other.wait(120) == 0
        assert len(seen) <= 2
        claims = [claim for _ in range(9) if (claim := Trials(store).claim(study, "w"))]
        answers = {c.label: c.strategy for c in claims}
        assert len(claims) == len(answers)
        assert answers.keys() - {LARGER} == {"default", "profile", VIEWS, "profile, tuned"}
        assert (answers["profile"].tune_mode, answers["profile"].resolution_scale) == ("closed_form", 1.0)
        best = answers.get(LARGER, answers["profile"])
        assert answers["default"] == bench.space.default()
        assert answers["profile, tuned"] == tuned_from(best, bench.space, bench.handle.spec.space, "accuracy")


def test_the_first_answer_does_not_wait_for_larger_images(tmp_path: Path, task: LoadedTask) -> None:
    store, study = open_study(tmp_path, task)
    with store:
        trials, seen = Trials(store), []
        first = FirstAnswers(Workbench.open(study, device="cpu", task=task), trials, seen.append)
        first.quick()
        assert [{cut.resolution_scale for cut in profile.cuts} for profile in seen] == [{1.0}]
        assert trials.counts(study).roots == 1
        first.rest()
        assert {cut.resolution_scale for cut in seen[-1].cuts} == {1.0, 2.0}
        small, whole = seen[0].best, seen[-1].best
        labels = [claim.label for _ in range(9) if (claim := trials.claim(study, "w"))]
        assert (LARGER in labels) == (whole.loo_nll < small.loo_nll)
        (kept,) = Evidence(store).profiles(study)
        # Scores come after the answers, which do not wait for them.
        assert (kept.joint, kept.best) == (seen[-1].joint, seen[-1].best)


@pytest.mark.parametrize(
    ("space", "search", "labels"),
    [
        ({"truncation": (3, 5)}, {}, ["profile", VIEWS, "profile, tuned", "default"]),
        ({"truncation": (3, 5)}, {"trials": 2}, ["profile", VIEWS]),
        ({}, {"trials": 3}, ["profile", VIEWS, "default"]),  # half of it frozen is the default
        ({}, {"trials": 1}, ["profile"]),
        ({"tune_mode": "head"}, {}, ["default"]),  # a solved head is another mode than the one that is fixed
        ({"augmentation": "none"}, {}, ["profile", "default"]),
        ({"transfer_depth": 4, "tune_mode": ("head", "suffix")}, {}, ["default"]),  # C9: a profile copies all
        ({}, {"default_first": False, "trials": 9}, ["profile", VIEWS, "profile, tuned"]),
        ({}, {"profile": False}, ["default"]),
        ({"source": "scratch"}, {}, ["default"]),
        ({}, {"profile": False, "default_first": False}, []),
    ],
)
def test_first_answers_fit_the_space_and_the_budget(
    tmp_path: Path, task: LoadedTask, space: dict[str, object], search: dict[str, object], labels: list[str]
) -> None:
    store, study = open_study(tmp_path, task, {"freeze_depth": "search", **space}, **search)
    with store:
        bench, seen = Workbench.open(study, device="cpu", task=task), []
        first = FirstAnswers(bench, Trials(store), seen.append)
        first.quick()
        first.rest()
        claims = [claim for _ in range(9) if (claim := Trials(store).claim(study, "w"))]
        if len(seen) > 1 and seen[1].best.loo_nll < seen[0].best.loo_nll:
            labels = ["profile", LARGER, *labels[1:]]
        limit = study.spec.search.trials
        assert [c.label for c in claims] == labels[:limit]
        answers = {c.label: c.strategy for c in claims}
        if (tuned := answers.get("profile, tuned")) is not None:
            best = answers.get(LARGER, answers["profile"])
            assert tuned.freeze_depth == 4
            wanted = min(max(best.truncation, 3), 5) if "truncation" in space else Strategy().truncation
            assert tuned.truncation == wanted
        if (viewed := answers.get(VIEWS)) is not None:
            plain = answers.get(LARGER, answers["profile"])
            same = {"augmentation": "none", "ridge_lambda": plain.ridge_lambda}
            assert viewed.model_copy(update=same).key() == plain.key()
            assert (viewed.augmentation, viewed.views) == ("affine", 16)
            assert viewed.ridge_lambda < plain.ridge_lambda


@pytest.mark.parametrize(("score", "stop_when", "tried"), [
    (0.9, "noise", True),
    (0.99, "noise", False),  # 2 of 200 are wrong: no strategy could be shown to be better
    (0.99, "budget", True),
])  # fmt: skip
def test_the_whole_network_is_not_tuned_where_the_first_answer_leaves_nothing_to_gain(
    tmp_path: Path, task: LoadedTask, score: float, stop_when: str, tried: bool
) -> None:
    space = {"tune_mode": "search", "resolution_scale": 1.0, "augmentation": "none"}
    store, study = open_study(tmp_path, task, space, trials=9, max_epochs=200, stop_when=stop_when)
    with store:
        trials = Trials(store)
        first = FirstAnswers(Workbench.open(study, device="cpu", task=task), trials)
        first.quick()
        claim = trials.claim(study, "w")
        assert claim is not None
        trials.record_epoch(claim, epoch(1, score), score)
        trials.finish(claim, TrialState.COMPLETE, score, DONE)
        first.rest()
        labels = [claim.label for _ in range(9) if (claim := trials.claim(study, "w"))]
        assert "default" in labels  # others are tried
        assert (FINETUNED_LABEL in labels) == tried


def labels_of(trials: Trials, study: StudyHandle) -> list[str]:
    """Of all that waits, in the order in which workers take it."""
    claims = iter(lambda: trials.claim(study, "w"), None)
    return [claim.label for claim in claims if claim is not None]


def test_what_takes_less_comes_before_a_training_that_has_no_time(tmp_path: Path, task: LoadedTask) -> None:
    """The whole network has time for one training, and none for its refit: as a last one; or for none at all."""
    space = {"tune_mode": "search", "resolution_scale": 1.0, "augmentation": "none"}
    found: dict[str, list[str]] = {}
    strategies: dict[str, Strategy] = {}
    for case, share in (("both", math.inf), ("once", 1.1), ("never", 0.9)):
        (tmp_path / case).mkdir()
        store, study = open_study(
            tmp_path / case, task, space, trials=9, max_epochs=2000, default_first=False
        )
        with store:
            bench, trials = Workbench.open(study, device="cpu", task=task), Trials(store)
            left = [math.inf]
            answers = FirstAnswers(bench, trials, left=lambda left=left: left[0])  # type: ignore[misc]
            answers.quick()
            if strategies:
                both = [
                    answers._cost.seconds(strategies[label]) for label in (FINETUNED_LABEL, "profile, tuned")
                ]
                left[0] = sum(both) * share
            answers.rest()
            claims = [claim for _ in range(9) if (claim := trials.claim(study, "w"))]
            found[case] = [claim.label for claim in claims]
            strategies = strategies or {claim.label: claim.strategy for claim in claims}
            assert is_owed(store, study) == (case == "never")
    tuned = "profile, tuned"
    assert found == {
        "both": ["profile", FINETUNED_LABEL, tuned],
        "once": ["profile", tuned, FINETUNED_LABEL],
        "never": ["profile", tuned],
    }


def test_first_answers_that_found_no_time_come_when_a_study_goes_on(tmp_path: Path, task: LoadedTask) -> None:
    space = {"tune_mode": "search", "augmentation": "none"}
    store, study = open_study(tmp_path, task, space, trials=9, max_epochs=2000, default_first=False)
    with store:
        trials = Trials(store)
        bench = Workbench.open(study, device="cpu", task=task)
        FirstAnswers(bench, trials, left=lambda: 0.0).quick()
        short = FirstAnswers(bench, trials, left=lambda: 0.0)
        assert short.rest()
        assert labels_of(trials, study) == ["profile"]
        again = FirstAnswers(bench, trials)  # no limit this time
        again.quick()
        assert again.rest()
        assert {FINETUNED_LABEL, "profile, tuned"} <= set(labels_of(trials, study))
        last = FirstAnswers(bench, trials)
        last.quick()
        assert not last.rest()  # nothing is owed any more, and nothing is looked at again
        assert labels_of(trials, study) == []


@pytest.mark.parametrize("begun_with", [1, 2])
def test_first_answers_that_found_no_place_come_when_the_budget_is_raised(
    tmp_path: Path, task: LoadedTask, begun_with: int
) -> None:
    space = {"tune_mode": "search", "resolution_scale": 1.0, "augmentation": "none"}
    found = []
    for trials_of in (begun_with, 9):
        store, study = open_study(tmp_path, task, space, trials=trials_of, max_epochs=200)
        with store:
            first = FirstAnswers(Workbench.open(study, device="cpu", task=task), Trials(store))
            first.quick()
            first.rest()
            found.append(labels_of(Trials(store), study))
    assert len(found[0]) == begun_with
    everything = found[0] + found[1]
    assert set(everything) == {"profile", FINETUNED_LABEL, "default"}  # the default is the tuned one here
    assert len(set(everything)) == len(everything)


def test_heads_of_the_profile_read_what_the_study_fixes(tmp_path: Path, task: LoadedTask) -> None:
    """C9: the best head of all would read several outputs on a finer grid."""
    fixed = {"truncation": 5, "pool": 1, "taps": 1, "resolution_scale": 1.0, "ridge_lambda": 3.0, "views": 4}
    store, study = open_study(tmp_path, task, fixed, default_first=False, trials=9)
    with store:
        first = FirstAnswers(Workbench.open(study, device="cpu", task=task), Trials(store))
        first.quick()
        first.rest()
        claims = [claim for _ in range(9) if (claim := Trials(store).claim(study, "w"))]
        assert [claim.label for claim in claims] == ["profile", VIEWS, "profile, tuned"]
        for claim in claims:
            active = claim.strategy.active()
            assert {name: active.get(name, value) for name, value in fixed.items()} == fixed


@pytest.mark.parametrize(
    ("left", "space", "scale"),
    [
        (0.0, {}, 0.5),  # at a quarter, 16 pixels would be left
        (1e6, {}, 1.0),
        (0.0, {"resolution_scale": 1.0}, 1.0),  # the study fixes it
        (0.0, {"resolution_scale": (1.0, 1.5)}, 1.0),  # the study lets images be larger only
    ],
)
def test_with_little_time_the_first_answer_reads_smaller_images(
    tmp_path: Path, left: float, space: dict[str, Any], scale: float
) -> None:
    """`--minutes 1` took 2.4 minutes on 3,000 photographs: the first head's pass could not be given up."""
    task = load_task(DIGITS.model_copy(update={"resolution": 64}))
    store, study = open_study(tmp_path, task, space, default_first=False)
    with store:
        trials, seen = Trials(store), []
        first = FirstAnswers(
            Workbench.open(study, device="cpu", task=task), trials, seen.append, lambda: left
        )
        first.quick()
        assert [profile.largest for profile in seen] == [scale]
        claim = trials.claim(study, "w")
        assert claim is not None
        assert claim.strategy.resolution_scale == scale
        if not left:  # none for larger ones either
            first.rest()
            assert [profile.largest for profile in Evidence(store).profiles(study)] == [scale]


def test_a_study_of_one_trial_keeps_its_profile(tmp_path: Path, task: LoadedTask) -> None:
    store, study = open_study(tmp_path, task, trials=1)
    with store:
        first = FirstAnswers(Workbench.open(study, device="cpu", task=task), Trials(store))
        first.quick()
        assert not first.rest()
        assert [profile.source for profile in Evidence(store).profiles(study)] == ["efficientnet-lite0"]


def test_other_data_or_weights_are_refused(tmp_path: Path, task: LoadedTask) -> None:
    import dataclasses

    store, study = open_study(tmp_path, task)
    with store:
        other = dataclasses.replace(study, task=study.task.model_copy(update={"fingerprint": "0" * 64}))
        with pytest.raises(StudyError, match="fingerprint 000000000000"):
            Workbench.open(other, device="cpu", task=task)
        other = dataclasses.replace(study, sources={"efficientnet-lite0": "0" * 64})
        with pytest.raises(StudyError, match=r"'efficientnet-lite0'.*sha256 000000000000"):
            Workbench.open(other, device="cpu", task=task)
