"""A suite file: every study over its preset, and all mistakes of all studies at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl_transfer.errors import ConfigurationError
from automl_transfer.space.suite_file import read_suite

SUITE = """
name = "photos"
[search]
trials = 5
[space]
pool = 2
[[study]]
dataset = "digits"
[[study]]
dataset = "textures?patch=16"
name = "small"
preset = "core"
search.trials = 7
search.confirm = 0
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "suite.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_each_study_has_its_preset_what_is_shared_and_what_it_says_itself(tmp_path: Path) -> None:
    suite = read_suite(written(tmp_path, SUITE), ["search.seed=3"])
    first, second = suite.studies
    assert (suite.name, first.name, second.name) == ("photos", "digits-quick", "small")
    assert (first.task.dataset, second.task.dataset) == ("digits", "textures?patch=16")
    assert (first.search.trials, second.search.trials) == (5, 7)
    assert (first.search.minutes, second.search.confirm) == (4, 0)
    assert first.space["pool"] == second.space["pool"] == 2
    assert "distort" in first.space
    assert {first.search.seed, second.search.seed} == {3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at least one table"),
        ("study = 3", "at least one table"),
        ('name = "a/b"\n[[study]]\ndataset = "digits"', "name: "),
        ('name = 3\n[[study]]\ndataset = "digits"', "name: must be a text"),
        ('speed = 9\n[[study]]\ndataset = "digits"', "speed: unknown key"),
        ('[[study]]\nname = "x"', r"study 1: dataset: must be a name, a folder or a file, got None"),
        (
            '[[study]]\ndataset = "digits"\npreset = "huge"',
            r"study 1 \(digits\): preset must be one of quick",
        ),
        ('[[study]]\ndataset = "digits"\nsearch = 3', "search: must be a table, got 3"),
        ('[[study]]\ndataset = "digits"\nworkers = 3', "workers: unknown key"),
        (
            '[[study]]\ndataset = "digits"\n[[study]]\ndataset = "digits"',
            "names must differ, got 'digits-quick'",
        ),
        ("[[study]\n", "must be TOML"),
    ],
)
def test_what_cannot_be_is_refused_in_words(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_suite(written(tmp_path, text))


def test_mistakes_of_all_studies_come_together(tmp_path: Path) -> None:
    text = SUITE.replace("trials = 5", "trials = 0").replace("search.trials = 7", 'search.sampler = "best"')
    with pytest.raises(ConfigurationError) as raised:
        read_suite(written(tmp_path, text))
    assert len(raised.value.mistakes) == 3
    assert any("study 1 (digits): search.trials" in mistake for mistake in raised.value.mistakes)
    assert any("study 2 (textures?patch=16): search.sampler" in mistake for mistake in raised.value.mistakes)
    with pytest.raises(ConfigurationError, match="study file must exist"):
        read_suite(tmp_path / "none.toml")


def test_a_study_that_says_one_key_of_a_table_keeps_the_others(tmp_path: Path) -> None:
    """Its label column took the place of all of them, and groups were split without a word."""
    text = """
[task.columns]
group = "patient"
label = "kind"
[task.splits]
train = 0.7
validation = 0.2
test = 0.1
[[study]]
dataset = "a.csv"
task.columns.label = "grade"
task.splits.validation = 0.1
task.splits.test = 0.2
[[study]]
dataset = "b.csv"
"""
    first, second = read_suite(written(tmp_path, text)).studies
    assert (first.task.columns.group, first.task.columns.label) == ("patient", "grade")
    assert (second.task.columns.group, second.task.columns.label) == ("patient", "kind")
    assert (first.task.splits.train, first.task.splits.validation, first.task.splits.test) == (0.7, 0.1, 0.2)
    assert second.task.splits.validation == 0.2
