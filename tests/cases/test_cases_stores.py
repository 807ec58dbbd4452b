"""Studies, their stores and their folders (B9, C1, C3, C8, C9, D2, D3, D18, D19, E1, E2, E14, E15)."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from case_runner import Case, check, images, nothing, of, typed
from conftest import SEARCH, Finished

from automl_transfer.api.search import SearchEvents, run_study
from automl_transfer.space.study_file import study_spec
from automl_transfer.store.url import StoreURL
from automl_transfer.workers.signals import StopRequest

DATABASE = "runs/automl-transfer.db"
RECIPE = "runs/p-quick/best_strategy.json"
TRIAL = "WHERE trial_id = 1"


def sql(*statements: str) -> object:
    def make(place: Path) -> None:
        with closing(sqlite3.connect(place / DATABASE)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    return make


def command(*words: str) -> object:
    def make(_: Path) -> None:
        for each in words:
            done = typed(*each.split())
            assert done.code == 0, done.text

    return make


def strategy(text: str) -> object:
    return sql(f"UPDATE at_trials SET strategy = '{text}' {TRIAL}")


def no_database(place: Path) -> None:
    for path in (place / "runs").glob("*.db*"):
        path.unlink()


LEFT_OUT = "Left out, because it cannot be read: trial 0"
CHECKPOINT = "INSERT INTO at_checkpoints VALUES (1, 1, '../../../precious', 'x', 1, '{}')"
CASES = [
    Case("D2 the same search again changes nothing", nothing, SEARCH, "going on after 1 finished trials", writes=(RECIPE,)),
    Case("D2 another store, the same folder", nothing, f"{SEARCH} --storage other.db", "choose another --output", 2, leaves="other.db"),
    Case("D3 a renamed study keeps its folder", command("study rename p-quick p-june"), SEARCH,
         "with the results of study 'p-june' (once 'p-quick')", 2),
    Case("D3 gc of a study that is new drops nothing of the old", command("study rename p-quick p-june", f"{SEARCH} -o second"),
         "study gc p-quick", writes=(RECIPE, "second/best_strategy.json")),
    Case("D3 a name that is taken", command(f"{SEARCH} --study-name two"), "study rename p-quick two", "must be free", 2),
    Case("D2 another dataset under the name", images("q", cat=5, dog=5, emu=5), SEARCH.replace("search p", "search q") +
         " --study-name p-quick", "p-quick", 2),
    Case("C1 a dimension of a later version", strategy('{"space": 99, "set": {"warp": 0.2}}'), "status p-quick",
         "newer automl-transfer"),
    Case("E1 a strategy with an unknown key", strategy('{"warp": 0.2}'), "status p-quick", (LEFT_OUT, "warp: unknown field")),
    Case("E1 a strategy that is no JSON", strategy("nonsense"), "report p-quick", LEFT_OUT),
    Case("E1 NaN in a strategy", strategy('{"learning_rate": NaN}'), "status p-quick", LEFT_OUT),
    Case("E1 truncation 99", strategy('{"truncation": 99}'), "status p-quick", LEFT_OUT),
    Case("E1 a malformed outcome", sql(f"UPDATE at_trials SET outcome = '{{' {TRIAL}"), "status p-quick",
         (LEFT_OUT, "its outcome cannot be read")),
    Case("E1 a state that there is not", sql(f"UPDATE trials SET state = 'TIRED' {TRIAL}"), "status p-quick", LEFT_OUT),
    Case("E1 a number that is text", sql(f"UPDATE trials SET number = 'x' {TRIAL}"), "report p-quick", "cannot be read"),
    Case("E1 E5 a reason that steers the terminal", strategy("\x1b[2J"), "status p-quick", LEFT_OUT),
    Case("E1 a study that cannot be read", sql("UPDATE at_studies SET spec = '{}'"), "status p-quick", "p-quick", 2),
    Case("E1 is listed all the same", sql("UPDATE at_studies SET task = '{}'"), "study list", "p-quick"),
    Case("E15 no row of the version", sql("DELETE FROM at_alembic_version"), "status p-quick",
         ("at_alembic_version, got an empty table", "Restore it from a backup"), 2),
    Case("E15 no table of the version", sql("DROP TABLE at_alembic_version"), SEARCH, "got no such table", 2),
    Case("E15 a column is gone", sql("ALTER TABLE at_trials DROP COLUMN restarts"), "report p-quick", "at_trials.restarts", 2),
    Case("E15 the database is gone", no_database, "status p-quick", "a study must exist, got no database", 2),
    Case("D18 a worker waits no longer than it was told", nothing, "worker p-quick --wait 1s --storage later.db",
         "waiting: ", 2),
    Case("E3 a study that there is not", nothing, "status p-slow", "p-quick", 2),
    Case("D19 a package into a folder that cannot be written", nothing,
         "package runs/p-quick/model --format safetensors -o /proc/x", "must be writable, got /proc", 2),
    Case("D19 a sheet into one", nothing, "explore p --sheet /proc/x/s.png", "/proc/x", 2),
    Case("D19 an export into one", nothing, "export p-quick -o /proc/x", "/proc/x", 2),
    Case("D19 an export into a file", nothing, "export p-quick -o p/cat/00.png", "p/cat/00.png", 2),
    Case("D19 a page into one", nothing, "report p-quick --html /proc/x/r.html", "/proc/x", 2),
    Case("E2 gc deletes nothing that a row names", sql(CHECKPOINT), "study gc p-quick", writes=("precious/mine", RECIPE)),
    Case("E2 and delete neither", sql(CHECKPOINT), "study delete p-quick --yes", writes=("precious/mine",)),
]  # fmt: skip


@of(CASES)
def test_stores(case: Case, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished.copy(tmp_path)
    precious = tmp_path / "precious" / "mine"
    precious.parent.mkdir()
    precious.write_text("mine")
    check(case, tmp_path, monkeypatch)
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("how", ["the study deleted", "the database deleted"])
def test_d2_an_old_model_never_ships(
    how: str, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D2: three classes were trained, the old model of two shipped with its old score, exit code 0."""
    finished.copy(tmp_path)

    def make(place: Path) -> None:
        assert typed(*SEARCH.split()).code == 0  # the project was moved here: the store knows where it is now
        if how == "the study deleted":
            assert typed("study", "delete", "p-quick", "--yes").code == 0
        else:
            no_database(place)
        images("p", cat=14, dog=14, fox=14)(place)

    check(Case("D2", make, SEARCH, "held the results of"), tmp_path, monkeypatch)
    assert json.loads(Path(RECIPE).read_text())["task"]["classes"] == ["cat", "dog", "fox"]
    assert json.loads(Path("runs/p-quick/model/model.json").read_text())["classes"] == ["cat", "dog", "fox"]


