"""What a machine allows: quotas, homes and caches (D19), with real files, users and processes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from nobody import COMMAND, USER, as_nobody, as_root, open_to_all

from automl_transfer import machine
from automl_transfer.machine import cpu_quota, path_of, usable_cores


def tree(folder: Path, files: dict[str, str]) -> tuple[Path, Path]:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "proc", folder


V2 = "30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
V1 = (
    "33 25 0:28 /docker/ab /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "34 25 0:29 /docker/ab /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"proc/cgroup": "0::/\n", "proc/mountinfo": V2, "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/cgroup": "0::/\n", "proc/mountinfo": V2, "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/cgroup": "0::/\n", "proc/mountinfo": V2}, None),
        (
            {  # a slice of its own, bounded more tightly by the one above
                "proc/cgroup": "0::/user.slice/job.scope\n",
                "proc/mountinfo": V2,
                "sys/fs/cgroup/user.slice/cpu.max": "200000 100000\n",
                "sys/fs/cgroup/user.slice/job.scope/cpu.max": "400000 100000\n",
            },
            2.0,
        ),
        (
            {
                "proc/cgroup": "5:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab\n",
                "proc/mountinfo": V1,
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
        (
            {
                "proc/cgroup": "5:cpu,cpuacct:/docker/ab\n",
                "proc/mountinfo": V1,
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        ({"proc/cgroup": "0::/../elsewhere\n", "proc/mountinfo": "nothing known\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_container(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    process, root = tree(tmp_path, files)
    assert cpu_quota(process, root) == quota


def test_one_count_of_cores_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding, launched workers and torch keep to the quota, as they do to the affinity."""
    from automl_transfer.data.decode import threads
    from automl_transfer.workers.launcher import threads_for

    affinity = len(os.sched_getaffinity(0))
    monkeypatch.setattr(machine, "cpu_quota", lambda: None)
    assert usable_cores() == affinity
    monkeypatch.setattr(machine, "cpu_quota", lambda: 1.9)
    assert (usable_cores(), threads(), threads_for(1)) == (1, 1, 1)
    monkeypatch.setattr(machine, "cpu_quota", lambda: 0.2)
    assert usable_cores() == 1


@as_root
@pytest.mark.parametrize("home", [None, "/", "/nonexistent"])
def test_a_user_without_a_home_has_a_private_cache(home: str | None, tmp_path: Path) -> None:
    """No HOME at all, and the two that container images set; no folder named ~ is made anywhere."""
    open_to_all(tmp_path)
    done = as_nobody(
        "from automl_transfer.models.download import torch_cache\n"
        "from automl_transfer.machine import *\n"
        "import os, stat\n"
        "folder = cache_folder(); folder.mkdir(parents=True, exist_ok=True)\n"
        "assert '~' not in f'{folder} {torch_cache()} {state_folder()} {path_of(chr(126))}', folder\n"
        "print(folder)\n",
        home=home,
        TMPDIR=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    private = tmp_path / f"automl-transfer-{USER}"
    assert private in Path(done.stdout.strip()).parents
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


@as_root
@pytest.mark.parametrize("command", ["sources", "explore digits?per_class=20"])
def test_commands_work_without_a_home(command: str, tmp_path: Path) -> None:
    open_to_all(tmp_path)
    done = as_nobody(COMMAND, *command.split(), TMPDIR=str(tmp_path))
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr[-2000:]


def test_a_tilde_is_the_home_and_an_unknown_users_is_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert path_of("~/r") == Path("/home/ann/r")
    assert path_of("~nobody-of-this-name/r") == Path("~nobody-of-this-name/r")
    assert path_of("a/~/r") == Path("a/~/r")
