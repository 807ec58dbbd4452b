"""A worker's log: every line says which study, trial, root and attempt it is about."""

# ruff: noqa: D102  (the methods are those of Observer)

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from automl_transfer.domain.records import EpochResult, TrialState
from automl_transfer.redaction import redacted
from automl_transfer.search.objective import TrialEnd
from automl_transfer.search.promoting import Ended
from automl_transfer.store.values import Claim, Reaped
from automl_transfer.workers.repeated import EVERY, Pulse

FORMATS = ("text", "json")
_FIELDS = ("study", "trial", "root", "attempt")

log = logging.getLogger(__name__)


class LogObserver:
    """Logs what a worker does; also the filter that marks every other line of this process.

    Within `pulse` it also logs what goes on after every minute without a line.

    Args:
        study: Name of the study.
        every: Seconds of silence before such a line.
    """

    def __init__(self, study: str, *, every: float = EVERY) -> None:
        self._study = study
        self._claim: Claim | None = None
        self.pulse = Pulse(lambda doing: log.info("still %s", doing), every)

    def filter(self, record: logging.LogRecord) -> bool:
        """Add study, trial, root and attempt to a record."""
        self.pulse.said()
        claim = self._claim
        record.study = self._study
        record.trial = claim.number if claim else None
        record.root = claim.root if claim else None
        record.attempt = claim.attempt if claim else None
        return True

    def on_progress(self, what: str, done: int, total: int) -> None:
        """Data are being prepared."""
        self.pulse.doing(f"{what}: {done:,} of {total:,}" if done < total else "loading the sources")

    def on_claim(self, claim: Claim) -> None:
        self._claim = claim
        self.pulse.doing(f"training {claim.strategy.describe()}")
        after = f" after epoch {claim.checkpoint.epoch}" if claim.checkpoint else ""
        log.info("%s%s: %s", "goes on" if after else "starts", after, claim.strategy.describe())

    def on_epoch(self, claim: Claim, result: EpochResult) -> None:
        log.info(
            "epoch %d: validation accuracy %.4f, loss %.4f, %.1f s",
            result.epoch,
            result.accuracy,
            result.validation_loss,
            result.seconds,
        )

    def on_end(self, claim: Claim, end: TrialEnd) -> None:
        level = logging.WARNING if end.state is TrialState.FAIL else logging.INFO
        value = f" {end.value:.4f}" if end.value is not None else ""
        state = "released" if end.state is TrialState.WAITING else end.state.value.lower()
        state = "paused" if end.paused is not None else state
        log.log(level, "%s%s: %s", state, value, end.stop)
        self._claim = None
        self.pulse.doing("")

    def on_reaped(self, reaped: Reaped) -> None:
        then = f"trial {reaped.child} continues it" if reaped.child is not None else "no attempt is left"
        log.warning("trial %d (root %d) lost its worker; %s", reaped.number, reaped.root, then)

    def on_paused_ended(self, ended: Ended) -> None:
        if ended.roots:
            log.info("pruned after a pause, trials %s: %s", ", ".join(map(str, ended.roots)), ended.why)

    def on_idle(self, reason: str) -> None:
        self.pulse.doing(f"waiting: {reason}")
        log.debug("waiting: %s", reason)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        known = " ".join(
            f"{name}={value}" for name in _FIELDS if (value := getattr(record, name, None)) is not None
        )
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return f"{time} {record.levelname.lower()} {known} {redacted(record.getMessage())}{redacted(trace)}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            **{name: getattr(record, name, None) for name in _FIELDS},
            "message": redacted(record.getMessage()),
            "logger": record.name,
        }
        if record.exc_info:
            line["exception"] = redacted(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def log_worker(observer: LogObserver, style: str, *, stream: TextIO | None = None) -> None:
    """Send this package's log to stderr, as lines for people or as JSON, one object a line."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Text())
    handler.addFilter(observer.filter)
    logger = logging.getLogger("automl_transfer")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
