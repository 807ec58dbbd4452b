"""Opening a store, and its studies: what a person sees when something is not as it should be."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from store_helpers import DONE, TASK, draft, open_study, spec

from automl_transfer.domain.records import TrialState
from automl_transfer.errors import StoreUnavailableError, StoreURLError, StudyError
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL


def test_same_settings_return_the_same_study(database_url: str) -> None:
    store, study = open_study(database_url)
    again = store.create_study(
        spec("s", trials=99, sampler="random"),
        TASK,
        artifact_url="elsewhere",
        sources={"a": None, "b": "e" * 64},
    )
    assert again.study_id == study.study_id
    assert again.artifact_url == "artifacts"
    assert again.spec.search.trials == 99
    assert again.sources == {"a": "f" * 64, "b": "e" * 64}
    assert store.study("s") == again
    store.close()


def test_another_grouping_of_the_same_images_is_other_data(database_url: str) -> None:
    """Which images stay together decides the splits of confirmation, though the search's are the same."""
    asked: dict[str, Any] = {"artifact_url": "a", "sources": {}}
    with Store.open(StoreURL.parse(database_url)) as store:
        store.create_study(spec(), TASK, **asked)  # as earlier versions wrote it
        by_patient = TASK.model_copy(update={"grouping": "ab" * 32})
        assert store.create_study(spec(), by_patient, **asked).task.grouping == "ab" * 32
        for other in (TASK, TASK.model_copy(update={"grouping": "cd" * 32})):
            with pytest.raises(StudyError, match=r"another grouping of the images \(abababababab, now"):
                store.create_study(spec(), other, **asked)


def test_another_attack_is_another_study_and_one_more_question_is_not(database_url: str) -> None:
    """Accuracies under two attacks stood in one column, under the name of the later one."""
    asked: dict[str, Any] = {"artifact_url": "a", "sources": {}}
    with Store.open(StoreURL.parse(database_url)) as store:
        for attack in (None, "fgsm:2/255", "FGSM:2/255"):  # first unasked, then asked, then spelt otherwise
            assert store.create_study(spec(attack=attack), TASK, **asked).spec.search.attack == attack
        with pytest.raises(StudyError, match=r"another attack \(FGSM 2/255, now PGD-10 8/255\)"):
            store.create_study(spec(attack="pgd:8/255:10"), TASK, **asked)
        assert store.study("s").spec.search.attack == "FGSM:2/255"
        assert store.create_study(spec(), TASK, **asked).spec.search.attack is None


