"""What the wrapper refuses, one by one, against the real application behind a real server."""

from __future__ import annotations

import json
from http.cookies import SimpleCookie

import pytest
from served import Finished, Serve

from automl_transfer.dashboard.guards import POLICY
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials

TOKEN = "a token that nobody guesses"
FORM = f"token={TOKEN.replace(' ', '+')}".encode()
JSON = {"Content_Type": "application/json"}


def test_every_method_that_could_change_something_is_refused(finished: Finished, serve: Serve) -> None:
    served, study = serve(), finished.study_id
    writes = (
        ("POST", "/api/studies", {"study_name": "new", "directions": ["maximize"]}),
        ("POST", f"/api/studies/{study}/rename", {"study_name": "new"}),
        ("POST", "/api/trials/1/tell", {"state": "FAIL"}),
        ("POST", "/api/trials/1/user-attrs", {"user_attrs": {"a": 1}}),
        ("PUT", f"/api/studies/{study}/note", {"version": 99, "body": "mine"}),
        ("PUT", f"/api/studies/{study}/1/note", {"version": 1, "body": "mine"}),
        ("POST", f"/api/artifacts/{study}/1", {"file": "data:,x", "filename": "x.html"}),
        ("DELETE", f"/api/studies/{study}", {}),
        ("PATCH", f"/api/studies/{study}", {}),
        ("OPTIONS", "/api/studies", {}),
        ("BREW", "/api/studies", {}),
    )
    with Store.open(finished.url) as store:
        before = Trials(store).records(study)
        for method, path, body in writes:
            status, headers, said = served.ask(path, method, json.dumps(body).encode(), **JSON)
            assert (method, path, status) == (method, path, 405)
            assert headers["allow"] == "GET, HEAD"
            assert "--allow-writes" in json.loads(said)["reason"]
        assert Trials(store).records(study) == before
        assert [summary.name for summary in store.studies()] == ["shown"]


def test_the_database_itself_refuses_writes(finished: Finished, serve: Serve) -> None:
    served = serve()
    import sqlalchemy as sa

    with pytest.raises(sa.exc.OperationalError, match="readonly"):
        served.store.delete("shown")


def test_get_and_head_answer_alike(finished: Finished, serve: Serve) -> None:
    served = serve()
    for path in ("/dashboard", "/api/studies", f"/api/studies/{finished.study_id}", "/favicon.ico"):
        status, headers, body = served.ask(path)
        head_status, head_headers, nothing = served.ask(path, "HEAD")
        assert (status, head_status, nothing) == (200, 200, b"")
        assert body
        assert headers["content-type"] == head_headers["content-type"]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
        "evil.example:127.0.0.1",
        "[::2]",
        "[fd00::5]:80",
        "fd00",
        "",
    ],
)
def test_a_foreign_host_is_refused(serve: Serve, host: str) -> None:
    status, _, said = serve().ask("/api/studies", Host=host)
    assert status == 403
    assert b"--allow-host" in said


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:1",
        "[::1]:8080",
        "127.0.0.1",
        "Board.Example:443",
        "[fd00::5]:80",
        "[FD00:0::6]",
    ],
)
def test_known_hosts_are_served(serve: Serve, host: str) -> None:
    served = serve(hosts=("0.0.0.0", "board.example", "fd00:0::5", "[fd00::6]"))
    assert served.ask("/api/meta", Host=host)[0] == 200
    assert served.ask("/api/meta", Host="fd00")[0] == 403


def test_every_answer_has_the_security_headers(finished: Finished, serve: Serve) -> None:
    served = serve(token=TOKEN)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for path, headers in (
        ("/dashboard", bearer),
        ("/api/studies", bearer),
        ("/static/bundle.js", bearer),
        ("/nothing", bearer),
        ("/api/studies", {}),
        ("/api/studies", {"Host": "evil.example"}),
    ):
        _, got, _ = served.ask(path, **headers)
        assert got["content-security-policy"] == POLICY
        assert got["x-content-type-options"] == "nosniff"
        assert got["x-frame-options"] == "DENY"
        assert got["referrer-policy"] == "no-referrer"
        assert not [name for name in got if name.startswith("access-control") or name == "server"]
    assert "'unsafe-inline'" not in POLICY.partition("script-src")[2].partition(";")[0]


