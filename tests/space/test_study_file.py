"""Study files: whatever is wrong with one is said, all at once, with key and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl_transfer.errors import ConfigurationError
from automl_transfer.space.study_file import PRESETS, preset_path, read_study, study_spec

GOOD = """name = "s"

[task]
dataset = "digits"

[search]
trials = 7

[space]
learning_rate = [1e-4, 1e-2]
source = ["efficientnet-lite0", "scratch"]
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "study file 模型.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def mistakes(path: Path, *overrides: str, **given: object) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        read_study(path, overrides, **given)
    assert str(path) in str(caught.value)
    assert all(mistake in str(caught.value) for mistake in caught.value.mistakes)
    return caught.value.mistakes


def test_a_good_file_and_what_is_said_over_it(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    spec = read_study(path)
    assert spec.search.trials == 7
    assert spec.space["source"] == ("efficientnet-lite0", "scratch")
    spec = read_study(
        path,
        ["search.trials=5", "task.metric = macro_f1", "space.pool=[1, 2]", "task.splits.train=0.5",
         "task.splits.test=0.3", "space.source=scratch", "task.label_preserving=['mirror']"],
        task__dataset="digits?per_class=20", name=None,
    )  # fmt: skip
    assert (spec.name, spec.task.dataset, spec.search.trials) == ("s", "digits?per_class=20", 5)
    assert (spec.task.metric, spec.task.splits.train) == ("macro_f1", 0.5)
    assert spec.task.label_preserving == ("mirror",)
    assert (spec.space["pool"], spec.space["source"]) == ((1, 2), "scratch")


@pytest.mark.parametrize("change", [lambda b: b"\xef\xbb\xbf" + b, lambda b: b.replace(b"\n", b"\r\n")])
def test_files_of_other_editors_are_read(tmp_path: Path, change: object) -> None:
    assert read_study(write(tmp_path, change(GOOD.encode()))).search.trials == 7  # type: ignore[operator]


def test_all_mistakes_are_shown_together_with_key_and_line(tmp_path: Path) -> None:
    text = """name = "a/b"
color = "red"

[task]
dataset = "digits"
metric = "acuracy"
resolution = true

[task.splits]
train = 2.0

[search]
trials = 0
max_epochs = "9"
pruner = "asha2"

[space]
lr = "search"
learning_rate = [0.1, 0.01]
transfer_depth = 9
source = [["a"], {b = 1}]
weight_decay = nan
tune_mode = ["head", "all"]

[space.pool]
choices = [1, 2]
"""
    found = mistakes(write(tmp_path, text), "search.seed", "search.min_epochs=x", "=3")
    expected = {
        "line 1: name: ",
        "line 2: color: unknown key",
        "line 6: task.metric: ",
        "line 7: task.resolution: ",
        "line 10: task.splits.train: ",
        "line 13: search.trials: ",
        "line 14: search.max_epochs: ",
        "line 15: search.pruner: ",
        "line 18: space.lr: must be one of the dimensions",
        "line 19: space.learning_rate: low must be <= high",
        "line 20: space.transfer_depth: ",
        "line 21: space.source: ",
        "line 22: space.weight_decay: ",
        "line 23: space.tune_mode: ",
        "line 25: space.pool: ",
        "--set must be key=value, got 'search.seed'",
        "--set must be key=value, got '=3'",
        "search.min_epochs: ",
    }
    assert all(any(m.startswith(start) for m in found) for start in expected), found
    assert len(found) == len(expected), found
    assert "got 0" in next(m for m in found if "search.trials" in m)
    assert "'acuracy'" in next(m for m in found if "task.metric" in m)
    assert "one of accuracy, balanced_accuracy, macro_f1" in next(m for m in found if "task.metric" in m)


def test_a_mistake_of_an_override_names_no_line_of_the_file(tmp_path: Path) -> None:
    (mistake,) = mistakes(write(tmp_path, GOOD), "search.trials=0")
    assert mistake.startswith("search.trials: ")
    (mistake,) = mistakes(write(tmp_path, GOOD), "space.learning_rate=[1, 0.1]")
    assert mistake.startswith("space.learning_rate: low must be <= high")


@pytest.mark.parametrize(
    "override",
    ["task.dataset.x=1", "search=5", "space=5", "task=[]", "space.pool={a=1}", "a..b=1", "space.source=[]",
     "search.trials=1.5", "search.minutes=0", "search.minutes=inf", "search.profile=yes", "name=",
     "search.startup_trials=-1", "search.min_epochs=100", "task.channels=2", "task.splits.train=0.9",
     "space.batch=2024-01-01", "space.learning_rate=1" + "0" * 400, "search.seed=" + "1" * 5000,
     "search.trials=" + "[" * 5000],
)  # fmt: skip
def test_bad_overrides_are_mistakes(tmp_path: Path, override: str) -> None:
    assert len(mistakes(write(tmp_path, GOOD), override)) >= 1


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "field required"),
        (b"name = ", "must be TOML"),
        (b"name = 'a'\nname = 'b'", "must be TOML"),
        (b"trials = " + b"1" * 5000, "line 1: a line must have at most 1,000 characters, got 5,009"),
        (b"x = " + b"[" * 900 + b"]" * 900, "at most 1,000 characters"),
        (b"x = " + b"[" * 990, "must be TOML"),
        (b"x = " + b"[" * 400 + b"]" * 400, "must nest at most 16 deep"),
        (b".".join([b"a"] * 20_000) + b" = 1", "at most 1,000 characters, got 40,003"),  # E11: took 1.7 GB
        (b".".join([b"a"] * 400) + b" = 1", "must nest at most 16 deep"),
        (b"name = '\xff'", "must be UTF-8"),
        (GOOD.encode("utf-16"), "must be UTF-8"),
        (b"\x00" * 100, "must be TOML"),
        (b"#\n" * 50_001, "must have at most 100,000 bytes, got 100,002"),
    ],
    ids=[
        "empty",
        "cut",
        "twice",
        "digits",
        "long",
        "nested",
        "deep",
        "dotted",
        "deep-key",
        "latin1",
        "utf16",
        "zeros",
        "large",
    ],
)
def test_files_that_are_no_study(tmp_path: Path, content: bytes, rule: str) -> None:
    assert any(rule in mistake for mistake in mistakes(write(tmp_path, content)))


