"""Storage URLs: the only file that parses them, and the only one that ever holds a password."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from automl_transfer.errors import StoreURLError
from automl_transfer.files import read_secret, refuse_readable_by_others
from automl_transfer.machine import path_of
from automl_transfer.redaction import HIDDEN, is_secret, redacted

PUBLIC = "public"
"""The schema of PostgreSQL that nobody names."""
ENVIRONMENT_VARIABLE = "AUTOML_TRANSFER_STORAGE"

_SQLITE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
_POSTGRES = re.compile(r"postgres(?:ql)?(?:\+\w+)?://", re.IGNORECASE)
_SETTINGS = re.compile(r"(?:^|\s)(?:host|hostaddr|port|dbname|user|password|service)\s*=", re.IGNORECASE)
_QUOTES = (("'", "'"), ('"', '"'), ("`", "`"), ("\u2018", "\u2019"), ("\u201c", "\u201d"))
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
        text = _bare(text)
        if not text:
            raise StoreURLError(f"a storage URL must not be empty. {_FORMS}")
        if "://" not in text and not text.startswith("sqlite:"):
            return cls(_file(text))
        if _POSTGRES.match(text):
            text = _encoded_user(text)
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
        if _POSTGRES.match(f"{url.drivername}://"):
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
    def is_missing(self) -> bool:
        """Whether it is a SQLite file that is not there: opening the store would make it."""
        return self.path is not None and not os.path.exists(self.path)  # noqa: PTH110 never raises

    def fingerprint(self, schema: str = PUBLIC) -> str:
        """12 hex digits that tell stores apart: of the file, or of server, database and schema."""
        url = self.sqlalchemy
        server = f"{url.host or url.query.get('host')}:{url.port or 5432}/{url.database}"
        server += "" if schema == PUBLIC else f"/{schema}"
        name = str(self.path.resolve()) if self.path is not None else server
        return hashlib.sha256(name.encode()).hexdigest()[:12]

    @property
    def has_password(self) -> bool:
        """Whether someone who reads the URL could log in with it."""
        return self.sqlalchemy.password is not None or any(map(is_secret, self.sqlalchemy.query))

    @property
    def schema(self) -> str | None:
        """The first schema of the `search_path` in the URL's options; None where it says nothing of one."""
        options = self.sqlalchemy.query.get("options", "")
        text = options if isinstance(options, str) else " ".join(options)
        found = re.search(r"search_path\s*=\s*\"?([^\s,\"]+)", text)
        return found[1] if found else None

    @property
    def absolute(self) -> StoreURL:
        """The same store from whatever folder: a SQLite file by its full path."""
        path = self.path
        return self if path is None else StoreURL(self.sqlalchemy.set(database=str(path.resolve())))

    def reveal(self) -> str:
        """The URL with its password, for a child process's environment or a secret file only."""
        return self.sqlalchemy.render_as_string(hide_password=False)

    def __str__(self) -> str:
        query = {
            name: (HIDDEN if is_secret(name) else value) for name, value in self.sqlalchemy.query.items()
        }
        shown = self.sqlalchemy.set(query=query).render_as_string(hide_password=True)
        return redacted(shown.replace("%2A%2A%2A", HIDDEN))

    def __repr__(self) -> str:
        return f"StoreURL({str(self)!r})"


def _bare(text: str) -> str:
    """A URL without what editors, shells and settings files leave around it: spaces, a mark, quotes."""
    text = text.strip().strip("\ufeff\u200b").strip()
    for opening, closing in _QUOTES:
        if len(text) > 1 and text.startswith(opening) and text.endswith(closing):
            return text[1:-1].strip()
    return text


def _file(text: str) -> URL:
    if _SETTINGS.search(text):
        raise StoreURLError(
            f"a storage must be a URL, got connection settings: {redacted(text)[:200]!r}. Use "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        )
    if not text.lower().endswith(_SQLITE_SUFFIXES):
        shown = repr(text) if "@" not in text else "something with an @"
        raise StoreURLError(
            f"a storage must be a URL or a file ending in {', '.join(_SQLITE_SUFFIXES)}, "
            f"got {shown}. {_FORMS}"
        )
    return URL.create("sqlite", database=str(path_of(text)))


def _encoded_user(text: str) -> str:
    """A URL with an @ as it is in user, password or options: the last one before the path ends the user."""
    scheme, separator, rest = text.partition("://")
    ends = re.search(r"[/?#]", rest)
    authority = rest[: ends.start()] if ends else rest
    info, at, host = authority.rpartition("@")
    path, question, options = rest[len(authority) :].partition("?")
    options = options.replace("@", "%40")
    return f"{scheme}{separator}{info.replace('@', '%40')}{at}{host}{path}{question}{options}"


def _sqlite(url: URL) -> URL:
    database = url.database
    if url.host:
        raise StoreURLError(
            f"a SQLite URL has three slashes before a relative path and four before an absolute one, got "
            f"{redacted(url.render_as_string())!r}. Use sqlite:///FILE.db or sqlite:////DIR/FILE.db."
        )
    if not database or database == ":memory:" or database.startswith("file:") or url.query:
        raise StoreURLError(
            "a SQLite storage must be one plain file, because workers share it, got "
            f"{redacted(url.render_as_string())!r}. Use sqlite:///FILE.db."
        )
    return URL.create("sqlite", database=str(path_of(database)) if database.startswith("~") else database)


def _postgres(url: URL) -> URL:
    if not url.database:
        raise StoreURLError(
            "a PostgreSQL URL must name a database, got none. Use postgresql://USER:PASSWORD@HOST/DATABASE."
        )
    loud = [name for name in url.query if name != name.lower()]
    if loud:
        # An address that was pasted twice has the second one, password included, for a name.
        name = repr(loud[0]) if re.fullmatch(r"[A-Za-z_]{1,40}", loud[0]) else "one that is no word"
        raise StoreURLError(f"options of a PostgreSQL URL are written in lower case, got {name}")
    return url.set(drivername="postgresql+psycopg")


def resolve_storage(option: str | None, storage_file: Path | None, default: Path) -> StoreURL:
    """Where the study store is: `--storage`, else `--storage-file`, else the environment, else a file.

    Args:
        option: The value of `--storage`.
        storage_file: A file whose first line (but for comments) is the URL, so that no password shows in
            a process list.
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
    text = read_secret(path, option, "a storage URL", StoreURLError)
    try:
        url = StoreURL.parse(text)
    except StoreURLError as error:
        raise StoreURLError(f"{path}: {error}") from None
    if url.has_password:
        refuse_readable_by_others(path, "password", StoreURLError)
    return url
