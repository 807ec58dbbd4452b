"""The command line as its user meets it: real processes, exit codes, one clear error each."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import forge
import numpy as np
import pytest
from PIL import Image

DATABASE = (
    "automl-transfer.db",
    "automl-transfer.db-wal",
    "automl-transfer.db-shm",
    "automl-transfer.db.lock",
)
QUICK = ("--set", "search.trials=3", "--set", "search.max_epochs=2", "--set", "search.minutes=30")


def run(
    *arguments: str | Path, cwd: Path, check: bool = True, afresh: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    program = (sys.executable, "-m", "automl_transfer") if afresh else (forge.command(),)
    done = subprocess.run(
        [*program, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **environment},
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def refused(*arguments: str | Path, cwd: Path) -> str:
    """The one error of a command that refuses its input and leaves nothing behind."""
    before = sorted(cwd.rglob("*"))
    done = run(*arguments, cwd=cwd, check=False)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    new = [path for path in sorted(cwd.rglob("*")) if path not in before and path.is_file()]
    assert [path for path in new if "cache" not in path.parts and path.name not in DATABASE] == []
    return done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished search")
    done = run(
        "search",
        "digits?per_class=20",
        *QUICK,
        "--cache",
        "cache",
        "--study-name",
        "small",
        cwd=folder,
        afresh=True,
    )
    (folder / "out.txt").write_text(done.stdout)
    return folder


def test_help_is_quick_to_import_and_names_every_command(tmp_path: Path) -> None:
    text = run("--help", cwd=tmp_path, afresh=True).stdout
    for command in ("init", "explore", "sources", "space", "search", "status", "report", "export", "predict"):
        assert command in text
    heavy = {"torch", "optuna", "timm", "sqlalchemy"}
    code = f"import sys, automl_transfer.cli.main; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_search_ends_with_ranking_recipe_and_model(finished: Path) -> None:
    results = finished / "runs" / "small"
    ranking = json.loads((results / "ranking.json").read_text())
    recipe = json.loads((results / "best_strategy.json").read_text())
    assert ranking["schema"] == "automl-transfer/ranking/1"
    assert recipe["schema"] == "automl-transfer/recipe/2"
    assert ranking["rows"][0]["root_trial"] == recipe["provenance"]["root_trial"]
    assert recipe["metrics"]["test"]["n"] == 359
    assert recipe["metrics"]["test"]["accuracy"] > 0.8
    assert str(finished) not in (results / "best_strategy.json").read_text()
    text = (finished / "out.txt").read_text()
    assert "profile of efficientnet-lite0" in text
    assert f"{recipe['metrics']['test']['accuracy']:.3f}" in text


def test_the_same_search_again_changes_nothing(finished: Path) -> None:
    recipe = finished / "runs" / "small" / "best_strategy.json"
    before = recipe.read_bytes()
    done = run(
        "search", "digits?per_class=20", *QUICK, "--cache", "cache", "--study-name", "small", cwd=finished
    )
    assert recipe.read_bytes() == before
    assert "going on after 3 finished trials" in done.stdout


def test_another_space_under_the_same_name_is_refused(finished: Path) -> None:
    error = refused(
        "search", "digits?per_class=20", *QUICK, "--cache", "cache", "--study-name", "small",
        "--set", "space.batch=32", cwd=finished,
    )  # fmt: skip
    assert "batch" in error
    assert "small" in error


def test_a_search_without_room_for_activations_says_so_once(tmp_path: Path) -> None:
    head_only = ("--set", "search.profile=false", "--set", "space.tune_mode=head", "--confirm", "off")
    search = ("search", "digits?per_class=20", *QUICK, *head_only, "--cache", "cache")
    done = run(*search, cwd=tmp_path, AUTOML_TRANSFER_CACHE_GB="0")
    assert done.stderr.count("cannot be used") == 1
    assert "would save time, AUTOML_TRANSFER_CACHE_GB allows 0 GB" in done.stderr
    assert not (tmp_path / "cache" / "activations").exists()


def test_a_budget_that_is_no_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOML_TRANSFER_CACHE_GB", "much")
    error = refused("search", "digits?per_class=20", "--cache", "cache", cwd=tmp_path)
    assert "AUTOML_TRANSFER_CACHE_GB must be a number of gigabytes >= 0, got 'much'" in error
    assert list(tmp_path.iterdir()) == []


def test_report_as_a_page_as_csv_and_of_several_studies(finished: Path, tmp_path: Path) -> None:
    done = run("report", "small", "--html", tmp_path / "small.html", cwd=finished)
    assert "confirmed accuracy" in done.stdout
    assert f"wrote {tmp_path / 'small.html'}" in done.stdout
    assert "Content-Security-Policy" in (tmp_path / "small.html").read_text(encoding="utf-8")
    rows = list(csv.DictReader(run("report", "small", "--csv", cwd=finished).stdout.splitlines()))
    ranking = json.loads((finished / "runs" / "small" / "ranking.json").read_text())
    assert [int(row["root_trial"]) for row in rows] == [row["root_trial"] for row in ranking["rows"]]
    assert float(rows[0]["confirmed_accuracy"]) == ranking["rows"][0]["confirmation"]["accuracy"]
    again = (*QUICK, "--cache", "cache", "--study-name", "other", "--confirm", "off")
    run("search", "digits?per_class=20", *again, cwd=finished)
    done = run("report", "small", "other", "--html", "both.html", cwd=finished)
    assert "With 1 dataset no family can be shown to be better" in done.stdout
    assert "2 studies of 1 dataset compared" in (finished / "both.html").read_text(encoding="utf-8")
    both = json.loads(run("report", "small", "other", "--json", cwd=finished).stdout)
    assert [each["ranking"]["study"] for each in both["studies"]] == ["small", "other"]
    assert both["studies"][1]["ranking"]["rows"][0]["confirmation"] is None


def test_report_and_status_agree_with_the_ranking(finished: Path) -> None:
    ranking = json.loads((finished / "runs" / "small" / "ranking.json").read_text())
    assert json.loads(run("report", "small", "--json", cwd=finished).stdout) == ranking
    assert "best is trial" in run("report", "small", cwd=finished).stdout
    status = json.loads(run("status", "small", "--json", cwd=finished).stdout)
    assert status["counts"]["roots"] == 3
    assert status["incumbent"]["root_trial"] == ranking["rows"][0]["root_trial"]


def test_export_writes_the_same_recipe_elsewhere(finished: Path) -> None:
    run("export", "small", "--output", "elsewhere", "--cache", "cache", cwd=finished)
    first = json.loads((finished / "runs" / "small" / "best_strategy.json").read_text())
    second = json.loads((finished / "elsewhere" / "best_strategy.json").read_text())
    assert second == first


def test_a_study_without_a_complete_trial_is_not_exported(tmp_path: Path) -> None:
    """A ranking, a page and the folder's owner were left behind beside the error."""
    run("study", "create", "digits?per_class=8", "--study-name", "new", "--cache", "cache", cwd=tmp_path)
    said = refused("export", "new", "--output", "out", "--cache", "cache", cwd=tmp_path)
    assert "a study must have a complete trial before it is exported, got 'new' without one" in said
    assert not (tmp_path / "out").exists()


