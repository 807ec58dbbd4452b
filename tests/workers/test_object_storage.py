"""A study whose images, checkpoints and models lie in object storage: a real server that speaks S3."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import forge
import numpy as np
import pytest
from PIL import Image
from worker_helpers import Process, until

from automl_transfer.domain.records import TrialState
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import ENVIRONMENT_VARIABLE, StoreURL

Start = Callable[..., Process]


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> object:
    """A client of two buckets; commands find the server by the driver's own settings."""
    import boto3
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "rosebud",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    for bucket in ("photos", "runs"):
        client.create_bucket(Bucket=bucket)
    yield client
    client.close()
    running.stop()


def keys(client: object) -> list[str]:
    return [each["Key"] for each in client.list_objects_v2(Bucket="runs").get("Contents", [])]  # type: ignore[attr-defined]


def test_a_killed_worker_is_followed_by_one_that_has_nothing_but_the_bucket(
    storage: object, postgres_url: str, tmp_path: Path, start: Start
) -> None:
    generator = np.random.default_rng(0)
    for name, shade in (("dark", 20), ("light", 120)):
        for number in range(40):
            stream = io.BytesIO()
            pixels = (shade + generator.integers(0, 120, (16, 16, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(stream, "PNG")
            storage.put_object(Bucket="photos", Key=f"shades/{name}/{number}.png", Body=stream.getvalue())
    created = subprocess.run(
        [forge.command(), "study", "create", "s3://photos/shades", "--study-name", "shades", "--trials", "1",
         "--artifacts", "s3://runs/here", "-o", "out", "--cache", "one", "--set", "search.profile=false",
         "--set", "search.max_epochs=60", "--set", "space.tune_mode=head", "--set", "space.truncation=3",
         "--set", "space.head_init=he", "--set", "space.learning_rate=0.001", "--set", "task.resolution=32"],
        cwd=tmp_path, env={**os.environ, ENVIRONMENT_VARIABLE: postgres_url}, capture_output=True, text=True,
    )  # fmt: skip
    assert created.returncode == 0, created.stderr
    with Store.open(StoreURL.parse(postgres_url)) as store:
        handle, trials = store.study("shades"), Trials(store)
        line = ("worker", "shades", "--threads", "1", "--cache")
        first = start(postgres_url, *line, str(tmp_path / "one"), "--checkpoint", "0.1")
        until(lambda: any("state-" in key for key in keys(storage)), first)
        first.signal(signal.SIGKILL)
        first.wait()
        second = start(postgres_url, *line, str(tmp_path / "two"))  # as on another machine
        assert second.wait() == 0, second.said()
        assert "goes on after epoch" in second.said()
        last = trials.records(handle)[-1]
    assert last.state is TrialState.COMPLETE
    assert [epoch.epoch for epoch in last.epochs] == list(range(1, 61))
    assert [key for key in keys(storage) if key.endswith("model-1.safetensors")]
    assert not [key for key in keys(storage) if "state-" in key]
    # The result is fetched from there.
    done = subprocess.run(
        [forge.command(), "export", "shades", "-o", "best", "--cache", "three"],
        cwd=tmp_path, env={**os.environ, ENVIRONMENT_VARIABLE: postgres_url}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "best" / "best_strategy.json").read_text())["task"]["name"] == "shades"
    assert (tmp_path / "best" / "model" / "model.safetensors").exists()


def test_a_place_that_is_refused(tmp_path: Path) -> None:
    for place, said in (
        ("s3://me:rosebud@runs/here", "the URL of artifacts must hold no password"),
        ("gopher://runs", "an artifact URL must be a folder or a URL whose fsspec driver is installed"),
    ):
        done = subprocess.run(
            [forge.command(), "study", "create", "digits", "--artifacts", place],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 2
        assert said in done.stderr
        assert "rosebud" not in done.stderr
    assert not list(tmp_path.iterdir())
