"""The Python front door.

`search` runs a study and ships its winner; `apply` trains a best-strategy file (`read_recipe`) on any
data, `verify` again on its own; `load` opens a model folder, whose `predict` labels images.
"""

from automl_transfer.api.applying import Applied, apply
from automl_transfer.api.finish import Shipped, finish_search
from automl_transfer.api.rerun import task_of
from automl_transfer.api.search import SearchEvents, SearchResult, search
from automl_transfer.api.verifying import Verdict, verify
from automl_transfer.recipes.best_strategy import Recipe, read_recipe
from automl_transfer.recipes.predict import Predictor

load = Predictor.load

__all__ = [
    "Applied",
    "Predictor",
    "Recipe",
    "SearchEvents",
    "SearchResult",
    "Shipped",
    "Verdict",
    "apply",
    "finish_search",
    "load",
    "read_recipe",
    "search",
    "task_of",
    "verify",
]
