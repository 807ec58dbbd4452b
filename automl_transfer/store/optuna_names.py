"""Every name of Optuna that is not documented, and that this package relies on, its own storage included.

A version of Optuna that moves one is mended here; `tests/store/test_optuna_names.py` says for each what it
must be.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, RDBStorage, _rdb
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from sqlalchemy.orm import scoped_session, sessionmaker

METADATA: sa.MetaData = models.BaseModel.metadata
SCHEMA_VERSION: int = models.SCHEMA_VERSION
MIGRATIONS = Path(next(iter(_rdb.__path__))) / "alembic"
CURVE_VALUE = models.TrialIntermediateValueModel
"""How a value of the curve is stored, NaN and infinity too."""
VALUE = models.TrialValueModel
"""How a trial's value is stored."""
RUNG = "completed_rung_"
"""How the keys begin under which Optuna's pruners note what a trial had at a rung."""
ARTIFACT_PREFIX = "artifacts:"
"""How the keys begin of the system attributes by which Optuna's tools find artifacts."""

studies: sa.Table = models.StudyModel.__table__
directions: sa.Table = models.StudyDirectionModel.__table__
trials: sa.Table = models.TrialModel.__table__
params: sa.Table = models.TrialParamModel.__table__
values: sa.Table = models.TrialValueModel.__table__
intermediate: sa.Table = models.TrialIntermediateValueModel.__table__
user_attributes: sa.Table = models.TrialUserAttributeModel.__table__
system_attributes: sa.Table = models.TrialSystemAttributeModel.__table__
heartbeats: sa.Table = models.TrialHeartbeatModel.__table__
study_user_attributes: sa.Table = models.StudyUserAttributeModel.__table__
study_system_attributes: sa.Table = models.StudySystemAttributeModel.__table__


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a distribution may give this value."""
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:  # none of its choices, or no number
        return False


def cached(storage: BaseStorage) -> BaseStorage:
    """Optuna's cache around a storage, as `optuna.load_study` would put it."""
    return _CachedStorage(storage)  # type: ignore[arg-type]


def stamp_version(engine: sa.Engine) -> None:
    """Write the version of Optuna's schema where there is none yet."""
    from optuna.storages._rdb.storage import _VersionManager

    _VersionManager("", engine, scoped_session(sessionmaker(bind=engine)))


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
    return cached(SharedRDBStorage(engine, shown_url))
