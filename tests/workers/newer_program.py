"""A newer version of this program, which knows one dimension more: `python newer_program.py ARGUMENTS...`.

With `enqueue URL` it adds a strategy that only it knows to the study "tiny"; else it is the command line.
"""

from __future__ import annotations

import sys

from pydantic import Field

from automl_transfer.domain import strategy
from automl_transfer.domain.dimensions import Dimension

NEWER = strategy.SPACE_VERSION + 1


class Newer(strategy.Strategy):
    jitter: float = Field(default=0.0, ge=0.0, le=1.0)


# Before anything else of the program is imported.
strategy.Strategy = Newer  # type: ignore[misc]
strategy.SPACE_VERSION = NEWER
strategy.SINCE["jitter"] = NEWER
strategy.DIMENSIONS["jitter"] = Dimension(
    "jitters colours", "Howard 2013", low=0.0, high=1.0, since=NEWER, name="jitter", default=0.0
)


def enqueue(url: str) -> None:
    from automl_transfer.search.draft import fixed_draft
    from automl_transfer.space.space import Space
    from automl_transfer.store.store import Store
    from automl_transfer.store.trials import Trials
    from automl_transfer.store.url import StoreURL

    with Store.open(StoreURL.parse(url)) as store:
        study = store.study("tiny")
        new = Newer(truncation=3, tune_mode="head", head_init="he", learning_rate=2e-3, jitter=0.3)
        print(Trials(store).enqueue(study, fixed_draft(new, Space.of_study(study.spec), "newer")))


if __name__ == "__main__":
    if sys.argv[1] == "enqueue":
        enqueue(sys.argv[2])
    else:
        from automl_transfer.cli.main import main

        main()
