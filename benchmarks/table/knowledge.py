"""Makes the knowledge that ships with the program from the recorded table.

    python benchmarks/table/knowledge.py                        writes automl_transfer/knowledge/shipped.json
    python benchmarks/table/knowledge.py --signatures --photos FOLDER     works signatures out anew, from images

A strategy's result is its best validation accuracy, the mean over its seeds, as a rank among those of the task;
nothing of test is in it. Signatures are kept beside the table, in `recorded/signatures.json`, because making them
takes the images. The same table gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parent))
import numpy as np
from stored import DATA, RECORDED, Cell, TableError, TaskTable, read_all, write_whole

from automl_transfer.domain.dimensions import CLOSED_FORM
from automl_transfer.domain.signature import TaskSignature
from automl_transfer.domain.strategy import SPACE_VERSION
from automl_transfer.domain.warm import FirstAnswer
from automl_transfer.knowledge import library
from automl_transfer.knowledge.document import SCHEMA, Knowledge, KnownStrategy, KnownTask, StoredStrategy
from automl_transfer.knowledge.reading import ranks
from automl_transfer.search.earlier import curve_of

SIGNATURES, SOURCE = "signatures.json", "efficientnet-lite0"
FIRST: Mapping[str, FirstAnswer] = {
    "first: profile": "profile", "first: larger": "larger", "first: views": "views", "first: tuned": "tuned",
    "first: default": "default",
}  # fmt: skip


def known_of(table: TaskTable, signature: TaskSignature | None = None) -> KnownTask:
    """What a task's part of the table tells."""
    by_key: dict[str, list[Cell]] = {}
    for cell in table.cells:
        if cell.validation and not cell.failed:
            by_key.setdefault(cell.key[0], []).append(cell)
    scores = [float(np.mean([max(cell.validation) for cell in cells])) for cells in by_key.values()]
    trained = [c[0].spent for c in by_key.values() if c[0].strategy.tune_mode != CLOSED_FORM]
    usual = float(np.median(trained)) if trained else 1.0
    strategies = [
        KnownStrategy(
            strategy=StoredStrategy.of(cells[0].strategy),
            rank=rank,
            curve=curve_of(cells[0].validation, max(scores)),
            seconds=round(max(1e-4, cells[0].spent / usual), 4),
            answer=FIRST.get(cells[0].name),
        )
        for cells, rank in zip(by_key.values(), ranks(scores), strict=True)
    ]
    solved = table.answers.get("tuned") or table.answers["profile"]
    return KnownTask(
        signature=signature,
        name=table.name,
        mirrors=bool(table.facts["mirror"]),
        solved=StoredStrategy.of(solved),
        strategies=tuple(sorted(strategies, key=lambda each: -each.rank)),
    )


def made(tables: Mapping[str, TaskTable], signatures: Mapping[str, TaskSignature]) -> Knowledge:
    """The file of a table."""
    tasks = tuple(known_of(table, signatures.get(name)) for name, table in sorted(tables.items()))
    return Knowledge(schema_=SCHEMA, space=SPACE_VERSION, tasks=tasks)


def signatures_of(recorded: Path) -> dict[str, TaskSignature]:
    """Those that are kept beside the table; none where nobody made them."""
    file = recorded / SIGNATURES
    if not file.exists():
        return {}
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return {name: TaskSignature.from_json(json.dumps(value)) for name, value in document.items()}


def make_signatures(recorded: Path, data: Path, photos: Path | None) -> None:
    """Work the signatures of all recorded tasks out, and keep them beside the table."""
    import torch
    from images import load, spec_of

    from automl_transfer.data.signature import signature_of
    from automl_transfer.models.registry import get_source
    from automl_transfer.training.profile import Profiler

    torch.set_num_threads(1)
    found = {}
    for name in read_all(recorded):
        task = load(name, spec_of(name, data, photos), data / "cache")
        backbone = get_source(SOURCE).load(task.task.channels)
        profiler = Profiler(backbone, SOURCE, task, device=torch.device("cpu"), seed=0)
        profiler.look(1.0)
        signature = signature_of(task, [profiler.record()])
        found[name] = _rounded(json.loads(signature.to_json()))
        print(f"{name}: {signature.images} images, profile {signature.profile[SOURCE]}", flush=True)
    write_whole(recorded / SIGNATURES, found)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 5) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recorded", type=Path, default=RECORDED)
    default = Path(library.__file__).with_name(library.SHIPPED)
    parser.add_argument("--output", type=Path, default=default)
    parser.add_argument("--signatures", action="store_true", help="from images, before")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--photos", type=Path)
    asked = parser.parse_args()
    try:
        if asked.signatures:
            make_signatures(asked.recorded, asked.data, asked.photos)
        tables = read_all(asked.recorded)
    except TableError as error:
        sys.exit(str(error))
    knowledge = made(tables, signatures_of(asked.recorded))
    asked.output.write_text(knowledge.to_json(), encoding="utf-8")
    strategies = sum(len(task.strategies) for task in knowledge.tasks)
    signed = sum(task.signature is not None for task in knowledge.tasks)
    print(f"wrote {asked.output}: {len(knowledge.tasks)} tasks ({signed} with a signature), {strategies} "
          f"strategies, {asked.output.stat().st_size / 1000:.0f} kB")  # fmt: skip


if __name__ == "__main__":
    main()
