"""A study keeps its own results and files, whatever happens to names, numbers, databases and folders (D2, D3).

Through the command line, on a folder of tiny images; each case is one that shipped, mixed or lost results.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forge
import numpy as np
import pytest
import torch
from PIL import Image

from automl_transfer.api.search import SearchEvents, run_study
from automl_transfer.cli.main import main
from automl_transfer.errors import StoreUnavailableError, StudyError
from automl_transfer.space.study_file import study_spec
from automl_transfer.store import schema
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL

CHEAP = (
    "search.trials=1", "search.max_epochs=1", "search.profile=false", "search.confirm_runs=2",
    "space.truncation=1", "space.tune_mode=closed_form",
)  # fmt: skip
SETTINGS = [part for setting in CHEAP for part in ("--set", setting)]
DATABASE = "runs/automl-transfer.db"


def add_class(name: str, level: int) -> None:
    folder = Path("p") / name
    folder.mkdir(parents=True)
    rng = np.random.default_rng(level)
    for number in range(14):
        pixels = level + rng.integers(0, 50, (16, 16, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")


@dataclass
class Done:
    code: int
    text: str


def automl(*arguments: str) -> Done:
    """The command in this process: its exit code, and all that it said."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main(list(arguments))
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return Done(code, " ".join(said.getvalue().split()))


def search(*arguments: str, code: int = 0, confirm: str = "off") -> str:
    done = automl("search", "p", *SETTINGS, "--cache", "cache", "--confirm", confirm, *arguments)
    assert done.code == code, done.text
    return done.text


def contents(folder: str | Path) -> dict[str, bytes]:
    """Every file below a folder; a database's own are left out."""
    found = (path for path in sorted(Path(folder).rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if ".db" not in path.name}


def recipe(folder: str = "runs/p-quick") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "best_strategy.json").read_text(encoding="utf-8"))
    return found


