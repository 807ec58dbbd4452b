"""Confirmation: coverage of its intervals, error rate of its set, and who it picks. All by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm, t
from studies_by_hand import confirm_run, packed
from trials_by_hand import trial

from automl_transfer.domain.evidence import ExtraRun, pack_bits
from automl_transfer.reporting.confirmed import Arm, accuracy_interval, arms_of
from automl_transfer.reporting.panel import Panel
from automl_transfer.reporting.racing import next_round, owed, worth_confirming
from automl_transfer.reporting.statistics import clopper_pearson, spent_levels

DRAWS = 800


def panel_of(runs: list[ExtraRun]) -> Panel:
    return Panel(list(arms_of(runs).values()))


def fast_runs(
    rng: np.random.Generator, accuracies: list[float], runs: int, n: int, spread: float, hard: float = 0.5
) -> list[ExtraRun]:
    """Runs of several strategies on the same blocks: their answers agree on easy and on hard images.

    Each run of each strategy has its own accuracy, `spread` around the strategy's; a share of the
    images' difficulty is common to all strategies.
    """
    found = []
    for run in range(runs):
        common = rng.random(n)
        for root, accuracy in enumerate(accuracies):
            level = np.clip(accuracy + spread * rng.standard_normal(), 0.0, 1.0)
            own = np.where(rng.random(n) < hard, common, rng.random(n))
            found.append(confirm_run(root, run, own < level, pool=runs * n))
    return found


@pytest.mark.parametrize("n", [100, 500, 2000])
@pytest.mark.parametrize("p", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("spread", [0.0, 0.005])
def test_confirmed_accuracy_covers(p: float, n: int, spread: float) -> None:
    """Over seeds and images: four runs of n / 4 images each."""
    rng = np.random.default_rng([n, int(1000 * p), int(1000 * spread)])
    block, covered = n // 4, 0
    true = float(np.clip(p + spread * np.random.default_rng(0).standard_normal(200_000), 0, 1).mean())
    levels = np.clip(p + spread * rng.standard_normal((DRAWS, 4)), 0, 1)
    right = rng.binomial(block, levels)
    known: dict[tuple[int, ...], bool] = {}
    for counts in right:
        key = tuple(sorted(counts.tolist()))
        if key not in known:
            runs = {
                run: confirm_run(0, run, np.arange(block) < count, pool=n) for run, count in enumerate(key)
            }
            low, high = accuracy_interval(Panel([Arm(0, runs)]).score(0))
            known[key] = low <= true <= high
        covered += known[key]
    assert covered / DRAWS >= 0.935


@pytest.mark.parametrize("spread", [0.0, 0.01])
@pytest.mark.parametrize(("p", "q"), [(0.8, 0.78), (0.95, 0.95), (0.99, 0.98)])
def test_paired_differences_cover(p: float, q: float, spread: float) -> None:
    rng = np.random.default_rng([int(1000 * p), int(1000 * spread)])
    true = p - q
    if spread:
        noise = spread * np.random.default_rng(0).standard_normal(200_000)
        true = float(np.clip(p + noise, 0, 1).mean() - np.clip(q + noise, 0, 1).mean())
    covered, draws = 0, 300
    for _ in range(draws):
        gap = panel_of(fast_runs(rng, [p, q], runs=4, n=50, spread=spread)).gap(0, 1)
        assert gap is not None
        low, high = gap.interval()
        covered += low <= true <= high
    assert covered / draws >= 0.935


def test_where_no_metric_is_a_mean_over_images_runs_alone_say_how_far_strategies_are_apart() -> None:
    """Two-way analysis of variance, without replications: the textbook's t over strategies x runs."""
    rng = np.random.default_rng(3)
    runs = fast_runs(rng, [0.9, 0.8, 0.7], runs=5, n=40, spread=0.03)
    arms = arms_of(runs)
    gap = Panel(list(arms.values()), "macro_f1").gap(0, 1)
    table = np.array([[arms[root].runs[run].macro_f1 for run in range(5)] for root in range(3)])
    left = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    mean_square = (left**2).sum() / 8
    assert gap is not None
    assert gap.mean == pytest.approx(table[0].mean() - table[1].mean())
    low, high = gap.interval(0.9)
    half = t.ppf(0.95, 8) * math.sqrt(2 * mean_square / 5)
    assert (low, high) == pytest.approx((gap.mean - half, gap.mean + half))


