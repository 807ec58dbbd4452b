"""The artifact store: whole, under any name, on disk and in object storage."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from automl_transfer.errors import OutputError, UserError
from automl_transfer.store.artifacts import ArtifactStore, digest_of


@pytest.fixture(params=["folder", "object storage"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "folder":
        return ArtifactStore(str(tmp_path / "Ablage für 模型"))
    return ArtifactStore(f"memory://{uuid.uuid4().hex}/Ablage für 模型")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    (made / "sub folder").mkdir(parents=True)
    (made / "state.json").write_text("{}")
    (made / "sub folder" / "größe.bin").write_bytes(b"\x00" * 3000)
    return made


KEY = "study 1/root 3/attempt 0/Epoche fünf"


def test_a_folder_goes_there_and_back(artifacts: ArtifactStore, folder: Path, tmp_path: Path) -> None:
    stored = artifacts.put(folder, KEY)
    assert (stored.uri, stored.bytes) == (KEY, 3002)
    assert artifacts.exists(KEY)
    assert artifacts.list() == [f"{KEY}/state.json", f"{KEY}/sub folder/größe.bin"]
    assert artifacts.get(KEY, tmp_path / "back" / "again") == stored.sha256
    assert digest_of(tmp_path / "back" / "again") == (stored.sha256, stored.bytes)


def test_a_file_goes_there_and_back(artifacts: ArtifactStore, folder: Path, tmp_path: Path) -> None:
    stored = artifacts.put(folder / "state.json", "a b/c.json")
    assert artifacts.list("a b") == ["a b/c.json"]
    assert artifacts.get("a b/c.json", tmp_path / "c") == stored.sha256
    assert (tmp_path / "c").read_text() == "{}"


def test_put_replaces_and_delete_removes(artifacts: ArtifactStore, folder: Path, tmp_path: Path) -> None:
    first = artifacts.put(folder, KEY)
    (folder / "state.json").unlink()
    second = artifacts.put(folder, KEY)
    assert first.sha256 != second.sha256
    assert artifacts.list() == [f"{KEY}/sub folder/größe.bin"]
    assert artifacts.get(KEY, tmp_path / "back") == second.sha256
    assert artifacts.delete(KEY)
    assert not artifacts.delete(KEY)
    assert not artifacts.exists(KEY)
    assert artifacts.list() == []


def test_what_is_missing_is_named(artifacts: ArtifactStore, tmp_path: Path) -> None:
    assert artifacts.list("nothing") == []
    with pytest.raises(FileNotFoundError, match="Epoche fünf"):
        artifacts.get(KEY, tmp_path / "x")
    assert list(tmp_path.glob("*partial*")) == []


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../up", "a/../../b", "a\\b", "a\x00b"])
def test_keys_stay_inside(artifacts: ArtifactStore, folder: Path, key: str) -> None:
    with pytest.raises(ValueError, match="relative"):
        artifacts.put(folder, key)


def test_half_a_folder_in_object_storage_does_not_count(folder: Path, tmp_path: Path) -> None:
    artifacts = ArtifactStore(f"memory://{uuid.uuid4().hex}")
    artifacts.put(folder, KEY)
    artifacts._fs.rm_file(f"{artifacts._root}/{KEY}/.complete")
    assert not artifacts.exists(KEY)
    with pytest.raises(FileNotFoundError):
        artifacts.get(KEY, tmp_path / "x")
    artifacts.put(folder, KEY)
    assert artifacts.exists(KEY)


def test_failed_put_leaves_the_old_one(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts = ArtifactStore(str(tmp_path / "a"))
    before = artifacts.put(folder, KEY)

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copytree", no_space)
    with pytest.raises(OutputError, match="No space left"):
        artifacts.put(folder, KEY)
    assert artifacts.get(KEY + "/state.json", tmp_path / "x.json")
    assert digest_of(tmp_path / "a" / KEY)[0] == before.sha256
    assert len(artifacts.list()) == 2


@pytest.mark.parametrize("url", ["nonsense://x", "nonsense+more://x/y"])
def test_unknown_storage(url: str) -> None:
    with pytest.raises(UserError, match="artifact URL"):
        ArtifactStore(url)
