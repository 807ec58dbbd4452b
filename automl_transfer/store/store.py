"""The store's front door: opens a database, and creates, finds, renames and deletes studies."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa
from optuna.study import StudyDirection
from sqlalchemy.exc import DBAPIError, IntegrityError

from automl_transfer.domain.names import study_mistake
from automl_transfer.domain.spec import StudySpec
from automl_transfer.domain.task import Task
from automl_transfer.errors import (
    StoreURLError,
    StudyError,
)
from automl_transfer.files import kind_at
from automl_transfer.store import tables as t
from automl_transfer.store.engine import READ_ONLY, make_engine, now
from automl_transfer.store.retry import (
    Patience,
    is_denied,
    is_forbidden,
    is_insecure,
    is_store_trouble,
    short,
)
from automl_transfer.store.schema import check_schema, ensure_schema, schema_of_tables
from automl_transfer.store.studies import deleted, handle_of, resume, study_query
from automl_transfer.store.url import StoreURL
from automl_transfer.store.values import StudyEntry, StudyHandle

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

T = TypeVar("T")


class Store:
    """One database that all workers share. Safe from many threads; a forked process must open its own.

    Every step is one transaction, tried again while the database has trouble, for `patience`
    seconds; then `StoreUnavailableError`.
    """

    def __init__(
        self, url: StoreURL, engine: sa.Engine, patience: Patience, *, read_only: bool = False
    ) -> None:
        self.url = url
        self.engine = engine
        self.patience = patience
        self.read_only = read_only
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
            if is_insecure(error):
                raise StoreURLError(
                    f"the database must be reached with the encryption that the storage URL asks for, {url} "
                    f"was not ({short(error)}). Name the certificate of its authority as sslrootcert=FILE, "
                    "and the host as the certificate does"
                ) from None
            if is_forbidden(error):
                raise _forbidden(url, "open the store for writing", error) from None
            reason = short(error)
            hint = _hint(url, reason, read_only)
            raise StoreURLError(f"{url} cannot be used as a store: {reason}. {hint}") from None
        except BaseException:
            engine.dispose()
            raise
        return cls(url, engine, Patience(patience), read_only=read_only)

    @functools.cached_property
    def fingerprint(self) -> str:
        """What tells this store from others, see `StoreURL.fingerprint`; a schema may be the login's own."""
        if self.url.is_sqlite:
            return self.url.fingerprint()
        return self.url.fingerprint(self.read(schema_of_tables, "look for the tables"))

    def with_patience(self, seconds: float) -> Store:
        """The same store (same connections) whose steps give up after another time."""
        patience = dataclasses.replace(self.patience, seconds=seconds)
        other = Store(self.url, self.engine, patience, read_only=self.read_only)
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

        return self._run(self.patience, attempt, what)

    def write_once(self, step: Callable[[sa.Connection, bool], T], what: str) -> T:
        """Run a step that must happen once; from its second try on `repeat` is true.

        The first may have been committed then, and only its answer lost.
        """
        tries = 0

        def attempt(connection: sa.Connection) -> T:
            nonlocal tries
            tries += 1
            return step(connection, tries > 1)

        try:
            return self.write(attempt, what)
        except IntegrityError:
            # Our own first try was still being committed while we tried again, or the study was
            # deleted in between: the second look tells which.
            return self.write(attempt, what)

    def read(self, step: Callable[[sa.Connection], T], what: str, *, patience: Patience | None = None) -> T:
        """Run one transaction that only reads: on SQLite it does not wait for writers."""

        def attempt() -> T:
            with self.engine.connect().execution_options(**{READ_ONLY: True}) as connection:
                return step(connection)

        return self._run(patience or self.patience, attempt, what)

    def _run(self, patience: Patience, attempt: Callable[[], T], what: str) -> T:
        try:
            return patience.run(attempt, what)
        except DBAPIError as error:
            if not is_forbidden(error):
                raise
            raise _forbidden(self.url, what, error) from None

    @property
    def optuna_storage(self) -> BaseStorage:
        """Optuna's own storage on this store, on the same connections, for anything that wants a storage.

        Its calls are not retried. For sampling, `sampling.SamplerHistory` is much cheaper.
        """
        if self._optuna_storage is None:
            from automl_transfer.store.optuna_names import cached_storage

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
        also: Callable[[sa.Connection, int], None] = lambda connection, study_id: None,
    ) -> StudyHandle:
        """Create a study, or return the one that exists with the same task, space and horizon.

        Idempotent and safe from many processes. For an existing study the new specification replaces
        the stored one (its budget may grow, its sampler change); its artifact URL and identity stay.

        `also` is the last step of the transaction that creates it: nobody sees the study without that.

        Raises:
            StudyError: A study of this name exists and differs; the message says in what.
        """
        wanted = StudyDirection.MAXIMIZE if direction == "maximize" else StudyDirection.MINIMIZE
        identity = uuid.uuid4().hex

        def step(connection: sa.Connection) -> StudyHandle:
            query = sa.select(t.studies.c.study_id).where(t.studies.c.study_name == spec.name)
            study_id = connection.execute(query.with_for_update(key_share=True)).scalar()
            if study_id is not None:
                return resume(connection, study_id, spec, task, sources, wanted)
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
                    identity=identity,
                )
            )
            also(connection, study_id)
            return StudyHandle(study_id, spec.name, spec, task, artifact_url, dict(sources), identity)

        try:
            return self.write(step, f"create study {spec.name}")
        except IntegrityError:  # another process created it between our look and our insert
            return self.write(step, f"create study {spec.name}")

    def study(self, name: str) -> StudyHandle:
        """Find a study by its name, or by its identity.

        Raises:
            StudyError: There is none, or plain Optuna made it. The message lists those that exist.
        """

        def step(connection: sa.Connection) -> tuple[StudyHandle | None, list[str]]:
            for column in (t.studies.c.study_name, t.at_studies.c.identity):
                row = connection.execute(study_query().where(column == name)).first()
                if row is not None and row.spec is not None:
                    return handle_of(row), []
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

    def find(self, *, name: str | None = None, identity: str | None = None) -> StudyHandle | None:
        """The study of ours with this name, or with this identity; None where there is none."""
        wanted = t.studies.c.study_name == name if identity is None else t.at_studies.c.identity == identity
        row = self.read(lambda c: c.execute(study_query().where(wanted)).first(), "find a study")
        return None if row is None or row.spec is None else handle_of(row)

    def again(self, study: StudyHandle) -> StudyHandle:
        """A study as it is now, under whatever name.

        Raises:
            StudyError: It was deleted; a later study of the same name or number is another one.
        """
        found = self.find(identity=study.identity)
        if found is None:
            raise deleted(study)
        return found

    def places(self) -> dict[str, str]:
        """Where each study of ours keeps its files: name to artifact URL."""
        query = sa.select(t.studies.c.study_name, t.at_studies.c.artifact_url).join(
            t.at_studies, t.at_studies.c.study_id == t.studies.c.study_id
        )
        return {row[0]: row[1] for row in self.read(lambda c: c.execute(query).all(), "look for places")}

    def studies(self) -> list[StudyEntry]:
        """All studies of this store, in the order of their creation, those of plain Optuna included."""
        from automl_transfer.store.reading import study_entries

        return self.read(study_entries, "list studies")

    def rename(self, old: str, new: str) -> None:
        """Give a study another name. Its workers go on.

        Raises:
            StudyError: `old` does not exist, or `new` does, or is no name for a study.
        """
        handle = self.study(old)
        if (mistake := study_mistake(new)) is not None:
            raise StudyError(f"the name of a study {mistake}. Choose another name")
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

        With the last study of a task goes the task's signature.

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
    if kind_at(folder, "the folder of a SQLite store", StoreURLError) != "folder":
        raise StoreURLError(
            f"the folder of a SQLite store must exist, got {folder}. Create it, or choose another --storage"
        )
    if kind_at(url.path, "a SQLite store", StoreURLError) == "folder":
        raise StoreURLError(f"a SQLite store must be a file, got the folder {url.path}")
    effective = os.access in os.supports_effective_ids
    for path in (folder, url.path):
        if os.path.exists(path) and not os.access(path, os.W_OK, effective_ids=effective):  # noqa: PTH110 never raises
            raise StoreURLError(f"a SQLite store and its folder must be writable, got {path}. {_hint(url)}")


def _forbidden(url: StoreURL, what: str, error: DBAPIError) -> StoreURLError:
    return StoreURLError(
        f"a login must have the right to {what}, that of {url} has not ({short(error)}): use the owner's. "
        "A worker's login runs trials ('automl-transfer worker STUDY'), a reader's only reads"
    )


def _hint(url: StoreURL, reason: str = "", read_only: bool = False) -> str:
    if "not a database" in reason:
        return "The file holds something else and is left as it is: choose another --storage"
    if url.path is not None and read_only:
        return f"Give read permission to the file, and to {url.path.name}-wal where there is one"
    if url.is_sqlite:
        return "Give write permission to the file and its folder, or choose another --storage"
    return "Check the storage URL and the server"