def test_a_single_block_without_spread_is_clopper_pearsons_interval() -> None:
    """With one run nothing is known of seeds: its interval is about that of one model."""
    arm = Arm(0, {0: confirm_run(0, 0, np.arange(400) < 372)})
    assert accuracy_interval(Panel([arm]).score(0)) == pytest.approx(clopper_pearson(372, 400), abs=2e-3)


def test_images_that_are_judged_twice_count_once() -> None:
    places = np.arange(100)
    once = Arm(0, {0: confirm_run(0, 0, places < 90, images=places, pool=100)})
    again = Arm(0, {run: confirm_run(0, run, places < 90, images=places, pool=100) for run in range(6)})
    assert Panel([again]).score(0).images == 100
    assert Panel([again]).score(0).variance == pytest.approx(Panel([once]).score(0).variance)


@pytest.mark.parametrize(("p", "spread"), [(0.9, 0.0), (0.97, 0.005), (0.99, 0.0)])
def test_the_set_keeps_the_truly_best(p: float, spread: float) -> None:
    """Four equally good strategies, raced as a search does: ruling out any given one is a mistake."""
    rng = np.random.default_rng([7, int(1000 * p)])
    draws, lost = 200, 0
    for _ in range(draws):
        everything = fast_runs(rng, [p] * 4, runs=4, n=60, spread=spread)
        runs = race(everything, 4, 4)
        lost += not panel_of(runs).kept(4, error_rate=0.05)[0]
    assert lost / draws <= 0.05


def chosen_by(runs: int, n: int, rng: np.random.Generator) -> tuple[list[ExtraRun], float]:
    """The three best of 30 equal strategies by n images; their runs are judged on these images, too."""
    hard = rng.random(runs * n)
    right = hard < np.where(rng.random((30, runs * n)) < 0.5, 0.9, rng.random((30, runs * n)) + 0.4)
    chose = np.arange(runs * n) < n
    best = np.argsort(-right[:, :n].mean(axis=1), kind="stable")[:3]
    order = rng.permutation(runs * n)
    found = [
        confirm_run(int(root), run, right[root][block], images=block, pool=runs * n, chose=chose)
        for run, block in enumerate(np.split(order, runs))
        for root in best
    ]
    return found, float(right[:, :n].mean(axis=1).max())


def test_the_confirmed_score_is_neither_flattered_by_images_that_chose_nor_by_being_the_best_of_three() -> (
    None
):
    rng = np.random.default_rng(5)
    accuracy = 0.5 * 0.9 + 0.5 * (1 - 0.6**2 / 2)
    by_validation, confirmed, plain = [], [], []
    for _ in range(150):
        runs, best = chosen_by(4, 100, rng)
        panel = panel_of(runs)
        score = panel.score(panel.order[0])
        assert (score.images, panel.judged(panel.order[0])) == (300, 400)
        by_validation.append(best - accuracy)
        confirmed.append(score.mean - accuracy)
        without = [run.model_copy(update={"chose": ""}) for run in runs]
        first = panel_of(without).order[0]
        plain.append(float(np.mean([run.accuracy for run in without if run.root == first])) - accuracy)
    assert np.mean(by_validation) > 0.05
    assert np.mean(plain) > 0.015, "what was said before"
    assert abs(np.mean(confirmed)) < 0.005


def test_runs_of_earlier_versions_are_read_with_what_later_ones_say() -> None:
    runs, _ = chosen_by(4, 100, np.random.default_rng(1))
    mixed = [run if run.run else run.model_copy(update={"chose": ""}) for run in runs]
    root = panel_of(runs).order[0]
    assert panel_of(mixed).score(root) == panel_of(runs).score(root)
    assert "chose" not in mixed[0].model_dump_json()


def test_strategies_of_unequal_numbers_of_runs_are_compared_on_the_same_ones() -> None:
    """Two runs of one strategy fell on easy blocks: its plain mean is higher, and it is the worse one."""
    easy, hard = np.arange(200) < 190, np.arange(200) < 170
    worse = np.arange(200) < 186
    runs = [confirm_run(0, run, easy if run < 2 else hard, pool=800) for run in range(4)]
    runs += [confirm_run(1, run, worse, pool=800) for run in range(2)]
    panel = panel_of(runs)
    assert panel.order == (0, 1)
    assert panel.score(0).mean == pytest.approx(0.9)
    assert panel.score(1).mean == pytest.approx(0.88)
    gap = panel.gap(0, 1)
    assert gap is not None
    assert gap.mean == pytest.approx(0.02)


