"""What an attacker tried (E13): connections that are left open, odd types, links, clients that say little."""

from __future__ import annotations

import contextlib
import http.client
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from optuna.artifacts import ArtifactMeta
from served import Finished, Serve, copy_of

from automl_transfer.dashboard.guards import secured
from automl_transfer.domain.records import StopKind, StopReason, TrialState
from automl_transfer.domain.strategy import Strategy
from automl_transfer.store.artifacts import ArtifactStore
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import TrialDraft


def test_half_open_connections_do_not_stop_it(serve: Serve) -> None:
    served = serve()
    place = urlsplit(served.base)
    with contextlib.ExitStack() as opened:
        for number in range(300):
            half = opened.enter_context(socket.create_connection((place.hostname, place.port), timeout=30))
            if number % 2:
                half.sendall(b"GET /dashboard HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        assert served.ask("/api/studies")[0] == 200


def test_silent_connections_are_closed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    from automl_transfer.dashboard import server

    monkeypatch.setattr(server, "SILENCE_SECONDS", 1)
    monkeypatch.setattr(server, "_LOOK_SECONDS", 1)
    place = urlsplit(serve().base)
    with socket.create_connection((place.hostname, place.port), timeout=60) as half:
        half.sendall(b"GET / HTTP/1.1\r\n")
        assert half.recv(1) == b"", "the server hung up"


@pytest.mark.parametrize(
    "path", ["/favicon.ico", "/static/bundle.js", "/dashboard", "/api/studies", "/api/meta"]
)
def test_a_client_that_states_no_encoding(serve: Serve, path: str) -> None:
    """It gave 500."""
    place = urlsplit(serve().base)
    assert place.hostname is not None
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    connection.putrequest("GET", path, skip_accept_encoding=True)
    connection.endheaders()
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize(
    "kind",
    [
        "text/html", "image/svg+xml", "image/png, text/html", "image/png;,text/html", "image/png; text/html",
        "image/png;x=y", "application/json, text/html", "application/jsonp", "", "image/png\ttext/html",
    ],
)  # fmt: skip
def test_odd_types_are_never_opened(kind: str) -> None:
    sent = dict(secured("/artifacts/1/2/a", [("Content-Type", kind)]))
    assert sent["Content-Disposition"] == "attachment"
    assert sent["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize("kind", ["image/png", "application/json", "IMAGE/PNG"])
def test_plain_types_are_opened(kind: str) -> None:
    sent = dict(secured("/artifacts/1/2/a", [("Content-Type", kind), ("Content-Disposition", "attachment")]))
    assert "Content-Disposition" not in sent
    assert sent["Content-Type"] == kind.lower()


def test_links_and_odd_types_among_real_artifacts(finished: Finished, serve: Serve, tmp_path: Path) -> None:
    """A page that claims to be a picture, and a link to a secret."""
    folder, secret = finished.folder / "run" / "artifacts", tmp_path / "secret.txt"
    secret.write_text("nobody's business")
    (folder / "aaaa-10").write_text("<script>alert(1)</script>")
    (folder / "aaaa-11").symlink_to(secret)
    named = [ArtifactMeta(f"aaaa-{n}", "x.png", "image/png, text/html", None) for n in (10, 11, 12)]
    url = copy_of(finished, tmp_path)
    with Store.open(url) as store:
        trials, study = Trials(store), store.study("shown")
        claim = trials.create(study, TrialDraft(Strategy(), {}, {}), "attacker")
        assert claim is not None
        done = StopReason(kind=StopKind.COMPLETED)
        trials.finish(claim, TrialState.COMPLETE, 0.1, done, None, named)
    served = serve(url)
    file = f"/artifacts/{finished.study_id}/{claim.trial_id}/aaaa-"
    status, headers, body = served.ask(f"{file}10")
    assert (status, headers["content-disposition"]) == (200, "attachment")
    assert headers["content-type"] == "application/octet-stream"
    assert b"<script>" in body
    for number in (11, 12):
        status, _, body = served.ask(f"{file}{number}")
        assert status == 404
        assert b"nobody's business" not in body
    with pytest.raises(FileNotFoundError):
        ArtifactStore(study.artifact_url).open("away/secret.txt")
    (folder / "away").symlink_to(tmp_path)
    with pytest.raises(FileNotFoundError):
        ArtifactStore(study.artifact_url).open("away/secret.txt")
    for name in ("aaaa-10", "aaaa-11", "away"):
        (folder / name).unlink()
