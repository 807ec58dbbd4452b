"""The Python front door.

`search` finds the best way to transfer a network to a dataset and ships the winner, `export` ships it again,
or an average, an ensemble, with flips; `explore` says what
a dataset holds. `train` trains one strategy by hand, and `ModelMigration` does it step by step. `apply`
trains a best-strategy file on any data, `verify` again on its own. `load` opens a model, whose `predict`
labels images; `evaluate` judges one on labelled images; `package` writes it as one file for inference.
`TransferClassifier` is all of it as a scikit-learn estimator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from automl_transfer.api.applying import Applied, apply
from automl_transfer.api.evaluating import evaluate
from automl_transfer.api.exporting import export
from automl_transfer.api.finish import Shipped, finish_search
from automl_transfer.api.front import explore, search, train
from automl_transfer.api.migration import ModelMigration, Trained
from automl_transfer.api.rerun import task_of
from automl_transfer.api.search import SearchEvents, SearchResult
from automl_transfer.api.verifying import Verdict, verify
from automl_transfer.recipes.best_strategy import Recipe, read_recipe
from automl_transfer.recipes.package import Packaged, package
from automl_transfer.recipes.predict import Predictor
from automl_transfer.reporting.evaluation import Evaluation

if TYPE_CHECKING:
    from automl_transfer.api.estimator import TransferClassifier

load = Predictor.load

__all__ = [
    "Applied",
    "Evaluation",
    "ModelMigration",
    "Packaged",
    "Predictor",
    "Recipe",
    "SearchEvents",
    "SearchResult",
    "Shipped",
    "Trained",
    "TransferClassifier",
    "Verdict",
    "apply",
    "evaluate",
    "explore",
    "export",
    "finish_search",
    "load",
    "package",
    "read_recipe",
    "search",
    "task_of",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    """The estimator needs scikit-learn, which takes a second to import: only whoever uses it waits."""
    if name == "TransferClassifier":
        from automl_transfer.api.estimator import TransferClassifier

        return TransferClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