def test_the_set_drops_the_clearly_worse() -> None:
    rng = np.random.default_rng(1)
    panel = panel_of(fast_runs(rng, [0.95, 0.94, 0.7], runs=4, n=200, spread=0.0))
    assert panel.kept(4) == [True, True, False]
    assert Panel(panel.arms[:1]).kept(4) == [True]
    assert Panel([]).kept(4) == []


def test_a_gap_of_three_points_is_seen() -> None:
    """On 4 x 200 images, where two strategies disagree on one image of eight: half the time, at least."""
    rng = np.random.default_rng(2)
    draws, seen, lost = 100, 0, 0
    for _ in range(draws):
        common, runs = rng.random(800), []
        one = common < 0.90
        two = np.where(rng.random(800) < 0.34, rng.random(800) < 0.81, one)
        for run in range(4):
            block = np.arange(run * 200, run * 200 + 200)
            runs += [
                confirm_run(root, run, bits[block], images=block, pool=800)
                for root, bits in enumerate((one, two))
            ]
        kept = panel_of(runs).kept(4)
        seen += not kept[1]
        lost += not kept[0]
    assert seen / draws >= 0.5
    assert lost == 0


@pytest.mark.parametrize("looks", [2, 4, 9])
def test_looks_together_spend_the_error_rate(looks: int) -> None:
    sums = np.random.default_rng(looks).standard_normal((200_000, looks)).cumsum(axis=1)
    rejected = np.zeros(len(sums), bool)
    for parts, level in spent_levels(looks, 0.02).items():
        rejected |= sums[:, parts - 1] / math.sqrt(parts) > norm.isf(level)
    assert rejected.mean() == pytest.approx(0.02, abs=0.001)


def race(everything: list[ExtraRun], strategies: int, max_runs: int) -> list[ExtraRun]:
    known = {(run.root, run.run): run for run in everything}
    done: list[ExtraRun] = []
    while wanted := next_round(list(range(strategies)), done, max_runs):
        done += [known[pair] for pair in wanted]
    return done


def test_a_race_spends_on_those_that_may_win_and_goes_on_after_an_interruption() -> None:
    rng = np.random.default_rng(5)
    everything = fast_runs(rng, [0.95, 0.94, 0.6], runs=4, n=200, spread=0.0)
    runs = race(everything, 3, 4)
    spent = {root: len(arm.runs) for root, arm in arms_of(runs).items()}
    assert spent[2] == 2
    assert spent[0] == 4
    for kept in range(len(runs)):
        known = {(run.root, run.run): run for run in everything}
        done = runs[:kept]
        while wanted := next_round([0, 1, 2], done, 4):
            done = [*done, known[wanted[0]]]
        assert {(r.root, r.run) for r in done} == {(r.root, r.run) for r in runs}


def test_a_race_leaves_out_what_would_take_too_long_but_not_the_leader() -> None:
    rng = np.random.default_rng(5)
    everything = fast_runs(rng, [0.95, 0.95, 0.95], runs=4, n=200, spread=0.0)
    cost = {0: 10.0, 1: 1.0, 2: 5.0}
    everything = [run.model_copy(update={"seconds": cost[run.root]}) for run in everything]
    known = {(run.root, run.run): run for run in everything}

    def spent(most: float, *, settled: bool = False) -> dict[int, int]:
        done: list[ExtraRun] = []
        while wanted := next_round([0, 1, 2], done, 4, most_seconds=most, settled=settled):
            done += [known[pair] for pair in wanted]
        return {root: len(arm.runs) for root, arm in arms_of(done).items()}

    free = spent(math.inf)
    assert free == {0: 4, 1: 4, 2: 4}
    bound = spent(0.0)  # two runs of each take 32 seconds
    assert sorted(bound.values()) == [2, 2, 4]
    leader = max(bound, key=lambda root: bound[root])
    cheap = next(root for root in (1, 2, 0) if root != leader)
    more = spent(32.0 + cost[leader] + cost[cheap])
    assert more[leader] == 4
    assert more[cheap] == 3
    # Where nothing is left to gain, the leader is not spared; two runs of each there are all the same.
    assert spent(0.0, settled=True) == {0: 2, 1: 2, 2: 2}
    assert spent(math.inf, settled=True) == free
    # It goes before the others, whose runs decide nothing; and no more is owed than it gets.
    most = 32.0 + cost[leader]
    assert spent(most, settled=True) == {root: 3 if root == leader else 2 for root in cost}
    two = [run for run in everything if run.run < 2]
    assert owed([0, 1, 2], two, 4, most_seconds=most, settled=True) == (6, 7)
    assert owed([0, 1, 2], two, 4, most_seconds=most) == (6, 8)


