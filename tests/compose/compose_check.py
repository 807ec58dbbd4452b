"""Runs docker-compose.yml for real: builds, kills a worker container, goes down and up, and counts every trial.

    make compose-check                  with 'docker compose', or podman and podman-compose
    ... compose_check.py --port 8099    the dashboard's port on 127.0.0.1; a free one by default

A project, volumes and secrets of its own, removed at the end. Exit code 0 only if nothing was lost and every
page opened without an error.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "dashboard")]

PROJECT = "automl-transfer-check"
STUDY = "check"
TRIALS = 8
GRACE = 12
SPEC = f"""name = "{STUDY}"
[task]
dataset = "digits?per_class=60"
[search]
trials = {TRIALS}
stop_when = "budget"
max_epochs = 6
pruner = "none"
[space]
truncation = [3, 8]
freeze_depth = "search"
learning_rate = [1e-5, 1e-2]
"""
# Run inside the dashboard's container, with the rights of a reader.
RECORDS = f"""
import json
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import read_storage_file
from pathlib import Path
with Store.open(read_storage_file(Path("/run/secrets/reader_url")), read_only=True) as store:
    study = store.study({STUDY!r})
    trials = Trials(store)
    print(json.dumps({{
        "records": [
            {{"number": r.number, "root": r.root, "attempt": r.attempt, "state": r.state.value,
              "stop": str(r.stop or ""), "worker": (r.worker or "").partition(".")[0],
              "epochs": [e.epoch for e in r.epochs]}}
            for r in trials.records(study)
        ],
        "running_on": [w.worker.partition(".")[0] for w in trials.workers(study)],
    }}))
"""
began = time.monotonic()


class CheckError(Exception):
    """Something that should be so is not."""


def say(text: str) -> None:
    print(f"{time.monotonic() - began:6.0f} s  {text}", flush=True)


def must(condition: bool, rule: str, got: object = "") -> None:
    if not condition:
        raise CheckError(f"{rule}; got {got}")


class Compose:
    """The compose command of this machine, for one project."""

    def __init__(self, settings: Path) -> None:
        files = ["-f", str(REPOSITORY / "docker-compose.yml"), "--env-file", str(settings)]
        self.engine, tool = find_engine()
        if self.engine == "podman":  # where containers have no network of their own while they are built
            tool = [*tool, "--podman-build-args=--network host"]
        self._start = [*tool, "-p", PROJECT, *files]
        self.name = " ".join(tool)

    def __call__(self, *arguments: str, check: bool = True, timeout: float = 3600) -> str:
        done = subprocess.run(
            [*self._start, *arguments], capture_output=True, text=True, timeout=timeout, cwd=REPOSITORY
        )
        if check and done.returncode != 0:
            raise CheckError(f"compose {' '.join(arguments)}: {(done.stderr + done.stdout)[-3000:]}")
        return done.stdout

    def containers(self, service: str) -> list[str]:
        """Ids of the running containers of a service."""
        labels = {"com.docker.compose.project": PROJECT, "com.docker.compose.service": service}
        filters = [f"--filter=label={name}={value}" for name, value in labels.items()]
        return self.run_engine("ps", "--quiet", "--no-trunc", *filters).split()

    def run_engine(self, *arguments: str) -> str:
        return subprocess.run(
            [self.engine, *arguments], capture_output=True, text=True, check=True, timeout=300
        ).stdout

    def records(self) -> dict[str, Any]:
        """The study as its store knows it."""
        text = self("exec", "-T", "dashboard", "python", "-c", RECORDS)
        return dict(json.loads(text.strip().splitlines()[-1]))


def find_engine() -> tuple[str, list[str]]:
    """The engine, and its compose command."""
    if shutil.which("docker") and _works("docker", "info") and _works("docker", "compose", "version"):
        return "docker", ["docker", "compose"]
    beside = Path(sys.executable).with_name("podman-compose")
    podman_compose = str(beside) if beside.exists() else shutil.which("podman-compose")
    if shutil.which("podman") and podman_compose:
        return "podman", [podman_compose]
    print(
        "compose-check needs a container engine: Docker with its compose plugin, running; or podman with "
        f"podman-compose ({sys.executable} -m pip install podman-compose). Neither was found",
        file=sys.stderr,
    )
    raise SystemExit(2)


def _works(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def prepare(folder: Path, port: int) -> Path:
    """Secrets and settings of this check; returns the settings' file."""
    shutil.copy(REPOSITORY / ".env.example", folder)
    script = REPOSITORY / "scripts" / "compose_secrets.py"
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    (folder / "studies").mkdir()
    (folder / "studies" / "check.toml").write_text(SPEC)
    changes = {
        "STUDY": STUDY,
        "STUDY_SOURCE": "/studies/check.toml",
        "STUDIES": str(folder / "studies"),
        "SECRETS": str(folder / "secrets"),
        "RESULTS": str(folder / "results"),
        "WORKERS": "2",
        "WORKER_GRACE": str(GRACE),
        "DASHBOARD_PORT": str(port),
        "AUTOML_TRANSFER_IMAGE": "localhost/automl-transfer:check",
        "TORCH_INDEX": os.environ.get("TORCH_INDEX", ""),
    }
    settings = folder / ".env"
    kept = [line for line in settings.read_text().splitlines() if line.partition("=")[0] not in changes]
    settings.write_text("\n".join([*kept, *(f"{key}={value}" for key, value in changes.items())]) + "\n")
    folder.chmod(0o755)  # the containers' user passes through
    return settings


