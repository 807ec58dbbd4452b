"""Storage URLs: what is accepted, what is refused, and that no password is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl_transfer.errors import StoreURLError
from automl_transfer.store.url import (
    ENVIRONMENT_VARIABLE,
    StoreURL,
    read_storage_file,
    resolve_storage,
)

SECRET = "hünter2"
ESCAPED = "h%C3%BCnter2"


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("studies.db", "sqlite:///studies.db"),
        ("/data/my studies.sqlite3", "sqlite:////data/my studies.sqlite3"),
        ("sqlite:///a/b.db", "sqlite:///a/b.db"),
        ("sqlite:////a/b", "sqlite:////a/b"),
        ("postgresql://u:p@h:5433/d", "postgresql+psycopg://u:p@h:5433/d"),
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql+psycopg://u@/d?host=/run/pg", "postgresql+psycopg://u@/d?host=%2Frun%2Fpg"),
        ("  postgresql://h/d\n", "postgresql+psycopg://h/d"),
        # D17: as other programs write them, and as files and shells leave them.
        ("postgresql+psycopg2://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql+asyncpg://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgres+psycopg://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ('"postgresql://u:p@h/d"', "postgresql+psycopg://u:p@h/d"),
        ("'studies.db'", "sqlite:///studies.db"),
        ("\u201cpostgresql://u:p@h/d\u201d", "postgresql+psycopg://u:p@h/d"),
        ("\ufeffpostgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        # An @ as it is, in a password and in a user's name: the last one ends them.
        ("postgresql://ann:Tr0ub@dor@127.0.0.1/d", "postgresql+psycopg://ann:Tr0ub%40dor@127.0.0.1/d"),
        ("postgresql://ann@corp:pw@h/d", "postgresql+psycopg://ann%40corp:pw@h/d"),
        ("postgresql://ann@h/d?password=Tr0ub@dor", "postgresql+psycopg://ann@h/d?password=Tr0ub%40dor"),
    ],
)
def test_accepted(text: str, full: str) -> None:
    url = StoreURL.parse(text)
    assert url.reveal() == full
    assert StoreURL.parse(url.reveal()) == url


@pytest.mark.parametrize("path", ["C:\\data\\x.db", "/100 % sure?/größe #1.db", "权重/x.sqlite"])
def test_any_path_survives(path: str) -> None:
    url = StoreURL.parse(path)
    assert url.path == Path(path)
    assert StoreURL.parse(url.reveal()).path == Path(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must not be empty"),
        ("studies", "file ending in"),
        ("sqlite://", "workers share it"),
        ("sqlite:///:memory:", "workers share it"),
        ("sqlite:///file:x.db?mode=ro&uri=true", "workers share it"),
        ("sqlite://x.db", "three slashes"),
        ("mysql+pymysql://u:SECRET@h/d", "SQLite or PostgreSQL"),
        ("redis://h/1", "SQLite or PostgreSQL"),
        ("postgresql://u:SECRET@h", "must name a database"),
        ("postgresql://u:SECRET@h:port/d", "percent-encoded"),
        ("u:SECRET@host/db", "file ending in"),
        ("host=h user=u password=SECRET dbname=d", "must be a URL, got connection settings: 'host=h"),
        ("dbname=d password='SEC SECRET'", "connection settings"),
        ("postgresql://u@h/d?PASSWORD=SECRET", "lower case, got 'PASSWORD'"),
        ("postgresql://u:SECRET@SECRET@h", "must name a database"),
        ("sqlite://u:SECRET@h/x.db", "three slashes"),
    ],
)
def test_refused(text: str, why: str) -> None:
    with pytest.raises(StoreURLError, match=why) as caught:
        StoreURL.parse(text)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "text", [f"postgresql://u:{ESCAPED}@h/d", f"postgresql://u@h/d?password={ESCAPED}&sslmode=require"]
)
def test_password_is_never_shown(text: str) -> None:
    url = StoreURL.parse(text)
    assert url.has_password
    for shown in (str(url), repr(url), f"{url}", repr({"url": url}), repr([url])):
        assert SECRET not in shown
        assert ESCAPED not in shown
        assert "***" in shown
    assert SECRET in url.reveal() or ESCAPED in url.reveal()


def test_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret file"
    secret.write_text("file.db\nsecond line\n")
    default = tmp_path / "default without suffix"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "environment.db")
    assert resolve_storage("option.db", secret, default).path == Path("option.db")
    assert resolve_storage(None, secret, default).path == Path("file.db")
    assert resolve_storage(None, None, default).path == Path("environment.db")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, " ")
    assert resolve_storage(None, None, default).path == default


def test_a_wrong_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "oracle://h/d")
    with pytest.raises(StoreURLError, match=ENVIRONMENT_VARIABLE):
        resolve_storage(None, None, tmp_path / "x.db")


@pytest.mark.parametrize("content", ["", "\n\n", "oracle://h/d"])
def test_a_useless_secret_file_is_named(tmp_path: Path, content: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text(content)
    with pytest.raises(StoreURLError, match="secret"):
        resolve_storage(None, secret, tmp_path / "x.db")


def test_missing_and_binary_secret_files(tmp_path: Path) -> None:
    with pytest.raises(StoreURLError, match="nowhere"):
        resolve_storage(None, tmp_path / "nowhere", tmp_path / "x.db")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StoreURLError, match="not a text file"):
        resolve_storage(None, tmp_path / "binary", tmp_path / "x.db")


def test_a_password_file_that_others_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("postgresql://u:SECRET@h/d\n")
    secret.chmod(0o640)
    with pytest.raises(StoreURLError, match="chmod 600") as caught:
        resolve_storage(None, secret, tmp_path / "x.db")
    assert "SECRET" not in str(caught.value)
    secret.chmod(0o600)
    assert resolve_storage(None, secret, tmp_path / "x.db").has_password


@pytest.mark.parametrize("text", ["~/x.db", "sqlite:///~/x.db", "sqlite:////home/ann/x.db"])
def test_a_tilde_is_the_home(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """D17: it made a folder that is called ~."""
    monkeypatch.setenv("HOME", "/home/ann")
    assert StoreURL.parse(text).path == Path("/home/ann/x.db")


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfpostgresql://u:p@h/d\n",
        b"# the studies of our group\n\npostgresql://u:p@h/d\n",
        b'\n"postgresql://u:p@h/d"\r\n# old: postgresql://u:p@h2/d\n',
    ],
)
def test_secret_files_as_people_have_them(tmp_path: Path, content: bytes) -> None:
    """D17: a byte-order mark, a leading comment, quotes."""
    path = tmp_path / "url"
    path.write_bytes(content)
    path.chmod(0o600)
    assert read_storage_file(path).reveal() == "postgresql+psycopg://u:p@h/d"


@pytest.mark.parametrize(
    ("options", "schema"),
    [
        ("", None),
        ("?options=-csearch_path%3Dlab", "lab"),
        ("?options=-c%20search_path%3Dlab%2Cpublic&sslmode=require", "lab"),
        ("?options=-cstatement_timeout%3D5", None),
    ],
)
def test_the_schema_that_a_url_names(options: str, schema: str | None) -> None:
    assert StoreURL.parse(f"postgresql://u@h/d{options}").schema == schema
