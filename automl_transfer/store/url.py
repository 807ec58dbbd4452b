"""Storage URLs: the only file that parses them, and the only one that ever holds a password."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from automl_transfer.errors import StoreURLError, UserError

ENVIRONMENT_VARIABLE = "AUTOML_TRANSFER_STORAGE"

_SQLITE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
_POSTGRES_NAMES = ("postgresql", "postgres", "postgresql+psycopg")
_SECRET_OPTIONS = ("password", "sslpassword", "passfile")
_FORMS = "Use sqlite:///FILE.db, FILE.db or postgresql://USER:PASSWORD@HOST/DATABASE."


@dataclass(frozen=True, repr=False)
class StoreURL:
    """A checked storage URL. `str()` and `repr()` never show a password.

    Attributes:
        sqlalchemy: The full URL, with the driver this package uses (psycopg for PostgreSQL).
    """

    sqlalchemy: URL = field()

    @classmethod
    def parse(cls, text: str) -> StoreURL:
        """Check a URL or the path of a SQLite file.

        Raises:
            StoreURLError: Not a SQLite file and not PostgreSQL. The message never repeats a password.
        """
        text = text.strip()
        if not text:
            raise StoreURLError(f"a storage URL must not be empty. {_FORMS}")
        if "://" not in text and not text.startswith("sqlite:"):
            if not text.lower().endswith(_SQLITE_SUFFIXES):
                shown = text if "@" not in text else "something with an @"
                raise StoreURLError(
                    f"a storage must be a URL or a file ending in {', '.join(_SQLITE_SUFFIXES)}, "
                    f"got {shown!r}. {_FORMS}"
                )
            return cls(URL.create("sqlite", database=text))
        try:
            url = make_url(text)
        except (ArgumentError, ValueError):
            scheme = text.split("://", 1)[0][:40]
            raise StoreURLError(
                f"a storage URL must look like DIALECT://USER:PASSWORD@HOST:PORT/DATABASE, got one that "
                f"starts with {scheme!r} and cannot be read: special characters in a password are "
                f"percent-encoded (@ is %40, / is %2F). {_FORMS}"
            ) from None
        if url.drivername in ("sqlite", "sqlite+pysqlite"):
            return cls(_sqlite(url))
        if url.drivername in _POSTGRES_NAMES:
            return cls(_postgres(url))
        raise StoreURLError(f"a storage must be SQLite or PostgreSQL, got {url.drivername!r}. {_FORMS}")

    @property
    def is_sqlite(self) -> bool:
        """Whether the store is one SQLite file."""
        return self.sqlalchemy.get_backend_name() == "sqlite"

    @property
    def path(self) -> Path | None:
        """The SQLite file; None for a server."""
        return Path(str(self.sqlalchemy.database)) if self.is_sqlite else None

    @property
    def fingerprint(self) -> str:
        """12 hex digits that tell stores apart: of the file, or of server and database, whoever logs in."""
        url = self.sqlalchemy
        server = f"{url.host or url.query.get('host')}:{url.port or 5432}/{url.database}"
        name = str(self.path.resolve()) if self.path is not None else server
        return hashlib.sha256(name.encode()).hexdigest()[:12]

    @property
    def has_password(self) -> bool:
        """Whether someone who reads the URL could log in with it."""
        return self.sqlalchemy.password is not None or any(
            name in self.sqlalchemy.query for name in _SECRET_OPTIONS
        )

    def reveal(self) -> str:
        """The URL with its password, for a child process's environment or a secret file only."""
        return self.sqlalchemy.render_as_string(hide_password=False)

    def __str__(self) -> str:
        query = {
            name: ("***" if name in _SECRET_OPTIONS else value)
            for name, value in self.sqlalchemy.query.items()
        }
        shown = self.sqlalchemy.set(query=query).render_as_string(hide_password=True)
        return shown.replace("%2A%2A%2A", "***")

    def __repr__(self) -> str:
        return f"StoreURL({str(self)!r})"


def _sqlite(url: URL) -> URL:
    database = url.database
    if url.host:
        raise StoreURLError(
            f"a SQLite URL has three slashes before a relative path and four before an absolute one, got "
            f"{url.render_as_string(hide_password=True)!r}. Use sqlite:///FILE.db or sqlite:////DIR/FILE.db."
        )
    if not database or database == ":memory:" or database.startswith("file:") or url.query:
        raise StoreURLError(
            "a SQLite storage must be one plain file, because workers share it, got "
            f"{url.render_as_string(hide_password=True)!r}. Use sqlite:///FILE.db."
        )
    return URL.create("sqlite", database=database)


def _postgres(url: URL) -> URL:
    if not url.database:
        raise StoreURLError(
            "a PostgreSQL URL must name a database, got none. Use postgresql://USER:PASSWORD@HOST/DATABASE."
        )
    return url.set(drivername="postgresql+psycopg")


def resolve_storage(option: str | None, storage_file: Path | None, default: Path) -> StoreURL:
    """Where the study store is: `--storage`, else `--storage-file`, else the environment, else a file.

    Args:
        option: The value of `--storage`.
        storage_file: A file whose first line is the URL, so that no password shows in a process list.
        default: The SQLite file used when nothing else is said.

    Raises:
        StoreURLError: A URL that cannot be used, or a secret file that is missing or that others can read.
    """
    if option is not None:
        return StoreURL.parse(option)
    if storage_file is not None:
        return read_storage_file(storage_file)
    text = os.environ.get(ENVIRONMENT_VARIABLE, "").strip()
    if text:
        try:
            return StoreURL.parse(text)
        except StoreURLError as error:
            raise StoreURLError(f"{ENVIRONMENT_VARIABLE}: {error}") from None
    return StoreURL(URL.create("sqlite", database=str(default)))


def read_storage_file(path: Path, option: str = "--storage-file") -> StoreURL:
    """The storage URL in a file's first line.

    Raises:
        StoreURLError: The file is missing, holds no URL, or holds a password that others can read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise StoreURLError(
            f"{option} must be a readable file whose first line is a storage URL, got {path} ({reason})"
        ) from None
    try:
        url = StoreURL.parse(text.splitlines()[0] if text.strip() else "")
    except StoreURLError as error:
        raise StoreURLError(f"{path}: {error}") from None
    if url.has_password:
        refuse_readable_by_others(path, mode, "password", StoreURLError)
    return url


def refuse_readable_by_others(path: Path, mode: int, holds: str, error: type[UserError]) -> None:
    """Raise `error` where others than its owner may read or write a file that `holds` a secret."""
    if os.name == "posix" and mode & 0o077:
        raise error(
            f"a file with a {holds} must be readable by its owner only, got {path} with mode "
            f"{mode & 0o777:03o}. Run: chmod 600 {path}"
        )
