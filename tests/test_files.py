"""Files that several processes, users or programs touch (D14, D17, D19, E14)."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nobody import as_nobody, as_root, open_to_all

from automl_transfer.errors import StoreURLError
from automl_transfer.files import Timeout, locked, read_own_json, refuse_readable_by_others, save_tensors
from automl_transfer.training.activation_cache import DiskCache

DEEP = "[" * 100_000 + "]" * 100_000


def no_locks(_descriptor: int, _operation: int) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_flock_that_answers_enolck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D19: a network file system without a lock service; the lock still excludes, and goes with its holder."""
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with locked(tmp_path / "x.lock"), pytest.raises(Timeout), locked(tmp_path / "x.lock", timeout=0):
        pass
    with locked(tmp_path / "x.lock", timeout=0):
        pass
    holder = multiprocessing.get_context("fork").Process(target=_die_holding, args=(tmp_path / "x.lock",))
    holder.start()
    holder.join()
    with locked(tmp_path / "x.lock", timeout=30):
        pass


def _die_holding(path: Path) -> None:
    with locked(path):
        os._exit(0)


def test_caches_and_stores_work_without_flock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from automl_transfer.data.task import load_task
    from automl_transfer.domain.spec import TaskSpec
    from automl_transfer.store.store import Store
    from automl_transfer.store.url import StoreURL

    monkeypatch.setattr(fcntl, "flock", no_locks)
    task = load_task(TaskSpec(dataset="digits?per_class=20"), cache_root=tmp_path / "cache")
    assert len(task.images) > 0
    values = DiskCache(tmp_path / "cache", 1 << 20).get({"a": 1}, (2, 3), "float32", lambda v: v.fill(1))
    assert values is not None
    with Store.open(StoreURL.parse(str(tmp_path / "s.db"))) as store:
        assert store.studies() == []


SECOND = """
import sys
from pathlib import Path
from automl_transfer.data.task import load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.training.activation_cache import DiskCache
root = Path(sys.argv[1])
for dataset in ("digits?per_class=20", "digits?per_class=21"):
    assert len(load_task(TaskSpec(dataset=dataset), cache_root=root).images) > 0
def fill(values): values[:] = 2
for key in (1, 2):
    kept = DiskCache(root, 1 << 20).get({"a": key}, (2, 3), "float32", fill)
    assert kept is not None and kept[0, 0] == (1 if key == 1 else 2), kept
"""


@as_root
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_second_user_of_a_shared_cache(tmp_path: Path, umask: int) -> None:
    """D19: a folder that its owner opened to others serves them all, and takes what they add."""
    from automl_transfer.data.task import load_task
    from automl_transfer.domain.spec import TaskSpec

    root = tmp_path / "shared"
    root.mkdir()
    open_to_all(root)
    before = os.umask(umask)
    try:
        load_task(TaskSpec(dataset="digits?per_class=20"), cache_root=root)
        DiskCache(root, 1 << 20).get({"a": 1}, (2, 3), "float32", lambda v: v.fill(1))
    finally:
        os.umask(before)
    done = as_nobody(SECOND, root)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_cache_that_is_not_opened_to_others_stays_private(tmp_path: Path) -> None:
    DiskCache(tmp_path / "own", 1 << 20).get({"a": 1}, (2, 3), "float32", lambda v: v.fill(1))
    assert all(not path.stat().st_mode & 0o022 for path in (tmp_path / "own").rglob("*"))


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664), (0o077, 0o600)])
def test_tensors_follow_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    """D19: model.safetensors was 0600 whatever the umask."""
    import torch

    before = os.umask(umask)
    try:
        save_tensors({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == mode


@pytest.mark.parametrize("text", [DEEP, "{", "", "\x00", "[1,]"])
def test_our_own_json_that_is_damaged_is_one_kind_of_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=r".+"):
        read_own_json(tmp_path / "x.json")


def test_deep_json_in_the_caches_is_built_again(tmp_path: Path) -> None:
    """E14: every later search failed."""
    from automl_transfer.data.task import load_task
    from automl_transfer.domain.spec import TaskSpec

    spec = TaskSpec(dataset="digits?per_class=20")

    def look() -> Any:
        cache = DiskCache(tmp_path, 1 << 20)
        values = cache.get({"a": 1}, (2, 3), "float32", lambda v: v.fill(1))
        return load_task(spec, cache_root=tmp_path).task.fingerprint, values

    fingerprint, _ = look()
    damaged = list(tmp_path.rglob("*.json"))
    assert {path.name for path in damaged} >= {"metadata.json", "native.json"}
    for path in damaged:
        path.write_text(DEEP)
    again, values = look()
    assert again == fingerprint
    assert np.all(values == 1)
    for path in damaged:
        assert isinstance(json.loads(path.read_text()), dict), "written anew"


def secret(tmp_path: Path, mode: int) -> Path:
    path = tmp_path / "url"
    path.write_text("postgresql://u:p@h/d\n")
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o602])
def test_a_secret_file_of_ours_is_for_us_only(tmp_path: Path, mode: int) -> None:
    with pytest.raises(StoreURLError, match=r"owner only.*chmod 600"):
        refuse_readable_by_others(secret(tmp_path, mode), "password", StoreURLError)


@as_root
@pytest.mark.parametrize(("mode", "taken"), [(0o440, True), (0o444, True), (0o644, True), (0o664, False)])
def test_a_secret_file_that_somebody_else_gave_us(tmp_path: Path, mode: int, taken: bool) -> None:
    """D17: Kubernetes mounts secrets as root's, 0440 or 0444; whoever runs there cannot change that."""
    open_to_all(tmp_path)
    done = as_nobody(
        "import sys; from pathlib import Path\n"
        "from automl_transfer.store.url import read_storage_file\n"
        "print(read_storage_file(Path(sys.argv[1])))\n",
        secret(tmp_path, mode),
    )
    assert (done.stdout == "postgresql+psycopg://u:***@h/d\n") is taken, done.stderr
    assert ("chmod go-w" in done.stderr) is not taken


@as_root
def test_a_secret_on_a_mount_that_is_read_only(tmp_path: Path) -> None:
    """The same where the container runs as root: owner and user are one, and chmod is refused."""
    import subprocess

    path = secret(tmp_path, 0o444)
    inside = (
        f"mount --bind {tmp_path} {tmp_path} && mount -o remount,bind,ro {tmp_path} && exec {sys.executable} -c "
        f'"from pathlib import Path; from automl_transfer.store.url import read_storage_file as r; '
        f"print(r(Path('{path}')))\""
    )
    done = subprocess.run(["unshare", "--mount", "sh", "-c", inside], capture_output=True, text=True)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no mounts here: {done.stderr}")
    assert done.stdout == "postgresql+psycopg://u:***@h/d\n", done.stderr
