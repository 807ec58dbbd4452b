"""Stores on machines as they are: read-only files, other schemas, and schemas that are not whole."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from nobody import as_nobody, as_root
from store_helpers import DONE, TASK, draft, open_study, spec

from automl_transfer.api.run_folder import check_run_folder, claim_run_folder
from automl_transfer.domain.records import TrialState
from automl_transfer.errors import OutputError, StoreUnavailableError, StoreURLError
from automl_transfer.store.roles import READER, WORKER, RoleLogin, apply_roles, roles_sql
from automl_transfer.store.sqlite_files import UnwritableFile
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.workers.spool import spool_folder

READ = """
import sys
from automl_transfer.store.sqlite_files import UnwritableFile
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.errors import StoreUnavailableError, StoreURLError
try:
    with Store.open(StoreURL.parse(sys.argv[1]), read_only=True, wait_seconds=0, patience=0) as store:
        print([record.state.value for record in Trials(store).records(store.study("s"))])
        print(len(store.optuna_storage.get_all_studies()))
except StoreURLError as error:
    print(error)
"""


def closed_to_others(folder: Path) -> None:
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    for parent in folder.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)


def finished(path: Path) -> Store:
    store, study = open_study(f"sqlite:///{path}")
    claim = Trials(store).create(study, draft(), "w")
    assert claim is not None
    Trials(store).finish(claim, TrialState.COMPLETE, 0.5, DONE)
    return store


@as_root
def test_a_sqlite_store_without_the_right_to_write(tmp_path: Path) -> None:
    """D19: neither the file nor its folder; nobody has it open."""
    finished(tmp_path / "s.db").close()
    closed_to_others(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert as_nobody(READ, tmp_path / "s.db").stdout == "['COMPLETE']\n1\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@as_root
def test_a_read_only_store_that_is_being_written(tmp_path: Path) -> None:
    """What its owner has just written is in the WAL, and is seen."""
    store = finished(tmp_path / "s.db")
    closed_to_others(tmp_path)
    assert (tmp_path / "s.db-wal").exists()
    assert as_nobody(READ, tmp_path / "s.db").stdout == "['COMPLETE']\n1\n"
    claim = Trials(store).create(store.study("s"), draft(1), "w")
    assert claim is not None
    assert as_nobody(READ, tmp_path / "s.db").stdout == "['COMPLETE', 'RUNNING']\n1\n"
    store.close()


@as_root
def test_what_a_killed_program_left_is_read(tmp_path: Path) -> None:
    store = finished(tmp_path / "s.db")
    copied = tmp_path / "copied"
    copied.mkdir()
    for name in ("s.db", "s.db-wal"):
        shutil.copy(tmp_path / name, copied / name)
    store.close()
    closed_to_others(copied)
    assert as_nobody(READ, copied / "s.db").stdout == "['COMPLETE']\n1\n"


def test_a_copy_is_whole_while_it_is_written(tmp_path: Path) -> None:
    """Pairs are written together, with checkpoints in between; every copy has both of each."""
    path = tmp_path / "s.db"
    writer = sqlite3.connect(path, check_same_thread=False)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("PRAGMA wal_autocheckpoint=7")
    writer.execute("CREATE TABLE pairs (a INTEGER, b BLOB)")
    writer.commit()
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for _ in range(2):
                writer.execute("INSERT INTO pairs VALUES (1, randomblob(3000))")
            writer.commit()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        file, counts = UnwritableFile(path), []
        while len(counts) < 20:
            with closing(sqlite3.connect(file.uri(), uri=True)) as reader:
                counts.append(reader.execute("SELECT count(*) FROM pairs").fetchone()[0])
                assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        stop.set()
        thread.join()
        writer.close()
    assert all(count % 2 == 0 for count in counts)
    assert counts == sorted(counts)


def in_schema(postgres_url: str, name: str) -> str:
    joint = "&" if "?" in postgres_url else "?"
    return f"{postgres_url}{joint}options=-csearch_path%3D{name}"


@pytest.fixture
def lab(postgres_url: str) -> str:
    """URL of an empty schema that is not the public one."""
    engine = sa.create_engine(StoreURL.parse(postgres_url).sqlalchemy)
    with engine.begin() as connection:
        connection.execute(sa.text('CREATE SCHEMA "lab 1"'))
        connection.execute(sa.text("CREATE SCHEMA lab"))
    engine.dispose()
    return in_schema(postgres_url, "lab")


def logins(url: str) -> tuple[StoreURL, StoreURL]:
    name = uuid.uuid4().hex[:8]
    worker, reader = (
        StoreURL.parse(url.replace("postgres:@", f"{kind}{name}:pw@")) for kind in ("worker", "reader")
    )
    return worker, reader


@pytest.mark.parametrize("says_so", [True, False])
def test_roles_in_another_schema(lab: str, postgres_url: str, says_so: bool) -> None:
    """D15: the grants were on public, and workers failed. A login finds the tables by itself, too."""
    owner, study = open_study(lab)
    worker, reader = logins(lab if says_so else postgres_url)
    for _ in range(2):
        apply_roles(owner, [RoleLogin(WORKER, worker), RoleLogin(READER, reader)])
    with Store.open(worker, patience=0) as store:
        claim = Trials(store).create(store.study("s"), draft(), "w", limit=2)
        assert claim is not None
        Trials(store).finish(claim, TrialState.COMPLETE, 0.5, DONE)
    with Store.open(reader, patience=0, read_only=True) as store:
        assert Trials(store).counts(store.study("s")).complete == 1
        with (
            pytest.raises(sa.exc.DBAPIError, match=r"read-only|permission denied"),
            store.engine.begin() as c,
        ):
            c.execute(sa.text("DELETE FROM trials"))
    assert Trials(owner).counts(study).complete == 1
    owner.close()


def test_a_login_that_would_use_other_tables_is_told(lab: str, postgres_url: str) -> None:
    """Both schemas hold a store: "ready" would be untrue for a login whose URL leads to the other one."""
    owner, _ = open_study(lab)
    open_study(postgres_url)[0].close()
    worker, _ = logins(in_schema(postgres_url, "public"))
    with Store.open(StoreURL.parse(postgres_url)) as public:
        apply_roles(public, [RoleLogin(WORKER, worker)])
    with pytest.raises(StoreURLError, match=r"schema 'lab'.*uses those in 'public'"):
        apply_roles(owner, [RoleLogin(WORKER, worker)])
    owner.close()


def test_a_schema_that_does_not_exist(postgres_url: str) -> None:
    for read_only in (False, True):
        with pytest.raises(
            StoreURLError, match=r"schema of the search_path must exist.*nowhere.*CREATE SCHEMA"
        ):
            Store.open(
                StoreURL.parse(in_schema(postgres_url, "nowhere")), wait_seconds=60, read_only=read_only
            )


def test_two_schemas_of_one_database_are_two_stores(lab: str, postgres_url: str, tmp_path: Path) -> None:
    with Store.open(StoreURL.parse(postgres_url)) as public, Store.open(StoreURL.parse(lab)) as other:
        study = public.create_study(spec("in public"), TASK, artifact_url="a", sources={})
        # The results of one are not in the way of the other: they may be of a search that is at work.
        assert claim_run_folder(public, study, tmp_path / "run") is None
        with pytest.raises(OutputError, match="in another store"):
            check_run_folder(other, "in public", tmp_path / "run")
        assert spool_folder(public, study) != spool_folder(other, study)
        other.create_study(spec("in lab"), TASK, artifact_url="a", sources={})
        assert [s.name for s in public.studies()] == ["in public"]
        assert [s.name for s in other.studies()] == ["in lab"]


def test_the_printed_sql_names_the_schema() -> None:
    text = "\n".join(roles_sql("d", 'odd"name'))
    assert 'SCHEMA "odd""name"' in text
    assert "public" not in text


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DELETE FROM at_alembic_version", "at_alembic_version, got an empty table"),
        ("DROP TABLE at_alembic_version", "at_alembic_version, got no such table"),
        ("DELETE FROM alembic_version", "alembic_version, got an empty table"),
        ("DROP TABLE alembic_version", "alembic_version, got no such table"),
        ("ALTER TABLE at_trials DROP COLUMN restarts", "got none of at_trials.restarts"),
        ("DROP TABLE at_epochs", "got none of at_epochs"),
        ("ALTER TABLE trial_heartbeats RENAME TO other", "got none of trial_heartbeats"),
    ],
)
def test_a_schema_that_is_not_whole_says_so_at_once(database_url: str, damage: str, said: str) -> None:
    """E15: 30 seconds of retrying with the wrong advice, or a traceback."""
    store, _ = open_study(database_url)
    with store.engine.begin() as connection:
        connection.execute(sa.text(damage))
    waits: list[Any] = []
    for read_only in (False, True):
        with pytest.raises(StoreURLError) as caught:
            Store.open(
                store.url, wait_seconds=60, read_only=read_only, on_wait=lambda *args: waits.append(args)
            )
        assert said in str(caught.value)
        assert "Restore it from a backup" in str(caught.value)
    assert waits == []
    store.close()


def test_a_database_with_tables_of_others_takes_a_store(database_url: str) -> None:
    engine = sa.create_engine(StoreURL.parse(database_url).sqlalchemy)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE at_work (a INTEGER)"))
    engine.dispose()
    open_study(database_url)[0].close()
    open_study(database_url)[0].close()


def test_nothing_of_a_damaged_store_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    open_study(f"sqlite:///{path}")[0].close()
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM at_alembic_version")
        before = list(connection.iterdump())
    with pytest.raises(StoreURLError):
        Store.open(StoreURL.parse(str(path)))
    with sqlite3.connect(path) as connection:
        assert list(connection.iterdump()) == before


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_file_that_goes_while_it_is_used(tmp_path: Path, how: str) -> None:
    """E15: what followed went into a file without a name, and the exit code was 0."""
    path = tmp_path / "s.db"
    store, study = open_study(f"sqlite:///{path}")
    claim = Trials(store).create(study, draft(), "w")
    assert claim is not None
    path.rename(tmp_path / "elsewhere.db")
    if how == "replaced":
        shutil.copy(tmp_path / "elsewhere.db", path)
    with pytest.raises(StoreUnavailableError, match=how):
        Trials(store).finish(claim, TrialState.COMPLETE, 0.5, DONE)
    with pytest.raises(StoreUnavailableError, match=how):
        Trials(store).counts(study)
    assert path.exists() is (how == "replaced")
    store.close()