def wait(what: str, condition: Callable[[], Any], seconds: float = 600) -> Any:
    """Look until something is so; returns what made it so."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except (CheckError, ValueError) as error:  # a container that is still starting
            last = error
        time.sleep(1)
    raise CheckError(f"not within {seconds:g} s: {what}; {last}")


def fates(records: list[dict[str, Any]]) -> str:
    counts = Counter(record["state"] for record in records)
    return ", ".join(f"{number} {state.lower()}" for state, number in sorted(counts.items()))


def finished(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record for record in records if record["state"] in ("COMPLETE", "PRUNED")]


def kill_a_worker(compose: Compose) -> None:
    """SIGKILL the container of a worker in the middle of a trial; another one must take the trial over."""

    def both_run() -> dict[str, Any] | None:
        seen = compose.records()
        return seen if len(set(seen["running_on"])) == 2 and len(finished(seen["records"])) >= 2 else None

    seen = wait("two workers run trials", both_run)
    victim = seen["running_on"][0]
    ids = [name for name in compose.containers("worker") if name.startswith(victim)]
    must(len(ids) == 1, "the worker's host name must be its container's id", (victim, ids))
    (lost,) = [r for r in seen["records"] if r["state"] == "RUNNING" and r["worker"] == victim]
    compose.run_engine("kill", "--signal=KILL", ids[0])
    say(f"killed worker container {victim} ({fates(seen['records'])})")

    def handed_on() -> list[dict[str, Any]]:
        return [r for r in compose.records()["records"] if r["state"] == "FAIL" and "silent" in r["stop"]]

    failed = wait("a killed worker's trial is failed and continued", handed_on)
    if lost["number"] in [record["number"] for record in failed]:
        say(f"trial {lost['number']} was handed on: {failed[0]['stop'].partition(' was ')[2]}")
    else:
        say(f"trial {failed[0]['number']} was handed on")


def down_and_up(compose: Compose, tries: int = 3) -> None:
    """`down` gives the running trials back within the grace period, and `up` goes on."""
    wait(
        "a trial runs",
        lambda: any(r["epochs"] for r in compose.records()["records"] if r["state"] == "RUNNING"),
    )
    at = time.monotonic()
    compose("down")
    took = time.monotonic() - at
    must(not compose.containers("worker"), "down must end the workers")
    compose("up", "-d", "database", "dashboard")
    seen = wait("the store answers again", compose.records)
    released = [r for r in seen["records"] if r["state"] == "WAITING" and r["stop"].startswith("released")]
    must(not seen["running_on"], "no trial may be left running after down", seen["running_on"])
    if not released and tries > 1:  # the trial ended by itself while the engine was still starting to stop
        compose("up", "-d")
        down_and_up(compose, tries - 1)
        return
    must(bool(released), "down must release the running trials", fates(seen["records"]))
    kept = ", ".join(f"trial {r['number']} with {len(r['epochs'])} epochs" for r in released)
    say(f"down took {took:.1f} s of the grace period of 60 s and released {kept}")
    compose("up", "-d")
    say("up again, two workers")


def count(records: list[dict[str, Any]]) -> None:
    """Exactly one finished trial for each strategy, and every failure continued exactly once."""
    roots = sorted({record["root"] for record in records})
    done = Counter(record["root"] for record in finished(records))
    lost = [root for root in roots if done[root] == 0]
    duplicate = [root for root in roots if done[root] > 1]
    stuck = [r["number"] for r in records if r["state"] in ("RUNNING", "WAITING")]
    attempts = Counter((record["root"], record["attempt"]) for record in records)
    unexplained = [
        r["number"] for r in records if r["state"] == "FAIL" and attempts[(r["root"], r["attempt"] + 1)] != 1
    ]
    failed = sum(record["state"] == "FAIL" for record in records)
    say(
        f"{len(records)} trials of {len(roots)} strategies: {fates(records)}; {failed} failed and were continued"
    )
    say(f"LOST {len(lost)} DUPLICATE {len(duplicate)} STUCK {len(stuck)} UNEXPLAINED {len(unexplained)}")
    must(len(roots) == TRIALS, f"there must be {TRIALS} strategies", len(roots))
    must(not (lost or duplicate or stuck or unexplained), "nothing may be lost", (lost, duplicate, stuck))


def take_out_the_recipe(compose: Compose, folder: Path) -> None:
    compose("--profile", "report", "run", "--rm", "report")
    recipe = json.loads((folder / "results" / STUDY / "best_strategy.json").read_text())
    test = recipe["metrics"]["test"]
    say(
        f"results/{STUDY}/best_strategy.json: root trial {recipe['provenance']['root_trial']}, test accuracy "
        f"{test['accuracy']:.3f} (n = {test['n']})"
    )


def look(port: int, folder: Path, screenshot: Path | None) -> None:
    """The dashboard through its published port: refused without the token, whole with it."""
    from browser import browse

    base = f"http://127.0.0.1:{port}"
    refused = {
        "no token": (urllib.request.Request(f"{base}/api/studies"), 401),
        "a wrong token": (
            urllib.request.Request(f"{base}/api/studies", headers={"Authorization": "Bearer " + "x" * 32}),
            401,
        ),
        "a foreign host": (
            urllib.request.Request(f"{base}/api/studies", headers={"Host": "evil.example"}),
            403,
        ),
    }
    token = (folder / "secrets" / "dashboard_token").read_text().strip()
    bearer = {"Authorization": f"Bearer {token}"}
    refused["POST"] = (
        urllib.request.Request(f"{base}/api/studies", data=b"{}", method="POST", headers=bearer), 405,
    )  # fmt: skip
    for what, (request, wanted) in refused.items():
        must(_status(request) == wanted, f"{what} must be answered with {wanted}", _status(request))
    say("refused: " + ", ".join(f"{what} {wanted}" for what, (_, wanted) in refused.items()))
    with browse(base) as browser:
        browser.page.goto(f"{base}/dashboard/studies/1")
        browser.page.fill("#token", token)
        browser.page.click("button")
        browser.see("Hyperparameter Importance")
        browser.page.wait_for_load_state("networkidle")
        browser.troubles.clear()  # the login page was a 401; from here on nothing may fail
        browser.requests = 0
        browser.open("/dashboard/studies/1")
        browser.see("Hyperparameter Importance")
        browser.see("Learning curves")
        if screenshot is not None:
            browser.page.set_viewport_size({"width": 1500, "height": 2600})
            browser.page.wait_for_timeout(1500)
            browser.page.screenshot(path=str(screenshot))
        browser.open("/dashboard/studies/1/note")
        browser.see("The answer: trial")
        browser.open("/dashboard/studies/1/trials?numbers=1")
        browser.see("plan.png")
        sizes = browser.page.evaluate(
            "Promise.all([...document.querySelectorAll('img')].map(i => i.decode().then(() => i.naturalWidth)))"
        )
        must(len(sizes) >= 2 and all(sizes), "the pictures of a trial must open", sizes)
        must(not browser.troubles, "pages must open without an error", browser.troubles)
        say(
            f"dashboard in Chromium: study, note, trial and {len(sizes)} pictures, {browser.requests} requests, "
            "0 failed, 0 console errors"
        )


def _status(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def check(compose: Compose, folder: Path, port: int, screenshot: Path | None) -> None:
    say(f"with {compose.name}")
    compose("build")
    image = "localhost/automl-transfer:check"
    shown = compose.run_engine("image", "inspect", "--format", "{{.Size}} {{.Config.User}}", image).split()
    say(f"built {image}: {int(shown[0]) / 1e9:.1f} GB, user {shown[1]}")
    history = compose.run_engine("history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
    for secret in (folder / "secrets").iterdir():
        must(
            secret.read_text().strip() not in history, "no secret may be in the image's history", secret.name
        )
    compose("up", "-d")
    say("up: database, init, 2 workers, dashboard")
    kill_a_worker(compose)
    down_and_up(compose)

    def over() -> list[dict[str, Any]] | None:
        records: list[dict[str, Any]] = compose.records()["records"]
        open_ones = [r for r in records if r["state"] in ("RUNNING", "WAITING")]
        return records if not open_ones and len({r["root"] for r in records}) == TRIALS else None

    count(wait("the study is finished", over, 1800))
    take_out_the_recipe(compose, folder)
    look(port, folder, screenshot)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--port", type=int, default=0, help="of the dashboard on 127.0.0.1; 0 finds a free one"
    )
    parser.add_argument("--screenshot", type=Path, help="where to keep a picture of the study's page")
    options = parser.parse_args()
    find_engine()
    port = options.port or free_port()
    with tempfile.TemporaryDirectory(prefix="compose-check-") as name:
        folder = Path(name)
        compose = Compose(prepare(folder, port))
        compose("down", "--volumes", check=False)
        failure = ""
        try:
            check(compose, folder, port, options.screenshot)
        except (CheckError, subprocess.SubprocessError) as error:
            failure = f"{error} {getattr(error, 'stderr', None) or ''}"
            for service in ("init", "worker", "dashboard"):
                print(f"--- {service}\n{compose('logs', service, check=False)[-3000:]}", file=sys.stderr)
        finally:
            compose("--profile", "report", "down", "--volumes", check=False)
        left = compose.run_engine(
            "ps", "--all", "--quiet", f"--filter=label=com.docker.compose.project={PROJECT}"
        )
        if left and not failure:
            failure = f"down must leave nothing, got containers {left.split()}"
        say("down: containers and volumes are removed" if not left else "containers are left")
    say(f"FAILED: {failure}" if failure else "PASSED")
    raise SystemExit(1 if failure else 0)


if __name__ == "__main__":
    main()
