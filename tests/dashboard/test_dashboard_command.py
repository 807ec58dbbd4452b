"""`automl-transfer dashboard`: wrong input, secrets, and a database that goes and comes back."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from browser import browse
from served import Finished, Running, Serve
from waiting import until

from automl_transfer.cli.main import main
from automl_transfer.dashboard.guards import page_address
from automl_transfer.store import tables as t
from automl_transfer.store.roles import READER, RoleLogin, apply_roles
from automl_transfer.store.store import Store
from automl_transfer.store.url import StoreURL

TOKEN = "a-token-that-nobody-guesses"
Refused = Callable[..., str]


@pytest.fixture
def refused(finished: Finished, capsys: pytest.CaptureFixture[str]) -> Refused:
    """The one error with which the command refuses its input."""

    def run(*arguments: str | Path) -> str:
        before = sorted(finished.folder.iterdir())
        line = ["dashboard", *map(str, arguments)]
        if not any(str(a).startswith("--storage") for a in arguments):
            line += ["--storage", str(finished.url)]
        with pytest.raises(SystemExit) as left:
            main(line)
        said = capsys.readouterr()
        assert left.value.code == 2, said
        assert said.out == ""
        assert sorted(finished.folder.iterdir()) == before
        return said.err

    return run


def test_a_taken_port(refused: Refused) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert refused("--port", str(port)) == (
            f"error: --port must be free, got {port}, which another program uses. Choose another; 0 finds one\n"
        )


def test_a_study_whose_files_cannot_be_reached_is_opened(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was refused for want of a driver. Here the port is what ends it, which comes later."""
    shutil.copy(finished.folder / "store.db", tmp_path / "store.db")
    with Store.open(StoreURL.parse(str(tmp_path / "store.db"))) as store, store.engine.begin() as connection:
        connection.execute(t.at_studies.update().values(artifact_url="gopher://x"))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        with pytest.raises(SystemExit):
            main(["dashboard", "shown", "--port", port, "--storage", str(tmp_path / "store.db")])
    said = capsys.readouterr().err
    assert "'gopher://x'" in said
    assert "pictures of trials will be missing. Say where they are with --artifact-dir DIR" in said
    assert "--port must be free" in said


def test_a_study_that_does_not_exist(refused: Refused) -> None:
    said = refused("other", "--port", "0")
    assert "got 'other'" in said
    assert "there are: shown" in said


def test_a_store_that_does_not_exist(refused: Refused, tmp_path: Path) -> None:
    assert "no database at" in refused("--storage", f"sqlite:///{tmp_path / 'no.db'}")
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_folder_that_does_not_exist(refused: Refused, tmp_path: Path) -> None:
    assert "--artifact-dir must be a folder, got" in refused("--artifact-dir", tmp_path / "no")
    (tmp_path / "file").touch()
    assert "which is not one" in refused("--artifact-dir", tmp_path / "file")


