"""Runs the checks over a dataset."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from automl_transfer.aborting import Aborted, check_abort
from automl_transfer.data.base import Rows
from automl_transfer.data.task import LoadedDetails, LoadedTask
from automl_transfer.doctor.base import Patient
from automl_transfer.doctor.features import Features
from automl_transfer.doctor.findings import CheckDone, Diagnosis, Finding, gravest_first
from automl_transfer.doctor.registry import CHECKS, all_checks
from automl_transfer.domain.names import public_source
from automl_transfer.errors import DataError, SourceError, UserError

logger = logging.getLogger(__name__)

OnCheck = Callable[[str, int, int], None]


def examine(
    details: LoadedDetails,
    look: Callable[[LoadedTask, Rows], Features] | None = None,
    *,
    on_check: OnCheck = lambda what, done, total: None,
) -> Diagnosis:
    """Run every check; without `look`, the cheap ones alone.

    A check that cannot be made for these data says why in its place; one of another package that breaks is
    left out, with a warning.

    Args:
        details: The dataset.
        look: Makes the features of some rows, asked for once.
        on_check: Told what is being done.
    """
    patient = Patient(details, look)
    checks = list(all_checks(cheap_only=look is None))
    done: list[CheckDone] = []
    findings: list[Finding] = []
    for number, check in enumerate(checks):
        check_abort()
        on_check(f"looking for {check.title.lower()}", number, len(checks))
        began, skipped = time.perf_counter(), ""
        try:
            findings += list(check.examine(patient))  # all of a check, or nothing
        except (DataError, SourceError) as error:
            skipped = str(error)
        except (UserError, Aborted):
            raise
        except Exception as error:
            if check.name in CHECKS:
                raise
            # Another package's check: the other findings are worth more than it.
            logger.warning("the check %r is left out: %s: %s", check.name, type(error).__name__, error)
            skipped = f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - began
        done.append(CheckDone(name=check.name, title=check.title, seconds=seconds, skipped=skipped[:500]))
    task = patient.task.task
    return Diagnosis(
        dataset=task.name,
        fingerprint=task.fingerprint,
        images=len(patient.rows),
        source=public_source(patient.features.source) if "features" in vars(patient) else None,
        checks=tuple(done),
        findings=gravest_first(findings),
    )