def test_without_the_token_nothing_is_shown(serve: Serve) -> None:
    served = serve(token=TOKEN)
    name = served.ask("/login", "POST", FORM)[1]["set-cookie"].partition("=")[0]
    for headers in (
        {},
        {"Authorization": "Bearer " + "x" * len(TOKEN)},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": f"{name}={TOKEN}"},
        {"Cookie": f"{name}=0.0; =;"},
        {"Cookie": name},
    ):
        for path in ("/", "/dashboard", "/api/studies", "/static/bundle.js", "/artifacts/1/1/a", "/login"):
            status, got, said = served.ask(path, **headers)
            assert status == 401
            assert "www-authenticate" in got
            assert b"shown" not in said
    assert served.ask(f"/api/studies?token={TOKEN.replace(' ', '+')}")[0] == 401
    assert served.ask("/api/studies", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_the_form_gives_a_session_that_is_not_the_token(serve: Serve) -> None:
    served = serve(token=TOKEN)
    page = served.ask("/dashboard/studies/1", Accept="text/html")
    assert page[0] == 401
    assert b'value="/dashboard/studies/1"' in page[2]
    assert served.ask("/login", "POST", b"token=wrong&next=/dashboard")[0] == 401
    status, headers, _ = served.ask("/login", "POST", FORM + b"&next=/dashboard/studies/1")
    assert (status, headers["location"]) == (303, "/dashboard/studies/1")
    (cookie,) = SimpleCookie(headers["set-cookie"]).values()
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    assert TOKEN not in headers["set-cookie"]
    assert served.ask("/api/studies", Cookie=f"{cookie.key}={cookie.value}")[0] == 200
    # Beside cookies of other programs of this host, whatever they hold.
    for others in ('prefs={"theme":"dark"}', "a=x y", "user[name]=1", f"{cookie.key}=old"):
        cookies = f"{others}; {cookie.key}={cookie.value}"
        assert served.ask("/api/studies", Cookie=cookies)[0] == 200, others


def test_two_dashboards_of_one_host_keep_their_own_sessions(serve: Serve) -> None:
    """A browser keeps one jar of cookies for all ports of a host."""
    jar: dict[str, str] = {}
    both = [serve(token=TOKEN), serve(token=TOKEN)]
    for served in both:
        headers = served.ask("/login", "POST", FORM)[1]
        jar |= {cookie.key: cookie.value for cookie in SimpleCookie(headers["set-cookie"]).values()}
    cookies = "; ".join(f"{name}={value}" for name, value in jar.items())
    assert [served.ask("/api/studies", Cookie=cookies)[0] for served in both] == [200, 200]


@pytest.mark.parametrize(
    "wanted", ["https://evil.example", "//evil.example", "/\\evil.example", "/login", "/\r\nX: y"]
)
def test_the_form_leads_nowhere_else(serve: Serve, wanted: str) -> None:
    from urllib.parse import urlencode

    body = urlencode({"token": TOKEN, "next": wanted}).encode()
    status, headers, _ = serve(token=TOKEN).ask("/login", "POST", body)
    assert (status, headers["location"]) == (303, "/")
    assert "x" not in headers


def test_a_link_works_once(serve: Serve) -> None:
    served = serve(token=TOKEN)
    assert served.dashboard.login is not None
    path = served.dashboard.login.one_time_path()
    assert TOKEN not in path
    assert served.ask(path, "HEAD")[0] == 401  # a program that only looks at the link does not use it up
    status, headers, _ = served.ask(path)
    assert (status, headers["location"]) == (303, "/")
    session = headers["set-cookie"].partition(";")[0]
    assert served.ask("/api/studies", Cookie=session)[0] == 200
    assert served.ask(path)[0] == 401
    assert served.ask("/login?code=")[0] == 401


def test_writes_are_taken_from_the_own_page_only(finished: Finished, serve: Serve, tmp_path: object) -> None:
    served = serve(allow_writes=True)
    path, study = f"/api/studies/{finished.study_id}/1/note", finished.study_id
    body = json.dumps({"version": 1, "body": "seen"}).encode()
    for foreign in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ):
        assert served.ask(path, "PUT", body, **JSON, **foreign)[0] == 403
    assert served.ask(path, "PUT", body, **JSON, Origin=served.base)[0] == 204
    rename = json.dumps({"study_name": "new"}).encode()
    status, _, said = served.ask(f"/api/studies/{study}/rename", "POST", rename, **JSON)
    assert status == 403
    assert b"study rename" in said
    assert [summary.name for summary in served.store.studies()] == ["shown"]


def test_uploads_land_where_the_study_keeps_its_files(finished: Finished, serve: Serve) -> None:
    served = serve(allow_writes=True)
    body = json.dumps({"file": "data:text/plain;base64,aGVsbG8=", "filename": "hello.txt"}).encode()
    status, _, said = served.ask(f"/api/artifacts/{finished.study_id}", "POST", body, **JSON)
    assert status == 201
    key = json.loads(said)["artifact_id"]
    (file,) = (finished.folder / "run" / "artifacts").glob(f"*/{key}")
    assert file.read_text() == "hello"
    assert served.ask(f"/artifacts/{finished.study_id}/{key}")[2] == b"hello"
    assert served.ask(f"/api/artifacts/{finished.study_id}/{key}", "DELETE", b"{}", **JSON)[0] == 204
    assert served.ask(f"/artifacts/{finished.study_id}/{key}")[0] == 404
    assert not file.exists()


def test_a_file_that_is_gone_is_not_found(finished: Finished, serve: Serve, tmp_path: object) -> None:
    served = serve(artifacts=finished.folder / "cache")  # a folder without them
    trial = json.loads(served.ask(f"/api/studies/{finished.study_id}")[2])["trials"][0]
    key = trial["artifacts"][0]["artifact_id"]
    path = f"/artifacts/{finished.study_id}/{trial['trial_id']}/{key}"
    assert served.ask(path)[0] == 404
    assert serve().ask(path)[0] == 200
