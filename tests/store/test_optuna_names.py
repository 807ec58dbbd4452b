"""FINDINGS C17: what is undocumented of Optuna lies in one file, and each name of it is still what it was."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage

from automl_transfer.store import optuna_names
from automl_transfer.store.schema import OPTUNA_HEAD

PACKAGE = Path(optuna_names.__file__).parents[1]
TABLES = {
    "studies": ("studies", {"study_id", "study_name"}),
    "directions": ("study_directions", {"study_id", "objective", "direction"}),
    "trials": ("trials", {"trial_id", "number", "study_id", "state", "datetime_start", "datetime_complete"}),
    "params": ("trial_params", {"param_id", "trial_id", "param_name", "param_value", "distribution_json"}),
    "values": ("trial_values", {"trial_id", "objective", "value", "value_type"}),
    "intermediate": (
        "trial_intermediate_values", {"trial_id", "step", "intermediate_value", "intermediate_value_type"},
    ),
    "user_attributes": ("trial_user_attributes", {"trial_id", "key", "value_json"}),
    "system_attributes": ("trial_system_attributes", {"trial_id", "key", "value_json"}),
    "heartbeats": ("trial_heartbeats", {"trial_id", "heartbeat"}),
    "study_user_attributes": ("study_user_attributes", {"study_id", "key", "value_json"}),
    "study_system_attributes": ("study_system_attributes", {"study_id", "key", "value_json"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def made_by_optuna(tmp_path_factory: pytest.TempPathFactory) -> RDBStorage:
    return RDBStorage(f"sqlite:///{tmp_path_factory.mktemp('db') / 'optuna.db'}")


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_its_name_and_columns(name: str, made_by_optuna: RDBStorage) -> None:
    called, columns = TABLES[name]
    table = getattr(optuna_names, name)
    assert table.name == called
    assert columns <= set(table.c.keys())
    there = {column["name"] for column in sa.inspect(made_by_optuna.engine).get_columns(called)}
    assert set(table.c.keys()) == there


def test_the_schema_and_its_migrations(made_by_optuna: RDBStorage) -> None:
    assert set(optuna_names.METADATA.tables) <= set(sa.inspect(made_by_optuna.engine).get_table_names())
    assert isinstance(optuna_names.SCHEMA_VERSION, int)
    found = "".join(path.read_text() for path in optuna_names.MIGRATIONS.glob("versions/*.py"))
    assert f'"{OPTUNA_HEAD}"' in found


def test_the_version_is_stamped_as_optuna_does(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'new.db'}")
    optuna_names.METADATA.create_all(engine)
    optuna_names.stamp_version(engine)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == OPTUNA_HEAD
    engine.dispose()


def test_how_numbers_are_stored() -> None:
    assert optuna_names.VALUE.value_to_stored_repr(0.5)[0] == 0.5
    assert optuna_names.CURVE_VALUE.intermediate_value_to_stored_repr(0.5)[0] == 0.5
    stored, kind = optuna_names.CURVE_VALUE.intermediate_value_to_stored_repr(math.nan)
    assert (stored, kind.name) == (None, "NAN")


def test_what_a_distribution_may_give() -> None:
    lengths = optuna.distributions.IntDistribution(1, 3)
    assert [optuna_names.contains(lengths, value) for value in (0, 1, 3, 4)] == [False, True, True, False]


def test_the_cache_gives_what_the_storage_has(made_by_optuna: RDBStorage) -> None:
    cached = optuna_names.cached(made_by_optuna)
    study = optuna.create_study(storage=cached, study_name="cached")
    study.optimize(lambda trial: 1.0, n_trials=1)
    assert [trial.value for trial in cached.get_all_trials(study._study_id)] == [1.0]


def test_pruners_keep_rungs_under_their_key() -> None:
    study = optuna.create_study(pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1))
    trial = study.ask()
    trial.report(0.5, 1)
    trial.should_prune()
    kept = study._storage.get_trial(trial._trial_id).system_attrs
    assert any(key.startswith(optuna_names.RUNG) for key in kept)


def test_artifacts_are_found_under_their_key(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "a.txt").write_text("a")
    study = optuna.create_study()
    trial = study.ask()
    store = optuna.artifacts.FileSystemArtifactStore(str(tmp_path / "store"))
    optuna.artifacts.upload_artifact(
        artifact_store=store, file_path=str(tmp_path / "a.txt"), study_or_trial=trial
    )
    kept = study._storage.get_trial(trial._trial_id).system_attrs
    assert all(key.startswith(optuna_names.ARTIFACT_PREFIX) for key in kept)
    assert kept


def test_no_other_file_imports_what_is_private_of_optuna() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "optuna":
                names = [*str(node.module).split("."), *(alias.name for alias in node.names)]
                assert path.name == "optuna_names.py" or not any(n.startswith("_") for n in names), path
