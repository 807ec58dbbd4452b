"""A warm start on a real store: what is proposed, who gets it, when it stops, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from search_helpers import DONE, digits, epoch, open_study

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.records import StopKind, StopReason, TrialState
from automl_transfer.domain.stored_strategy import read_strategy, store_strategy
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.warm import Proposal, WarmStart, verdict
from automl_transfer.reporting.warm import beginning, outcome, proposed
from automl_transfer.search import prior
from automl_transfer.search.draft import draw, fixed_draft
from automl_transfer.search.earlier import begin, of_study
from automl_transfer.search.samplers import make_sampler
from automl_transfer.search.warm import Warm, claim_proposal
from automl_transfer.space.space import Space
from automl_transfer.store.sampling import SamplerHistory
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import Claim, StudyHandle
from automl_transfer.store.warm import first_answers, keep_warm_start, read_warm_start

SPACE = {"learning_rate": (1e-5, 1e-2), "freeze_depth": "search", "head_lr_mult": "search",
         "batch": (32, 64)}  # fmt: skip
TUNED = Strategy(head_lr_mult=0.03)
RATES = (3e-4, 1e-3, 2e-3, 3e-3)
PROPOSED = [TUNED.model_copy(update={"learning_rate": rate}) for rate in RATES]
RUNG = 3


@pytest.fixture(scope="module")
def task() -> LoadedTask:
    return digits()


@pytest.fixture
def opened(tmp_path: Path, task: LoadedTask) -> Iterator[tuple[Store, StudyHandle]]:
    """A study with a trained first answer (.9), and proposals noted."""
    store, study = open_study(tmp_path, task, SPACE, trials=20)
    with store:
        answer(store, study, "tuned", TUNED, 0.9)
        proposals = tuple(
            Proposal(strategy=store_strategy(each), rank=0.9, tasks=2, best_on="cats") for each in PROPOSED
        )
        begun = WarmStart(
            tasks={"this store": 1, "shipped": 2}, studies=("cats",), proposals=proposals,
            afterwards=store_strategy(Strategy()),
        )  # fmt: skip
        keep_warm_start(store, study, begun)
        keep_warm_start(store, study, WarmStart())  # what is noted stays
        yield store, study


def answer(store: Store, study: StudyHandle, name: str, strategy: Strategy, score: float) -> None:
    trials = Trials(store)
    draft = fixed_draft(strategy, Space.of_study(study.spec), name)
    trials.enqueue(study, draft, once=f"first:{name}")
    claim = trials.claim(study, "w")
    assert claim is not None
    train(trials, claim, score)
    trials.finish(claim, TrialState.COMPLETE, score, DONE)


def train(trials: Trials, claim: Claim, score: float, epochs: int = RUNG) -> None:
    for number in range(1, epochs + 1):
        trials.record_epoch(claim, epoch(number, score), score)


def warm(store: Store, study: StudyHandle) -> Warm:
    return Warm.of_study(store, study, Space.of_study(study.spec))


def told(store: Store, study: StudyHandle) -> str:
    records = Trials(store).records(study)
    first = first_answers(store, study)
    return " ".join(outcome(read_warm_start(store, study), records, first, "accuracy", RUNG))


def test_proposals_are_handed_out_once_whoever_asks_and_then_comes_the_default(
    opened: tuple[Store, StudyHandle],
) -> None:
    store, study = opened
    trials, claims = Trials(store), []
    workers = [(warm(store, study), SamplerHistory(store, study)) for _ in range(2)]
    for turn in range(10):
        its, history = workers[turn % 2]
        if (claim := claim_proposal(its, trials, history, f"w{turn % 2}")) is not None:
            claims.append(claim)
    assert [claim.strategy.learning_rate for claim in claims[:4]] == list(RATES)
    assert [claim.label for claim in claims] == [
        "earlier 1",
        "earlier 2",
        "earlier 3",
        "earlier 4",
        "default",
    ]
    assert "has been trained yet" in told(store, study)


def test_what_does_not_fit_is_passed_over_until_it_does(opened: tuple[Store, StudyHandle]) -> None:
    """One prediction that was too long lost all proposals and the default for the rest of the process."""
    store, study = opened
    trials, its, history = Trials(store), warm(store, study), SamplerHistory(store, study)

    def label(fits: Callable[[Strategy], bool]) -> str | None:
        claim = claim_proposal(its, trials, history, "w", fits)
        return None if claim is None else claim.label

    assert label(lambda strategy: False) is None
    assert its.is_open
    assert label(lambda strategy: strategy.learning_rate == RATES[2]) == "earlier 3"
    answer(store, study, "other", PROPOSED[1], 0.9)  # what is there already is not begun again
    rest = [label(lambda strategy: True) for _ in range(4)]
    assert rest == ["earlier 1", "earlier 4", "default", None]
    assert not its.is_open


def test_a_version_that_reads_fewer_proposals_loses_none_of_them(tmp_path: Path, task: LoadedTask) -> None:
    """The first one is a newer program's, whose worker has begun it: its key was that of the second one here."""
    store, study = open_study(tmp_path, task, SPACE, trials=20)
    with store:
        noted = ['{"space":999,"set":{"unheard_of":1}}', *map(store_strategy, PROPOSED[1:])]
        proposals = tuple(Proposal(strategy=each, rank=0.9, tasks=2, best_on="cats") for each in noted)
        keep_warm_start(store, study, WarmStart(tasks={"shipped": 2}, proposals=proposals))
        trials, its, history = Trials(store), warm(store, study), SamplerHistory(store, study)
        newer = fixed_draft(PROPOSED[0], Space.of_study(study.spec), "earlier 1")
        trials.enqueue(study, newer, once="warm:0")
        assert trials.claim(study, "its worker") is not None
        claims = [claim_proposal(its, trials, history, "w") for _ in range(4)]
        labels = [None if claim is None else claim.label for claim in claims]
        assert labels == ["earlier 2", "earlier 3", "earlier 4", None]