def test_of_many_that_draw_the_same_strategy_one_gets_it(database_url: str) -> None:
    store, study = open_study(database_url)
    with store:
        trials, made = Trials(store), []
        assert trials.enqueue(study, draft(1), distinct=True) == 0
        assert trials.enqueue(study, draft(1), distinct=True) is None

        def create(number: int) -> None:
            made.append(trials.create(study, draft(number), "w", distinct=True))

        threads = [threading.Thread(target=create, args=(number,)) for number in (1, 2, 2, 3, 3, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(claim is not None for claim in made) == 2
        assert trials.create(study, draft(3), "w") is not None  # a strategy may be asked for again


def test_other_settings_are_refused_with_what_differs(database_url: str) -> None:
    store, _ = open_study(database_url)
    other_task = TASK.model_copy(update={"fingerprint": "cd" * 32, "metric": "macro_f1"})
    other = spec("s", max_epochs=27).model_copy(update={"space": {"learning_rate": (0.1, 0.2), "batch": 32}})
    with pytest.raises(StudyError) as caught:
        store.create_study(other, other_task, artifact_url="a", sources={"a": "0" * 64}, direction="minimize")
    text = str(caught.value)
    for part in (
        "fingerprint abababababab of 'digits', now cdcdcdcdcdcd",
        "metric (accuracy, now macro_f1)",
        ", now 27 epochs: max_epochs, max_steps)",
        "learning_rate: search, now [0.1, 0.2]",
        "batch: default, now 32",
        "freeze_depth: search, now default",
        "source a (weights ffffffffffff, now 000000000000)",
        "direction",
        "--study-name",
    ):
        assert part in text
    assert store.study("s").spec == spec("s")
    store.close()


def test_a_missing_study_lists_those_that_exist(database_url: str) -> None:
    store, _ = open_study(database_url, "ähnlich 数字")
    optuna.create_study(study_name="plain", storage=store.optuna_storage)
    with pytest.raises(StudyError, match="ähnlich 数字"):
        store.study("ahnlich")
    with pytest.raises(StudyError, match="of automl-transfer"):
        store.study("plain")
    with pytest.raises(StudyError, match="made by something else"):
        store.create_study(spec("plain"), TASK, artifact_url="a", sources={})
    store.optuna_storage.remove_session()
    store.close()


def test_list_rename_delete(database_url: str) -> None:
    store, study = open_study(database_url, "one")
    trials = Trials(store)
    for value in (0.25, 0.75, 0.5):
        claim = trials.create(study, draft(), "w", limit=None)
        assert claim is not None
        trials.finish(claim, TrialState.COMPLETE, value, DONE)
    store.create_study(spec("two"), TASK, artifact_url="a", sources={})
    store.rename("one", "eins")
    assert store.study("eins").spec.name == "eins"
    with pytest.raises(StudyError, match="must be free"):
        store.rename("eins", "two")
    with pytest.raises(StudyError, match="two"):
        store.rename("one", "three")
    first, second = store.studies()
    assert (first.name, first.best_value, first.trials, first.task) == (
        "eins",
        0.75,
        {"COMPLETE": 3},
        "digits",
    )
    assert first.created is not None
    assert (second.name, second.best_value, dict(second.trials)) == ("two", None, {})
    store.delete("eins")
    with pytest.raises(StudyError):
        store.delete("eins")
    assert [s.name for s in store.studies()] == ["two"]
    store.close()


def test_wrong_password_fails_at_once(postgres_server: Any, postgres_url: str) -> None:
    postgres_server.sql("DROP ROLE IF EXISTS locked_out")
    postgres_server.sql("CREATE ROLE locked_out LOGIN PASSWORD 'right'")
    rules = postgres_server.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text("local all locked_out scram-sha-256\n" + before)
    postgres_server.sql("SELECT pg_reload_conf()")
    try:
        url = StoreURL.parse(postgres_url.replace("postgres:@", "locked_out:wr0ng@"))
        waits: list[object] = []
        with pytest.raises(StoreURLError, match="refused them") as caught:
            Store.open(url, wait_seconds=60, on_wait=lambda *args: waits.append(args))
        assert waits == []
        assert "wr0ng" not in str(caught.value)
    finally:
        rules.write_text(before)
        postgres_server.sql("SELECT pg_reload_conf()")


def test_a_database_that_is_not_there_is_waited_for(postgres_server: Any, postgres_url: str) -> None:
    name = postgres_url.split("?")[0].rsplit("/", 1)[1]
    postgres_server.drop(name)
    waits: list[float] = []

    def create(error: BaseException, seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            postgres_server.sql(f"CREATE DATABASE {name}")

    store = Store.open(StoreURL.parse(postgres_url), wait_seconds=60, on_wait=create)
    assert store.studies() == []
    assert len(waits) >= 3
    store.close()


def test_a_server_that_stays_away_is_named(tmp_path: Path) -> None:
    url = StoreURL.parse(f"postgresql://u:SECRET@/d?host={tmp_path}")
    with pytest.raises(StoreUnavailableError, match=r"within 0\.3 s") as caught:
        Store.open(url, wait_seconds=0.3)
    assert "SECRET" not in str(caught.value)


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(StoreURLError, match="folder of a SQLite store must exist"):
        Store.open(StoreURL.parse(str(tmp_path / "no" / "x.db")))
    (tmp_path / "x.db").mkdir()
    with pytest.raises(StoreURLError, match="got the folder"):
        Store.open(StoreURL.parse(str(tmp_path / "x.db")))


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("these are my notes, not a database" * 100)
    with pytest.raises(StoreURLError, match=r"not a database.*choose another --storage"):
        Store.open(StoreURL.parse(str(tmp_path / "x.db")))
    assert (tmp_path / "x.db").read_text().startswith("these are my notes")


@pytest.mark.skipif(os.name != "posix", reason="file modes")
@pytest.mark.parametrize("what", ["folder", "file", "new file"])
def test_read_only_sqlite(tmp_path: Path, what: str) -> None:
    """As an ordinary user: root may write everywhere."""
    path = tmp_path / "x.db"
    if what != "new file":
        open_study(f"sqlite:///{path}")[0].close()
        path.chmod(0o444 if what == "file" else 0o666)
    tmp_path.chmod(0o777 if what == "file" else 0o555)
    code = (
        "import os, sys\n"
        "from automl_transfer.errors import StoreURLError\n"
        "from automl_transfer.store.store import Store\n"
        "from automl_transfer.store.url import StoreURL\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "try: Store.open(StoreURL.parse(sys.argv[1]), wait_seconds=60)\n"
        "except StoreURLError as error: print(error)\n"
    )
    for parent in (tmp_path, *tmp_path.parents):
        parent.chmod(parent.stat().st_mode | 0o011) if parent.stat().st_uid == os.geteuid() else None
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    tmp_path.chmod(0o755)
    assert "must be writable" in done.stdout
    assert "--storage" in done.stdout


def test_newer_schemas_are_refused(database_url: str) -> None:
    store, _ = open_study(database_url)
    for table, said in (("at_alembic_version", "automl-transfer"), ("alembic_version", "Optuna")):
        with store.engine.begin() as connection:
            old = connection.execute(sa.text(f"SELECT version_num FROM {table}")).scalar_one()
            connection.execute(sa.text(f"UPDATE {table} SET version_num = 'v9.9.9'"))
        with pytest.raises(StoreURLError, match=f"{said}.*newer than the program"):
            Store.open(store.url)
        with store.engine.begin() as connection:
            connection.execute(sa.text(f"UPDATE {table} SET version_num = :old"), {"old": old})
    Store.open(store.url).close()
    store.close()


def test_an_older_optuna_schema_names_the_upgrade(database_url: str) -> None:
    store, _ = open_study(database_url)
    with store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'v3.0.0.d'"))
    with pytest.raises(StoreURLError, match="optuna storage upgrade"):
        Store.open(store.url)
    store.close()


def test_threads_share_a_store(database_url: str) -> None:
    """Training records epochs while the heartbeat thread beats."""
    store, study = open_study(database_url)
    trials = Trials(store)
    numbers: list[int] = []

    def work() -> None:
        while (claim := trials.create(study, draft(), "w", limit=40)) is not None:
            assert trials.beat([claim]) == []
            trials.finish(claim, TrialState.COMPLETE, 0.5, DONE)
            numbers.append(claim.number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(40))
    store.close()


def test_the_password_is_nowhere_in_the_store_object(tmp_path: Path) -> None:
    store, _ = open_study(f"sqlite:///{tmp_path / 'x.db'}")
    shown = optuna.storages.RDBStorage.__repr__(store.optuna_storage._backend)  # type: ignore[attr-defined]
    assert "password" not in shown
    assert store.optuna_storage._backend.url == str(store.url)  # type: ignore[attr-defined]
    store.close()
