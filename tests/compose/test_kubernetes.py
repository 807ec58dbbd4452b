"""The manifests for Kubernetes: what its published schema says of them, and their commands, really run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import forge
import numpy as np
import pytest
import yaml
from PIL import Image

from automl_transfer.cli.options import duration
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import ENVIRONMENT_VARIABLE, StoreURL
from automl_transfer.workers.launcher import WRONG_USAGE
from automl_transfer.workers.signals import INTERRUPTED

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = [
    document for file in KUSTOMIZATION["resources"] for document in yaml.safe_load_all((FOLDER / file).read_text())
]  # fmt: skip
JOBS = {m["metadata"]["name"]: m["spec"] for m in MANIFESTS if m["kind"] == "Job"}


def container(job: str) -> dict[str, Any]:
    (found,) = JOBS[job]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("version", ["1.29", "1.31", "1.37"])
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda m: m["metadata"]["name"])
def test_the_published_schema_takes_every_manifest(manifest: dict[str, Any], version: str) -> None:
    import kubernetes_validate

    assert kubernetes_validate.validate(manifest, version, strict=True) == version


def test_no_manifest_holds_a_secret_and_workers_have_the_rights_of_workers() -> None:
    keys = {}
    for job in JOBS:
        (variable,) = container(job)["env"]
        assert variable["name"] == ENVIRONMENT_VARIABLE
        assert "value" not in variable
        keys[job] = variable["valueFrom"]["secretKeyRef"]["key"]
    assert keys == {"automl-study": "owner-url", "automl-workers": "worker-url"}


def test_pods_have_time_to_give_back_and_exit_codes_mean_what_they_do() -> None:
    workers = JOBS["automl-workers"]
    grace = float(
        container("automl-workers")["args"][container("automl-workers")["args"].index("--grace") + 1]
    )
    assert workers["template"]["spec"]["terminationGracePeriodSeconds"] >= min(grace, 60)
    rules = {
        rule["action"]: rule["onExitCodes"]["values"]
        for rule in workers["podFailurePolicy"]["rules"] if "onExitCodes" in rule
    }  # fmt: skip
    assert rules == {"FailJob": [WRONG_USAGE], "Ignore": [INTERRUPTED]}


def test_workers_are_there_however_late_their_study_is_created() -> None:
    """A worker that has waited in vain ends with exit code 2, which fails the Job for good."""
    arguments = [str(each) for each in container("automl-workers")["args"]]
    assert duration(arguments[arguments.index("--wait") + 1], "--wait") >= 24 * 3600


def test_what_pods_run_searches_a_folder_and_gives_back_when_asked(postgres_url: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for shade, name in ((60, "dark"), (190, "light")):
        folder = tmp_path / "data" / "images" / name
        folder.mkdir(parents=True)
        for number in range(40):
            pixels = np.clip(generator.normal(shade, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    mounts = {"/studies": FOLDER, **{f"/{name}": tmp_path / name for name in ("data", "runs", "cache")}}

    def begin(job: str, *more: str) -> subprocess.Popen[str]:
        arguments = [str(each) for each in container(job)["args"]]
        for mount, path in mounts.items():
            arguments = [a.replace(mount, str(path), 1) if a.startswith(mount) else a for a in arguments]
        return subprocess.Popen(
            [forge.command(), *arguments, *more],
            env={**os.environ, ENVIRONMENT_VARIABLE: postgres_url}, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        )  # fmt: skip

    created = begin("automl-study", "--trials", "3", "--set", "search.stop_when=budget")
    said = created.communicate(timeout=200)[1]
    assert created.returncode == 0, said
    with Store.open(StoreURL.parse(postgres_url)) as store:
        handle, trials = store.study("study"), Trials(store)
        first = begin("automl-workers")
        while not trials.counts(handle).running:
            assert first.poll() is None
            time.sleep(0.05)
        first.send_signal(signal.SIGTERM)
        said = first.communicate(timeout=100)[1]
        assert first.returncode == INTERRUPTED, said
        assert trials.counts(handle).running == 0
        second = begin("automl-workers")
        said = second.communicate(timeout=250)[1]
        assert second.returncode == 0, said
        counts = trials.counts(handle)
    assert (counts.roots, counts.open_roots, counts.failed) == (3, 0, 0)
