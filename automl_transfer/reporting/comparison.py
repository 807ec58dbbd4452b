"""Several studies side by side: which families win where, and what that many datasets can support."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from automl_transfer.reporting.effects import Effect, effects, family_of
from automl_transfer.reporting.plain import labels, plain
from automl_transfer.reporting.ranking import RankedStrategy
from automl_transfer.reporting.statistics import Interval
from automl_transfer.reporting.study_report import StudyReport

LEVEL = 0.05


@dataclass(frozen=True)
class AverageRank:
    """A family's mean rank over the datasets that every compared family was tried on; 1 is best.

    Attributes:
        ranks: By study, as the study's own ranking has them; ties shared.
        interval: 95%, Student's t over datasets, within the possible ranks; None for one dataset.
        wins: Datasets on which it is first (shared firsts count for each). Studies of one dataset count once,
            by their mean rank.
    """

    family: str
    mean: float
    ranks: tuple[float, ...]
    interval: Interval | None
    wins: int


@dataclass(frozen=True)
class Comparison:
    """What several studies say together.

    Attributes:
        reports: Those with a ranking, in the order given.
        best: By study (same order), family to its best row.
        ranked: Families that every dataset has, best average rank first.
        claim: The sentence on what these ranks support.
        shared: Strategies that several studies ranked: words, and rank by study.
        datasets: The studies of each dataset, by their places in `reports`.
    """

    reports: tuple[StudyReport, ...]
    names: tuple[str, ...]
    best: tuple[Mapping[str, RankedStrategy], ...]
    ranked: tuple[AverageRank, ...]
    claim: str
    shared: tuple[tuple[str, Mapping[int, int]], ...]
    effects: tuple[tuple[Effect, ...], ...]
    datasets: tuple[tuple[int, ...], ...]


def compare(reports: Sequence[StudyReport]) -> Comparison:
    """Compare studies by the best of each family: its confirmed score where there is one."""
    ranked = tuple(report for report in reports if report.ranking.rows)
    best = tuple(_best(report) for report in ranked)
    common = [family for family in (best[0] if best else {}) if all(family in each for each in best)]
    datasets = _datasets(ranked)
    averages = _averages(common, best, datasets)
    return Comparison(
        reports=ranked,
        names=_names(ranked),
        best=best,
        ranked=averages,
        claim=_claim(averages, len(datasets)),
        shared=_shared(ranked),
        effects=tuple(effects(report) for report in ranked),
        datasets=datasets,
    )


def fewest_datasets() -> int:
    """With fewer datasets not even a family that is better on all of them can be told from chance.

    The two-sided sign test's smallest p is 2 / 2^n.

    >>> fewest_datasets()
    6
    """
    return math.ceil(1.0 - math.log2(LEVEL))


def average_ranks(scores: Sequence[Sequence[float]]) -> list[list[float]]:
    """Ranks within each dataset, 1 for the highest score, ties shared.

    >>> average_ranks([[0.9, 0.8, 0.9], [0.5, 0.6, 0.7]])
    [[1.5, 3.0, 1.5], [3.0, 2.0, 1.0]]
    """
    found = []
    for row in scores:
        order = sorted(row, reverse=True)
        found.append([(2 * order.index(value) + order.count(value) + 1) / 2 for value in row])
    return found


def nemenyi(families: int, datasets: int) -> float:
    """Critical difference of two average ranks (Nemenyi 1963; Demsar 2006, JMLR 7:1, section 3.2.2).

    >>> round(nemenyi(5, 30), 2)
    1.11
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1.0 - LEVEL, families, math.inf)) / math.sqrt(2.0)
    return q * math.sqrt(families * (families + 1) / (6.0 * datasets))


def _datasets(reports: Sequence[StudyReport]) -> tuple[tuple[int, ...], ...]:
    found: dict[str, list[int]] = {}
    for at, report in enumerate(reports):
        found.setdefault(report.ranking.task.fingerprint, []).append(at)
    return tuple(map(tuple, found.values()))


