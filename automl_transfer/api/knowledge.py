"""What studies tell of their tasks, as a file; and what a file adds to what is known here."""

from __future__ import annotations

from collections.abc import Sequence

from automl_transfer.domain.names import MAX_LABEL, presentable
from automl_transfer.domain.strategy import SPACE_VERSION
from automl_transfer.errors import StudyError
from automl_transfer.knowledge.document import SCHEMA, Knowledge, KnownTask
from automl_transfer.knowledge.naming import anonymous
from automl_transfer.search.earlier import of_store, of_study
from automl_transfer.store.store import Store


def knowledge_of(store: Store, studies: Sequence[str] = (), *, names: bool = False) -> Knowledge:
    """What studies know of their tasks; of all that have something to tell where none is named.

    Args:
        store: Where they are.
        studies: Names; each must have a strategy that came to its end.
        names: Keep names: of data, of sources' files (without their folders) and of plugins' methods.

    Raises:
        StudyError: There is no such study, or nothing to tell.
    """
    found: list[tuple[str, KnownTask]] = []
    for name in dict.fromkeys(studies):
        handle = store.study(name)
        known = of_study(store, handle)
        if known is None:
            raise StudyError(
                f"a study must have a strategy that came to its end to tell of, {name!r} has none: search "
                "longer"
            )
        found.append((handle.task.name, known))
    if not studies:
        found = [(study.task.name, known) for study, known in of_store(store)]
    if names:
        tasks = [known.model_copy(update={"name": presentable(name, MAX_LABEL)}) for name, known in found]
    else:
        tasks = [told for _, known in found if (told := anonymous(known)) is not None]
    if found and not tasks:
        raise StudyError(
            "a study's strategies must be ones that everybody has to be told without names, got a plugin's "
            "method in each: --names tells of them"
        )
    if not tasks:
        raise StudyError(
            "a store must have a study with a strategy that came to its end, got none: start one with "
            "'automl-transfer search'"
        )
    return Knowledge(schema_=SCHEMA, space=SPACE_VERSION, tasks=tuple(tasks))
