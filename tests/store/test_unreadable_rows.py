"""Rows that this program cannot read are named, and block nobody (FINDINGS C1, E1), on both databases."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import forge
import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, FloatDistribution, distribution_to_json
from store_helpers import DONE, OUTCOME, SPACE, age, draft, epoch, open_study

from automl_transfer.api.retention import collect_garbage
from automl_transfer.domain.records import StopKind, TrialState
from automl_transfer.domain.spec import SearchSpec
from automl_transfer.errors import StudyError
from automl_transfer.reporting.failures import oddities
from automl_transfer.reporting.study_report import read_study_report
from automl_transfer.search.samplers import make_pruner, make_sampler
from automl_transfer.store.artifacts import ArtifactStore
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.sampling import SamplerHistory
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import Claim, StudyHandle, TrialDraft

optuna.logging.set_verbosity(optuna.logging.WARNING)

DONE_TRIAL, RUNNING, DAMAGED, GOOD = 1, 2, 3, 4
"""Trial ids of the study that every test begins with; numbers are one less."""


class Opened:
    def __init__(self, url: str) -> None:
        self.store, self.study = open_study(url)
        self.trials = Trials(self.store)
        done, running = (self.trials.create(self.study, draft(n), f"w{n}") for n in (0, 1))
        assert done is not None
        assert running is not None
        self.running: Claim = running
        self.trials.record_epoch(done, epoch(1, 0.7), 0.7)
        self.trials.finish(done, TrialState.COMPLETE, 0.7, DONE, OUTCOME)
        self.trials.record_epoch(running, epoch(1, 0.6), 0.6)
        for number in (2, 3):
            self.trials.enqueue(self.study, draft(number))

    def sql(self, statement: str, **values: object) -> None:
        with self.store.engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    def named(self) -> dict[str, str]:
        return {row.what: row.reason for row in self.trials.read(self.study).unreadable}

    def everyone_goes_on(self) -> None:
        """Samplers draw, pruners decide, reapers reap, `status` and `report` answer."""
        history = SamplerHistory(self.store, self.study)
        study, blank = history.draft(make_sampler(SearchSpec(startup_trials=0), 0))
        space = study.sampler.infer_relative_search_space(study, blank)
        assert set(study.sampler.sample_relative(study, blank, space)) <= set(SPACE)
        params = {n: study.sampler.sample_independent(study, blank, n, d) for n, d in SPACE.items()}
        made = self.trials.create(self.study, TrialDraft(draft(5).strategy, params, SPACE), "w5")
        assert made is not None
        self.trials.record_epoch(made, epoch(1, 0.1), 0.1)
        for pruner in ("asha", "hyperband", "median"):
            history.should_prune(make_pruner(SearchSpec(pruner=pruner)), made.trial_id)  # type: ignore[arg-type]
        self.trials.finish(made, TrialState.PRUNED, 0.1, DONE)
        age(self.store, 1000)
        self.trials.reap(self.study, grace=60)
        age(self.store, 1000)
        self.trials.reap(self.study, grace=60)
        assert self.trials.counts(self.study).running == 0
        assert self.store.studies()[0].name == "s"
        report = read_study_report(self.store, "s")
        assert all(row.what in "".join(oddities(report)) for row in report.summary.unreadable)


@pytest.fixture
def opened(database_url: str) -> Iterator[Opened]:
    made = Opened(database_url)
    yield made
    made.store.close()


STRATEGY = "UPDATE at_trials SET strategy = :text WHERE trial_id = :id"
DISTRIBUTION = (
    "UPDATE trial_params SET distribution_json = :text WHERE trial_id = :id AND param_name = 'learning_rate'"
)
VALUE = "UPDATE trial_params SET param_value = :value WHERE trial_id = :id AND param_name = 'learning_rate'"
BROKEN = {
    "no JSON": (STRATEGY, {"text": "nonsense"}, "must be JSON"),
    "an unknown key without a version": (STRATEGY, {"text": '{"mixup": 0.2}'}, "mixup: unknown field"),
    "an unknown key of this version": (STRATEGY, {"text": '{"space": 3, "set": {"mixup": 1}}'}, "mixup: unknown field"),
    "NaN": (STRATEGY, {"text": '{"learning_rate": NaN}'}, "not a JSON number"),
    "out of range": (STRATEGY, {"text": '{"truncation": 99}'}, "truncation"),
    "deep": (STRATEGY, {"text": "[" * 9000}, "nest at most"),
    "no distribution": (DISTRIBUTION, {"text": "nonsense"}, "distribution of its parameter learning_rate"),
    "another kind of distribution": (
        DISTRIBUTION,
        {"text": distribution_to_json(CategoricalDistribution(["a", "b"]))},
        "learning_rate",
    ),
    "a value out of its distribution": (VALUE, {"value": 1e9}, "must lie in"),
    "an odd curve": (
        "INSERT INTO at_epochs (trial_id, epoch, result) VALUES (:id, 1, :text)",
        {"text": '{"epoch": "x"}'},
        "its curve cannot be read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_waiting_trial_that_no_program_can_read_fails_when_it_is_claimed(opened: Opened, case: str) -> None:
    statement, values, reason = BROKEN[case]
    opened.sql(statement, id=DAMAGED, **values)
    assert [*opened.named()] == ["trial 2"]
    assert reason in opened.named()["trial 2"]
    claim = opened.trials.claim(opened.study, "w")
    if case != "another kind of distribution":  # it can be run; samplers cannot learn from it
        assert claim is not None
        assert claim.trial_id == GOOD
        assert opened.trials.claim(opened.study, "w") is None
        counts = opened.trials.counts(opened.study)
        assert (counts.failed, counts.waiting, counts.given_up) == (1, 0, 1)
        with opened.store.engine.connect() as connection:
            query = sa.text("SELECT stop FROM at_trials WHERE trial_id = :id")
            stop = json.loads(connection.execute(query, {"id": DAMAGED}).scalar_one())
        assert stop["kind"] == StopKind.STORE
        assert reason in stop["detail"]
    assert [r.number for r in opened.trials.records(opened.study)] == [0, 1, 3]
    opened.everyone_goes_on()


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        (STRATEGY, '{"space": 99, "set": {"mixup": 0.2}}'),
        (STRATEGY, '{"space": 99, "set": {"tune_mode": "lp_ft"}, "phases": 2}'),
        (
            "INSERT INTO at_epochs (trial_id, epoch, result) VALUES (:id, 1, :text)",
            epoch(1).model_dump_json().replace("{", '{"calibration": 0.1, ', 1),
        ),
    ],
)
def test_a_newer_programs_trial_waits_for_a_worker_that_understands_it(
    opened: Opened, statement: str, text: str
) -> None:
    opened.sql(statement, id=DAMAGED, text=text)
    claim = opened.trials.claim(opened.study, "w")
    assert claim is not None
    assert claim.trial_id == GOOD
    assert opened.trials.claim(opened.study, "w") is None
    assert opened.trials.need_newer(opened.study) == ()  # two others are open yet
    for each in (claim, opened.running):
        opened.trials.finish(each, TrialState.PRUNED, 0.1, DONE)
    assert opened.trials.need_newer(opened.study) == (2,)
    counts = opened.trials.counts(opened.study)
    assert (counts.waiting, counts.open_roots, counts.failed) == (1, 1, 0)
    assert "newer automl-transfer" in opened.named()["trial 2"]
    opened.everyone_goes_on()


def test_a_newer_programs_trial_that_crashed_is_handed_on_as_it_is(opened: Opened) -> None:
    text = '{"space": 99, "set": {"mixup": 0.2}}'
    opened.sql(STRATEGY, id=RUNNING, text=text)
    age(opened.store, 1000)
    opened.trials.reap(opened.study, grace=60)
    age(opened.store, 1000)
    opened.trials.reap(opened.study, grace=60)
    with opened.store.engine.connect() as connection:
        child = sa.text("SELECT strategy, root, attempt FROM at_trials WHERE parent = :id")
        assert tuple(connection.execute(child, {"id": RUNNING}).one()) == (text, 1, 1)
    assert opened.trials.counts(opened.study).waiting == 3


ODD = {
    "malformed outcome": ("UPDATE at_trials SET outcome = '{' WHERE trial_id = 1", "outcome"),
    "outcome of a newer program": ("UPDATE at_trials SET outcome = '{\"joules\": 3}' WHERE trial_id = 1", "newer"),
    "unknown reason to stop": ("UPDATE at_trials SET stop = '{\"kind\": \"tired\"}' WHERE trial_id = 1", "reason to stop"),
    "negative number": ("UPDATE trials SET number = -7 WHERE trial_id = 1", "number must be"),
    "another trial's number": ("UPDATE trials SET number = 3 WHERE trial_id = 1", "number must be its own"),
    "no value": ("DELETE FROM trial_values WHERE trial_id = 1", "must have a value"),
    "a rung that is text": (
        "INSERT INTO trial_system_attributes (trial_id, key, value_json) VALUES (1, 'completed_rung_0', '\"a\"')",
        "completed_rung_0 must be a number",
    ),
    "a rung that is no JSON": (
        "INSERT INTO trial_system_attributes (trial_id, key, value_json) VALUES (1, 'completed_rung_0', 'x')",
        "completed_rung_0 must be a number",
    ),
    "a curve of another kind": (
        "UPDATE at_epochs SET result = 'x' WHERE trial_id = 1", "curve cannot be read",
    ),
}  # fmt: skip
ON_SQLITE = {
    "a state that there is not": ("UPDATE trials SET state = 'TIRED' WHERE trial_id = 1", "state must be one of"),
    "a time that is none": ("UPDATE trials SET datetime_complete = 'soon' WHERE trial_id = 1", "times must be dates"),
    "a number that is text": ("UPDATE trials SET number = 'x' WHERE trial_id = 1", "number must be"),
    "a kind of value that there is not": ("UPDATE trial_values SET value_type = 'X' WHERE trial_id = 1", "value must be"),
    "an intermediate value that is text": (
        "UPDATE trial_intermediate_values SET intermediate_value = 'x' WHERE trial_id = 1", "after epoch 1 must be",
    ),
    "a parameter that is text": ("UPDATE trial_params SET param_value = 'x' WHERE trial_id = 1", "must lie in"),
}  # fmt: skip


@pytest.mark.parametrize("case", [*ODD, *ON_SQLITE])
def test_an_odd_row_of_a_finished_trial_is_named_and_everyone_goes_on(opened: Opened, case: str) -> None:
    if case in ON_SQLITE and not opened.store.url.is_sqlite:
        pytest.skip("the database refuses it itself")
    statement, reason = (ODD | ON_SQLITE)[case]
    opened.sql(statement)
    (text,) = opened.named().values()
    assert reason in text
    opened.everyone_goes_on()
    while (claim := opened.trials.claim(opened.study, "w")) is not None:
        opened.trials.finish(claim, TrialState.COMPLETE, 0.5, DONE)


def test_odd_attributes_of_other_tools_are_nobodys_business(opened: Opened) -> None:
    opened.sql(
        "INSERT INTO trial_system_attributes (trial_id, key, value_json) VALUES "
        "(1, 'tpe:relative_params:0', 'x'), (2, 'constraints', '{')"
    )
    assert opened.named() == {}
    opened.everyone_goes_on()


def test_the_sampler_learns_from_those_that_are_sound(opened: Opened) -> None:
    text = distribution_to_json(FloatDistribution(1e-5, 1.0))  # not logarithmic
    opened.sql(DISTRIBUTION, id=DONE_TRIAL, text=text)
    seen = SamplerHistory(opened.store, opened.study).trials()
    assert [trial.number for trial in seen] == [1, 2, 3]
    assert "must have the study's distribution" in opened.named()["trial 0"]
    # The odd one sets no rule for new trials either.
    assert opened.trials.create(opened.study, draft(8), "w") is not None


def test_confirmations_and_profiles_that_cannot_be_read_are_named(opened: Opened) -> None:
    opened.sql(
        "INSERT INTO at_confirmations (trial_id, kind, run, study_id, result, created) "
        "VALUES (1, 'confirm', 0, 1, 'x', 0)"
    )
    opened.sql("INSERT INTO at_profiles (study_id, source, result) VALUES (1, 'net', '{}')")
    evidence = Evidence(opened.store)
    assert (evidence.runs(opened.study), evidence.profiles(opened.study)) == ([], [])
    assert [row.what for row in evidence.unreadable(opened.study)] == [
        "run 0 of kind 'confirm'", "the profile of 'net'",
    ]  # fmt: skip
    report = read_study_report(opened.store, "s")
    assert len([text for text in oddities(report) if text.startswith("Left out")]) == 2


def test_a_study_that_cannot_be_read_is_one_clear_error(opened: Opened) -> None:
    opened.sql('UPDATE at_studies SET spec = \'{"name": "s", "mood": 1}\'')
    with pytest.raises(StudyError, match=r"must be readable for this program.*Upgrade"):
        opened.store.study("s")
    opened.sql("UPDATE at_studies SET task = '{}'")
    (summary,) = opened.store.studies()
    assert "task cannot be read" in str(summary.task)


def test_files_of_a_trial_that_cannot_be_read_are_kept(opened: Opened, tmp_path: Path) -> None:
    opened.sql("UPDATE at_studies SET artifact_url = :url", url=f"{tmp_path}/artifacts")
    study: StudyHandle = opened.store.study("s")
    (tmp_path / "file").write_text("x")
    ArtifactStore(study.artifact_url).put(tmp_path / "file", "trial-000000/state-0-1")
    opened.sql(
        "UPDATE at_trials SET strategy = :text WHERE trial_id = 1", text='{"space": 99, "set": {"mixup": 1}}'
    )
    assert collect_garbage(opened.store, study).keys == ()


def test_status_and_report_name_what_they_left_out(opened: Opened) -> None:
    if not opened.store.url.is_sqlite:
        pytest.skip("once is enough: commands are the same on both")
    opened.sql("UPDATE at_trials SET outcome = '{' WHERE trial_id = 1")
    for command in ("status", "report"):
        done = subprocess.run(
            [
                forge.command(),
                command,
                "s",
                "--storage",
                f"sqlite:///{opened.store.url.path}",
            ],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        said = " ".join(done.stdout.split())
        assert "Left out, because it cannot be read: trial 0: its outcome cannot be read" in said


def test_a_running_trial_counts_once_at_a_rung(database_url: str) -> None:
    """FINDINGS A3: with reduction factor 3, the best third of three is one, and of four (one twice) it is one too;
    of five and six it differs. The same decisions as with Optuna's own storage."""
    store, study = open_study(database_url)
    trials = Trials(store)
    history = SamplerHistory(store, study)
    pruner = make_pruner(SearchSpec(pruner="asha", min_epochs=1))
    ours, plain = [], []
    foreign = optuna.create_study(direction="maximize")
    for value in (0.5, 0.6, 0.4, 0.55, 0.58, 0.52):
        claim = trials.create(study, draft(1), "w")
        assert claim is not None
        trials.record_epoch(claim, epoch(1, value), value)
        ours.append(history.should_prune(pruner, claim.trial_id))
        trial = foreign.ask()
        trial.report(value, 1)
        plain.append(pruner.prune(foreign, foreign.trials[-1]))
    assert ours == plain
    store.close()


def test_steps_of_fgsm_that_an_earlier_version_took_close_no_study(database_url: str) -> None:
    """It made one step of them, and stored what was asked for."""
    store, study = open_study(database_url)
    spec = json.loads(study.spec.model_dump_json())
    spec["search"]["attack"] = "fgsm:8/255:10"
    with store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE at_studies SET spec = :spec"), {"spec": json.dumps(spec)})
    assert store.study(study.name).spec.search.attack == "fgsm:8/255"
    store.close()