def test_secret_files(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "token"
    assert "No such file" in refused("--token-file", file)
    file.write_text("")
    file.chmod(0o600)
    assert "at least 16" in refused("--token-file", file)
    file.write_text("short\n")
    assert "at least 16" in refused("--token-file", file)
    file.write_text(TOKEN)
    file.chmod(0o644)
    said = refused("--token-file", file)
    assert f"with mode 644. Run: chmod 600 {file}" in said
    assert TOKEN not in said
    assert "No such file" in refused("--storage-file", tmp_path / "url")
    url = tmp_path / "url"
    url.write_text("postgresql://me:secret@host/db")
    url.chmod(0o640)
    said = refused("--storage-file", url)
    assert "with mode 640" in said
    assert "secret@" not in said


def test_other_machines_need_a_token(refused: Refused) -> None:
    assert "without one. Add --token-file FILE" in refused("--host", "0.0.0.0")
    assert "must be an address of this machine" in refused("--host", "127.1.2.3.4", "--port", "0")


@pytest.mark.parametrize(
    ("host", "opened"), [("127.0.0.2", "127.0.0.2"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")]
)
def test_the_address_that_is_printed_opens(
    finished: Finished, command: Callable[..., Running], tmp_path: Path, host: str, opened: str
) -> None:
    """It was one that nobody listened on, or that was answered 403."""
    storage = ("--storage", str(finished.url))
    running = command("--host", host, *storage, AUTOML_TRANSFER_DASHBOARD_TOKEN=TOKEN)
    assert running.base.startswith(f"http://{opened}:")
    asked = subprocess.run(
        ["curl", "-sfg", "--noproxy", "*", "-H", f"Authorization: Bearer {TOKEN}", f"{running.base}/api/studies"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "shown" in asked.stdout
    said = (tmp_path / "stderr").read_text()
    assert ("--allow-host NAME" in said) == (host == "0.0.0.0")


@pytest.mark.parametrize(
    "name", ["http://board:8080", "board/dashboard", "*", "0.0.0.0", "::", "board:x", ""]
)
def test_a_name_that_no_browser_sends_is_refused(refused: Refused, name: str) -> None:
    """`--allow-host http://board:8080` let nobody in, and printed an address that nothing opens."""
    named = [
        part for each in ("board:8080", "fd00::5", "[fd00::5]:80", name) for part in ("--allow-host", each)
    ]
    assert f"as in board, board:8080 or fd00::5, got {name!r}. Leave out http://" in refused(*named)


def test_the_address_of_a_dashboard_for_other_machines_is_the_one_that_they_open() -> None:
    assert page_address("::", 80) == "http://[::1]:80"
    assert page_address("0.0.0.0", 80, ["Board.example:443", "b"]) == "http://board.example:80"
    assert page_address("FD00:0::5", 80, ["b"]) == "http://[fd00::5]:80"


def test_a_missing_artifact_folder_of_the_study_is_said(
    finished: Finished, command: Callable[..., Running], tmp_path: Path
) -> None:
    path = finished.url.path
    assert path is not None
    artifacts, elsewhere = finished.folder / "run" / "artifacts", finished.folder / "run" / "elsewhere"
    artifacts.rename(elsewhere)
    try:
        running = command("shown", "--storage", str(finished.url), AUTOML_TRANSFER_DASHBOARD_TOKEN=TOKEN)
    finally:
        elsewhere.rename(artifacts)
    assert f"/dashboard/studies/{finished.study_id} (read-only; Ctrl-C ends it)" in running.line
    assert "pictures of trials will be missing" in (tmp_path / "stderr").read_text()
    # The token is in the environment only: not among the arguments, and not in what is printed.
    process = psutil.Process(running.process.pid)
    assert TOKEN not in " ".join(process.cmdline())
    assert running.process.stdout is not None
    assert running.process.stdout.readline() == "log in with the token\n"
    asked = subprocess.run(
        ["curl", "-s", "-H", f"Authorization: Bearer {TOKEN}", f"{running.base}/api/studies"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(asked.stdout)["study_summaries"][0]["study_name"] == "shown"
    assert TOKEN not in (tmp_path / "stderr").read_text()


def test_writes_are_announced(finished: Finished, command: Callable[..., Running], tmp_path: Path) -> None:
    running = command("--allow-writes", "--storage", str(finished.url))
    assert "anyone who opens it can change it" in running.line
    until(lambda: "delete whole studies" in (tmp_path / "stderr").read_text())


def test_a_sqlite_file_that_goes_and_comes_back(finished: Finished, serve: Serve) -> None:
    path = finished.url.path
    assert path is not None
    served, away = serve(), path.with_suffix(".away")
    assert served.ask("/api/studies")[0] == 200
    path.rename(away)
    try:
        for wanted in ("/dashboard", f"/api/studies/{finished.study_id}", "/"):
            status, headers, said = served.ask(wanted, Accept="text/html")
            assert status == 503
            assert headers["retry-after"] == "5"
            assert b"there is no file" in said
        assert not path.exists()
    finally:
        away.rename(path)
    assert served.ask("/dashboard", Accept="text/html")[0] == 200
    assert served.ask(f"/api/studies/{finished.study_id}")[0] == 200


def test_a_postgresql_reader_sees_it_go_and_come_back(
    postgres_server: Any, postgres_url: str, serve: Serve, chromium: Any
) -> None:
    import optuna

    with Store.open(StoreURL.parse(postgres_url)) as store:
        study = optuna.create_study(study_name="plain", storage=store.optuna_storage)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
        store.optuna_storage.remove_session()
        reader = StoreURL.parse(postgres_url.replace("postgres:@", f"r{uuid.uuid4().hex[:8]}:word@"))
        apply_roles(store, [RoleLogin(READER, reader)])
    served = serve(reader)
    detail = f"/api/studies/{study._study_id}"
    assert len(json.loads(served.ask(detail)[2])["trials"]) == 3
    with browse(served.base, chromium) as browser:
        browser.open(f"/dashboard/studies/{study._study_id}")
        browser.see("Hyperparameter Importance")
        assert browser.troubles == []
        postgres_server.stop()
        try:
            status, _, said = served.ask(detail)
            assert status == 503
            assert "database does not answer" in json.loads(said)["reason"]
            browser.page.reload()
            browser.see("The database does not answer")
        finally:
            postgres_server.start()
        browser.see("Hyperparameter Importance")  # the page looked again by itself
    assert served.ask(detail)[0] == 200