def test_after_two_that_are_worse_at_the_first_rung_the_search_goes_on_cold(
    opened: tuple[Store, StudyHandle],
) -> None:
    store, study = opened
    trials, its, history = Trials(store), warm(store, study), SamplerHistory(store, study)
    labels = []
    behind = 0.9 - 1.5 * (0.9 * 0.1 / study.task.splits.validation) ** 0.5
    for score in (behind, behind, 0.8):
        claim = claim_proposal(its, trials, history, "w")
        assert claim is not None
        labels.append(claim.label)
        train(trials, claim, score)
        trials.finish(claim, TrialState.COMPLETE, score, DONE)
    assert labels == ["earlier 1", "earlier 2", "default"]
    assert claim_proposal(its, trials, history, "w") is None
    assert its.recipes(history.trials()) == []
    assert "did not help" in told(store, study)
    assert "went on cold" in told(store, study)


def test_what_crashed_and_went_on_is_one_strategy(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    trials, its, history = Trials(store), warm(store, study), SamplerHistory(store, study)
    claim = claim_proposal(its, trials, history, "w")
    assert claim is not None
    train(trials, claim, 0.92, epochs=1)
    trials.fail(claim, StopReason(kind=StopKind.CRASHED, detail="the worker died"), retry=True)
    again = trials.claim(study, "w")
    assert again is not None
    train(trials, again, 0.92)
    trials.finish(again, TrialState.COMPLETE, 0.92, DONE)
    assert "brought 2.00 points: of one strategy that earlier tasks proposed" in told(store, study)
    # A first answer as well: what it came to in the end is what counts.
    records, first = Trials(store).records(study), first_answers(store, study)
    (number,) = first
    was = next(record for record in records if record.number == number)
    went_on = was.model_copy(update={"number": 99, "attempt": 1, "epochs": (epoch(1, 0.97),)})
    begun = read_warm_start(store, study)
    said = " ".join(outcome(begun, [*records, went_on], first, "accuracy", RUNG))
    assert "brought nothing so far: of one strategy" in said
    assert "the best first answer has 97.00%" in said


def test_while_one_is_better_all_are_tried_and_draws_begin_at_them(
    opened: tuple[Store, StudyHandle], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, study = opened
    trials, its, history = Trials(store), warm(store, study), SamplerHistory(store, study)
    for score in (0.95, 0.5, 0.5):
        claim = claim_proposal(its, trials, history, "w")
        assert claim is not None
        train(trials, claim, score)
        trials.finish(claim, TrialState.COMPLETE, score, DONE)
    assert [each["learning_rate"] for each in its.recipes(history.trials())] == list(RATES)
    assert "brought 5.00 points" in told(store, study)
    monkeypatch.setattr(prior, "AT_RANDOM", 0.0)
    monkeypatch.setattr(prior, "RECIPES", 1.0)
    monkeypatch.setattr(prior, "CHANGED", 0.0)
    monkeypatch.setattr(prior, "PORTFOLIO", {})
    sampler = make_sampler(study.spec.search, 3, its.recipes)
    space = Space.of_study(study.spec)
    assert draw(history, sampler, space).strategy.learning_rate == RATES[3]  # the others were tried


def test_a_cold_study_has_no_proposals_and_says_so(tmp_path: Path, task: LoadedTask) -> None:
    store, study = open_study(tmp_path, task, SPACE, start="cold")
    with store:
        begun = begin(store, study, Space.of_study(study.spec), Strategy())
        assert begun == WarmStart()
        keep_warm_start(store, study, begun)
        assert claim_proposal(warm(store, study), Trials(store), SamplerHistory(store, study), "w") is None
        assert list(beginning(begun, "cold")) == [
            "Cold start, as was asked for: nothing of earlier tasks is used."
        ]


def test_a_study_that_began_warm_goes_on_cold_where_that_is_asked(
    opened: tuple[Store, StudyHandle], task: LoadedTask
) -> None:
    """`search --cold` said that nothing of earlier tasks is used, and went on with their proposals."""
    store, study = opened
    told = " ".join(outcome(read_warm_start(store, study), [], {}, "accuracy", RUNG, start="cold"))
    assert told == ""
    search = study.spec.search.model_copy(update={"start": "cold"})
    spec = study.spec.model_copy(update={"search": search})
    cold = store.create_study(spec, task.task, artifact_url=study.artifact_url, sources=study.sources)
    its, history = warm(store, cold), SamplerHistory(store, cold)
    claim = claim_proposal(its, Trials(store), history, "w")
    assert claim is not None
    assert claim.label == "default"
    assert claim_proposal(its, Trials(store), history, "w") is None
    assert its.recipes(history.trials()) == []
    begun = read_warm_start(store, cold)
    assert begun is not None
    assert list(beginning(begun, cold.spec.search.start)) == [
        "Cold start, as was asked for: what earlier tasks propose is not tried any more."
    ]


def test_a_study_of_the_same_store_counts_as_an_earlier_one(tmp_path: Path, task: LoadedTask) -> None:
    store, study = open_study(tmp_path, task, SPACE)
    with store:
        answer(store, study, "tuned", TUNED, 0.8)
        claim = Trials(store).create(study, fixed_draft(PROPOSED[1], Space.of_study(study.spec), ""), "w")
        assert claim is not None
        train(Trials(store), claim, 0.9)
        Trials(store).finish(claim, TrialState.COMPLETE, 0.9, DONE)
        known = of_study(store, study)
        assert known is not None
        assert [(each.rank, each.answer) for each in known.strategies] == [(1.0, None), (0.0, "tuned")]
        assert known.strategies[1].curve == pytest.approx([0.8889] * 3)

        spec = study.spec.model_copy(update={"name": "second"})
        second = store.create_study(spec, task.task, artifact_url=(tmp_path / "b").as_posix(), sources={})
        answer(store, second, "tuned", TUNED, 0.7)
        begun = begin(store, second, Space.of_study(spec), Strategy())
        assert begun.studies == ("s",)
        assert PROPOSED[1] in [read_strategy(each.strategy) for each in begun.proposals]
        assert any("1 study of this store (s)" in line for line in beginning(begun))
        why = proposed(begun)
        assert why[PROPOSED[1].key()].startswith(
            f"earlier {list(why).index(PROPOSED[1].key()) + 1}: mean rank"
        )


def test_what_is_noted_oddly_or_by_a_newer_program_blocks_nobody(opened: tuple[Store, StudyHandle]) -> None:
    import sqlalchemy as sa

    from automl_transfer.store import tables as t

    store, study = opened
    for text in ("{", '"{}"', '"{\\"unheard_of\\": 1}"', "[" * 9000, "null"):
        with store.engine.begin() as connection:
            connection.execute(sa.update(t.study_system_attributes).values(value_json=text))
        read_warm_start(store, study)
        assert claim_proposal(warm(store, study), Trials(store), SamplerHistory(store, study), "w") is None


def test_one_alone_is_no_verdict_and_a_rung_counts_for_both() -> None:
    cold = [{1: 0.5, 2: 0.6, 3: 0.7, 9: 0.99}]
    assert verdict([{1: 0.1, 2: 0.1, 3: 0.1}], cold, 3) == "open"
    assert verdict([{1: 0.1}, {1: 0.2, 2: 0.2}], cold, 3) == "open"  # none came there
    assert verdict([{3: 0.1}, {3: 0.2}], cold, 3) == "harms"
    assert verdict([{3: 0.7}, {3: 0.2}], cold, 3) == "helps"
    assert verdict([{3: 0.1}, {3: 0.2}], [], 3) == "open"
    assert verdict([], cold, 3) == "open"
    assert verdict([{3: 0.62}], cold, 3, images=100) == "open"  # within two standard errors
    assert verdict([{3: 0.6}], cold, 3, images=2000) == "harms"
    # One image is no verdict on what was chosen to differ: two that are behind by less than one standard error.
    assert verdict([{3: 0.66}, {3: 0.2}], cold, 3, images=100) == "open"
    assert verdict([{3: 0.64}, {3: 0.2}], cold, 3, images=100) == "harms"
    assert verdict([{3: 0.66}, {3: 0.2}, {3: 0.2}], cold, 3, images=100) == "harms"