def _best(report: StudyReport) -> dict[str, RankedStrategy]:
    found: dict[str, RankedStrategy] = {}
    for row in report.ranking.rows:
        found.setdefault(family_of(row.strategy), row)
    return found


def _averages(
    common: Sequence[str], best: Sequence[Mapping[str, RankedStrategy]], datasets: Sequence[Sequence[int]]
) -> tuple[AverageRank, ...]:
    if len(common) < 2:
        return ()
    table = average_ranks([_standing([each[family] for family in common]) for each in best])
    means = [
        [math.fsum(column) / len(at) for column in zip(*(table[i] for i in at), strict=True)]
        for at in datasets
    ]
    found = []
    for at, family in enumerate(common):
        ranks = tuple(row[at] for row in means)
        interval = _interval(ranks, len(common))
        wins = sum(rank == min(row) for rank, row in zip(ranks, means, strict=True))
        of_studies = tuple(row[at] for row in table)
        found.append(AverageRank(family, math.fsum(ranks) / len(ranks), of_studies, interval, wins))
    return tuple(sorted(found, key=lambda each: each.mean))


def _standing(rows: Sequence[RankedStrategy]) -> list[float]:
    """Numbers that order strategies as their study does, higher is better; where it had no reason they tie.

    A confirmed score is no higher than it should be, one on the images that chose is: these are not compared.
    """
    level, found = 0.0, {}
    before: RankedStrategy | None = None
    for row in sorted(rows, key=lambda row: row.rank):
        if before is not None:
            alike = (row.confirmation is None) == (before.confirmation is None)
            level -= 0.0 if alike and score_of(row) == score_of(before) else 1.0
        found[row.rank], before = level, row
    return [found[row.rank] for row in rows]


def _interval(ranks: Sequence[float], families: int) -> Interval | None:
    from scipy.special import stdtrit

    n = len(ranks)
    if n < 2:
        return None
    mean = math.fsum(ranks) / n
    spread = math.sqrt(math.fsum((rank - mean) ** 2 for rank in ranks) / (n - 1) / n)
    half = float(stdtrit(n - 1, 0.975)) * spread
    # Equal ranks on a few datasets say little about others, whatever their spread.
    if spread == 0.0 and n < fewest_datasets():
        return 1.0, float(families)
    return max(1.0, mean - half), min(float(families), mean + half)


def _claim(averages: Sequence[AverageRank], datasets: int) -> str:
    if len(averages) < 2:
        return "There are no two families that every dataset has, so none are ranked against each other."
    needed = fewest_datasets()
    if datasets < needed:
        return (
            f"With {datasets} dataset{'s' if datasets != 1 else ''} no family can be shown to be better than "
            f"another: even one that wins on all of them could do so by chance in "
            f"{100 * min(1.0, 2 * 0.5**datasets):.0f}% of cases. It takes at least {needed}."
        )
    first, critical = averages[0], nemenyi(len(averages), datasets)
    worse = [each.family for each in averages[1:] if each.mean - first.mean > critical]
    if not worse:
        return (
            f"No family's average rank differs from the best by more than {critical:.2f}, which is what "
            f"{datasets} datasets can tell apart (Nemenyi, 5%)."
        )
    return (
        f"Over {datasets} datasets, {first.family} ranks better than {', '.join(worse)} (Nemenyi, 5%: the "
        f"average ranks differ by more than {critical:.2f})."
    )


def _shared(reports: Sequence[StudyReport]) -> tuple[tuple[str, Mapping[int, int]], ...]:
    places: dict[str, dict[int, int]] = {}
    words: dict[str, str] = {}
    for at, report in enumerate(reports):
        for row in report.ranking.rows:
            key = row.strategy.key()
            places.setdefault(key, {})[at] = row.rank
            words[key] = plain(row.description)
    several = [(words[key], found) for key, found in places.items() if len(found) > 1]
    return tuple(sorted(several, key=lambda pair: (-len(pair[1]), sum(pair[1].values()))))


