"""The study specification: what a `studies/*.toml` file says."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, Field, field_validator, model_validator

from automl_transfer.domain.attack import Attack, attack_of
from automl_transfer.domain.horizon import Horizon, rungs_of
from automl_transfer.domain.measured import Metric
from automl_transfer.domain.names import study_mistake
from automl_transfer.domain.pixel_range import Fit
from automl_transfer.domain.strict_json import Frozen, unsaid
from automl_transfer.domain.task import Change
from automl_transfer.errors import ConfigurationError

Scalar = str | float | int | bool
RareClasses = Literal["refuse", "drop", "merge", "keep"]
Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
OnBadImage = Literal["refuse", "skip"]
DimensionSetting = Scalar | tuple[Scalar, ...]

HISTORY = 500
"""Trials that a sampler learns from, at most, where a study says nothing else."""
CONFIRM_RUNS = 4
"""Trainings of each strategy that is confirmed, at most, where a study says nothing else."""
MOST_SEED = 2**63 - 1
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
"""Of random numbers: what every generator takes, with room for the seeds that are counted on from it."""


def names_table(group_from: str) -> bool:
    """Whether it names a table of groups, which lies somewhere, and is no pattern."""
    return group_from.lower().endswith(".csv")


class SplitFractions(Frozen):
    """Fractions of images in each split; they add up to 1.

    Attributes:
        train: Images the networks learn from.
        validation: Images that strategies are compared on.
        test: Images that only the winner is scored on; scores of several winners are counted. 0 for none.
    """

    train: float = Field(default=0.6, gt=0.0, lt=1.0)
    validation: float = Field(default=0.2, gt=0.0, lt=1.0)
    test: float = Field(default=0.2, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"train + validation + test must be 1, got {total:g}")
        return self


class TableColumns(Frozen):
    """Which column of a table of labels is what; an empty text says that there is none.

    Attributes:
        file: File names, relative to the images.
        label: Class names or numbers.
        split: Words such as train, val and test.
        group: What belongs together: one group never straddles splits.
        weight: How often each image counts in training; scores count each once.
    """

    file: str | None = Field(default=None, min_length=1)
    label: str | None = Field(default=None, min_length=1)
    split: str | None = None
    group: str | None = None
    weight: str | None = None


ShipAs = Literal["auto", "winner", "soup", "ensemble"]


class TaskSpec(Frozen):
    """Which images, how they are split, and at which resolution they are used.

    Attributes:
        dataset: A registered name (with options, as in `digits?per_class=20`), a folder, an `.npz`, or a
            table of files and labels (`.csv`, `.tsv`, `.jsonl`, `.parquet`).
        images: For a table: the folder that its file names are relative to. None: the table's own.
        columns: For a table: which column is what (`file`, `label`, `split`, `group`). Columns that are not
            stated are guessed where their names leave no doubt.
        resolution: Height and width in pixels. None: the dataset's native size, at least 32.
        fit: How images become squares: `squash` changes their sides' ratio, `crop` keeps the middle, `pad`
            adds gray beside them.
        channels: 1 (gray) or 3 (RGB). None: gray where every image is gray.
        splits: How the images are divided, where the dataset does not come with its own splits.
        group_from: For a folder or a table: a regular expression with one group over the relative file name,
            or a CSV with the columns `file` and `group`. One group never straddles splits.
        on_bad_image: What to do about images that cannot be read: refuse the dataset, or skip and count
            them.
        classes_from: For a folder, where an image's class stands: the number of a folder (1 is the top),
            or a regular expression with one group over the relative file name. None: the top folder, or
            the one below the split.
        split_from: For a folder, where an image's split stands: the number of a folder, `none`,
            `train=FOLDER,validation=FOLDER,test=FOLDER`, or a regular expression with one group. None: top
            folders are splits where all their names say so.
        min_per_class: Images below which a class is rare; one that cannot be in every split always is.
        rare_classes: What becomes of rare classes: `refuse` the dataset, `drop` them, `merge` them into
            one class `other`, or `keep` their images in the training split only.
        exclude: A list of images (`image,from,weight`) that are left out of training or of everything, or
            count less: what the data doctor writes. Looked for like a dataset's folder.
        label_preserving: What leaves an image's class as it is: any of `mirror` and `rotate`. None: what the
            dataset says of itself (digits: nothing); else colour photographs may be mirrored.
        seed: Of the split.
        metric: What strategies are ranked by, on the validation split: accuracy, balanced_accuracy,
            macro_f1, `robust-8` (the accuracy when no pixel moves further than 8/255, against PGD of 10
            steps; any number to 255), or one that another package adds.
    """

    dataset: str = Field(min_length=1)
    images: str | None = Field(default=None, min_length=1)
    columns: TableColumns = TableColumns()
    resolution: int | None = Field(default=None, ge=8, le=4096)
    fit: Fit = Field(default="squash", exclude_if=lambda value: value == "squash")
    channels: Literal[1, 3] | None = None
    splits: SplitFractions = SplitFractions()
    group_from: str | None = None
    on_bad_image: OnBadImage = "refuse"
    classes_from: int | str | None = None
    split_from: int | str | None = None
    min_per_class: int | None = Field(default=None, ge=1)
    rare_classes: RareClasses = "refuse"
    exclude: str | None = Field(default=None, min_length=1, exclude_if=unsaid)
    label_preserving: tuple[Change, ...] | None = Field(default=None, exclude_if=unsaid)
    seed: Seed = 0
    metric: Metric = "accuracy"

    @field_validator("classes_from", "split_from")
    @classmethod
    def _a_number_or_words(cls, value: int | str | None) -> int | str | None:
        """Options of a command are text: "2" is the number of a folder, as 2 is in a study file."""
        number = int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,3}", value) else value
        if number == "" or (isinstance(number, int) and not 1 <= number <= 100):
            raise ValueError("must be the number of a folder (1 is the top), or say where it stands")
        return number


def _an_attack(text: str) -> str:
    try:
        Attack.parse(text)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error
    return text


class SearchSpec(Frozen):
    """How the search spends its budget.

    Attributes:
        trials: Strategies to try. Trials that continue an earlier one are not counted.
        minutes: Time that the whole command may take: images, profile, trials, the confirmation of the best
            and shipping the winner. Trials end, at this limit or at that of `trials`, early enough for what
            follows; a trial under way is given back. Where nothing is complete yet, one answer is finished.
            A worker process stays as long as the search that it helps, or so long from its own start. None:
            no limit.
        max_epochs: Epochs of a trial that is not pruned, each one pass over the training images, over which
            learning-rate schedules are laid out. None, and no `max_steps`: 9 epochs of as many passes as 500
            steps of 32 images take.
        max_steps: Steps of a trial that is not pruned, whatever its batch, rounded up to whole epochs. These,
            `max_epochs` or 9 at most, are equal parts of them, at whose ends a trial is judged.
        stop_when: `noise`: no more strategies are drawn once the best one gets so few validation images
            wrong that not even a flawless one could be told from it (four at most, and at most two points).
            `budget`: the search goes on to the end of its budget whatever it has found.
        sampler: Who proposes strategies: `prior` draws around the best ones and around known recipes, and
            more and more as `tpe` does, which learns from earlier trials alone (Bergstra 2011); `random` does
            not learn.
        startup_trials: Trials that `tpe` draws at random before it learns.
        history: Trials that the sampler learns from, at most: the newest so many, beside the 50 best ones,
            those that no sampler drew and those under way. With `promote` and `none`, a worker reads no
            others, so that it draws and joins as fast in a study of 20,000 trials; other pruners compare
            with all of them.
        cost: Whether, of four draws, the one is tried that is expected to improve most a predicted second.
        pruner: What becomes of trials that are behind. `promote` pauses every trial at each rung, and goes
            on with the best of those that came there (Li 2020). Others stop what is behind, for good: `asha`
            (Li 2020), `hyperband` (Li 2018), `median` (Golovin 2017). `none` runs all to the end.
        min_epochs: Epochs before a trial may be paused or pruned: the first rung. None: a third of the
            horizon. Earlier, starts are compared and not ends.
        reduction_factor: About one trial in so many goes on from each rung, which is so many times further
            than the one before.
        paused_gb: For `promote`: 10^9 bytes that checkpoints of paused trials may take. Beyond that the
            worst of these trials end.
        max_attempts: How often a trial is tried whose worker dies or whose data cannot be read.
        seed: Of the sampler, of initial weights and of the order of images.
        profile: Whether the search begins with the profile's answer, that answer tuned on and, where images
            are large or many, the whole network fine-tuned under a fresh head (never stopped early).
        default_first: Whether the default strategy is tried before the sampler's.
        start: `warm`: after the first answers strategies are tried that won on earlier tasks, as far as the
            space has them: on those of the same store, of files of knowledge that were added, and of the
            one that ships with the program. They stop where they are no better. `cold`: nothing of that.
        confirm: The best so many strategies are trained again when the search has ended, with fresh
            seeds and fresh splits of training + validation data; 0 for none. Of `minutes` it gets what
            two trainings of each and all of the best one are expected to take, at most a third. Where that
            is not enough, the better ones are confirmed; what is left undone is said, and
            `report STUDY --confirm` goes on with it.
        doctor: Whether the cheap part of the data doctor looks at the images before a search begins: blank
            images, constant channels, copies across splits. It says what it finds, and changes nothing.
        attack: Under which every finished trial is measured as well, on the validation images: `fgsm:8/255`,
            or `pgd:8/255:10` for ten steps. No pixel moves further than that share of its range. To search
            for what withstands one, take a `metric` such as `robust-8`. None: not measured.
        ship_as: What is taken away: the `winner` alone; a `soup` or an `ensemble` of the best trials; `auto`:
            the winner, unless the mean of it and one other trial's network is clearly better on validation.
            A prediction then takes the time of both.
        precision: Of forward and backward passes of what trains, on all workers: `fp32`, or mixed: `bf16` and
            `fp16` (with a scaled loss) are for GPUs. Weights, losses, solved heads and judgements are fp32.
        confirm_runs: At most so many trainings of each. After two of each, others than the leader go on at
            the end of a search only until confirmation has taken half as long as the trials did.
    """

    trials: int = Field(default=30, ge=1, le=1_000_000)
    minutes: float | None = Field(default=None, gt=0.0)
    max_epochs: int | None = Field(default=None, ge=1, le=10_000)
    max_steps: int | None = Field(default=None, ge=1, le=100_000_000, exclude_if=unsaid)
    stop_when: Literal["noise", "budget"] = Field(default="noise", exclude_if=lambda value: value == "noise")
    sampler: Literal["prior", "tpe", "random"] = "prior"
    startup_trials: int = Field(default=8, ge=0)
    history: int = Field(default=HISTORY, ge=100, exclude_if=lambda value: value == HISTORY)
    cost: bool = Field(default=False, exclude_if=lambda value: value is False)
    pruner: Literal["promote", "asha", "hyperband", "median", "none"] = "promote"
    min_epochs: int | None = Field(default=None, ge=1)
    reduction_factor: int = Field(default=3, ge=2)
    paused_gb: float = Field(default=4.0, gt=0.0, exclude_if=lambda value: value == 4.0)
    max_attempts: int = Field(default=3, ge=1, le=100)
    seed: Seed = 0
    profile: bool = True
    default_first: bool = True
    start: Literal["warm", "cold"] = Field(default="warm", exclude_if=lambda value: value == "warm")
    confirm: int = Field(default=3, ge=0, le=100)
    confirm_runs: int = Field(default=CONFIRM_RUNS, ge=2, le=100)
    doctor: bool = Field(default=True, exclude_if=lambda value: value is True)
    attack: Annotated[str, AfterValidator(_an_attack)] | None = Field(default=None, exclude_if=unsaid)
    ship_as: ShipAs = Field(default="winner", exclude_if=lambda value: value == "winner")
    precision: Precision = Field(default="fp32", exclude_if=lambda value: value == "fp32")

    @model_validator(mode="after")
    def _rungs(self) -> Self:
        if self.first_rung > self.epochs:
            of = (
                "max_epochs"
                if self.max_steps is None
                else f"the epochs that max_steps = {self.max_steps} make"
            )
            raise ValueError(f"min_epochs must be <= {of} ({self.epochs}), got {self.min_epochs}")
        return self

    @property
    def first_rung(self) -> int:
        """Epochs before a trial may be pruned: where the study names none, a third of them, rounded up."""
        return self.min_epochs or -(-self.epochs // 3)

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which trials are compared, where the pruner has rungs."""
        return rungs_of(self.first_rung, self.reduction_factor, self.epochs)

    @property
    def paused_at(self) -> tuple[int, ...]:
        """Epochs after which trials pause: the rungs, where the pruner promotes."""
        return self.rungs if self.pruner == "promote" else ()

    @property
    def compares(self) -> bool:
        """Whether the pruner compares a trial's curve with those of all others."""
        return self.pruner not in ("promote", "none")

    @property
    def epochs(self) -> int:
        """Epochs of a trial that is not pruned."""
        return self.horizon(1).epochs

    def horizon(self, images: int) -> Horizon:
        """How long a trial trains on so many images."""
        return Horizon.of(images, self.max_epochs, self.max_steps)


def _study_name(name: str) -> str:
    if (mistake := study_mistake(name)) is not None:
        raise ValueError(mistake)
    return name


class StudySpec(Frozen):
    """One task, one space, one objective.

    Attributes:
        name: Of the study, in the store and below `runs/`; see `names.study_mistake`.
        task: The images.
        search: The budget.
        space: Dimension name to setting: "search" takes the dimension's whole range, a list takes a
            sub-range (two numbers) or these choices, a single value fixes the dimension. Dimensions
            that are not named keep their defaults.
    """

    name: Annotated[str, AfterValidator(_study_name)]
    task: TaskSpec
    search: SearchSpec = SearchSpec()
    space: dict[str, DimensionSetting] = Field(default_factory=dict)

    @property
    def attack(self) -> Attack | None:
        """What each finished trial is measured under."""
        return attack_of(self.task.metric) if self.search.attack is None else Attack.parse(self.search.attack)

    def space_signature(self) -> str:
        """Identifies the space, whatever the order of its dimensions in the file."""
        return _digest(self.space)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