def test_predict_reads_files_of_any_kind_and_survives_a_broken_one(finished: Path, tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    folder = tmp_path / "Bilder 图片"
    folder.mkdir()
    for number in range(20):
        pixels = (digits.images[number] * 255 / 16).astype(np.uint8)
        Image.fromarray(pixels).resize((40, 40)).convert("RGB").save(
            folder / f"{digits.target[number]}_{number}.png"
        )
    (folder / "zz.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    done = run("predict", finished / "runs" / "small" / "model", folder, cwd=tmp_path)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert len(rows) == 21
    right = [row["label"] == Path(row["file"]).name[0] for row in rows if not row["error"]]
    assert len(right) == 20
    assert sum(right) >= 15
    assert rows[-1]["error"]
    lines = run(
        "predict",
        finished / "runs" / "small" / "model",
        folder,
        "--format",
        "jsonl",
        "--top",
        "3",
        cwd=tmp_path,
    )
    assert len(json.loads(lines.stdout.splitlines()[0])["top"]) == 3


def test_predict_reads_a_list_from_standard_input(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "größe und\nmehr"
    folder.mkdir()
    names = [folder / f"{number} a.png" for number in range(3)]
    for number, name in enumerate(names):
        Image.fromarray(np.full((9, 9), 40 * number, np.uint8)).save(name)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "plain.png")
    command = [forge.command(), "predict", str(finished / "runs" / "small" / "model")]

    def label(*arguments: str, given: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments], cwd=tmp_path, input=given, capture_output=True, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    listed = "".join(f"{name}\0" for name in (*names, tmp_path / "none.png"))
    done = label("--null", "--format", "jsonl", "--top", "2", "-", given=listed)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["file"] for row in rows] == [str(name) for name in (*names, tmp_path / "none.png")]
    assert [len(row.get("top", ())) for row in rows] == [2, 2, 2, 0]
    assert "none.png" in rows[3]["error"]
    assert "1 of 4 images could not be read" in done.stderr
    lines = label("-", given=f"plain.png\r\n\n{tmp_path / 'plain.png'}")
    table = list(csv.DictReader(lines.stdout.splitlines()))
    assert [row["file"] for row in table] == ["plain.png", str(tmp_path / "plain.png")]
    assert table[0]["label"] == table[1]["label"] != ""
    nothing = label("-", given="\n")
    assert nothing.returncode == 2
    assert nothing.stdout == ""
    assert "standard input must list at least one image" in nothing.stderr


def test_progress_on_a_terminal_leaves_the_rows_alone(finished: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "a.png")
    terminal, its_end = os.openpty()
    with (tmp_path / "rows.csv").open("w") as rows:
        process = subprocess.Popen(
            [sys.executable, "-m", "automl_transfer", "predict", finished / "runs/small/model", *["a.png"] * 40],
            cwd=tmp_path, stdout=rows, stderr=its_end, env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm"},
        )  # fmt: skip
        os.close(its_end)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while part := os.read(terminal, 4096):
                shown += part
    assert process.wait() == 0
    os.close(terminal)
    assert b"labelling" in shown
    assert b"/40" in shown
    table = (tmp_path / "rows.csv").read_text().splitlines()
    assert len(table) == 41
    assert all(row.startswith("a.png,") for row in table[1:])


def test_package_prints_sizes_parity_and_latency(finished: Path, tmp_path: Path) -> None:
    model = finished / "runs" / "small" / "model"
    done = run("package", model, "--format", "onnx", "--with-preprocessing", "-o", "m.onnx", cwd=tmp_path)
    assert "takes uint8 (batch, 32, 32, 1); gives probabilities of 10 classes" in done.stdout
    assert "parity: differs from the model by at most " in done.stdout
    made = json.loads(
        run("package", model, "--format", "safetensors", "-o", "m.safetensors", "--json", cwd=tmp_path).stdout
    )
    assert made["bytes"] == (tmp_path / "m.safetensors").stat().st_size
    assert made["difference"] <= 1e-4


def test_explore_prints_and_draws(tmp_path: Path) -> None:
    refused = run("explore", "digits", "--sheet", ".", "--cache", "cache", cwd=tmp_path, check=False)
    assert refused.returncode == 2
    assert "the output must be a file" in refused.stderr
    done = run("explore", "digits", "--sheet", "sheet.png", "--cache", "cache", cwd=tmp_path)
    assert "1,797 images in 10 classes" in done.stdout
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 300
    facts = json.loads(run("explore", "digits", "--cache", "cache", "--json", cwd=tmp_path).stdout)
    assert facts["task"]["splits"] == {"train": 1079, "validation": 359, "test": 359}


def test_explore_lists_the_nearest_tasks_of_the_store_with_what_won(finished: Path, tmp_path: Path) -> None:
    """Of the search that ended here: the same data; its store is only read, and named or found."""
    same = run("explore", "digits?per_class=20", "--cache", "cache", cwd=finished).stdout
    assert "nearest tasks in this store:\n  0.00 digits?per_class=20 (the same data): 200 images" in same
    assert " accuracy by efficientnet-lite0" in same
    facts = json.loads(run("explore", "textures", "--cache", "cache", "--json", cwd=finished).stdout)
    (near,) = facts["nearest"]
    assert near["distance"] > 0.1
    assert "small" in near["studies"]
    assert near["strategy"]["source"] == "efficientnet-lite0"
    assert facts["signature"]["task"] == facts["task"]["fingerprint"]
    store = f"sqlite:///{finished / 'runs' / 'automl-transfer.db'}"
    named = run("explore", "textures", "--storage", store, "--cache", finished / "cache", cwd=tmp_path).stdout
    assert "digits?per_class=20: 200 images, 10 classes" in named
    missing = f"sqlite:///{tmp_path / 'no.db'}"
    assert "no database at" in refused("explore", "textures", "--storage", missing, cwd=tmp_path)
    unreadable = run("explore", "textures", cwd=tmp_path, AUTOML_TRANSFER_STORAGE="mysql://x/y")
    assert "earlier tasks are left out: " in unreadable.stderr
    assert "nearest" not in unreadable.stdout


def test_init_writes_a_study_that_space_can_read(tmp_path: Path) -> None:
    run("init", "studies/ünï.toml", "--dataset", "photos/größe", cwd=tmp_path)
    assert "learning_rate" in run("space", "studies/ünï.toml", cwd=tmp_path).stdout
    assert "must not exist" in refused("init", "studies/ünï.toml", cwd=tmp_path)


def test_space_and_sources_tell_what_there_is(tmp_path: Path) -> None:
    dimensions = {row["name"]: row for row in json.loads(run("space", "--json", cwd=tmp_path).stdout)}
    assert dimensions["transfer_depth"]["paper"] == "Yosinski 2014"
    assert dimensions["freeze_depth"]["condition"]
    lite0 = run("space", "--source", "efficientnet-lite0", cwd=tmp_path).stdout
    assert "not with efficientnet-lite0: any but its default needs a network without norm layers" in " ".join(
        lite0.split()
    )
    vit = json.loads(run("space", "--source", "scratch/timm/test_vit", "--json", cwd=tmp_path).stdout)
    excluded = {row["name"]: row["excluded"] for row in vit if row["excluded"]}
    assert excluded["stoch_norm"] == ["any but its default needs batch norms: it has none"]
    assert excluded["anchor"] == ["co_tuning needs the source's own classifier: it comes without one"]
    sources = {row["name"]: row for row in json.loads(run("sources", "--json", cwd=tmp_path).stdout)}
    assert sources["efficientnet-lite0"]["available"]
    assert sources["efficientnet-lite0"]["licence"] == "Apache-2.0"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("search", "nosuch"), ("dataset", "nosuch", "digits")),
        (("search", "nosuch.toml"), ("study file", "nosuch.toml")),
        (("space", "--source", "nosuch-net"), ("nosuch-net",)),
        (
            ("search", "digits", "--set", "space.weight_scale=1.5"),
            ("space.weight_scale", "1.5 needs a network without norm layers", "efficientnet-lite0"),
        ),
        (
            ("search", "digits", "--set", "space.anchor=co_tuning"),
            ("space.truncation: must be 8 where anchor is co_tuning, got a range", "space.transfer_depth"),
        ),
        (("search", "digits", "--preset", "huge"), ("preset", "huge", "quick")),
        (
            ("search", "digits", "--set", "search.reduction_factor=1"),
            ("search.reduction_factor", "greater than or equal to 2", "1"),
        ),
        (
            ("search", "digits", "--set", "search.max_steps=4", "--set", "search.min_epochs=5"),
            ("min_epochs must be <= the epochs that max_steps = 4 make (4), got 5",),
        ),
        (("search", "digits", "--set", "search.trials=0", "--set", "search.x=1"), ("trials", "search.x")),
        (("search", "digits", "--set", "space.source=nosuch-net"), ("nosuch-net",)),
        (("search", "digits", "--storage", "mysql://root@localhost/x"), ("sqlite", "postgresql")),
        (("search", "digits", "--device", "cuda:99"), ("device", "cuda:99")),
        (("report", "nosuch"), ("study",)),
        (("report", "small", "--json", "--csv"), ("both", "choose one")),
        (("report", "small", "--html", "no/such/folder/x.html"), ("folder", "no/such/folder")),
        (("search", "digits", "--confirm", "some"), ("--confirm", "off", "'some'")),
        (("search", "digits", "--set", "search.confirm=-1"), ("error: preset quick: search.confirm", "-1")),
        (("report", "small", "--confirm", "-1"), ("--confirm must be a number of strategies, got '-1'",)),
        (("status", "nosuch"), ("study",)),
        (("predict", "nomodel", "."), ("nomodel",)),
        (("explore", "digits?per_klass=3"), ("per_klass", "per_class")),
        (("nosuchcommand",), ("nosuchcommand",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)  # fmt: skip
def test_bad_input_is_one_clear_error(
    arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    error = refused(*arguments, cwd=tmp_path)
    for word in words:
        assert word in error


def test_a_folder_with_an_unreadable_image_is_refused_or_skipped(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, level in (("hell", 200), ("dunkel", 50)):
        (tmp_path / "bilder" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 50, (20, 20, 3)) + level
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "bilder" / name / f"{number}.png")
    whole = (tmp_path / "bilder" / "hell" / "0.png").read_bytes()
    (tmp_path / "bilder" / "hell" / "kaputt.png").write_bytes(whole[: len(whole) // 2])
    error = refused("search", "bilder", *QUICK, "--cache", "cache", cwd=tmp_path)
    assert "hell/kaputt.png" in error
    assert "--on-bad-image skip" in error
    run("search", "bilder", "--on-bad-image", "skip", *QUICK, "--cache", "cache", cwd=tmp_path)
    recipe = json.loads((tmp_path / "runs" / "bilder-quick" / "best_strategy.json").read_text())
    assert recipe["metrics"]["test"]["accuracy"] == 1.0


@pytest.mark.skipif(
    os.geteuid() == 0 and not Path("/proc/version").exists(), reason="root may write anywhere"
)
def test_a_read_only_output_is_refused_before_any_work(tmp_path: Path) -> None:
    place = tmp_path / "closed"
    place.mkdir()
    if os.geteuid() == 0:
        place = Path("/proc/closed")
    else:
        place.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert "writable" in refused("search", "digits", "--output", place / "x", cwd=tmp_path)


def test_a_sample_in_the_help_keeps_its_lines(tmp_path: Path) -> None:
    text = run("study", "list", "--help", cwd=tmp_path).stdout
    assert "\n  $ automl-transfer study list\n  study  task " in text
    assert "\\b" not in text


def test_a_checkpoint_that_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"conv1.weight": np.zeros((3, 3), np.float32)}, tmp_path / "net.safetensors")
    error = refused(
        "search", "digits?per_class=20", "--set",
        f"space.source=checkpoint/torchvision/resnet18@{tmp_path / 'net.safetensors'}", cwd=tmp_path,
    )  # fmt: skip
    assert "must fit ResNet tensor by tensor" in error
    assert "conv1.weight" in error
    assert not (tmp_path / "runs").exists()
