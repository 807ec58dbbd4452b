"""The store's front door: opens a database, and creates, finds, renames and deletes studies."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from optuna.study import StudyDirection
from sqlalchemy.exc import DBAPIError, IntegrityError

from automl_transfer.domain.spec import StudySpec
from automl_transfer.domain.task import Task
from automl_transfer.errors import StoreURLError, StudyError
from automl_transfer.store import tables as t
from automl_transfer.store.engine import READ_ONLY, make_engine, now
from automl_transfer.store.retry import Patience, is_denied, is_store_trouble, short
from automl_transfer.store.schema import check_schema, ensure_schema
from automl_transfer.store.url import StoreURL
from automl_transfer.store.values import StudyHandle, StudySummary

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

T = TypeVar("T")


class Store:
    """One database that all workers share. Safe from many threads; a forked process must open its own.

    Every step is one transaction, tried again while the database has trouble, for `patience`
    seconds; then `StoreUnavailableError`.
    """

    def __init__(self, url: StoreURL, engine: sa.Engine, patience: Patience) -> None:
        self.url = url
        self.engine = engine
        self.patience = patience
        self._optuna_storage: BaseStorage | None = None

    @classmethod
    def open(
        cls,
        url: StoreURL,
        *,
        wait_seconds: float = 30,
        on_wait: Callable[[BaseException, float], None] | None = None,
        patience: float = 300,
        read_only: bool = False,
    ) -> Store:
        """Open a store, creating both schemas where they are missing. Safe from many processes at once.

        Args:
            url: Of the store.
            wait_seconds: How long a database that is not there yet is waited for.
            on_wait: Told the error and the seconds waited, before each pause.
            patience: How long every later step is tried again while the database has trouble.
            read_only: Change nothing, now or later: the database refuses it, and the right to read is
                enough. The store must exist.

        Raises:
            StoreURLError: Denied login, unwritable file, or a schema of another version.
            StoreUnavailableError: The database did not appear in time.
        """
        if not read_only:
            _check_path(url)
        engine = make_engine(url, read_only=read_only)
        prepare = check_schema if read_only else _prepare
        waiting = Patience(wait_seconds, trouble=_may_appear, on_wait=on_wait)
        try:
            waiting.run(lambda: prepare(url, engine), f"open {url}")
        except DBAPIError as error:
            engine.dispose()
            if is_denied(error):
                raise StoreURLError(
                    f"the database must accept the user and password of the storage URL, {url} refused them "
                    f"({short(error)}). Check both; special characters in a password are percent-encoded"
                ) from None
            reason = short(error)
            raise StoreURLError(f"{url} cannot be used as a store: {reason}. {_hint(url, reason)}") from None
        except BaseException:
            engine.dispose()
            raise
        return cls(url, engine, Patience(patience))

    def with_patience(self, seconds: float) -> Store:
        """The same store (same connections) whose steps give up after another time."""
        other = Store(self.url, self.engine, dataclasses.replace(self.patience, seconds=seconds))
        other._optuna_storage = self._optuna_storage
        return other

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, step: Callable[[sa.Connection], T], what: str) -> T:
        """Run one transaction that may write; again, from its start, while the store has trouble."""

        def attempt() -> T:
            with self.engine.begin() as connection:
                return step(connection)

        return self.patience.run(attempt, what)

    def read(self, step: Callable[[sa.Connection], T], what: str, *, patience: Patience | None = None) -> T:
        """Run one transaction that only reads: on SQLite it does not wait for writers."""

        def attempt() -> T:
            with self.engine.connect().execution_options(**{READ_ONLY: True}) as connection:
                return step(connection)

        return (patience or self.patience).run(attempt, what)

    @property
    def optuna_storage(self) -> BaseStorage:
        """Optuna's own view of this store, on the same connections, for anything that wants a storage.

        Its calls are not retried. For sampling, `sampling.SamplingView` is much cheaper.
        """
        if self._optuna_storage is None:
            from automl_transfer.store.optuna_view import cached_storage

            self._optuna_storage = cached_storage(self.engine, str(self.url))
        return self._optuna_storage

    def create_study(
        self,
        spec: StudySpec,
        task: Task,
        *,
        artifact_url: str,
        sources: Mapping[str, str | None],
        direction: str = "maximize",
    ) -> StudyHandle:
        """Create a study, or return the one that exists with the same task, space and horizon.

        Idempotent and safe from many processes. For an existing study the new specification replaces
        the stored one (its budget may grow, its sampler change); its artifact URL stays.

        Raises:
            StudyError: A study of this name exists and differs; the message says in what.
        """
        wanted = StudyDirection.MAXIMIZE if direction == "maximize" else StudyDirection.MINIMIZE

        def step(connection: sa.Connection) -> StudyHandle:
            query = sa.select(t.studies.c.study_id).where(t.studies.c.study_name == spec.name)
            study_id = connection.execute(query.with_for_update(key_share=True)).scalar()
            if study_id is not None:
                return _resume(connection, study_id, spec, task, sources, wanted)
            study_id = connection.execute(
                sa.insert(t.studies).values(study_name=spec.name).returning(t.studies.c.study_id)
            ).scalar_one()
            connection.execute(
                sa.insert(t.directions).values(study_id=study_id, objective=0, direction=wanted)
            )
            connection.execute(
                sa.insert(t.at_studies).values(
                    study_id=study_id,
                    spec=spec.model_dump_json(),
                    task=task.model_dump_json(),
                    artifact_url=artifact_url,
                    sources=json.dumps(dict(sources)),
                    created=now(),
                )
            )
            return StudyHandle(study_id, spec.name, spec, task, artifact_url, dict(sources))

        try:
            return self.write(step, f"create study {spec.name}")
        except IntegrityError:  # another process created it between our look and our insert
            return self.write(step, f"create study {spec.name}")

    def study(self, name: str) -> StudyHandle:
        """Find a study by name.

        Raises:
            StudyError: There is none, or plain Optuna made it. The message lists those that exist.
        """

        def step(connection: sa.Connection) -> tuple[StudyHandle | None, list[str]]:
            row = connection.execute(_study_query().where(t.studies.c.study_name == name)).first()
            if row is not None and row.spec is not None:
                return _handle(row), []
            return None, list(
                connection.execute(
                    sa.select(t.studies.c.study_name)
                    .join(t.at_studies, t.at_studies.c.study_id == t.studies.c.study_id)
                    .order_by(t.studies.c.study_name)
                    .limit(50)
                ).scalars()
            )

        handle, names = self.read(step, f"find study {name}")
        if handle is None:
            there = f"there are: {', '.join(names)}" if names else "there is none yet"
            raise StudyError(
                f"a study of automl-transfer with this name must exist in {self.url}, got {name!r}; {there}"
            )
        return handle

    def studies(self) -> list[StudySummary]:
        """All studies of this store, in the order of their creation, those of plain Optuna included."""
        from automl_transfer.store.reading import study_summaries

        return self.read(study_summaries, "list studies")

    def rename(self, old: str, new: str) -> None:
        """Give a study another name. Its workers go on.

        Raises:
            StudyError: `old` does not exist, or `new` does.
        """
        handle = self.study(old)
        spec = StudySpec.model_validate({**handle.spec.model_dump(), "name": new})

        def step(connection: sa.Connection) -> None:
            connection.execute(
                sa.update(t.studies).where(t.studies.c.study_id == handle.study_id).values(study_name=new)
            )
            connection.execute(
                sa.update(t.at_studies)
                .where(t.at_studies.c.study_id == handle.study_id)
                .values(spec=spec.model_dump_json())
            )

        try:
            self.write(step, f"rename study {old}")
        except IntegrityError:
            raise StudyError(
                f"a study's new name must be free, got {new!r}, which exists. Choose another name"
            ) from None

    def delete(self, name: str) -> None:
        """Delete a study with its trials, Optuna's rows and ours. Its workers lose their trials.

        Raises:
            StudyError: There is no such study.
        """
        from automl_transfer.store.optuna_rows import delete_study

        handle = self.study(name)
        self.write(lambda connection: delete_study(connection, handle.study_id), f"delete study {name}")


def _prepare(url: StoreURL, engine: sa.Engine) -> None:
    ensure_schema(url, engine)
    with engine.begin() as connection:
        if not url.is_sqlite:
            state = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')"
            standby, read_only = connection.execute(sa.text(state)).one()
            if standby:
                raise StoreURLError(f"a store must be writable, got {url}, a standby. Use the primary server")
            if read_only == "on":
                raise StoreURLError(f"a store must be writable, got {url}, whose user may only read")
        # Changes nothing, but a file that cannot be written says so now and not in the first trial.
        connection.execute(sa.update(t.at_studies).where(sa.false()).values(created=0.0))


def _may_appear(error: BaseException) -> bool:
    """A server may still be starting; a file that cannot be opened will not change by waiting."""
    return is_store_trouble(error) and "unable to open database file" not in str(error)


def _check_path(url: StoreURL) -> None:
    if url.path is None:
        return
    folder = url.path.parent
    if not folder.is_dir():
        raise StoreURLError(
            f"the folder of a SQLite store must exist, got {folder}. Create it, or choose another --storage"
        )
    if url.path.is_dir():
        raise StoreURLError(f"a SQLite store must be a file, got the folder {url.path}")
    effective = os.access in os.supports_effective_ids
    for path in (folder, url.path):
        if path.exists() and not os.access(path, os.W_OK, effective_ids=effective):
            raise StoreURLError(f"a SQLite store and its folder must be writable, got {path}. {_hint(url)}")


def _hint(url: StoreURL, reason: str = "") -> str:
    if "not a database" in reason:
        return "The file holds something else and is left as it is: choose another --storage"
    if url.is_sqlite:
        return "Give write permission to the file and its folder, or choose another --storage"
    return "Check the storage URL and the server"


def _study_query() -> sa.Select[Any]:
    return sa.select(
        t.studies.c.study_id,
        t.studies.c.study_name,
        t.at_studies.c.spec,
        t.at_studies.c.task,
        t.at_studies.c.artifact_url,
        t.at_studies.c.sources,
    ).outerjoin(t.at_studies, t.at_studies.c.study_id == t.studies.c.study_id)


def _handle(row: sa.Row[Any]) -> StudyHandle:
    return StudyHandle(
        row.study_id,
        row.study_name,
        StudySpec.model_validate_json(row.spec),
        Task.model_validate_json(row.task),
        row.artifact_url,
        json.loads(row.sources),
    )


def _resume(
    connection: sa.Connection,
    study_id: int,
    spec: StudySpec,
    task: Task,
    sources: Mapping[str, str | None],
    direction: StudyDirection,
) -> StudyHandle:
    row = connection.execute(_study_query().where(t.studies.c.study_id == study_id)).one()
    if row.spec is None:
        raise StudyError(
            f"a study of this name must have been made by automl-transfer, got {spec.name!r}, made by "
            "something else. Choose another --study-name"
        )
    old = _handle(row)
    directions = connection.execute(
        sa.select(t.directions.c.direction).where(t.directions.c.study_id == study_id)
    ).scalars()
    differences = _differences(old, spec, task, sources)
    if list(directions) != [direction]:
        differences.append("direction")
    if differences:
        raise StudyError(
            f"study {spec.name!r} exists and must be continued as it was begun, got another "
            + "; another ".join(differences)
            + ". Choose another --study-name, or use the same settings"
        )
    merged = {**old.sources, **{name: sha for name, sha in sources.items() if sha is not None}}
    merged = {**dict.fromkeys(sources), **merged}
    now_there = old.task.model_copy(update={"account": task.account})  # files that are not used come and go
    connection.execute(
        sa.update(t.at_studies)
        .where(t.at_studies.c.study_id == study_id)
        .values(spec=spec.model_dump_json(), task=now_there.model_dump_json(), sources=json.dumps(merged))
    )
    return dataclasses.replace(old, spec=spec, task=now_there, sources=merged)


def _differences(
    old: StudyHandle, spec: StudySpec, task: Task, sources: Mapping[str, str | None]
) -> list[str]:
    found = []
    if old.task.fingerprint != task.fingerprint:
        found.append(
            f"task (fingerprint {old.task.fingerprint[:12]} of {old.task.name!r}, now "
            f"{task.fingerprint[:12]} of {task.name!r})"
        )
    if old.task.metric != task.metric:
        found.append(f"metric ({old.task.metric}, now {task.metric})")
    if old.spec.search.max_epochs != spec.search.max_epochs:
        found.append(f"max_epochs ({old.spec.search.max_epochs}, now {spec.search.max_epochs})")
    if old.spec.space_signature() != spec.space_signature():
        names = sorted(set(old.spec.space) | set(spec.space))
        changed = [n for n in names if _setting(old.spec, n) != _setting(spec, n)]
        found.append(
            "space ("
            + ", ".join(f"{n}: {_setting(old.spec, n)}, now {_setting(spec, n)}" for n in changed)
            + ")"
        )
    for name, sha in sources.items():
        before = old.sources.get(name)
        if sha is not None and before is not None and sha != before:
            found.append(f"source {name} (weights {before[:12]}, now {sha[:12]})")
    return found


def _setting(spec: StudySpec, name: str) -> object:
    value = spec.space.get(name, "default")
    return list(value) if isinstance(value, tuple) else value
