"""Storage as people write it (D14, D17, E8): understood or refused in words, and no password is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from case_runner import Case, all_of, check, nothing, of, written
from conftest import CHEAP, Finished

from automl_transfer.store import store

PASSWORD = "Tr0ub@dor"
NOWHERE = f"postgresql://ann:{PASSWORD}@127.0.0.1:1/d"
URL = "AUTOML_TRANSFER_STORAGE"


def status(name: str, url: str, says: str, code: int = 2, make: object = nothing) -> Case:
    return Case(name, make, "status p-quick", says, code, env={URL: url})  # type: ignore[arg-type]


CASES = [
    status("D14 a second @", NOWHERE, "127.0.0.1", 1),
    status("D14 connection settings", f"host=127.0.0.1 port=1 user=ann password={PASSWORD} dbname=d", "connection settings"),
    status("E8 settings in quotes", f"dbname=d password='{PASSWORD} x'", "connection settings"),
    status("E8 PASSWORD= in capitals", f"postgresql://ann@127.0.0.1:1/d?PASSWORD={PASSWORD}", "lower case"),
    status("E8 an address pasted twice", f"postgresql://ann:{PASSWORD}@127.0.0.1:1/d?postgresql://ann:{PASSWORD}@h/d?sslMode=require", "lower case"),
    status("E8 password= as an option", f"postgresql://ann@127.0.0.1:1/d?password={PASSWORD}", "127.0.0.1", 1),
    status("D14 a port that is none", f"postgresql://ann:{PASSWORD}@127.0.0.1:port/d", "percent-encoded"),
    status("D14 another database", f"mysql://ann:{PASSWORD}@127.0.0.1/d", "SQLite or PostgreSQL"),
    status("D14 no database", f"postgresql://ann:{PASSWORD}@127.0.0.1", "must name a database"),
    status("D14 nothing but the password", PASSWORD, "must"),
    status("D14 a bare login", f"ann:{PASSWORD}@host/db", "must"),
    status("D17 postgresql+psycopg2://", f"postgresql+psycopg2://ann:{PASSWORD}@127.0.0.1:1/d", "127.0.0.1", 1),
    status("D17 postgres://", f"postgres://ann:{PASSWORD}@127.0.0.1:1/d", "127.0.0.1", 1),
    status("D17 in quotes", f'"{NOWHERE}"', "127.0.0.1", 1),
    status("D17 a byte-order mark", f"\ufeff{NOWHERE}", "127.0.0.1", 1),
    Case("D17 a file that others may read", written("url", NOWHERE, 0o644), "status s --storage-file url", "chmod 600", 2),
    Case("D17 a file with a comment first", written("url", f"# ours\n\n{NOWHERE}\n", 0o600), "status s --storage-file url",
         "127.0.0.1", 1),
    Case("D17 a file that is not there", nothing, "status s --storage-file gone", "gone", 2),
    Case("D17 a file of bytes", written("url", b"\xff\xfe\0", 0o600), "status s --storage-file url", "not a text file", 2),
    Case("D14 in a search, before anything is written", nothing, f"search digits {CHEAP} --storage {NOWHERE}x?PASSWORD={PASSWORD}",
         "lower case", 2),
    Case("D14 in a worker", nothing, f"worker s --storage mysql://ann:{PASSWORD}@h/d", "SQLite or PostgreSQL", 2),
    Case("D14 in the dashboard", nothing, f"dashboard --storage mysql://ann:{PASSWORD}@h/d", "SQLite or PostgreSQL", 2),
    Case("D14 in roles", nothing, f"roles --storage mysql://ann:{PASSWORD}@h/d", "SQLite or PostgreSQL", 2),
    Case("D17 a store in memory", nothing, f"search digits {CHEAP} --storage sqlite:///:memory:", "workers share it", 2),
    Case("D17 a store in a folder that is not there", nothing, "status s --storage gone/s.db", "gone", 2),
    Case("D17 a store that is a folder", lambda place: (place / "s.db").mkdir(), f"search digits {CHEAP} --storage s.db", "the folder", 2),
    Case("D17 a store that is something else", written("s.db", "x" * 5000), f"search digits {CHEAP} --storage s.db", "not a database", 2),
]  # fmt: skip


@of(CASES)
def test_secrets(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = store.Store.open.__func__  # type: ignore[attr-defined]
    soon = classmethod(lambda cls, url, **options: opened(cls, url, **{**options, "wait_seconds": 0.1}))
    monkeypatch.setattr(store.Store, "open", soon)  # a server that is away is not waited for, in tests
    check(case, tmp_path, monkeypatch)


def test_d17_a_tilde_is_the_home_in_every_option(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D17: `~` made a folder of that name."""
    home = tmp_path / "home"
    finished.copy(home)
    monkeypatch.setenv("HOME", str(home))
    place = tmp_path / "place"
    place.mkdir()
    for command, says in (
        ("status p-quick --storage '~/runs/automl-transfer.db'", "p-quick"),
        ("status p-quick --storage 'sqlite:///~/runs/automl-transfer.db'", "p-quick"),
        ("explore '~/p' --sheet '~/s.png' --cache '~/c'", "28 images in 2 classes"),
        ("predict '~/runs/p-quick/model' '~/p/cat/00.png'", "cat"),
        ("export p-quick --storage '~/runs/automl-transfer.db' --output=~/out --data-root=~", "wrote"),
    ):
        check(Case("D17", all_of(), command, says), place, monkeypatch)
    assert list(place.iterdir()) == []
    assert {"s.png", "c", "out"} <= {path.name for path in home.iterdir()}