@pytest.mark.parametrize("name", ["nothing.toml", "folder", "x" * 5000, "nul\0"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigurationError, match="study file must exist"):
        read_study(tmp_path / name)


def test_a_dataset_is_named_once() -> None:
    found = study_spec("textures?patch=64", "quick", ["task.seed=3"])
    assert (found.task.dataset, found.task.seed, found.name) == (
        "textures?patch=64",
        3,
        "textures-patch-64-quick",
    )
    with pytest.raises(ConfigurationError, match=r"named once, got 'digits' and --set task.dataset=textures"):
        study_spec("digits", "quick", ["task.seed=3", "task.dataset=textures"])


def test_a_name_a_budget_and_a_space_are_said_once(tmp_path: Path) -> None:
    assert study_spec("photos/cats", None, []).name == "cats-quick"
    assert study_spec("photos/cats", "quick", ["name=cats2"]).name == "cats2"
    with pytest.raises(ConfigurationError, match=r"name: must be said once, got it by --set and as 'b'"):
        study_spec("photos/cats", None, ["name=a"], name="b")
    with pytest.raises(
        ConfigurationError, match=r"search\.minutes: must be said once, got it by --set and as 5"
    ):
        study_spec("digits", None, ["search.minutes=60"], search__minutes=5)
    path = write(tmp_path, GOOD)
    assert study_spec(str(path), None, []).name == "s"
    with pytest.raises(
        ConfigurationError, match=r"a preset must go with a dataset, got 'best' and the study fi"
    ):
        study_spec(str(path), "best", [])


def test_columns_take_the_place_of_the_files_for_their_roles_alone(tmp_path: Path) -> None:
    """`--columns label=...` dropped the file's group: one patient's images were trained on and tested with."""
    columns = '\n[task.columns]\nlabel = "finding"\ngroup = "mrn"\n'
    path = str(write(tmp_path, GOOD + columns))
    found = study_spec(path, None, (), task__columns={"label": "finding2", "split": ""}).task.columns
    assert (found.label, found.group, found.split) == ("finding2", "mrn", "")
    found = study_spec(
        path, None, ["task.columns.file=scan"], task__columns={"label": "finding2"}
    ).task.columns
    assert (found.file, found.label, found.group) == ("scan", "finding2", "mrn")
    for said in ("task.columns.label=x", "task.columns={label = 'x'}"):
        with pytest.raises(ConfigurationError, match=r"task\.columns\.label: must be said once, .* as 'y'"):
            study_spec(path, None, [said], task__columns={"label": "y"})
    with pytest.raises(ConfigurationError, match=r"task\.columns\.label: must be said once, got 'y' and 'x'"):
        study_spec(path, None, (), task__columns={"label": "y"}, task__columns__label="x")
    with pytest.raises(ConfigurationError, match=r"task\.columns\.colour: unknown key"):
        study_spec(path, None, (), task__columns={"colour": "y"})
    with pytest.raises(ConfigurationError, match=r"task\.columns: .* got 'y'"):
        study_spec(path, None, (), task__columns="y")


def test_presets_are_found() -> None:
    for name in PRESETS:
        assert read_study(preset_path(name)).name == name
    with pytest.raises(ConfigurationError, match="preset must be one of quick, core, best, got 'slow'"):
        preset_path("slow")
