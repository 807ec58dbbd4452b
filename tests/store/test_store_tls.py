"""TLS to PostgreSQL: a server that proves who it is serves, any other is refused at once and in words."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tls_front import Front, certificate
from typer.testing import CliRunner

from automl_transfer.cli.main import app
from automl_transfer.errors import StoreURLError
from automl_transfer.store.store import Store
from automl_transfer.store.url import StoreURL

pytestmark = [
    pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="the server behind listens on a Unix socket"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("certificates")
    return {name: certificate(folder, name, host) for name, host in
            (("ours", "127.0.0.1"), ("theirs", "127.0.0.1"), ("elsewhere", "db.example.org"))}  # fmt: skip


@pytest.fixture
def front(postgres_url: str, files: Any, request: pytest.FixtureRequest) -> Iterator[tuple[Front, str]]:
    """A front with the certificate of this name, and the URL of a fresh database through it."""
    url = urlsplit(postgres_url)
    place = Path(parse_qs(url.query)["host"][0]) / f".s.PGSQL.{url.port or 5432}"
    made = Front(place, files.get(request.param))
    yield made, f"postgresql://postgres:Tr0ub4dor@127.0.0.1:{made.port}{url.path}"
    made.close()


def opened(url: str) -> Store:
    return Store.open(StoreURL.parse(url), wait_seconds=5)


@pytest.mark.parametrize("front", ["ours"], indirect=True)
def test_a_server_that_proves_who_it_is_serves_and_all_of_it_is_encrypted(
    front: tuple[Front, str], files: Any
) -> None:
    server, url = front
    with opened(f"{url}?sslmode=verify-full&sslrootcert={files['ours'][0]}") as store:
        assert store.studies() == []
    assert server.encrypted
    assert set(server.encrypted) <= {"TLSv1.2", "TLSv1.3"}
    assert server.plain == 0


@pytest.mark.parametrize(
    ("front", "trusted", "says"),
    [
        ("ours", "theirs", "certificate verify failed"),
        ("elsewhere", "elsewhere", "does not match host name"),
        ("ours", "missing", "root certificate file"),
        ("none", "ours", "does not support SSL"),
    ],
    indirect=["front"],
)
def test_any_other_is_refused_at_once_in_words_and_without_the_password(
    front: tuple[Front, str], files: Any, trusted: str, says: str, tmp_path: Path
) -> None:
    server, url = front
    root = files[trusted][0] if trusted in files else tmp_path / "missing.crt"
    strict = f"{url}?sslmode=verify-full&sslrootcert={root}"
    with pytest.raises(StoreURLError, match=says) as caught:
        opened(strict)
    assert "sslrootcert=FILE" in str(caught.value)
    assert "Tr0ub4dor" not in str(caught.value)
    assert server.plain == 0
    assert not caught.value.__cause__
    done = CliRunner().invoke(app, ["study", "list", "--storage", strict])
    assert isinstance(done.exception, StoreURLError)  # which `main` ends with 2
