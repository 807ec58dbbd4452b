"""Images are decoded once; what is in the cache can be trusted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from image_files import load, make_folder, noise

from automl_transfer.data.task import load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.errors import OutputError

PETS = {"cat": 10, "dog": 10}


def decoded(root: Path, cache: Path, **spec: object) -> int:
    """How many images a load decodes."""
    done = [0]
    load_task(
        TaskSpec(dataset=str(root), **spec),  # type: ignore[arg-type]
        cache_root=cache,
        progress=lambda what, number, total: done.append(number) if what == "decoding images" else None,
    )
    return max(done)


def only(cache: Path, name: str) -> Path:
    (found,) = cache.rglob(name)
    return found


def test_second_load_decodes_nothing(tmp_path: Path) -> None:
    root, cache = make_folder(tmp_path / "d", PETS), tmp_path / "c"
    assert decoded(root, cache) == 20
    assert decoded(root, cache) == 0
    assert decoded(root, cache, seed=7) == 0
    assert decoded(root, cache, group_from=r"(\d+)") == 0
    assert decoded(root, cache, resolution=32, channels=3) == 0  # what None had chosen
    assert decoded(root, cache, resolution=40) == 20


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    spec = TaskSpec(dataset=str(make_folder(tmp_path / "d", PETS)))
    load_task(spec, cache_root=tmp_path / "c", progress=lambda *args: seen.append(args))
    assert seen[-1] == ("decoding images", 20, 20)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_changes_in_the_folder_are_seen(tmp_path: Path) -> None:
    root, cache = make_folder(tmp_path / "d", PETS), tmp_path / "c"
    before = load(root, cache)
    noise(500).save(root / "cat" / "new.png")
    assert len(load(root, cache).labels) == 21
    (root / "cat" / "new.png").unlink()
    assert load(root, cache).task == before.task


def test_changed_pixels_of_the_same_size_and_time_are_seen(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", PETS)
    target = root / "cat" / "same.bmp"
    noise(500).save(target)
    before, stat = load(root, tmp_path / "c"), target.stat()
    noise(501).save(target)
    os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (target.stat().st_size, target.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert load(root, tmp_path / "c").task.fingerprint != before.task.fingerprint


def test_the_file_is_a_plain_npy(tmp_path: Path) -> None:
    loaded = load(make_folder(tmp_path / "d", PETS), tmp_path / "c")
    plain = np.load(only(tmp_path / "c", "images.npy"), allow_pickle=False)
    assert np.array_equal(plain, loaded.images)


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "metadata", "rows", "missing", "native"])
def test_damaged_entries_are_built_again(tmp_path: Path, damage: str) -> None:
    root, cache = make_folder(tmp_path / "d", PETS), tmp_path / "c"
    before = load(root, cache)
    pixels = np.array(before.images)
    name = {"metadata": "metadata.json", "rows": "rows.npz", "native": "native.json"}.get(
        damage, "images.npy"
    )
    target = only(cache, name)
    data = bytearray(target.read_bytes())
    if damage == "truncate":
        target.write_bytes(data[:-1])
    elif damage == "missing":
        target.unlink()
    elif damage == "empty":
        target.write_bytes(b"")
    elif damage in ("metadata", "native"):
        target.write_bytes(b'{"schema": ')
    else:
        data[len(data) // 2] ^= 0xFF
        target.write_bytes(bytes(data))
    after = load(root, cache)
    assert np.array_equal(after.images, pixels)
    assert after.task == before.task
    assert decoded(root, cache) == 0


def test_left_overs_of_a_killed_builder_are_removed(tmp_path: Path) -> None:
    root, cache = make_folder(tmp_path / "d", PETS), tmp_path / "c"
    load(root, cache)
    left_over = only(cache, "build.lock").parent / "abc.tmp"
    left_over.mkdir()
    (left_over / "images.npy").write_bytes(b"half")
    load(root, cache, resolution=48)
    assert not left_over.exists()


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    root, cache = make_folder(tmp_path / "d", PETS), tmp_path / "c"

    def stop(what: str, done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_task(TaskSpec(dataset=str(root)), cache_root=cache, progress=stop)
    assert not list(cache.rglob("images.npy"))
    assert not list(cache.rglob("*.tmp"))
    assert len(load(root, cache).labels) == 20


def test_processes_build_an_entry_once(tmp_path: Path) -> None:
    root, cache = make_folder(tmp_path / "d", {"a": 150, "b": 150}, side=64), tmp_path / "c"
    program = (
        "import sys; from pathlib import Path; from automl_transfer.data.task import load_task; "
        "from automl_transfer.domain.spec import TaskSpec; seen = []; "
        "task = load_task(TaskSpec(dataset=sys.argv[1]), cache_root=Path(sys.argv[2]), "
        "progress=lambda what, done, total: seen.append(what)).task; "
        "print(task.fingerprint, int('decoding images' in seen))"
    )
    command = [sys.executable, "-W", "error", "-c", program, str(root), str(cache)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [process.communicate(timeout=120)[0].split() for process in running]
    assert [process.returncode for process in running] == [0] * 4
    assert len({fingerprint for fingerprint, _ in answers}) == 1
    assert [built for _, built in answers].count("1") == 1


def test_cache_folder_that_cannot_be_written(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", PETS)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cache folder must be writable, got .*file"):
        load(root, tmp_path / "file" / "cache")


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a file system that nobody can write")
def test_cache_folder_that_is_read_only(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cache folder must be writable"):
        load(make_folder(tmp_path / "d", PETS), Path("/sys/kernel/automl-transfer"))


def test_a_read_only_cache_still_serves_what_it_has(tmp_path: Path) -> None:
    root, cache = make_folder(tmp_path / "d", PETS), tmp_path / "c"
    before = load(root, cache)
    folders = [cache, *(path for path in cache.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert load(root, cache).task == before.task
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_too_little_disk_says_how_much(tmp_path: Path) -> None:
    # 100,000 images of 2x2, to be used at 4096x4096: 5 TB.
    count = 100_000
    np.savez_compressed(
        tmp_path / "a.npz", images=np.zeros((count, 2, 2), np.uint8), labels=np.arange(count) % 2
    )
    with pytest.raises(OutputError, match=r"needs 5,[\d,]+ bytes of disk, got [\d,]+ bytes free"):
        load(tmp_path / "a.npz", tmp_path / "c", resolution=4096, channels=3)
    assert not list(tmp_path.rglob("images.npy"))


def test_memory_stays_small(tmp_path: Path) -> None:
    """Decoding needs anonymous memory for a few images, not for all (here 300 MB of pixels)."""
    program = (
        "import sys; from pathlib import Path; from automl_transfer.data.task import load_task; "
        "from automl_transfer.domain.spec import TaskSpec\n"
        "def anonymous():\n"
        "    text = Path('/proc/self/status').read_text()\n"
        "    return int(text.split('RssAnon:')[1].split()[0]) // 1024\n"
        "before, peak = anonymous(), []\n"
        "task = load_task(TaskSpec(dataset=sys.argv[1], resolution=512, channels=3), "
        "cache_root=Path(sys.argv[2]), progress=lambda *a: peak.append(anonymous()))\n"
        "print(task.images.nbytes >> 20, max(peak) - before)"
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    root = make_folder(tmp_path / "d", {"a": 200, "b": 200}, side=16)
    command = [sys.executable, "-c", program, str(root), str(tmp_path / "c")]
    pixels, grown = map(
        int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    )
    assert pixels == 300
    assert grown < 120
