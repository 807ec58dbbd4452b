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
    name = derived_name(what, preset, data_root) if name is None else name
    return read_study(preset_path(preset), settings, name=name, task__dataset=what, **given)


def derived_name(dataset: str, what: str, data_root: Path | None = None) -> str:
    """A name for what is made of a dataset, such as `digits-per_class-20-quick`."""
    path, _, options = dataset.partition("?")
    base = Path(path.rstrip("/")).name or path
    if base.strip("./\\") == "":
        base = ((data_root or Path()) / path).resolve().name
    # A leading dot would hide the results.
    words = [base.lstrip(".") or "dataset", *re.findall(r"\w+", options)]
    return f"{presentable('-'.join(words), LONGEST)}-{what}"
