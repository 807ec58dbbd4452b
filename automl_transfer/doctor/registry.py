"""Names of checks. A new one is one file and one line here, or an entry point of another package.

The group of entry points is `automl_transfer.checks`; what they give is a `Check`, or a class of one. The
order is that of the work.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from automl_transfer import plugins
from automl_transfer.doctor.base import Check
from automl_transfer.errors import ConfigurationError

CHECKS: dict[str, str] = {
    "files": "doctor.checks.files:UnusableFiles",
    "blank": "doctor.checks.blank:BlankImages",
    "channels": "doctor.checks.channels:ConstantChannels",
    "copies": "doctor.checks.copies:ExactCopies",
    "near": "doctor.checks.near:NearCopies",
    "labels": "doctor.checks.labels:WrongLabels",
    "outliers": "doctor.checks.outliers:Outliers",
    "shortcuts": "doctor.checks.shortcuts:Shortcuts",
    "patches": "doctor.checks.patches:RepeatedPatches",
    "spectral": "doctor.checks.spectral:SpectralSignatures",
    "clusters": "doctor.checks.clusters:ActivationClusters",
}

CHEAP = ("files", "blank", "channels", "copies")
"""Built-in checks that are cheap, named so that a search imports no other."""

logger = logging.getLogger(__name__)


def all_checks(*, cheap_only: bool = False) -> Iterator[Check]:
    """Those built in, then those of other packages; one that is broken is warned of and left out."""
    for name in CHEAP if cheap_only else CHECKS:
        made: Check = plugins.chosen("checks", CHECKS, name, "a Check", noun="check")()
        yield made
    for name in plugins.names("checks", CHECKS.keys()):
        try:
            found = plugins.load("checks", name, _is_check, "a Check or a class of one")
            check = plugins.made("checks", name, found) if isinstance(found, type) else found
        except ConfigurationError as error:
            logger.warning("a check is left out: %s", error)
            continue
        if check.cheap or not cheap_only:
            yield check


def _is_check(found: object) -> bool:
    return isinstance(found, Check) or (isinstance(found, type) and issubclass(found, Check))