def _names(reports: Sequence[StudyReport]) -> tuple[str, ...]:
    """The datasets' names; with the study's where two studies share a dataset."""
    tasks = [plain(report.ranking.task.name, 40) for report in reports]
    studies = labels([report.study for report in reports], 40)
    return tuple(
        task if tasks.count(task) == 1 else f"{task} ({study})"
        for task, study in zip(tasks, studies, strict=True)
    )


def headline(found: Comparison, asked: int) -> str:
    """Who wins where, in one sentence."""
    if not found.reports:
        return f"None of the {asked} studies has a ranking to compare yet."
    winners = [family_of(report.ranking.rows[0].strategy) for report in found.reports]
    kinds = list(dict.fromkeys(winners))
    n = len(winners)
    if n == 1:
        return f"Only {found.names[0]} has a ranking: its best strategy is of the family '{kinds[0]}'."
    different = len(found.datasets)
    if different < n:
        datasets = f"{n} studies of {different} dataset{'s' if different > 1 else ''}"
        on, where = f"in all {datasets}", f"in {datasets}"
    else:
        on, where = f"on all {n} datasets", f"on {n} datasets"
    if len(kinds) == 1:
        return f"Best {on}: a strategy of the family '{kinds[0]}'."
    by_kind = {kind: [at for at, each in enumerate(winners) if each == kind] for kind in kinds}
    parts = [f"'{kind}' on {', '.join(found.names[at] for at in places)}" for kind, places in by_kind.items()]
    return f"Best {where}: {'; '.join(parts)}."


def never_ruled_out(found: Comparison) -> str:
    """Which families are among those that cannot be told apart from the best, on every dataset.

    Nothing where some strategies were never compared: of other metrics than the accuracy, unconfirmed ones.
    """
    untold = any(
        report.metric != "accuracy" and any(row.confirmation is None for row in report.ranking.rows)
        for report in found.reports
    )
    if len(found.reports) < 2 or untold:
        return ""
    sets = [
        {family_of(row.strategy) for row in report.ranking.rows if row.set is not None}
        for report in found.reports
    ]
    everywhere = sorted(set.intersection(*sets))
    if not everywhere:
        return "No family is among the indistinguishable best of every dataset."
    named = " or ".join(f"'{family}'" for family in everywhere)
    return f"On none of these datasets can the best be told apart from some strategy of the family {named}."


Cost = Callable[[RankedStrategy], float | None]

COSTS: dict[str, tuple[str, Cost]] = {
    "training": ("seconds to train", lambda row: row.train_seconds or None),
    "prediction": ("milliseconds to predict an image", lambda row: row.predict_ms_per_image or None),
    "size": ("weights", lambda row: None if row.parameters is None else float(row.parameters)),
}


def score_of(row: RankedStrategy) -> float:
    """The confirmed score where there is one, else the validation score."""
    return row.validation.score if row.confirmation is None else row.confirmation.score


def comparable(rows: Sequence[RankedStrategy]) -> Callable[[RankedStrategy], float]:
    """Scores of one study's strategies; one on the images that chose is above no confirmed one.

    But those that the ranking has ahead of all confirmed ones are above these.
    """
    confirmed = [row for row in rows if row.confirmation is not None]
    if not confirmed:
        return score_of
    first, scores = min(row.rank for row in confirmed), [score_of(row) for row in confirmed]

    def score(row: RankedStrategy) -> float:
        if row.confirmation is not None:
            return score_of(row)
        return max(score_of(row), *scores) if row.rank < first else min(score_of(row), *scores)

    return score


def front(
    rows: Sequence[RankedStrategy], cost: Cost, score: Callable[[RankedStrategy], float] | None = None
) -> list[RankedStrategy]:
    """The rows that no other row equals in both and beats in one, cheapest first."""
    score = score or comparable(rows)
    priced = [(price, -score(row), row.rank, row) for row in rows if (price := cost(row)) is not None]
    found: list[RankedStrategy] = []
    for _, _, _, row in sorted(priced, key=lambda entry: entry[:3]):
        if not found or score(row) > score(found[-1]):
            found.append(row)
    return found
