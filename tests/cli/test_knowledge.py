"""Knowledge and suites as a person types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from automl_transfer.cli.main import main

SUITE = """
name = "two"
[search]
trials = 1
max_epochs = 1
confirm = 0
profile = false
[[study]]
dataset = "digits?per_class=12"
[[study]]
dataset = "textures?per_class=12"
[[study]]
dataset = "patients-of-ann"
"""

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


def test_a_suite_is_searched_once_and_what_it_learnt_can_be_shared(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text(SUITE, encoding="utf-8")
    code, out, _ = typed("suite", "two.toml", "--no-refit")
    assert code == 1  # one could not be searched; the others were
    assert "3 of 3: patients-of-ann-quick could not be searched: a dataset must be one of" in out
    assert (
        "Warm start from 1 study of this store (digits-per_class-12-quick)" in out or "Cold start: on" in out
    )
    assert (tmp_path / "runs/two/textures-per_class-12-quick/model").is_dir()
    page = (tmp_path / "runs/two/report.html").read_text(encoding="utf-8")
    assert "digits-per_class-12-quick" in page
    assert "textures-per_class-12-quick" in page

    text = SUITE.partition('[[study]]\ndataset = "patients')[0]
    (tmp_path / "two.toml").write_text(text, encoding="utf-8")
    code, out, _ = typed("suite", "two.toml", "--no-refit")
    assert code == 0
    assert out.count("is finished already") == 2
    assert "trial" not in out.partition("study ")[0]  # none was searched again

    code, out, _ = typed("knowledge", "export", "-o", "k.json")
    assert (code, out) == (0, "wrote k.json: 2 tasks, 2 strategies, no names\n")
    told = (tmp_path / "k.json").read_text(encoding="utf-8")
    for secret in ("digits", "textures", "quick", str(tmp_path), "runs"):
        assert secret not in told
    assert all(task["signature"] is not None for task in json.loads(told)["tasks"])
    assert typed("knowledge", "export", "digits-per_class-12-quick", "--names")[0] == 0
    assert "digits?per_class=12" in (tmp_path / "knowledge.json").read_text(encoding="utf-8")

    code, out, _ = typed("knowledge", "import", "k.json")
    assert (code, "added 2 tasks, 2 strategies" in out) == (0, True)
    assert "nothing added" in typed("knowledge", "import", "k.json")[1]
    code, out, _ = typed("knowledge", "show", "--json")
    assert [each["from"] for each in json.loads(out)][:2] == ["imported", "imported"]
    assert "task 1" in typed("knowledge", "show", "k.json")[1]


def test_bad_files_are_one_clear_error(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "k.json").write_text('{"schema": "automl-transfer/knowledge/7"}', encoding="utf-8")
    code, _, error = typed("knowledge", "import", "k.json")
    assert code == 2
    assert "must be automl-transfer/knowledge/1, got 'automl-transfer/knowledge/7'" in error
    assert not (tmp_path / "state/automl-transfer/knowledge").exists()
    assert typed("knowledge", "show", "none.json")[0] == 2
    assert typed("knowledge", "export", "-o", "none/k.json")[0] == 2
    code, _, error = typed("knowledge", "export")
    assert (code, "no database" in error) == (2, True)
    assert typed("suite", "none.toml")[0] == 2