def test_d2_confirmation_reaches_the_recipe_and_b9_no_second_look(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished.copy(tmp_path)
    before = json.loads((tmp_path / RECIPE).read_text())
    assert before["metrics"]["confirmation"] is None
    check(
        Case("D2", nothing, SEARCH.replace("--confirm off", "--confirm 1"), "confirm"), tmp_path, monkeypatch
    )
    after = json.loads(Path(RECIPE).read_text())
    assert after["metrics"]["confirmation"]["runs"] == 2
    assert after["metrics"]["test"] == before["metrics"]["test"]


def test_c9_what_is_fixed_is_fixed_in_every_answer(finished: Finished) -> None:
    rows = json.loads((finished.place / "runs/p-quick/ranking.json").read_text())["rows"]
    assert {(row["strategy"]["truncation"], row["strategy"]["tune_mode"]) for row in rows} == {
        (1, "closed_form")
    }


def test_c3_a_refit_without_a_test_split_shows_no_training_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = images("p", train__cat=6, train__dog=6, val__cat=4, val__dog=4)
    check(Case("C3", data, f"{SEARCH} --no-refit", writes=(RECIPE,)), tmp_path, monkeypatch)
    held_out = json.loads(Path("runs/p-quick/errors.json").read_text())
    assert typed(*f"{SEARCH} --refit".split()).code == 0
    assert json.loads(Path(RECIPE).read_text())["training"]["refit"]
    assert json.loads(Path("runs/p-quick/errors.json").read_text()) == held_out


def test_c8_a_stop_from_python_is_heard(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished.place / "p", tmp_path / "p")
    monkeypatch.chdir(tmp_path)
    stop = StopRequest()

    class Stops(SearchEvents):
        def on_study(self, *_: object) -> None:
            stop.ask("enough")

    result = run_study(
        study_spec("p", "quick", ["search.trials=3", "search.confirm=2"]),
        storage=StoreURL.parse("s.db"), output=Path("out"), device="cpu", stop=stop, events=Stops(),
    )  # fmt: skip
    assert not result.finished
    assert typed("status", "p-quick", "--storage", "s.db").code == 0
    assert not Path("out/model").exists()


@pytest.mark.parametrize("what", ["[" * 100_000, '{"a": NaN}', "", "\0", "{"])
def test_e14_our_own_caches_are_made_again(
    what: str, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E14: deep JSON in a cache file made every later search fail."""
    shutil.copytree(finished.place / "p", tmp_path / "p")
    monkeypatch.chdir(tmp_path)
    line = Case("E14", nothing, "explore p --cache c", "28 images in 2 classes")
    check(line, tmp_path, monkeypatch)
    told = list(Path("c").rglob("*.json"))
    assert told
    for path in told:
        path.write_text(what)
    check(line, tmp_path, monkeypatch)
