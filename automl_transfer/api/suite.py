"""Several datasets in one go: a study each, each warm from those before, and one report across all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from automl_transfer.api.report import PAGE, read_report
from automl_transfer.api.search import SearchResult
from automl_transfer.domain.spec import StudySpec
from automl_transfer.domain.strict_json import read_json
from automl_transfer.errors import OutputError, UserError
from automl_transfer.files import kind_at
from automl_transfer.recipes.output import check_output_folder, make_folder, owner_of, write_json, write_text
from automl_transfer.reporting.study_report import StudyReport
from automl_transfer.search.auto_sources import is_auto
from automl_transfer.search.noise import asked_for_more
from automl_transfer.space.suite_file import Suite
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL

STATE = "suite.json"
STATE_SCHEMA = "automl-transfer/suite/1"


@dataclass(frozen=True)
class Ended:
    """How a study of a suite ended.

    Attributes:
        result: None where it was finished by an earlier call, or failed.
        failed: Why it could not be searched; the others go on.
    """

    spec: StudySpec
    result: SearchResult | None = None
    failed: str = ""

    @property
    def lacks_a_model(self) -> bool:
        """Whether it came to its end, or failed, and nothing was shipped."""
        return bool(self.failed) or (
            self.result is not None and self.result.finished and self.result.recipe is None
        )


class SuiteRun:
    """Runs a suite; the same again goes on where it stopped, and searches nothing twice.

    Args:
        suite: What to search.
        storage: Where the studies lie.
        folder: A folder of its own for each study, the state of the suite and the report across all.
    """

    def __init__(self, suite: Suite, storage: StoreURL, folder: Path) -> None:
        self.suite, self.folder = suite, folder
        self._storage = storage

    def run(self, search: Callable[[StudySpec, Path], SearchResult]) -> Iterator[Ended]:
        """Search what is not finished, in order; ends early where a search was interrupted.

        Args:
            search: Searches one study, with its results in the folder given.

        Raises:
            OutputError: The folder cannot be written; nothing was.
        """
        if kind_at(self.folder / STATE, "the folder of a suite", OutputError) != "file":
            check_output_folder(self.folder)
            if owner_of(self.folder) is not None:
                raise OutputError(
                    f"the folder of a suite must not be that of a study, got {self.folder}: choose another "
                    "--output"
                )
            make_folder(self.folder)
            self._write({})
        for spec in self.suite.studies:
            if self._is_finished(spec):
                yield Ended(spec)
                continue
            try:
                result = search(spec, self.folder / spec.name)
            except UserError as error:
                yield Ended(spec, failed=str(error))
                continue
            if result.finished and result.recipe is not None:
                self._note(spec)
            yield Ended(spec, result)
            if result.interrupted:
                return

    def report(self) -> list[StudyReport]:
        """Read what all studies have, and write the page across all."""
        from automl_transfer.reporting.output import as_page

        if self._storage.is_missing:  # nothing could be begun
            return []
        with Store.open(self._storage) as store:
            there = {entry.name for entry in store.studies()}
            reports = [read_report(store, spec.name) for spec in self.suite.studies if spec.name in there]
        if reports:
            write_text(self.folder / PAGE, as_page(reports))
        return reports

    def _is_finished(self, spec: StudySpec) -> bool:
        """Whether an earlier call finished this very study, with what is asked for now."""
        identity = self._finished().get(spec.name)
        if identity is None or self._storage.is_missing:
            return False
        with Store.open(self._storage) as store:
            found = store.find(identity=identity)
            # As a search has it: where more trials were asked for once, the study ends with its budget.
            spec = asked_for_more(Trials(store), found, spec)
        # A source that was chosen for a study stands in it, so only what was said is compared.
        named = not is_auto(spec)
        return (
            found is not None
            and found.name == spec.name
            and _said(found.spec, sources=named) == _said(spec, sources=named)
        )

    def _note(self, spec: StudySpec) -> None:
        with Store.open(self._storage) as store:
            identity = store.study(spec.name).identity
        self._write({**self._finished(), spec.name: identity})

    def _write(self, finished: dict[str, str]) -> None:
        state = {"schema": STATE_SCHEMA, "suite": self.suite.name, "finished": finished}
        write_json(self.folder / STATE, state)

    def _finished(self) -> dict[str, str]:
        """Identities of finished studies, by name; none where the file is missing or something else."""
        try:
            state = read_json(self.folder / STATE)
        except UserError:
            return {}
        found = state.get("finished") if state.get("schema") == STATE_SCHEMA else None
        if not isinstance(found, dict):
            return {}
        return {name: each for name, each in found.items() if isinstance(each, str)}


def _said(spec: StudySpec, *, sources: bool) -> tuple[object, ...]:
    said = {name: each for name, each in spec.space.items() if sources or name != "source"}
    return spec.task, spec.search, said


def lines(reports: Sequence[StudyReport]) -> list[tuple[str, str, str, str, str]]:
    """For each study: name, task, the best strategy's score, its test accuracy, and how long it took."""
    from automl_transfer.reporting.story import spent

    found = []
    for report in reports:
        best, winner = report.ranking.best, report.winner
        score = "-" if best is None else f"{(best.confirmation or best.validation).score:.3f}"
        test = "-" if winner is None or winner.test_accuracy is None else f"{winner.test_accuracy:.3f}"
        found.append((report.study, report.ranking.task.name, score, test, spent(report) or "-"))
    return found
