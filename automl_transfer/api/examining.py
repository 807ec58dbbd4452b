"""The data doctor from Python: a diagnosis of a dataset, and the files that say it."""

from __future__ import annotations

import csv
from os import PathLike
from pathlib import Path

from automl_transfer.api.frames import Frame, stated
from automl_transfer.data.contact_sheet import refuse_inside
from automl_transfer.data.exclude import write_exclusions
from automl_transfer.data.image_files import FileInventory
from automl_transfer.data.task import LoadedDetails, load_with_details
from automl_transfer.doctor.examine import OnCheck
from automl_transfer.doctor.examine import examine as examine_details
from automl_transfer.doctor.features import looker
from automl_transfer.doctor.findings import Diagnosis
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strict_json import validate
from automl_transfer.errors import OutputError
from automl_transfer.files import whole_file
from automl_transfer.machine import ensure_home, path_of
from automl_transfer.printable import cell
from automl_transfer.recipes.output import check_writable, make_folder, nearest_existing, write_text
from automl_transfer.search.workbench import check_device, digest_of

DEFAULT_SOURCE = "efficientnet-lite0"
EXCLUDE, WEIGHTS, GROUPS, PAGE, JSON = (
    "exclude.csv",
    "weights.csv",
    "groups.csv",
    "doctor.html",
    "doctor.json",
)

LISTS = (EXCLUDE, WEIGHTS, GROUPS)


def examine(
    dataset: str | PathLike[str] | TaskSpec | Frame,
    *,
    source: str = DEFAULT_SOURCE,
    output: str | PathLike[str] | None = None,
    device: str = "auto",
    data_root: Path | None = None,
    cache_root: Path | None = None,
    **settings: object,
) -> Diagnosis:
    """Look for what is wrong with a dataset: copies, wrong labels, shortcuts, backdoors. Nothing is changed.

    >>> examine("photos/cats").line()  # doctest: +SKIP
    'Copies across splits (3), Wrong labels (12)'

    Args:
        dataset: As for `explore`.
        source: Whose features the images are compared by.
        output: Folder for the page, JSON and lists; by default nothing is written.
        device: As for a search.
        data_root: As for a search.
        cache_root: As for a search.
        settings: Fields of `TaskSpec`.

    Raises:
        ConfigurationError: A setting is unknown or its value cannot be.
        DataError: There is no such dataset, or it makes no task.
        SourceError: The source is not on this machine.
        OutputError: The folder cannot be written.
    """
    ensure_home()
    with stated(dataset, None, None) as fields:
        spec = validate(TaskSpec, {**fields, **settings}, "the task")
        if output is not None:
            check_output(path_of(output), spec, data_root)
        details, found = diagnose(spec, source, device=device, data_root=data_root, cache_root=cache_root)
        if output is not None:
            write_diagnosis(path_of(output), found, details)
    return found


def diagnose(
    spec: TaskSpec,
    source: str,
    *,
    device: str = "auto",
    data_root: Path | None = None,
    cache_root: Path | None = None,
    on_check: OnCheck = lambda what, done, total: None,
) -> tuple[LoadedDetails, Diagnosis]:
    """The dataset, as far as it can be described, and every check on it. Raises what `examine` does."""
    check_device(device)  # these are said before images are decoded
    digest_of(source, spec.channels or 3)
    details = load_with_details(
        spec, data_root=data_root, cache_root=cache_root, progress=on_check, describe=True
    )
    return details, examine_details(
        details, looker(source, device=device, cache_root=cache_root), on_check=on_check
    )


def check_output(folder: Path, spec: TaskSpec, data_root: Path | None) -> None:
    """Refuse a folder for the doctor's files before the long look.

    Raises:
        OutputError: It lies in the dataset, cannot be written, or holds lists that the doctor did not write.
    """
    existing = nearest_existing(folder)
    refuse_inside(folder, spec, data_root, "the doctor's folder", "--output")
    check_writable(existing, folder)
    theirs = [name for name in LISTS if (folder / name).exists()]
    if theirs and not (folder / JSON).exists():
        raise OutputError(
            f"the doctor's folder must be new, empty or of an earlier look, got {folder} with "
            f"{', '.join(theirs)}: choose another --output"
        )


def write_diagnosis(folder: Path, found: Diagnosis, details: LoadedDetails) -> list[str]:
    """Write page, JSON, and the lists that have a line; returns the files' names.

    `exclude.csv` leaves suspects out, `weights.csv` lets doubtful labels count less instead; both are for
    `--exclude`. `groups.csv` names what belongs together, for `--group-from`.

    Raises:
        OutputError: The folder cannot be written.
    """
    from automl_transfer.reporting.html.doctor_page import doctor_page

    make_folder(folder)
    write_text(folder / PAGE, doctor_page(found, details.loaded))
    write_text(folder / JSON, found.to_json())
    written = [PAGE, JSON]
    for name, soft in ((EXCLUDE, False), (WEIGHTS, True)):
        listed = found.exclusions(soft=soft)
        if listed:
            write_exclusions(folder / name, listed)
            written.append(name)
        else:
            (folder / name).unlink(missing_ok=True)  # of an earlier look: it would be taken for this one's
    if _write_groups(folder / GROUPS, found, details):
        written.append(GROUPS)
    return written


def _write_groups(path: Path, found: Diagnosis, details: LoadedDetails) -> bool:
    """A table of all images by what the doctor takes for one thing, and the groups that there were."""
    inventory = details.inventory
    pairs = [
        (each.image, each.twin)
        for finding in found.findings
        if finding.check in ("copies", "near")
        for each in finding.suspects
        if each.twin is not None
    ]
    if not pairs or not isinstance(inventory, FileInventory):
        path.unlink(missing_ok=True)  # of an earlier look
        return False
    head = {key: key for key in inventory.keys}
    if inventory.groups is not None:
        first: dict[str, str] = {}
        head |= {
            key: first.setdefault(group, key)
            for key, group in zip(inventory.keys, inventory.groups, strict=True)
        }

    def top(key: str) -> str:
        while head[key] != key:
            head[key] = head[head[key]]
            key = head[key]
        return key

    for one, other in pairs:
        head[top(one)] = top(other)
    try:
        with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("file", "group"))
            writer.writerows((cell(key), cell(top(key))) for key in inventory.keys)
    except (OSError, UnicodeEncodeError) as error:
        raise OutputError(f"the groups must be writable, got {str(path)!r}: {error}") from error
    return True
