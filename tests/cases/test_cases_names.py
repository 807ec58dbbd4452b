"""Names of studies, datasets, classes and files (E3, E4, E5, D11, D17, C6): one rule, checked before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from case_runner import PETS, Case, check, images, of, typed, written
from conftest import CHEAP, Finished

SEARCH = f"search d {CHEAP} --confirm off"
TABLE = "file,label\n" + "".join(f"cat/{n:02d}.png,{'a' if n % 2 else '{}'}\n" for n in range(6))


def labelled(name: str) -> object:
    def make(place: Path) -> None:
        PETS(place)
        written("t.csv", TABLE.replace("{}", name))(place)

    return make


REFUSED = [
    Case("E3 a study named ..", PETS, f"{SEARCH} --study-name ..", "usable as a folder's name, without slashes, got '..'", 2),
    Case("E3 a study with a slash", PETS, f"{SEARCH} --study-name a/b", "without slashes", 2),
    Case("E3 a study without a name", PETS, f"{SEARCH} --study-name ''", "must not be empty", 2),
    Case("E4 a study of 300 characters", PETS, f"{SEARCH} --study-name " + "x" * 300, "at most 200 characters, got 300", 2),
    Case("E5 a study that steers the terminal", PETS, f"{SEARCH} --study-name '\x1b[2J'", "control character", 2),
    Case("E5 a study named with half a character", PETS, f"{SEARCH} --study-name 'a\udcff'", "half a character", 2),
    Case("E3 a class of one blank", labelled('" "'), "search t.csv --images d", "at least two classes, got 1 ('a')", 2),
    Case("E4 a class of 501 characters", labelled("x" * 501), "search t.csv --images d", "at most 500 characters", 2),
    Case("E5 a class folder that steers the terminal", images("d", **{"a\x1b[31m": 6, "b": 6}), SEARCH, "control character", 2),
    Case("E5 a class folder with a line end", images("d", **{"a\nb": 6, "c": 6}), SEARCH, "control character", 2),
    Case("E5 a dataset that is not there steers nothing", PETS, "search '\x1b]0;x\x07'", "there is no such name", 2),
    Case("E3 a dataset without a name", PETS, "search ''", "got ''", 2),
    Case("E3 a dataset with a null character", PETS, "search 'a\0b'", "there is no such name", 2),
    Case("E4 a dataset of 9,000 characters", PETS, "search " + "x" * 9_000, "there is no such name", 2),
    Case("C6 a source that nobody has", PETS, f"{SEARCH} --set space.source=resnet9000", "resnet9000", 2),
    Case("D23 an option that the dataset has not", PETS, "search 'digits?perclass=3'", ("no option 'perclass'", "per_class"), 2),
    Case("D23 an option without a value", PETS, "search 'digits?per_class='", "must read name=value", 2),
    Case("D23 an option twice", PETS, "search 'digits?per_class=3&per_class=4'", "'per_class' twice", 2),
    Case("E11 no image a class", PETS, "search 'digits?per_class=0'", "per_class must be an integer >= 1", 2),
    Case("C9 a dimension that there is not", PETS, f"{SEARCH} --set space.mood=1", "mood", 2),
    Case("C9 a value out of its range", PETS, f"{SEARCH} --set space.freeze_depth=99", "freeze_depth", 2),
    Case("D21 minutes that are none", PETS, f"{SEARCH} --minutes -1", "minutes", 2),
    Case("D21 minutes without a number", PETS, f"{SEARCH} --minutes nan", "minutes", 2),
    Case("C5 a number of confirmations that is none", PETS, "search d --confirm many", "number of strategies or off", 2),
    Case("D11 an output that is a file", lambda place: (PETS(place), written("o", "mine")(place)), f"{SEARCH} -o o", "o", 2),
    Case("D11 an output that is somebody's folder", lambda place: (PETS(place), written("o/thesis.tex", "x")(place)),
         f"{SEARCH} -o o/thesis.tex/x", "o/thesis.tex", 2),
    Case("B10 two settings of one dataset", PETS, "search d --set task.dataset=digits", "named once", 2),
]  # fmt: skip


@of(REFUSED)
def test_names_that_are_refused(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(case, tmp_path, monkeypatch)


SHIPPED = [
    Case("E3 a study named ~", images("d", cat=14, dog=14), f"{SEARCH} --study-name '~'",
         writes=("runs/~/best_strategy.json", "runs/~/model/model.json")),
    Case("E3 a folder named ~old and a class named ~a", images("~old", **{"~a": 14, "=b": 14}),
         f"search ./~old {CHEAP} --confirm off", writes=("runs/~old-quick/model/model.json",)),
]  # fmt: skip


@of(SHIPPED)
def test_odd_names_that_are_shipped(
    case: Case, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(case, tmp_path, monkeypatch)
    (model,) = tmp_path.glob("runs/*/model")
    (image,) = list(tmp_path.glob("[d~]*/*/00.png"))[:1]
    monkeypatch.chdir(tmp_path)
    assert typed("predict", str(model), str(image)).code == 0
    assert typed("status", model.parent.name).code == 0
