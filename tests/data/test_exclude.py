"""Lists of exclusions: what they leave out, what stays as it was, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import load, make_folder

from automl_transfer.data.exclude import Exclusion, digest_of_list, read_exclusions, write_exclusions
from automl_transfer.data.folds import fresh_split
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.account import Reason
from automl_transfer.domain.task import SPLITS
from automl_transfer.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "d", {"cat": 20, "dog": 20})


def listing(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["image,from,weight", *lines]) + "\n")
    return path


def names(task: LoadedTask, split: str) -> set[str]:
    return {task.keys[row] for row in task.indices[split]}  # type: ignore[index]


def test_images_leave_training_or_everything_and_all_others_stay_in_their_split(
    root: Path, tmp_path: Path
) -> None:
    before = load(root, tmp_path / "c")
    train, validation, test = (sorted(names(before, split)) for split in SPLITS)
    path = listing(
        tmp_path / "e.csv", f"{train[0]},,", f"{train[1]},training,0.25", f"{validation[0]},,",
        f"{validation[1]},everything,", f"{test[0]},training,0", f"./{test[1]},everything,0",
    )  # fmt: skip
    after = load(root, tmp_path / "c", exclude=str(path))
    assert names(after, "train") == set(train) - {train[0]}
    assert names(after, "validation") == set(validation) - {validation[1]}  # judged on, though not trained on
    assert names(after, "test") == set(test) - {test[1]}
    assert after.weights is not None
    weight = dict(zip(after.keys, after.weights.tolist(), strict=True))
    assert (weight[train[1]], weight[validation[0]], weight[train[2]]) == (0.25, 0.0, 1.0)
    found = after.task.excluded
    assert found is not None
    assert (found.training, found.everything, found.weighted) == (2, 2, 1)
    assert after.task.fingerprint != before.task.fingerprint
    assert after.task.account is not None
    left = {each.reason: each.files for each in after.task.account.left_out}
    assert left == {Reason.EXCLUDED: 3}  # one more is judged on still
    for run in range(4):  # nor is it trained on in any fresh split, or by a refit
        split = fresh_split(after, run, 0)
        assert not names(split, "train") & {train[0], validation[0], validation[1]}
    pool = np.concatenate([after.indices["train"], after.indices["validation"]])
    assert validation[0] not in {after.keys[row] for row in after.to_train(pool)}


def test_the_digest_depends_on_what_a_list_does_alone(root: Path, tmp_path: Path) -> None:
    one = listing(tmp_path / "1.csv", "cat/000.png,training,0", "dog/000.png,everything,0")
    two = tmp_path / "2.jsonl"
    two.write_text(
        '{"image": "dog/000.png", "from": "everything", "reason": "mine"}\n'
        '{"image": "cat/000.png", "from": "", "reason": "blurred"}\n'
        '{"image": "dog/000.png", "from": "training", "reason": "said twice: the strictest counts"}\n'
    )
    tasks = [load(root, tmp_path / "c", exclude=str(path)).task for path in (one, two)]
    assert tasks[0].excluded == tasks[1].excluded
    assert tasks[0].fingerprint == tasks[1].fingerprint
    other = load(root, tmp_path / "c", exclude=str(listing(tmp_path / "3.csv", "cat/000.png,training,0.5")))
    assert other.task.excluded != tasks[0].excluded


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        (["cat/none.png,training,0"], "each image of a list of exclusions must be one of the dataset's, got 1 of 1"),
        (["cat/000.png,test,0"], "row 1: from must be training or everything, got 'test'"),
        (["cat/000.png,training,2"], "row 1: weight must be a number from 0 to 1, got '2'"),
        (["cat/000.png,training,nan"], "weight must be a number from 0 to 1"),
        (["cat/000.png,everything,0.5"], "weight must be 0 where an image is left out of everything, got 0.5"),
        (["cat/000.png,,", ",training,0"], "row 2: image must be a name"),
        ([f"cat/{n:03d}.png,training,0" for n in range(20)], "each class must have a training image"),
        ([f"{c}/{n:03d}.png,everything,0" for c in ("cat", "dog") for n in range(20)], "validation images must be left"),
    ],
)  # fmt: skip
def test_mistakes_are_refused_with_their_rule(
    root: Path, tmp_path: Path, lines: list[str], rule: str
) -> None:
    with pytest.raises(DataError) as refused:
        load(root, tmp_path / "c", exclude=str(listing(tmp_path / "e.csv", *lines)))
    assert rule in str(refused.value)


def test_a_list_that_is_none_is_refused_before_anything_is_decoded(root: Path, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("file\ncat/000.png\n")
    for name, rule in (
        (tmp_path / "none.csv", "must be an existing .csv"),
        (tmp_path / "e.csv", "column image"),
    ):
        with pytest.raises(DataError, match=rule):
            load(root, tmp_path / "c", exclude=str(name))
    assert not (tmp_path / "c").exists()


KEYS = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n\0\\", exclude_categories=["Cs", "Cc"]), min_size=1
)
LINES = st.builds(
    Exclusion,
    image=KEYS.map(lambda key: f"a/{key.strip()}x"),
    scope=st.just("training"),
    weight=st.floats(0, 1).map(lambda value: float(f"{value:.4g}")),
    reason=st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=5, unique_by=lambda each: each.image))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, lines: list[Exclusion]
) -> None:
    import unicodedata

    path = write_exclusions(tmp_path_factory.mktemp("e") / "e.csv", lines)
    wanted = {unicodedata.normalize("NFC", each.image): each.weight for each in lines}
    assert {each.image: each.weight for each in read_exclusions(str(path)).values()} == wanted
    assert digest_of_list(lines) == digest_of_list(reversed(lines))


def test_names_that_a_spreadsheet_would_run_are_written_as_text_and_found_again(tmp_path: Path) -> None:
    """Whoever makes the images chooses their names, and whoever looks at the list opens it in a spreadsheet."""
    classes = ("=HYPERLINK(1)", "'=HYPERLINK(1)", "''=HYPERLINK(1)", "+1", "-1", "@a", "'", "cat")
    root = make_folder(tmp_path / "d", dict.fromkeys(classes, 12))
    before = load(root, tmp_path / "c")
    train = names(before, "train")
    gone = {min(key for key in train if key.startswith(f"{name}/")) for name in classes}
    path = write_exclusions(tmp_path / "e.csv", [Exclusion(key, reason="=1+1") for key in sorted(gone)])
    with path.open(newline="") as stream:
        cells = [text for row in csv.reader(stream) for text in row]
    assert not [text for text in cells if text.startswith(("=", "+", "-", "@"))]
    after = load(root, tmp_path / "c", exclude=str(path))
    assert train - names(after, "train") == gone
    by_hand = listing(tmp_path / "h.csv", "+1/000.png,everything,", "'+1/000.png,,", "@a/000.png,everything,")
    found = load(root, tmp_path / "c", exclude=str(by_hand)).task.excluded
    assert found is not None
    assert (found.everything, found.training) == (2, 0)


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=300) | st.text(max_size=200).map(lambda text: f"image,from,weight\n{text}".encode())
)
def test_no_file_makes_it_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("e") / "e.csv"
    path.write_bytes(content)
    try:
        found = read_exclusions(str(path))
    except DataError:
        return
    assert all(0.0 <= each.weight <= 1.0 for each in found.values())
