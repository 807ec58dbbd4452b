"""Signatures in the store: one a task, told of further sources, and gone with the task's last study."""

from __future__ import annotations

import json
import multiprocessing
from typing import Any

import sqlalchemy as sa
from store_helpers import TASK, open_study, spec

from automl_transfer.domain.evidence import CutRecord, ProfileRecord
from automl_transfer.domain.signature import TaskSignature
from automl_transfer.store import schema
from automl_transfer.store import tables as t
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.signatures import Signatures
from automl_transfer.store.store import Store
from automl_transfer.store.url import StoreURL


def signature(task: str = TASK.fingerprint, **of: float) -> TaskSignature:
    return TaskSignature(
        task=task, images=60, classes=2, least=30, most=30, entropy=1.0, width=8, height=8, resolution=32,
        channels=1, channel_mean=(0.5,), channel_std=(0.5,),
        profile={source: {8: accuracy} for source, accuracy in of.items()},
        measured=dict.fromkeys(of, 60),
    )  # fmt: skip


def test_a_task_has_one_which_learns_of_further_sources(database_url: str) -> None:
    store, _ = open_study(database_url)
    kept = Signatures(store)
    kept.keep(signature(a=0.5))
    kept.keep(signature("cd" * 32))
    kept.keep(signature(a=0.25, b=0.75))
    assert kept.all() == [signature(a=0.5, b=0.75), signature("cd" * 32)]
    assert kept.of("cd" * 32) == signature("cd" * 32)
    assert kept.of("ef" * 32) is None
    store.close()


def _keep(url: str, name: str) -> None:
    with Store.open(StoreURL.parse(url)) as store:
        Signatures(store).keep(signature(TASK.fingerprint, **{name: 0.5}))


def test_processes_keep_the_same_one_at_once(database_url: str) -> None:
    store, _ = open_study(database_url)
    Signatures(store).keep(signature())
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_keep, args=(database_url, name)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    (found,) = Signatures(store).all()
    assert found.sources == ("a", "b", "c")
    store.close()


def test_it_goes_with_the_last_study_of_its_task(database_url: str) -> None:
    store, study = open_study(database_url)
    store.create_study(spec("t"), study.task, artifact_url="artifacts", sources={})
    kept = Signatures(store)
    kept.keep(signature())
    kept.keep(signature("cd" * 32))  # of a study that plain Optuna deleted, say
    store.delete("s")
    assert kept.all() == [signature()]
    store.delete("t")
    assert kept.all() == []
    store.close()


def test_one_that_cannot_be_read_troubles_no_other_and_stays(database_url: str) -> None:
    store, _ = open_study(database_url)
    kept = Signatures(store)
    for task in ("cd" * 32, "ef" * 32):
        kept.keep(signature(task))
    newer = signature("cd" * 32).to_json().replace("{", '{"colours":3,', 1)
    with store.engine.begin() as connection:
        where = t.at_signatures.c.task == "cd" * 32
        connection.execute(sa.update(t.at_signatures).where(where).values(result=newer))
    kept.keep(signature("cd" * 32, a=0.5))
    assert kept.all() == [signature("ef" * 32)]
    with store.engine.connect() as connection:
        assert newer in connection.execute(sa.select(t.at_signatures.c.result)).scalars().all()
    store.close()


def test_down_and_up_again(database_url: str) -> None:
    """A program of the schema before reads the profiles, which hold scores no more; the table comes back."""
    store, study = open_study(database_url)
    cut: dict[str, Any] = {"cut": 1, "grid": 1, "features": 8, "loo_accuracy": 0.5, "loo_nll": 1.0,
                           "ridge_lambda": 1.0, "truncation": 8}  # fmt: skip
    plain = ProfileRecord(source="a", normalise="source", images=9, seconds=0.5, cuts=(CutRecord(**cut),))
    scored = plain.model_copy(
        update={
            "frechet": 1.5,
            "cuts": (CutRecord(**cut, scores={"logme": -0.5}),),
            "unscored": {"gbc": "no"},
        }
    )
    Evidence(store).add_profile(study, scored)
    Signatures(store).keep(signature())
    with store.engine.begin() as connection:
        schema.migrate(connection, "v0005")
    with store.engine.connect() as connection:
        assert not sa.inspect(connection).has_table("at_signatures")
        text = connection.execute(sa.select(t.at_profiles.c.result)).scalar_one()
    assert json.loads(text) == json.loads(plain.model_dump_json())
    with Store.open(store.url) as again:
        assert Signatures(again).all() == []
        assert Evidence(again).profiles(study) == [plain]
    store.close()
