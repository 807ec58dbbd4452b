"""Turns what a person typed (a study file, or a dataset with a preset) into a specification."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from automl_transfer.domain.names import presentable
from automl_transfer.domain.spec import StudySpec
from automl_transfer.errors import ConfigurationError
from automl_transfer.space.study_file import preset_path, read_study

LONGEST = 100
"""Characters of a dataset's name and options in the name of its study."""


def study_spec(
    what: str,
    preset: str,
    settings: Sequence[str],
    *,
    name: str | None = None,
    data_root: Path | None = None,
    **given: Any,
) -> StudySpec:
    """Read `what` as a study file if it ends in .toml, else as a dataset under a preset.

    A folder that is given as `.` or `..` has the name that it really has, below `data_root` or here.

    Raises:
        ConfigurationError: With every mistake.
    """
    if what.endswith(".toml"):
        return read_study(Path(what), settings, name=name, **given)
    for setting in settings:
        if setting.partition("=")[0].strip() == "task.dataset":
            raise ConfigurationError(
                f"a dataset must be named once, got {what!r} and --set {setting}: leave one of them out"
            )
    path, _, options = what.partition("?")
    base = Path(path.rstrip("/")).name or path
    if base.strip("./\\") == "":
        base = ((data_root or Path()) / path).resolve().name
    # A leading dot would hide the results.
    words = [base.lstrip(".") or "dataset", *re.findall(r"\w+", options)]
    derived = f"{presentable('-'.join(words), LONGEST)}-{preset}"
    name = derived if name is None else name
    given["task__dataset"] = what
    # Nobody named the preset's file, and no mistake is in it.
    return read_study(preset_path(preset), settings, called=f"preset {preset}", name=name, **given)