def test_where_nothing_is_left_to_gain_only_what_is_about_as_cheap_is_confirmed() -> None:
    best = [trial(0, 0.99, seconds=2.0), trial(1, 0.99, seconds=30.0), trial(2, 0.98, seconds=3.0)]
    assert [record.root for record in worth_confirming(best, settled=False)] == [0, 1, 2]
    assert [record.root for record in worth_confirming(best, settled=True)] == [0, 2]
    assert [record.root for record in worth_confirming(best[1:], settled=True)] == [1, 2]  # the best is dear
    assert worth_confirming([], settled=True) == []


def test_nothing_to_race() -> None:
    assert next_round([], [], 4) == []
    assert next_round([3], [], 2) == [(3, 0)]


def test_confirmation_picks_the_better_one_more_often_than_the_best_validation_score() -> None:
    """Six strategies, the best ahead by one point; 200 validation images; at 12 runs at most."""
    rng = np.random.default_rng(11)
    truth = [0.94, 0.93, 0.93, 0.93, 0.92, 0.92]
    draws, by_validation, by_race, spent = 120, 0, 0, 0
    for _ in range(draws):
        levels = np.clip(np.array(truth) + 0.005 * rng.standard_normal(6), 0, 1)
        validation = rng.binomial(200, levels)
        order = np.argsort(-validation + rng.random(6) * 0.1)
        by_validation += int(order[0]) == 0
        everything = fast_runs(rng, [truth[int(at)] for at in order[:3]], runs=4, n=200, spread=0.005)
        runs = race(everything, 3, 4)
        spent += len(runs)
        by_race += int(order[panel_of(runs).order[0]]) == 0
    assert by_race > by_validation
    assert spent / draws <= 12


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1000])
def test_bits_are_packed_as_numpy_packs_them(size: int) -> None:
    bits = np.random.default_rng(size).random(size) < 0.5
    assert pack_bits(bits.tolist()) == packed(bits)


def test_equal_differences_of_other_metrics_do_not_show_that_there_is_no_spread() -> None:
    """They are lattice values: two runs with the same difference are common."""
    right = np.arange(200) < 190
    runs = [confirm_run(root, run, right, pool=400) for root in (0, 1) for run in (0, 1)]
    scores = {0: 0.70, 1: 0.69}
    runs = [run.model_copy(update={"balanced_accuracy": scores[run.root]}) for run in runs]
    panel = Panel(list(arms_of(runs).values()), "balanced_accuracy")
    gap = panel.gap(0, 1)
    assert gap is not None
    low, high = gap.interval()
    assert gap.mean == pytest.approx(0.01)
    assert low < 0 < high
    assert panel.kept(4) == [True, True]


def test_of_two_equal_strategies_none_is_lost_by_another_metric_too_often() -> None:
    """At the look at two of four runs, where 1.1% are allowed (of 4.5% in all)."""
    rng, lost, draws = np.random.default_rng(5), 0, 1500
    labels = np.arange(100) % 10
    for _ in range(draws):
        runs = []
        for run in range(2):
            for root in range(2):
                right = rng.random(100) < 0.98
                recall = float(np.mean([right[labels == each].mean() for each in range(10)]))
                made = confirm_run(root, run, right, pool=200)
                runs.append(made.model_copy(update={"balanced_accuracy": recall}))
        lost += not Panel(list(arms_of(runs).values()), "balanced_accuracy").kept(4)[0]
    assert lost / draws <= 0.011 + 3 * (0.011 * 0.989 / draws) ** 0.5
