"""Files of knowledge: what is written is read again, and what a stranger wrote is bounded, checked and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from known_by_hand import FASTER, SOLVED, TUNED, WHOLE, knowledge, signature, task

from automl_transfer.domain.strategy import SPACE_VERSION
from automl_transfer.domain.strict_json import MAX_BYTES
from automl_transfer.errors import ConfigurationError
from automl_transfer.knowledge import library
from automl_transfer.knowledge.document import SCHEMA
from automl_transfer.knowledge.naming import anonymous
from automl_transfer.knowledge.portfolio import Earlier
from automl_transfer.knowledge.reading import parse_knowledge, read_knowledge
from automl_transfer.recipes.schemas import knowledge_schema

KNOWN = knowledge(task({FASTER: 1.0, TUNED: 0.5, SOLVED: 0.0}, name="cats"))
TEXT = KNOWN.to_json()


def changed(*path: Any, value: Any) -> str:
    """The file with another value at a place."""
    document = json.loads(TEXT)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(document)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "k.json"
    file.write_text(TEXT, encoding="utf-8")
    read = read_knowledge(file)
    assert read.knowledge == KNOWN
    assert read.summary() == "1 task, 3 strategies"
    assert TEXT.count("\n") == 7  # a strategy a line


def test_the_file_fits_its_published_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(json.loads(TEXT), knowledge_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(changed("tasks", 0, "path", value="/home/ann")), knowledge_schema())


def test_strategies_of_an_older_space_are_read_and_those_of_a_newer_one_counted() -> None:
    old = changed("tasks", 0, "strategies", 1, "strategy", value={"space": 1, "set": {"learning_rate": 3e-5}})
    assert parse_knowledge(old, "f").dropped == {}
    newer = {"space": SPACE_VERSION + 1, "set": {"unheard_of": 3}}
    read = parse_knowledge(changed("tasks", 0, "strategies", 0, "strategy", value=newer), "f")
    assert read.dropped == {"of a newer space": 1}
    assert [each.rank for each in read.knowledge.tasks[0].strategies] == [1.0, 0.0]  # ranked anew
    assert read.summary() == "1 task, 2 strategies (1 of a newer space left out)"
    document = json.loads(TEXT)
    for each in document["tasks"][0]["strategies"]:
        each["strategy"] = newer
    with pytest.raises(ConfigurationError, match="a newer automl-transfer wrote it"):
        parse_knowledge(json.dumps(document), "f")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be JSON"),
        ("[]", "must hold a JSON object"),
        ("{}", f"must be {SCHEMA}, got 'None'"),
        (changed("schema", value="automl-transfer/knowledge/9"), "another version of automl-transfer wrote it"),
        (changed("tasks", 0, "strategies", 0, "rank", value=2.0), r"tasks.0.strategies.0.rank: .*less than or"),
        (changed("tasks", 0, "strategies", 0, "rank", value=True), r"rank: .*valid number"),
        (changed("tasks", 0, "strategies", 0, "curve", value=[0.1] * 13), "at most 12"),
        (changed("tasks", 0, "strategies", 0, "curve", value=[7.0]), "less than or equal to 1"),
        (changed("tasks", 0, "strategies", 0, "seconds", value=-1.0), "greater than 0"),
        (changed("tasks", 0, "strategies", 0, "answer", value="oracle"), "answer"),
        (changed("tasks", 0, "strategies", value=[]), "at least 1"),
        (changed("tasks", 0, "path", value="/home/ann"), "path: unknown field"),
        (changed("tasks", 0, "name", value="a\x1b[2Jb"), "the name of a task must not hold"),
        (changed("tasks", 0, "signature", "images", value=0), "images"),
        (changed("space", value=0), "space"),
        (TEXT.replace('"rank":1.0', '"rank":NaN', 1), "NaN"),
        (TEXT.replace('"rank":1.0', '"rank":1.0,"rank":0.5', 1), "twice in one object"),
        ('{"schema": ' + "[" * 100_000, "must nest at most 32 deep"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        parse_knowledge(text, "f")


def test_a_file_that_is_too_large_is_not_even_parsed(tmp_path: Path) -> None:
    file = tmp_path / "large.json"
    with file.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(ConfigurationError, match=f"at most {MAX_BYTES} bytes"):
        read_knowledge(file)


def test_strategies_that_are_none_are_left_out_and_a_file_cannot_say_that_all_are_best() -> None:
    poisoned = changed("tasks", 0, "strategies", 1, "strategy", "set", value={"learning_rate": 1e9})
    assert parse_knowledge(poisoned, "f").dropped == {"that cannot be read": 1}
    document = json.loads(TEXT)
    for each in document["tasks"][0]["strategies"]:
        each["rank"] = 1.0
    (found,) = parse_knowledge(json.dumps(document), "f").knowledge.tasks
    assert {each.rank for each in found.strategies} == {0.5}
    document["tasks"][0]["strategies"] *= 2
    assert parse_knowledge(json.dumps(document), "f").dropped == {"named twice": 3}
    unreadable = changed("tasks", 0, "solved", value={"space": 6, "set": {"pool": 3}})
    assert parse_knowledge(unreadable, "f").knowledge.tasks[0].solved is None


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    at=st.integers(0, len(TEXT) - 1),
    length=st.integers(0, 40),
    put=st.one_of(
        st.text(max_size=8),
        st.sampled_from(["null", "1e999", "-1", "{}", "[]", '"', "}", "true", "1" * 400, "\\ud800", "\0"]),
    ),
)
def test_a_file_that_was_changed_anywhere_is_read_or_refused(at: int, length: int, put: str) -> None:
    try:
        read = parse_knowledge(TEXT[:at] + put + TEXT[at + length :], "f")
    except ConfigurationError:
        return
    for each in read.knowledge.tasks:
        assert all(0.0 <= known.rank <= 1.0 for known in each.strategies)
        Earlier.of(each, "x", "shipped")  # and what is read can be used
    assert parse_knowledge(read.knowledge.to_json(), "f").knowledge == read.knowledge


def test_names_that_not_everybody_has_are_taken_out() -> None:
    mine = "checkpoint/timm/resnet18@/home/ann/secret/net.safetensors"
    private = FASTER.model_copy(update={"source": mine})
    plugged = WHOLE.model_copy(update={"rest_init": "acme_init", "transfer_depth": 4})
    seen = signature(profile={"efficientnet-lite0": {8: 0.9}, "acme-net": {8: 0.5}}, scores={
        "acme-score": {"acme-net": {8: 1.0}}, "knn": {"acme-net": {8: 1.0}},
    }, measured={"acme-net": 9}, frechet={"acme-net": None})  # fmt: skip
    known = task(
        {private: 1.0, plugged: 0.5, TUNED: 0.0}, name="patients", signature=seen,
    )  # fmt: skip
    found = anonymous(known)
    assert found is not None
    text = knowledge(found).to_json()
    for secret in ("acme", "secret", "net.safetensors", "patients", "/home"):
        assert secret not in text
    assert len(found.strategies) == 2  # without the plugin's method
    assert "unnamed-1" in text
    assert parse_knowledge(text, "f").knowledge.tasks[0].signature is not None
    assert anonymous(task({plugged: 1.0})) is None


def test_the_file_that_ships_can_be_read_and_says_which_data_are_in_it() -> None:
    shipped = library.shipped()
    assert len(shipped.tasks) >= 10
    assert {"digits-20", "mnist-600", "textures-16"} <= {each.name for each in shipped.tasks}
    assert all(each.signature is not None and each.solved is not None for each in shipped.tasks)


def test_an_import_adds_a_file_once_and_a_broken_one_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    file = tmp_path / "k.json"
    file.write_text(TEXT, encoding="utf-8")
    assert library.imported() == []
    first, again = library.add(file), library.add(file)
    assert (first.new, again.new) == (True, False)
    assert [known for _, known in library.imported()] == [KNOWN]
    file.write_text(TEXT[:-20], encoding="utf-8")
    with pytest.raises(ConfigurationError):
        library.add(file)
    assert len(list(library.folder().iterdir())) == 1
    (library.folder() / "broken.json").write_text("{", encoding="utf-8")
    assert len(library.imported()) == 1  # left out, and the others are as good as they were