def identities(folder: str = "runs/p-quick") -> set[str | None]:
    """What the files of a run say whose they are."""
    said = [json.loads(Path(folder, name).read_text(encoding="utf-8"))
            for name in ("run.json", "ranking.json", "errors.json", "model/model.json")]  # fmt: skip
    return {recipe(folder)["provenance"]["identity"], *(each["identity"] for each in said)}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with images of two classes, as the current one."""
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    add_class("cat", 40)
    add_class("dog", 120)
    yield tmp_path
    torch.set_num_threads(before)


def test_d2_a_deleted_study_ships_nothing_into_one_of_the_same_name(place: Path) -> None:
    search()
    before = contents("runs/p-quick")
    assert automl("study", "delete", "p-quick", "--yes").code == 0
    add_class("fox", 200)
    told = search()
    (aside,) = (path for path in Path("runs").iterdir() if "-before-" in path.name)
    assert f"held the results of a study that is not in the store any more: now {aside}" in told
    assert contents(aside) == before
    assert recipe()["task"]["classes"] == ["cat", "dog", "fox"]
    assert recipe()["metrics"]["test"]["n"] > json.loads(before["best_strategy.json"])["metrics"]["test"]["n"]
    assert len(identities()) == 1
    assert identities() != identities(str(aside))

    # The database is begun anew: the same.
    for file in Path("runs").glob("*.db*"):
        file.unlink()
    search()
    assert len([path for path in Path("runs").iterdir() if "-before-" in path.name]) == 2
    assert identities("runs/p-quick") != identities(str(aside))


def test_d2_two_stores_with_one_study_name_do_not_share_a_folder(place: Path) -> None:
    search()
    before = contents("runs")
    told = search("--storage", "other.db", code=2)
    assert "another study 'p-quick', which is in another store than sqlite:///other.db" in told
    assert "choose another --output, or move that folder away" in told
    assert contents("runs") == before
    with Store.open(StoreURL.parse("other.db")) as store:
        assert store.studies() == []
    search("--storage", "other.db", "--output", "elsewhere")
    assert contents("runs") == before
    assert not identities() & identities("elsewhere")


def test_d2_evidence_reaches_a_recipe_whose_model_stays(place: Path) -> None:
    search()
    assert recipe()["metrics"]["confirmation"] is None
    weights = Path("runs/p-quick/model/model.safetensors")
    before = (weights.stat().st_mtime_ns, recipe()["metrics"]["test"])
    search(confirm="1")
    ranking = json.loads(Path("runs/p-quick/ranking.json").read_text(encoding="utf-8"))
    found = recipe()["metrics"]["confirmation"]
    assert found["runs"] == ranking["rows"][0]["confirmation"]["runs"] == 2
    assert "**Confirmed**" in Path("runs/p-quick/model/README.md").read_text(encoding="utf-8")
    assert (weights.stat().st_mtime_ns, recipe()["metrics"]["test"]) == before


def test_d2_only_the_very_same_model_counts_as_shipped(place: Path) -> None:
    search()
    right, folder = recipe(), Path("runs/p-quick")
    weights = folder / "model" / "model.safetensors"
    for place_of, key, wrong in (
        ("strategy", "ridge_lambda", 123.0),
        ("task", "fingerprint", "0" * 64),
        ("provenance", "identity", "0" * 32),
        ("training", "weights_sha256", "0" * 64),
    ):
        changed = {**right, place_of: {**right[place_of], key: wrong}}
        (folder / "best_strategy.json").write_text(json.dumps(changed), encoding="utf-8")
        search()
        assert recipe() == right, key
    weights.write_bytes(weights.read_bytes()[:-4] + bytes(range(4)))
    search()
    assert recipe() == right
    assert automl("predict", "runs/p-quick/model", "p/cat/0.png").code == 0


def test_d3_a_renamed_study_keeps_its_folder_and_its_files(place: Path) -> None:
    search()
    assert automl("study", "rename", "p-quick", "p-june").code == 0
    before = contents("runs")
    told = search(code=2)
    assert "with the results of study 'p-june' (once 'p-quick')" in told
    assert contents("runs") == before
    assert [study.name for study in Store.open(StoreURL.parse(DATABASE)).studies()] == ["p-june"]
    search("--output", "second")
    for name in ("p-quick", "p-june"):
        assert automl("study", "gc", name).code == 0
    assert contents("runs") == before
    # Under its new name it goes on in its own folder, and says so everywhere.
    search("--study-name", "p-june", "--output", "runs/p-quick")
    assert recipe()["provenance"]["study"] == "p-june"
    assert (
        recipe()["provenance"]["trial"]
        == json.loads(before["p-quick/best_strategy.json"])["provenance"]["trial"]
    )
    assert "p-june" in automl("report", "p-june").text


def earlier_version(folder: Path) -> None:
    """What a version before identities left of a finished search: one area for all studies, no identity."""
    store = Store.open(StoreURL.parse(DATABASE))
    (identity,) = (study.identity for study in store.studies())
    assert identity is not None
    for path in (folder / "artifacts" / identity).iterdir():
        path.rename(folder / "artifacts" / path.name)
    (folder / "artifacts" / identity).rmdir()
    for name in ("best_strategy.json", "ranking.json", "errors.json", "model/model.json"):
        value = json.loads((folder / name).read_text(encoding="utf-8"))
        value.pop("identity", None)
        value.get("provenance", {}).pop("identity", None)
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    (folder / "run.json").write_text('{"schema": "automl-transfer/run/1", "study": "p-quick"}')
    with store.engine.begin() as connection:
        schema.migrate(connection, "v0002")
    store.close()


def test_a_folder_of_an_earlier_version_is_read_once_more_and_moved(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import automl_transfer.training.evaluate as evaluate

    search("--no-refit")  # earlier versions refitted where they were asked to
    folder, right = Path("runs/p-quick"), recipe()
    earlier_version(folder)
    (folder / "artifacts" / "trial-000000" / "model-7.safetensors").write_bytes(b"of another study")
    assert list(folder.glob("artifacts/trial-000000/model-0.safetensors"))
    with monkeypatch.context() as patch:

        def never(*_: object, **__: object) -> None:
            raise AssertionError("the test split was evaluated again")

        patch.setattr(evaluate, "predict_logits", never)
        search()
    (identity,) = identities()
    assert identity is not None
    assert recipe() == {**right, "provenance": {**right["provenance"], "identity": identity}}
    assert automl("study", "gc", "p-quick").code == 0
    kept = sorted(
        path.relative_to(folder / "artifacts") for path in folder.glob("artifacts/**/*.safetensors")
    )
    assert [str(path) for path in kept] == [
        f"{identity}/trial-000000/model-0.safetensors",
        "trial-000000/model-7.safetensors",
    ]


def test_a_folder_of_an_earlier_study_that_is_nowhere_is_refused(place: Path) -> None:
    search()
    earlier_version(Path("runs/p-quick"))
    for file in Path("runs").glob("*.db*"):
        file.unlink()
    before = contents("runs")
    assert "an earlier study 'p-quick', which is not in sqlite" in search(code=2)
    assert contents("runs") == before


def test_c7_a_study_is_renamed_while_it_is_searched(place: Path) -> None:
    """A real process, with workers that start after the study has its new name."""

    class Renames(SearchEvents):
        def on_study(self, *_: object) -> None:
            done = subprocess.run(
                [forge.command(), "study", "rename", "p-quick", "now 猫"],
                env={**os.environ, "AUTOML_TRANSFER_STORAGE": f"sqlite:///{Path(DATABASE).resolve()}"},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr

    def run_workers(store: Store, handle: Any, stop: Any) -> str:
        from automl_transfer.workers import launching

        return launching.run_workers(store, handle, stop, launching.LaunchOptions(1, device="cpu"))

    spec = study_spec("p", "quick", [*CHEAP, "search.confirm=0"])
    Path("runs").mkdir()
    result = run_study(
        spec, storage=StoreURL.parse(DATABASE), output=Path("runs/p-quick"), device="cpu",
        cache_root=Path("cache"), events=Renames(), run_workers=run_workers,
    )  # fmt: skip
    assert result.finished
    assert recipe()["provenance"]["study"] == "now 猫"
    assert len(identities()) == 1


class Deletes(SearchEvents):
    def on_study(self, *_: object) -> None:
        for file in Path("runs").glob("*.db*"):
            file.unlink()


def test_e15_a_database_that_is_deleted_under_a_search_is_said(place: Path) -> None:
    spec = study_spec("p", "quick", [*CHEAP, "search.confirm=0"])
    with pytest.raises(StoreUnavailableError, match=r"must stay while it is used, .* was deleted"):
        run_study(
            spec, storage=StoreURL.parse(DATABASE), output=Path("runs/p-quick"), device="cpu",
            cache_root=Path("cache"), events=Deletes(),
        )  # fmt: skip
    assert not Path(DATABASE).exists()
    assert not Path("runs/p-quick/model").exists()


def test_a_study_deleted_under_its_search_ships_nothing_of_the_next_one(place: Path) -> None:
    """SQLite gives the number again: what runs on must not take the new study for its own."""

    class Recreates(SearchEvents):
        def on_study(self, *_: object) -> None:
            with Store.open(StoreURL.parse(DATABASE)) as store:
                old = store.study("p-quick")
                store.delete("p-quick")
                new = store.create_study(
                    old.spec, old.task, artifact_url=old.artifact_url, sources=old.sources
                )
                assert new.study_id == old.study_id

    spec = study_spec("p", "quick", [*CHEAP, "search.confirm=0"])
    with pytest.raises(StudyError, match="'p-quick' must exist, it was deleted while it was in use"):
        run_study(
            spec, storage=StoreURL.parse(DATABASE), output=Path("runs/p-quick"), device="cpu",
            cache_root=Path("cache"), events=Recreates(),
        )  # fmt: skip
    with Store.open(StoreURL.parse(DATABASE)) as store:
        assert Trials(store).records(store.study("p-quick")) == []


def test_what_lies_in_the_place_of_a_model_is_refused_before_any_work(place: Path) -> None:
    search()
    before, model = contents("runs/p-quick"), Path("runs/p-quick/model")
    (model / "notes.txt").write_text("mine")
    said = search(code=2)
    assert "only a model folder is replaced, got" in said
    assert "notes.txt" in said
    (model / "notes.txt").unlink()
    assert contents("runs/p-quick") == before
