"""Roles on a real PostgreSQL: what a worker and a reader can do, and what the server refuses them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.artifacts import ArtifactMeta
from store_helpers import CRASH, DONE, OUTCOME, TASK, age, checkpoint, draft, epoch, open_study, spec

from automl_transfer.domain.records import TrialState
from automl_transfer.errors import StoreURLError
from automl_transfer.store.published import PublishedPage
from automl_transfer.store.roles import READER, WORKER, RoleLogin, apply_roles, quoted, roles_sql
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.store.values import StudyHandle


@dataclass
class Logins:
    owner: Store
    study: StudyHandle
    worker: StoreURL
    reader: StoreURL


@pytest.fixture
def logins(postgres_url: str) -> Iterator[Logins]:
    owner, study = open_study(postgres_url)
    name = uuid.uuid4().hex[:8]
    worker, reader = (
        StoreURL.parse(postgres_url.replace("postgres:@", f"{kind} {name}:p%40ss%27word@"))
        for kind in ("worker", "reader")
    )
    for _ in range(2):  # safe to repeat
        apply_roles(owner, [RoleLogin(WORKER, worker), RoleLogin(READER, reader)])
    yield Logins(owner, study, worker, reader)
    owner.close()


def refused(store: Store, statement: str) -> None:
    with pytest.raises(sa.exc.DBAPIError) as caught, store.engine.begin() as connection:
        connection.execute(sa.text(statement))
    said = str(caught.value.orig)
    assert "permission denied" in said or "must be owner" in said or "read-only" in said, said


def test_a_worker_runs_trials(logins: Logins) -> None:
    with Store.open(logins.worker, patience=0) as store:
        trials, study = Trials(store), store.study("s")
        assert trials.enqueue(study, draft(1), once="first") == 0
        claimed = trials.claim(study, "w")
        created = trials.create(study, draft(2), "w", limit=10)
        crashed = trials.create(study, draft(3), "w", limit=10)
        assert claimed is not None
        assert created is not None
        assert crashed is not None
        for claim in (claimed, created, crashed):
            trials.record_epoch(claim, epoch(0), 0.5)
            trials.save_checkpoint_ref(claim, checkpoint(0))
            trials.record_epoch(claim, epoch(1), 0.6)
        assert trials.beat([claimed, created]) == []
        trials.restart(created)
        trials.release(created)
        trials.finish(
            claimed, TrialState.COMPLETE, 0.6, DONE, OUTCOME, [ArtifactMeta("a", "a.png", "image/png", None)]
        )
        assert trials.fail(crashed, CRASH, retry=True) == 3
        lost = trials.create(study, draft(4), "w", limit=10)
        assert lost is not None
        trials.reap(study, grace=100)
        age(logins.owner, 200)
        trials.reap(study, grace=100)
        age(logins.owner, 200)
        trials.reap(study, grace=100)
        assert trials.counts(study).failed == 2
        assert PublishedPage(store, study).write("note", {"figure": "{}"}, "accuracy")
        assert trials.counts(study).complete == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM trials",
        "DELETE FROM studies",
        "UPDATE studies SET study_name = 'x'",
        "INSERT INTO studies (study_name) VALUES ('x')",
        "UPDATE at_studies SET spec = '{}'",
        "DELETE FROM at_trials",
        "DELETE FROM study_system_attributes",
        "DROP TABLE trials",
        "ALTER TABLE trials ADD COLUMN x int",
        "CREATE TABLE mine (x int)",
        "TRUNCATE trials",
        "UPDATE alembic_version SET version_num = 'x'",
    ],
)
def test_a_worker_may_not(logins: Logins, statement: str) -> None:
    with Store.open(logins.worker, patience=0) as store:
        refused(store, statement)


def test_a_worker_cannot_touch_studies_through_the_store(logins: Logins) -> None:
    with Store.open(logins.worker, patience=0) as store:
        steps = (
            lambda: store.delete("s"),
            lambda: store.rename("s", "t"),
            lambda: store.create_study(spec("new"), TASK, artifact_url="a", sources={}),
        )
        for step in steps:
            with pytest.raises(StoreURLError, match=r"must have the right to .* study .*permission denied"):
                step()
    assert [study.name for study in logins.owner.studies()] == ["s"]


def test_a_reader_reads_and_changes_nothing(logins: Logins) -> None:
    claim = Trials(logins.owner).create(logins.study, draft(1), "w")
    assert claim is not None
    Trials(logins.owner).finish(claim, TrialState.COMPLETE, 0.5, DONE, OUTCOME)
    with Store.open(logins.reader, patience=0, read_only=True) as store:
        assert Trials(store).records(store.study("s"))[0].value == 0.5
        seen = optuna.load_study(study_name="s", storage=store.optuna_storage)
        assert seen.best_value == 0.5
        store.optuna_storage.remove_session()
        refused(store, "CREATE TABLE mine (x int)")
        for table in ("trials", "studies", "at_leases", "study_system_attributes"):
            refused(store, f"SET TRANSACTION READ WRITE; DELETE FROM {table}")
            refused(store, f"DELETE FROM {table}")
    with pytest.raises(StoreURLError, match="may only read"):
        Store.open(logins.reader, patience=0)  # without read_only, opening is the right to write


def test_a_reader_of_an_empty_database_creates_nothing(postgres_url: str) -> None:
    with pytest.raises(StoreURLError, match="must exist already"):
        Store.open(StoreURL.parse(postgres_url), read_only=True)
    with pytest.raises(StoreURLError, match="must exist already"):  # still empty
        Store.open(StoreURL.parse(postgres_url), read_only=True)


def test_a_login_gets_the_password_of_its_url(logins: Logins, postgres_server: Any) -> None:
    user = logins.worker.sqlalchemy.username
    rules = postgres_server.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f'local all "{user}" scram-sha-256\n' + before)
    postgres_server.sql("SELECT pg_reload_conf()")
    try:
        wrong = StoreURL(logins.worker.sqlalchemy.set(password="other"))
        with pytest.raises(StoreURLError, match="refused them"):
            Store.open(wrong, wait_seconds=0)
        Store.open(logins.worker).close()
    finally:
        rules.write_text(before)
        postgres_server.sql("SELECT pg_reload_conf()")


def test_a_login_may_become_one_of_the_other_kind(logins: Logins) -> None:
    """What ends with "ready" is: once a worker may no longer write, and once a reader may."""
    apply_roles(logins.owner, [RoleLogin(READER, logins.worker), RoleLogin(WORKER, logins.reader)])
    with Store.open(logins.worker, patience=0, read_only=True) as store:
        assert Trials(store).counts(store.study("s")).complete == 0
        refused(store, "SET TRANSACTION READ WRITE; INSERT INTO trial_values VALUES (1)")
        refused(store, "SET TRANSACTION READ WRITE; UPDATE trials SET state = 'FAIL'")
    with Store.open(logins.reader, patience=0) as store:
        trials, study = Trials(store), store.study("s")
        assert trials.enqueue(study, draft(1), once="first") == 0
        assert trials.claim(study, "w") is not None


def test_a_login_that_may_do_less_or_more_than_its_kind_is_told(logins: Logins) -> None:
    worker, reader = (quoted(str(url.sqlalchemy.username)) for url in (logins.worker, logins.reader))
    database = quoted(str(logins.owner.url.sqlalchemy.database))
    with logins.owner.engine.begin() as connection:
        connection.exec_driver_sql(
            f"ALTER ROLE {worker} IN DATABASE {database} SET default_transaction_read_only = on"
        )
        connection.exec_driver_sql(f"GRANT INSERT ON at_leases TO {reader}")
    with pytest.raises(StoreURLError, match=r"be able to write in schema 'public'.*what else was"):
        apply_roles(logins.owner, [RoleLogin(WORKER, logins.worker)])
    with pytest.raises(StoreURLError, match=r"to read, and no more, in schema 'public'.*what else was"):
        apply_roles(logins.owner, [RoleLogin(READER, logins.reader)])


def test_wrong_logins_are_refused_and_nothing_is_made(logins: Logins, postgres_url: str) -> None:
    for url, said in (
        (postgres_url.replace("postgres:@", "someone@"), "must have its password"),
        (postgres_url.replace("postgres:@", "postgres:x@"), "another user"),
    ):
        with pytest.raises(StoreURLError, match=said):
            apply_roles(logins.owner, [RoleLogin(WORKER, StoreURL.parse(url))])
    with (
        Store.open(logins.worker, patience=0) as store,
        pytest.raises(StoreURLError, match="owner of the tables"),
    ):
        apply_roles(store, [])


def test_the_printed_sql_names_every_table_that_workers_write(logins: Logins) -> None:
    text = "\n".join(roles_sql('odd"name'))
    assert 'DATABASE "odd""name"' in text
    for table in ("trials", "at_trials", "at_leases", "at_epochs", "at_checkpoints"):
        assert f'"{table}" TO {WORKER}' in text
