import json
from pathlib import Path

import pytest

from automl_transfer.errors import OutputError
from automl_transfer.recipes.output import (
    Owner,
    check_output_folder,
    mark_output_folder,
    owner_of,
    whole_folder,
    write_json,
    write_text,
)


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_new_folders_are_fine_and_checking_leaves_nothing(tmp_path: Path) -> None:
    check_output_folder(tmp_path / "runs" / "größe 猫")
    (tmp_path / "empty").mkdir()
    check_output_folder(tmp_path / "empty")
    assert everything(tmp_path) == ["empty"]


def test_a_marked_folder_says_whose_it_is(tmp_path: Path) -> None:
    owner, folder = Owner("größe 猫", "0" * 32, "ab" * 6), tmp_path / "runs" / "s"
    assert owner_of(folder) is None
    mark_output_folder(folder, owner)
    (folder / "ranking.json").touch()
    check_output_folder(folder)
    assert owner_of(folder) == owner
    write_json(folder / "run.json", {"schema": "automl-transfer/run/1", "study": "of an earlier version"})
    assert owner_of(folder) == Owner("of an earlier version")


@pytest.mark.parametrize(
    "marker",
    [None, "{", '{"schema": "x", "study": "s"}', '{"schema": "automl-transfer/run/2", "study": "s"}', "[]"],
)
def test_a_folder_of_something_else_is_refused(tmp_path: Path, marker: str | None) -> None:
    (tmp_path / "thesis.tex").touch()
    if marker is not None:
        (tmp_path / "run.json").write_text(marker)
    before = everything(tmp_path)
    with pytest.raises(OutputError, match=r"new, empty or this study's own, got .*thesis.tex"):
        check_output_folder(tmp_path)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("below", [".", "runs/s"])
def test_a_file_in_the_way(tmp_path: Path, below: str) -> None:
    file = tmp_path / "runs"
    file.touch()
    with pytest.raises(OutputError, match="must be a folder, got the file"):
        check_output_folder(file / below)


def test_a_read_only_place() -> None:
    # Linux refuses every new file there, even to root.
    with pytest.raises(OutputError, match="must be writable"):
        check_output_folder(Path("/proc/self/run"))


def test_a_dangling_link_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="must be a folder"):
        check_output_folder(tmp_path / "link")


def test_too_little_disk(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="must have 1000000000000 MB free"):
        check_output_folder(tmp_path / "s", need_bytes=10**18)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_impossible_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="must be a usable path"):
        check_output_folder(tmp_path / name / "runs")


def test_json_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": "猫", "a": 1})
    assert path.read_text(encoding="utf-8") == '{\n  "b": "猫",\n  "a": 1\n}\n'
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"b": "猫", "a": 1}


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \udc80")
    assert path.read_text() == "old"
    assert everything(tmp_path) == ["a.txt"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "model"

    def interrupted(replace: bool) -> None:
        with whole_folder(target, replace) as folder:
            (folder / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted(replace=False)
    assert everything(tmp_path) == ["runs"]
    with whole_folder(target) as folder:
        (folder / "a").touch()
    with pytest.raises(KeyboardInterrupt):
        interrupted(replace=True)
    assert everything(tmp_path) == ["runs", "runs/model", "runs/model/a"]
    with whole_folder(target, replace=True) as folder:
        (folder / "b").touch()
    assert everything(tmp_path) == ["runs", "runs/model", "runs/model/b"]


def test_an_existing_folder_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(OutputError, match="must not exist yet"), whole_folder(tmp_path / "model"):
        pass
