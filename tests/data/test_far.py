"""Datasets behind a URL, on a real server that speaks S3 and on a real web server."""

from __future__ import annotations

import functools
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from automl_transfer.data import far
from automl_transfer.data.task import load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.errors import ConfigurationError, DataError

KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "rosebud"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A client of a fresh bucket `photos`; the driver finds the server by its own settings."""
    import boto3
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name, value in KEYS.items():
        monkeypatch.setenv(name.upper(), value)
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="photos")
    yield client
    for each in client.list_objects_v2(Bucket="photos").get("Contents", []):
        client.delete_object(Bucket="photos", Key=each["Key"])
    client.delete_bucket(Bucket="photos")
    client.close()


def image(shade: int) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(shade).integers(0, 30, (16, 16, 3))
    Image.fromarray((noise + shade).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def put_folder(client: object, count: int = 12) -> None:
    for name, base in (("cats", 20), ("dogs", 160)):
        for number in range(count):
            client.put_object(Bucket="photos", Key=f"pets/{name}/{number}.png", Body=image(base + number))  # type: ignore[attr-defined]
    client.put_object(Bucket="photos", Key="pets/readme.pdf", Body=b"x" * 5000)  # type: ignore[attr-defined]


SPEC = {"dataset": "s3://photos/pets", "resolution": 32}


def fetched(said: list[tuple[str, int, int]]) -> int:
    return max((total for what, _, total in said if what.startswith("fetching")), default=0)


def test_a_far_folder_is_as_a_folder_here_and_is_fetched_once(bucket: object, tmp_path: Path) -> None:
    put_folder(bucket)
    said: list[tuple[str, int, int]] = []
    spec = TaskSpec.model_validate(SPEC)

    def load() -> object:
        said.clear()
        return load_task(spec, cache_root=tmp_path / "cache", progress=lambda *what: said.append(what))

    first = load()
    assert fetched(said) == 25
    assert first.task.name == "pets"
    assert first.task.classes == ("cats", "dogs")
    assert (first.task.account.used, first.task.account.seen) == (24, 25)
    # The same images in a folder here are the same task.
    here = tmp_path / "pets"
    for name, base in (("cats", 20), ("dogs", 160)):
        (here / name).mkdir(parents=True)
        for number in range(12):
            (here / name / f"{number}.png").write_bytes(image(base + number))
    near = load_task(TaskSpec.model_validate({**SPEC, "dataset": str(here)}), cache_root=tmp_path / "cache")
    assert near.task.fingerprint == first.task.fingerprint
    assert load().task.fingerprint == first.task.fingerprint
    assert fetched(said) == 0
    # What changes, comes and goes is seen, and nothing else is fetched.
    bucket.put_object(Bucket="photos", Key="pets/cats/0.png", Body=image(99))
    bucket.put_object(Bucket="photos", Key="pets/cats/new.png", Body=image(55))
    bucket.delete_object(Bucket="photos", Key="pets/dogs/11.png")
    changed = load()
    assert fetched(said) == 2
    assert changed.keys.count("cats/new.png") == 1
    assert "dogs/11.png" not in changed.keys
    assert changed.task.fingerprint != first.task.fingerprint
    # The copy of what cannot be reached any more still serves.
    place = next((tmp_path / "cache" / "far").iterdir())
    assert json.loads((place / "far.json").read_text())["files"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"rosebud" in path.read_bytes()]


def test_a_place_that_does_not_answer_leaves_the_copy(
    bucket: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import s3fs

    put_folder(bucket, 8)
    spec = TaskSpec.model_validate(SPEC)
    first = load_task(spec, cache_root=tmp_path)
    with monkeypatch.context() as away:
        away.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        away.setenv("AWS_MAX_ATTEMPTS", "1")
        s3fs.S3FileSystem.clear_instance_cache()
        again = load_task(spec, cache_root=tmp_path)
        assert again.task.fingerprint == first.task.fingerprint
        assert "does not answer" in caplog.text
        with pytest.raises(DataError, match=r"a far dataset must be readable, got .* from s3://photos/pets"):
            load_task(spec, cache_root=tmp_path / "other")
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_copy_that_was_broken_off_is_not_taken_for_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        folder = tmp_path / "far" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(image(number))
    spec = TaskSpec(dataset=(tmp_path / "far").as_uri(), resolution=32)
    fetch, done = far._fetch, list[str]()

    def broken(fs: Any, root: str, file: Any, target: Path) -> None:
        done.append(file.path)
        if len(done) > 30:
            raise KeyboardInterrupt
        fetch(fs, root, file, target)

    def away(*_: Any) -> Any:
        raise ConnectionError("no route")

    cache = tmp_path / "cache"
    with monkeypatch.context() as one:
        one.setattr(far, "_fetch", broken)
        with pytest.raises(KeyboardInterrupt):
            load_task(spec, cache_root=cache)
    with monkeypatch.context() as one:
        one.setattr(far, "_listed", away)
        with pytest.raises(DataError, match=r"a far dataset must be readable, got .*no route"):
            load_task(spec, cache_root=cache)
    whole = load_task(spec, cache_root=cache)
    assert len(whole.keys) == 40
    with monkeypatch.context() as one:
        one.setattr(far, "_listed", away)
        assert load_task(spec, cache_root=cache).task.fingerprint == whole.task.fingerprint


def test_what_lies_beside_images_is_fetched_where_it_is_read(bucket: object, tmp_path: Path) -> None:
    """Names of classes, tables of any format, and images whose names end in a number."""
    put = functools.partial(bucket.put_object, Bucket="photos")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as shard:
        for number in range(20):
            for ending, content in (
                ("png", image(20 + 100 * (number % 2))),
                ("cls", str(number % 2).encode()),
            ):
                member = tarfile.TarInfo(f"{number:03d}.{ending}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
    put(Key="shards/a.tar", Body=stream.getvalue())
    put(Key="shards/classes.txt", Body=b"dark\nlight\n")
    rows = []
    for number in range(20):
        put(Key=f"table/IMG.{number:04d}", Body=image(20 + 100 * (number % 2) + number))
        rows.append(json.dumps({"file": f"IMG.{number:04d}", "label": ("dark", "light")[number % 2]}))
    put(Key="table/labels.ndjson", Body="\n".join(rows).encode())
    shards = TaskSpec.model_validate({"dataset": "s3://photos/shards", "resolution": 32})
    assert load_task(shards, cache_root=tmp_path).task.classes == ("dark", "light")
    table = TaskSpec.model_validate(
        {"dataset": "s3://photos/table/labels.ndjson", "images": "s3://photos/table", "resolution": 32}
    )
    assert load_task(table, cache_root=tmp_path).task.account.used == 20


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("pets/../../cats/evil.png", "must have names that files can have, got '../../cats/evil.png'"),
        ("pets/cats/0.png/below.png", r"got 'cats/0.png/below.png' below another file"),
    ],
)
def test_names_that_no_file_can_have(bucket: object, tmp_path: Path, key: str, said: str) -> None:
    put_folder(bucket, 3)
    bucket.put_object(Bucket="photos", Key=key, Body=image(1))
    with pytest.raises(DataError, match=said):
        load_task(TaskSpec.model_validate(SPEC), cache_root=tmp_path / "cache")
    assert not list(tmp_path.rglob("evil.png"))


def test_urls_that_are_refused(bucket: object, tmp_path: Path) -> None:
    for url, error, said in (
        ("https://ann:rosebud@host/pets.npz", ConfigurationError, "must hold no password, got one for host"),
        ("gopher://host/pets", ConfigurationError, "whose driver is installed, got gopher://host/pets"),
        ("s3://photos/nothing", DataError, "must be there, got nothing at s3://photos/nothing"),
    ):
        with pytest.raises(error, match=said) as refused:
            load_task(TaskSpec.model_validate({"dataset": url}), cache_root=tmp_path)
        assert "rosebud" not in str(refused.value)


def test_files_of_a_web_server(tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    generator = np.random.default_rng(0)
    np.savez(
        served / "two.npz",
        images=np.concatenate([generator.integers(0, 99, (30, 8, 8)), generator.integers(99, 256, (30, 8, 8))]).astype(np.uint8),
        labels=np.repeat(["dark", "light"], 30),
    )  # fmt: skip
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        try:
            spec = TaskSpec.model_validate(
                {"dataset": f"http://127.0.0.1:{web.server_port}/two.npz?per_class=5"}
            )
            found = load_task(spec, cache_root=tmp_path / "cache")
        finally:
            web.shutdown()
            thread.join()
    assert (found.task.classes, found.task.splits.train) == (("dark", "light"), 10)
