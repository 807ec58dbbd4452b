"""Which errors are waited out, and that all others are seen at once."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from sqlalchemy import exc
from store_helpers import open_study

from automl_transfer.errors import StoreUnavailableError, TrialLostError
from automl_transfer.store.retry import Patience, is_denied, is_store_trouble


class Failing:
    """Fails some times, then answers."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.times, self.calls = error, times, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return "done"


def trouble(text: str = "database is locked") -> exc.OperationalError:
    return exc.OperationalError("SELECT secret", {}, Exception(text))


def test_trouble_is_waited_out() -> None:
    waits: list[float] = []
    step = Failing(trouble(), 3)
    patience = Patience(30, longest=0.01, on_wait=lambda _, seconds: waits.append(seconds))
    assert patience.run(step, "test") == "done"
    assert step.calls == 4
    assert len(waits) == 3


@pytest.mark.parametrize("error", [TrialLostError("lost"), ValueError("no"), KeyError("x")])
def test_other_errors_come_at_once(error: Exception) -> None:
    step = Failing(error, 1)
    with pytest.raises(type(error)):
        Patience(30).run(step, "test")
    assert step.calls == 1


def test_patience_ends_and_shows_no_statement() -> None:
    step = Failing(trouble("the disk is full"), 10**6)
    with pytest.raises(StoreUnavailableError, match=r"should test .*the disk is full") as caught:
        Patience(0.05, longest=0.01).run(step, "test")
    assert "secret" not in str(caught.value)


def test_mistakes_in_sql_are_not_waited_for(database_url: str) -> None:
    store, _ = open_study(database_url)
    for statement in ("SELECT * FROM nothing", "SELEKT 1", "INSERT INTO studies (study_name) VALUES ('s')"):
        with pytest.raises(exc.DBAPIError) as caught, store.engine.begin() as connection:
            connection.execute(sa.text(statement))
        assert not is_store_trouble(caught.value)
    store.close()


def test_trouble_under_optuna_is_recognised(tmp_path: Path) -> None:
    """Optuna wraps what its storage throws; only the cause tells trouble from a mistake."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'x.db'}")
    with storage.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE study_directions"))
    with pytest.raises(StorageInternalError) as caught:
        optuna.create_study(study_name="x", storage=storage)
    assert not is_store_trouble(caught.value)
    wrapped = StorageInternalError("x")
    wrapped.__cause__ = trouble()
    assert is_store_trouble(wrapped)
    storage.remove_session()
    storage.engine.dispose()


def test_denied_is_not_trouble() -> None:
    error = trouble('FATAL: password authentication failed for user "u"')
    assert is_denied(error)
    assert not is_store_trouble(error)
