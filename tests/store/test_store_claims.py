"""Claims of a study's work beside its trials: one holder at a time, over processes that die."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
import waiting
from store_helpers import open_study, outputs, start

from automl_transfer.errors import StudyError
from automl_transfer.store import tables as t
from automl_transfer.store.claims import Claims
from automl_transfer.store.store import Store
from automl_transfer.store.values import StudyHandle


def claims(store: Store, study: StudyHandle, worker: str, *dead: str, grace: float = 60.0) -> Claims:
    return Claims(store, study, worker, grace=grace, is_dead=lambda name: name in dead)


def test_one_holder_at_a_time(database_url: str) -> None:
    store, study = open_study(database_url)
    one, other = claims(store, study, "one"), claims(store, study, "other")
    assert one.take("profile")
    assert one.take("profile")  # repeated: a lost answer
    assert not other.take("profile")
    assert other.take("ship")
    assert sorted((held.work, held.worker) for held in one.held()) == [("profile", "one"), ("ship", "other")]
    one.give_back("profile")
    assert other.take("profile")
    other.give_back()
    assert one.held() == []
    store.close()


def test_work_of_the_dead_and_of_the_silent_is_taken_over(database_url: str) -> None:
    store, study = open_study(database_url)
    dead = claims(store, study, "dead")
    assert dead.take("profile")
    assert not claims(store, study, "b").take("profile")
    assert claims(store, study, "b", "dead").take("profile")
    dead.give_back()  # it is another's now
    assert [held.worker for held in claims(store, study, "c").held()] == ["b"]
    assert claims(store, study, "c", grace=0.0).take("profile")
    store.close()


def test_after_an_outage_the_living_keep_their_work(database_url: str) -> None:
    """All beats are older than the grace then, and whoever looks first took everything over."""
    store, study = open_study(database_url)
    one, other = claims(store, study, "one"), claims(store, study, "other")
    assert one.take("ship")
    with store.engine.begin() as connection:
        connection.execute(sa.update(t.at_claims).values(beat=t.at_claims.c.beat - 100.0))
    assert not other.take("ship")
    assert [held.worker for held in other.held()] == ["one"]
    hasty = claims(store, study, "hasty", grace=0.5)
    assert not hasty.take("ship")
    one.beat()
    assert not hasty.take("ship")
    assert not other.take("ship")
    waiting.until(lambda: hasty.take("ship"))  # nobody beats any more: half of its grace was watched
    store.close()


def test_the_end_of_a_search_is_told_and_all_goes_with_the_study(database_url: str) -> None:
    store, study = open_study(database_url)
    one = claims(store, study, "one")
    assert one.take("search one")
    assert [held.left for held in one.held()] == [None]
    one.ends_in("search one", 100.0)
    (held,) = one.held()
    assert held.left is not None
    assert 0 < held.left <= 100
    one.ends_in("search one", -1.0)
    assert (one.held()[0].left or 0.0) < 0
    store.delete(study.name)
    assert one.held() == []
    with pytest.raises(StudyError, match="must still be in the store"):
        one.take("profile")
    store.close()


def test_many_processes_that_want_the_same_work_get_each_piece_once(database_url: str) -> None:
    store, _ = open_study(database_url)
    store.close()
    processes = [start("take_work", database_url, 20) for _ in range(3)]
    taken = " ".join(outputs(processes)).split()
    assert sorted(map(int, taken)) == list(range(20))
