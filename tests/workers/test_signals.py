"""Stopping in order: which reason counts, and what a signal ends."""

from __future__ import annotations

import signal

from automl_transfer.workers.signals import StopRequest


def test_the_first_reason_stays() -> None:
    stop = StopRequest()
    assert (stop.reason, stop.seconds_asked) == (None, 0.0)
    stop.ask("asked by the launcher")
    stop.ask("something else")
    assert (stop.reason, stop.signal) == ("asked by the launcher", None)
    assert stop.event.is_set()


def test_a_deadline_may_be_moved_and_is_no_request() -> None:
    """A search has its time for trials, and then for confirmation and shipping."""
    stop = StopRequest(deadline=0.0)
    assert (stop.reason, stop.asked) == ("the time of the search is used up", None)
    assert stop.seconds_asked > 0.0
    stop.until(None)
    assert (stop.reason, stop.seconds_asked) == (None, 0.0)


def test_a_signal_is_heard_after_the_time_is_up() -> None:
    """A search confirms its best strategies after its time: Ctrl-C must end that, too."""
    stop = StopRequest(deadline=0.0)
    assert stop.reason == "the time of the search is used up"
    assert stop.signal is None
    stop.ask("SIGINT received", signal.SIGINT)
    assert (stop.reason, stop.signal) == ("SIGINT received", signal.SIGINT)
    stop.ask("SIGTERM received", signal.SIGTERM)
    assert (stop.reason, stop.signal) == ("SIGINT received", signal.SIGINT)
