"""Optuna's own storage on our engine, for samplers, pruners and the dashboard's tools."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.orm import scoped_session, sessionmaker

from automl_transfer.store import optuna_names


class SharedRDBStorage(RDBStorage):
    """An `RDBStorage` that uses an engine it is given, and knows no password to print."""

    def __init__(self, engine: sa.Engine, shown_url: str) -> None:
        # RDBStorage.__init__ would make an engine of its own, without our transactions, and create
        # tables, which `schema.ensure_schema` has done under a lock.
        self.engine_kwargs: dict[str, Any] = {}
        self.url = shown_url
        self.skip_compatibility_check = True
        self.heartbeat_interval = None
        self.grace_period = None
        self.heartbeat_stale_trial_callback = None
        self.failed_trial_callback = None
        self.engine = engine
        self.scoped_session = scoped_session(sessionmaker(bind=engine))

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("this storage cannot be pickled: open the store again in the other process")


def cached_storage(engine: sa.Engine, shown_url: str) -> BaseStorage:
    """Optuna's cached storage, as `optuna.load_study` would make it from a URL."""
    return optuna_names.cached(SharedRDBStorage(engine, shown_url))
