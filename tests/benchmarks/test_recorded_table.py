"""The recorded table: a recording that is killed and goes on, and files that are not what they should be."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import made_table
import pytest
import stored
from images import MOST, TASKS
from record import Recorder, first_answers, order
from strategies import REPEATED, SEEDS, listed

from automl_transfer.data.task import load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import SPACE_VERSION
from automl_transfer.files import locked

PROFILE = "first: profile"


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    file = tmp_path / "recorded" / "made.json.gz"
    stored.pack(made_table.record(tmp_path / "data"), file)
    return file


def rewritten(file: Path, **changes: Any) -> Path:
    document = json.loads(gzip.decompress(file.read_bytes())) | changes
    file.write_bytes(gzip.compress(json.dumps(document).encode()))
    return file


def test_what_is_packed_is_read_again_and_is_small(packed: Path) -> None:
    table = stored.read(packed)
    assert [cell.document() for cell in table.cells] == [cell.document() for cell in made_table.cells()]
    assert table.answers == {n: chosen.canonical() for n, chosen in made_table.ANSWERS.items()}
    assert packed.stat().st_size < 20_000
    again = stored.pack(packed.parents[1] / "data" / "made", packed.with_name("again.json.gz"))
    assert again.cells == table.cells
    assert packed.with_name("again.json.gz").read_bytes() == packed.read_bytes()


def test_seconds_are_those_of_a_machine_that_is_as_busy_for_every_cell(packed: Path) -> None:
    plain = made_table.cells()[1]
    busy = dataclasses.replace(plain, yardstick=2 * stored.YARDSTICK)
    (found,) = stored.read(rewritten(packed, cells=[busy.document()])).cells
    assert found.seconds == pytest.approx([each / 2 for each in plain.seconds])
    assert found.prepared == plain.prepared / 2


def test_what_an_accelerator_trained_has_the_seconds_of_the_processor(tmp_path: Path) -> None:
    folder = made_table.record(tmp_path)
    mine = stored.cells_of(folder / stored.CELLS)
    one, two, untimed = (made_table.cells(least=99)[place] for place in (-1, -2, -3))
    assert not {one.key, two.key, untimed.key} & {cell.key for cell in mine}
    for cell in (one, two, untimed, mine[1], dataclasses.replace(one, seed=1)):
        fast = dataclasses.replace(cell, device="an accelerator", prepared=0.01, seconds=(0.02,) * 9)
        stored.append(folder / stored.ACCELERATED, fast.document())
    for cell, seconds in ((one, [3.0]), (two, [1.0, 1.0, 1.0, 4.0, 5.0])):
        line = {
            "key": cell.strategy.key(),
            "prepared": 2.0,
            "seconds": seconds,
            "yardstick": stored.YARDSTICK,
        }
        stored.append(folder / stored.TIMES, line)

    table = stored.pack(folder, tmp_path / "made.json.gz")
    found = {cell.key: cell for cell in table.cells}
    assert (found[one.key].prepared, found[one.key].seconds) == (2.0, (3.0,) * 9)
    assert found[two.key].seconds == (1.0, 1.0, 1.0, 4.0, *[5.0] * 5)
    assert found[one.key].validation == one.validation
    assert found[one.strategy.key(), 1].seconds == (3.0,) * 9  # timed once for all seeds
    assert found[mine[1].key] == mine[1]  # what the processor trained itself stays
    assert untimed.key not in found
    assert len(found) == len(table.cells) == len(mine) + 3


def test_a_file_that_was_cut_short_is_refused(packed: Path) -> None:
    whole = packed.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 4, len(whole) - 1):
        packed.write_bytes(whole[:length])
        with pytest.raises(stored.TableError, match="cut short or damaged"):
            stored.read(packed)
    packed.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    with pytest.raises(stored.TableError, match="cut short or damaged"):
        stored.read(packed)


def test_another_space_schema_or_shape_is_refused_in_words(packed: Path) -> None:
    with pytest.raises(stored.TableError, match=f"version {SPACE_VERSION}.*got {SPACE_VERSION + 1}"):
        stored.read(rewritten(packed, space=SPACE_VERSION + 1))
    rewritten(packed, space=SPACE_VERSION)
    with pytest.raises(stored.TableError, match=r"schema .* must be automl-transfer/table/1, got 'other/1'"):
        stored.read(rewritten(packed, schema="other/1"))
    rewritten(packed, schema=stored.SCHEMA)
    cell = made_table.cells()[1].document()
    for broken in ({"strategy": {"unheard_of": 1}}, {"seconds": [1.0]}):
        with pytest.raises(stored.TableError, match="strategies and curves that can be read"):
            stored.read(rewritten(packed, cells=[{**cell, **broken}]))
    with pytest.raises(stored.TableError, match="must be there"):
        stored.read(packed.with_name("none.json.gz"))
    with pytest.raises(stored.TableError, match="found none"):
        stored.read_all(packed.parents[1])


def test_a_recording_that_was_killed_goes_on_and_records_each_cell_once(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, None)
    # What the profile says is not what is tested here, and takes seconds.
    (tmp_path / "digits-20").mkdir()
    facts = {**made_table.facts("digits-20"), "fingerprint": _fingerprint(tmp_path)}
    stored.write_whole(tmp_path / "digits-20" / "task.json", facts)
    file = tmp_path / "digits-20" / "cells.jsonl"
    chosen = recorder.strategy(PROFILE, "digits-20")
    assert chosen is not None
    (tmp_path / "claims").mkdir()
    with locked(tmp_path / "claims" / f"digits-20-{chosen.key()}-0.lock"):
        assert recorder.once("digits-20", PROFILE, 0) is None  # another process is at it
    assert not file.exists()

    cell = recorder.once("digits-20", PROFILE, 0)
    assert cell is not None
    assert len(cell.validation) == len(cell.seconds) == len(cell.test) == 1
    assert cell.validation[0] > 0.9
    assert recorder.once("digits-20", PROFILE, 0) is None  # it is there

    with file.open("a", encoding="utf-8") as torn:
        torn.write('{"name": "killed within a li')
    assert Recorder(tmp_path, None).once("digits-20", PROFILE, 0) is None
    stored.append(file, dataclasses.replace(cell, seed=1).document())
    found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [each["seed"] for each in found] == [0, 1]
    assert stored.Cell.of(found[0]) == cell


def _fingerprint(folder: Path) -> str:
    from images import load, spec_of

    task = load("digits-20", spec_of("digits-20", folder, None), folder / "cache")
    assert all(len(rows) <= MOST[split] for split, rows in task.indices.items())
    return task.task.fingerprint


def test_the_list_is_as_long_as_it_should_be() -> None:
    assert len(listed()) >= 48
    assert len(TASKS) >= 10
    assert len(set(REPEATED) & set(listed())) == 8
    cells = list(order(list(TASKS)))
    assert len(cells) == len(set(cells)) == len(TASKS) * (len(listed()) + 8 * (SEEDS - 1))
    # The first strategies come on all tasks before the next.
    assert [task for task, _, _ in cells[: len(TASKS)]] == list(TASKS)


def test_first_answers_are_those_of_a_search_that_knows_of_no_other_task(tmp_path: Path) -> None:
    """Else the default waits behind what other tasks propose, and so does all in the list that begins there."""
    spec = TaskSpec(dataset="digits?per_class=6")
    found = first_answers(spec, load_task(spec, cache_root=tmp_path))
    assert next(iter(found["answers"])) == "profile"
    assert {"tuned", "default"} <= set(found["answers"])
    assert {answer for answer, _ in listed().values()} - {"larger", "views"} <= set(found["answers"])
