"""A recipe as a study would make it, with local things in every place that could leak."""

from typing import Any

from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import SplitSizes, Task
from automl_transfer.recipes.best_strategy import (
    Environment,
    Recipe,
    RecipeSource,
    RecipeTraining,
    make_recipe,
)
from automl_transfer.recipes.scores import Cost, RecipeMetrics, Score

FIXED = ((0.5,), (0.25,))


def make_task(**changes: Any) -> Task:
    values: dict[str, Any] = {
        "name": "digits",
        "fingerprint": "ab" * 32,
        "classes": ("null", "eins", "二"),
        "splits": SplitSizes(train=60, validation=20, test=20),
        "channels": 1,
        "resolution": 32,
        "channel_mean": (0.3,),
        "channel_std": (0.2,),
    }
    return Task(**(values | changes))


def recipe(**changes: Any) -> Recipe:
    score = Score(accuracy=0.95, balanced_accuracy=0.94, macro_f1=0.94, nll=0.2, interval=(0.76, 0.99), n=20)
    values: dict[str, Any] = {
        "strategy": Strategy(source="timm/resnet18", learning_rate=0.01),
        "task": make_task(),
        "spec": TaskSpec(dataset="digits", seed=3),
        "normalisation": FIXED,
        "source": RecipeSource(name="timm/resnet18", revision="a1_in1k", licence="Apache-2.0"),
        "training": RecipeTraining(epochs=9, best_epoch=4, batch=64, seed=0),
        "metrics": RecipeMetrics(validation=score, test=score),
        "cost": Cost(train_seconds=2.0, predict_ms_per_image=0.5, parameters=100, trained_parameters=10),
        "environment": Environment(
            system="Linux", machine="x86_64", versions={"torch": "2.14.1+cpu", "automl-transfer": "0.1.0"}
        ),
        "study": "digits-quick",
        "trial": 7,
        "root_trial": 5,
    }
    return make_recipe(**(values | changes))
