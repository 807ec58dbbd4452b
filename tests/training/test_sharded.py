"""Two processes that train together, with whole weights or with a part each: the losses of one process."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import forge
import pytest
from two_members import run_of, trained

pytestmark = pytest.mark.timeout(600)  # every message waits for both processes, perhaps beside other work

Found = list[dict[str, Any]]

STILL = {"norm_policy": "frozen"}
STRATEGIES: dict[str, dict[str, Any]] = {
    # Of a bias below a norm AdamW moves what rounding says.
    "norms train": {"optimizer": "sgd", "learning_rate": 0.05},
    "bias": {"tune_mode": "bias", "optimizer": "sgd", "learning_rate": 0.05},
    "uneven": {**STILL, "batch": 33},
    "sgd, l2sp": {**STILL, "anchor": "l2sp", "anchor_weight": 0.1, "optimizer": "sgd", "learning_rate": 0.05},
    "ema": {**STILL, "ema": 0.9},
    "wise": {**STILL, "wise_alpha": 0.5, "head_init": "ridge"},
    "delta, clipped": {**STILL, "anchor": "delta", "anchor_weight": 0.01, "clip": 1.0},
    "gradual": {**STILL, "phases": "gradual"},
    "freezing": {**STILL, "phases": "freezing"},
    "head": {"tune_mode": "head"},
    "surgical": {"tune_mode": "surgical", "block": "middle"},
    "upper part": {**STILL, "tune_mode": "suffix", "freeze_depth": 4},
    "adapter": {**STILL, "tune_mode": "adapter"},
}


def together(folder: Path, cases: Sequence[dict[str, Any]]) -> tuple[Found, str]:
    """What the first of two members found in each case, and what they said."""
    (folder / "meet").unlink(missing_ok=True)
    (folder / "cases.json").write_text(json.dumps(list(cases)), encoding="utf-8")
    line = [str(Path(__file__).with_name("two_members.py")), str(folder)]
    with ExitStack() as running:
        members = []
        for rank in (0, 1):
            environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
            log = running.enter_context((folder / f"log{rank}").open("wb"))
            members.append(forge.start(line, environment, log))
            running.callback(members[-1].wait)
            running.callback(members[-1].kill)
        codes = [member.wait(timeout=300) for member in members]
    said = "".join((folder / f"log{rank}").read_text(encoding="utf-8") for rank in (0, 1))
    assert codes == [0, 0], said
    return json.loads((folder / "found.json").read_text(encoding="utf-8")), said


def alone(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    return trained(run_of(case, folder), {}, folder)


def assert_near(
    found: dict[str, Any], expected: dict[str, Any], *, rel: float = 1e-4, name: str = ""
) -> None:
    assert len(found["losses"]) == len(expected["losses"])
    for one, two in zip(found["losses"], expected["losses"], strict=True):
        assert one == pytest.approx(two, rel=rel), name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("together")


def test_parts_of_weights_give_the_losses_of_whole_ones(folder: Path) -> None:
    cases = [{"changes": each, "epochs": 4 if "phases" in each else 2} for each in STRATEGIES.values()]
    found, _ = together(folder, cases)
    for name, case, each in zip(STRATEGIES, cases, found, strict=True):
        expected = alone(folder, case)
        assert each["conditions"]["shard"] == "fsdp", name
        assert_near(each, expected, name=name)
        own, whole = each["kept"]
        assert 0.4 * whole < own < 0.65 * whole, name
        assert "shard" not in expected["conditions"]


def test_what_reads_whole_weights_has_them_and_says_so(folder: Path) -> None:
    """Also: low-rank factors follow from the gradient of the whole step, on every device."""
    case = {"changes": {**STILL, "tune_mode": "lora", "rank": 2}}
    found, said = together(folder, [case, {**case, "shards": False}])
    assert said.count("all weights of this trial are on each device: LowRank reads them whole") == 2
    for each in found:
        assert each["conditions"]["devices"] == 2
        assert "shard" not in each["conditions"]
        assert_near(each, alone(folder, case))


@pytest.mark.parametrize("shards", [True, False])
def test_memory_that_runs_out_on_one_device_halves_the_batch_on_all(folder: Path, shards: bool) -> None:
    case = {"changes": STILL, "epochs": 3, "fails": True, "shards": shards}
    (found,), _ = together(folder, [case])
    assert found["batch"] == 16
    assert_near(found, alone(folder, {"changes": STILL, "epochs": 3}))


def test_checkpoints_go_on_with_any_number_of_devices(folder: Path) -> None:
    changes = {**STILL, "optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.05, "ema": 0.9}
    case = {"changes": changes, "epochs": 3}
    expected = alone(folder, case)
    steps = [{**case, "save": "of-parts"}, {**case, "restore": "of-parts", "shards": False}]
    run = run_of(case, folder)
    next(run.epochs())
    run.save(folder / "of-one")
    (whole, went_on, from_one), _ = together(folder, [*steps, {**case, "restore": "of-one"}])
    assert_near(whole, expected)
    again = run_of(case, folder)
    resumed = again.restore(folder / "of-parts")
    assert "shard was fsdp, is ddp" in resumed.differences
    for each in (went_on, from_one, trained(again, {}, folder)):
        assert_near({"losses": each["losses"]}, {"losses": expected["losses"][1:]})


def test_interrupted_with_parts_is_the_same_bit_for_bit(folder: Path) -> None:
    case = {"changes": {**STILL, "ema": 0.9, "dropout": 0.2}, "epochs": 3}
    (whole, again), _ = together(folder, [{**case, "save": "parts"}, {**case, "restore": "parts"}])
    assert whole["sha256"] == again["sha256"]


def test_each_device_draws_for_its_own_images(folder: Path) -> None:
    cases = [{"changes": STILL, "draws": True, "shards": shards} for shards in (True, False)]
    for found in together(folder, cases)[0]:
        first, second = found["drawn"]
        assert len(first) == len(second) == len({*first, *second}) / 2 > 4


def test_what_is_prepared_is_the_same_on_all_devices(folder: Path) -> None:
    """They began with an encoder each, of other noise even, and added up gradients of these."""
    changes = {**STILL, "prepare": "denoise", "prepare_steps": 8}
    case = {"changes": changes, "epochs": 1, "threads": [1, 2]}
    found, _ = together(folder, [case, {**case, "shards": False}])
    expected = alone(folder, case)
    for each in found:
        assert len(set(each["weights"])) == 1
        assert_near(each, expected)


@pytest.mark.parametrize("shards", [True, False])
def test_a_scaled_loss_is_scaled_alike_on_all(folder: Path, shards: bool) -> None:
    case = {"changes": {**STILL, "clip": 1.0}, "precision": "fp16", "shards": shards}
    (found,), _ = together(folder, [case])
    assert found["conditions"]["precision"] == "fp16"
    assert_near(found, alone(folder, {**case, "precision": "fp32"}), rel=0.02)
