"""Starts commands as processes that never outlive their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from worker_helpers import Process

Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Process] = []

    def run(url: str, *arguments: str, afresh: bool = False) -> Process:
        process = Process(url, *arguments, log=tmp_path / f"process-{len(started)}.log", afresh=afresh)
        started.append(process)
        return process

    yield run
    for process in started:
        process.close()
