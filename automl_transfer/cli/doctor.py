"""`automl-transfer explore --doctor`: what is wrong with a dataset."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer.cli.screen import console, print_json, watched

if TYPE_CHECKING:
    from automl_transfer.doctor.findings import Diagnosis
    from automl_transfer.domain.spec import StudySpec

STYLES = {"grave": "bold red", "look": "yellow", "note": "dim"}
SHOWN = 3


def run_doctor(
    spec: StudySpec,
    *,
    output: Path | None,
    device: str,
    data_root: Path | None,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Examine the study's dataset with its first source; print findings, write the folder."""
    from rich.progress import Progress

    from automl_transfer.api.examining import EXCLUDE, PAGE, check_output, diagnose, write_diagnosis

    if output is not None:
        check_output(output, spec.task, data_root)
    shown = console(stderr=True)
    with Progress(console=shown, transient=True, disable=not watched(shown)) as bar:
        task = bar.add_task("images", total=None)
        details, found = diagnose(
            spec.task,
            _source(spec, device),
            device=device,
            data_root=data_root,
            cache_root=cache,
            on_check=lambda what, done, total: bar.update(
                task, description=what, completed=done, total=total
            ),
        )
    written = [] if output is None else write_diagnosis(output, found, details)
    if as_json:
        import json

        print_json(json.loads(found.to_json()))
        return
    print_diagnosis(found)
    screen = console()
    if output is not None:
        screen.print(f"wrote {output}/: {', '.join(written)}", markup=False, soft_wrap=True)
        if EXCLUDE in written:
            screen.print(
                f"look at {output / PAGE}, strike out lines you do not agree with, then: automl-transfer "
                f"search ... --exclude {shlex.quote(str(output / EXCLUDE))}",
                markup=False,
                soft_wrap=True,
            )
    elif found.exclusions():
        screen.print("-o FOLDER writes a page with pictures, and lists for --exclude", markup=False)


def print_diagnosis(found: Diagnosis) -> None:
    """A paragraph a finding, with the first of its images."""
    from rich.text import Text

    from automl_transfer.reporting.plain import plain

    screen = console()
    checks = f"{len(found.checks)} checks of {found.images:,} images"
    with_source = f" with features of {plain(found.source)}" if found.source else ""
    screen.print(f"the data doctor: {len(found.findings)} findings by {checks}{with_source}", markup=False)
    for each in found.findings:
        line = Text(f"{each.weight}: ", style=STYLES[each.weight]).append(plain(each.short), style="bold")
        screen.print(line.append(f". {plain(each.says, 600)}", style="not bold"), soft_wrap=True)
        for suspect in each.suspects[:SHOWN]:
            score = "" if suspect.score is None else f" ({suspect.score:.3g})"
            twin = f" = {plain(suspect.twin)}" if suspect.twin else ""
            label = f", labelled {plain(suspect.label)}" if suspect.label else ""
            screen.print(
                Text(f"    {plain(suspect.image)}{twin}{label}: {plain(suspect.what)}{score}"), soft_wrap=True
            )
        screen.print(Text(f"    {plain(each.reliability, 900)}", style="dim"), soft_wrap=True)
    for check in found.checks:
        if check.skipped:
            screen.print(Text(f"not made: {check.title}: {plain(check.skipped, 500)}"), soft_wrap=True)


def _source(spec: StudySpec, device: str) -> str:
    """The first pretrained source of the study; the default one where it has none."""
    from automl_transfer.api.examining import DEFAULT_SOURCE
    from automl_transfer.domain.dimensions import is_pretrained
    from automl_transfer.search.auto_sources import candidates, is_auto, with_sources
    from automl_transfer.space.space import Space

    if is_auto(spec):
        spec = with_sources(spec, candidates(spec, accelerated=device.startswith("cuda")))
    names = [name for name in Space.from_settings(spec.space).sources if is_pretrained({"source": name})]
    return names[0] if names else DEFAULT_SOURCE
