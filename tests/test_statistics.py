"""The statistics of sweeps against SciPy, published examples and simulations, and the tables made of them."""

from __future__ import annotations

from math import inf, isnan, nan, sqrt

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from dlrun.datasets.dataset import Dataset
from dlrun.errors import ConfigError
from dlrun.metrics import metrics_for
from dlrun.report import tables
from dlrun.report.comparison import BETTER, EQUIVALENT, UNDECIDED, compare, simultaneous, verdict
from dlrun.report.judging import Looks, levels
from dlrun.report.statistics import (
    APART,
    BOUNDS,
    HIGHEST_LEVEL,
    edge_warning,
    exact_interval,
    mean_interval,
    summarize,
    wilson_interval,
)
from dlrun.report.survival import kaplan_meier_median, time_to_target

floats = st.floats(-1e6, 1e6)


# Intervals


@pytest.mark.parametrize("n", [3, 5, 10, 30])
def test_interval_covers_the_mean_in_95_of_100(n: int) -> None:
    samples = np.random.default_rng(n).normal(2, 3, (2000, n))
    covered = [low <= 2 <= high for low, high in map(mean_interval, samples)]
    assert 0.93 <= np.mean(covered) <= (0.98 if n == 5 else 0.97)


def test_interval_covers_skewed_values_better_than_students_t() -> None:
    samples = np.random.default_rng(0).exponential(size=(1000, 10))
    half = stats.t.ppf(0.975, 9) * samples.std(1, ddof=1) / sqrt(10)
    students = np.mean(abs(samples.mean(1) - 1) <= half)
    ours = np.mean([low <= 1 <= high for low, high in map(mean_interval, samples)])
    assert students < 0.915 and 0.925 <= ours <= 0.97


@pytest.mark.parametrize("values", [[1.0, 2.5], [0.97, 0.98, 0.98], [0.98, 0.98, 0.98, 0.98, 0.98, 0.97, 0.96, 0.99]])
def test_few_different_values_get_students_interval(values: list[float]) -> None:
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert mean_interval(values) == pytest.approx((expected.low, expected.high))


def test_interval_is_students_or_the_studentized_bootstraps_whichever_is_wider() -> None:
    """Resamples drawn elsewhere, with SciPy's standard errors; the two differ by chance only."""
    x = np.random.default_rng(3).lognormal(size=20)
    resamples = np.random.default_rng(4).choice(x, (40000, 20))
    t = (resamples.mean(1) - x.mean()) / stats.sem(resamples, axis=1)
    high, low = x.mean() - np.quantile(t, [0.025, 0.975]) * stats.sem(x)
    student = stats.ttest_1samp(x, 0).confidence_interval()
    assert low > student.low and high > student.high  # of values with a long upper tail
    assert mean_interval(x) == pytest.approx((student.low, high), rel=0.05)
    assert mean_interval(-x) == pytest.approx((-high, -student.low), rel=0.05)


def test_intervals_of_high_levels_are_students() -> None:
    """25 of 4,999 resamples are beyond a quantile at most; of fewer it would be chance."""
    x = np.random.default_rng(3).lognormal(size=20)
    for level in (HIGHEST_LEVEL + 0.001, 0.9999):
        assert mean_interval(x, level=level) == pytest.approx(stats.ttest_1samp(x, 0).confidence_interval(level))
    assert mean_interval(x, level=HIGHEST_LEVEL)[1] > stats.ttest_1samp(x, 0).confidence_interval(HIGHEST_LEVEL).high


def test_interval_of_too_little() -> None:
    assert all(map(isnan, mean_interval([0.5])))
    assert all(map(isnan, mean_interval([0.5, nan, inf])))
    assert all(map(isnan, mean_interval([0.1] * 7)))  # equal values do not make the mean certain
    assert all(map(isnan, mean_interval([1.0] * 7, (0, 1))))


SHARES = (0.0, 1.0)


def accuracies(mean: float, n: int, samples: int = 360, spread: float = 10) -> np.ndarray:
    """2,000 times n accuracies on so many samples, with `spread` times the binomial variance (beta-binomial)."""
    random = np.random.default_rng(7)
    total = (samples - 1) / (spread - 1) - 1  # of the beta distribution's parameters
    return random.binomial(samples, random.beta(mean * total, (1 - mean) * total, (2000, n))) / samples


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("mean", [0.5, 0.9, 0.98])
def test_interval_covers_the_mean_of_accuracies_and_stays_within_0_and_1(mean: float, n: int) -> None:
    found = np.array([mean_interval(x, SHARES) for x in accuracies(mean, n) if np.ptp(x)])
    assert np.all((found >= 0) & (found <= 1)) and len(found) > 1950
    assert 0.925 <= np.mean((found[:, 0] <= mean) & (mean <= found[:, 1])) <= 0.975


def test_students_interval_would_cover_accuracies_less_and_leave_the_range() -> None:
    found = np.array([mean_interval(x) for x in accuracies(0.98, 5)])
    assert np.mean((found[:, 0] <= 0.98) & (found[:, 1] >= 0.98)) < 0.9 and np.mean(found[:, 1] > 1) > 0.1


def test_interval_of_shares_is_students_on_the_scale_of_log_odds() -> None:
    x = np.array([0.9734, 0.99, 0.995, 1.0])
    mean, half = x.mean(), stats.t.ppf(0.975, 3) * stats.sem(x)
    odds = mean / (1 - mean) * np.exp(np.array([-1, 1]) * half / (mean * (1 - mean)))
    assert mean_interval(x, SHARES) == pytest.approx(odds / (1 + odds))


def test_interval_with_one_bound_is_on_the_scale_of_logarithms() -> None:
    x = np.array([0.1, 0.5, 3.0])
    factor = np.exp(stats.t.ppf(0.975, 2) * stats.sem(x) / x.mean())
    assert mean_interval(x, (0, inf)) == pytest.approx((x.mean() / factor, x.mean() * factor))
    low, high = mean_interval(1 - x, (-inf, 1))  # as R²
    assert (1 - high, 1 - low) == pytest.approx((x.mean() / factor, x.mean() * factor))


@pytest.mark.parametrize(("n", "least"), [(3, 0.9), (5, 0.9), (10, 0.92)])
def test_interval_of_losses_covers_more_than_students(n: int, least: float) -> None:
    samples = np.random.default_rng(n).exponential(size=(2000, n))
    half = stats.t.ppf(0.975, n - 1) * samples.std(1, ddof=1) / sqrt(n)
    found = np.array([mean_interval(x, (0, inf)) for x in samples])
    covered = np.mean((found[:, 0] <= 1) & (found[:, 1] >= 1))
    assert (found > 0).all() and max(least, np.mean(abs(samples.mean(1) - 1) <= half)) < covered <= 0.97


@given(
    st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, inf), (-inf, 1.0), (-inf, inf)]),
    st.lists(st.floats(0, 1), min_size=2, max_size=9),
)
@example((0.0, 1.0), [0.0, 2.2e-311])  # the scale's slope would be infinite there
@example((0.0, inf), [0.0] * 8 + [2.3e-308])
def test_interval_never_leaves_the_bounds_and_holds_the_mean(bounds: tuple[float, float], values: list[float]) -> None:
    low, high = mean_interval(values, bounds)
    if np.ptp(values) < APART:
        assert isnan(low) and isnan(high)
    else:
        assert bounds[0] <= low <= np.mean(values) + 1e-9 and np.mean(values) - 1e-9 <= high <= bounds[1]


def test_values_beyond_their_bounds_are_taken_as_unbounded() -> None:
    assert mean_interval([0.5, 0.7, 1.2], SHARES) == mean_interval([0.5, 0.7, 1.2])


def test_every_metric_says_what_it_cannot_go_beyond() -> None:
    """Those of all tasks, on outputs and targets at random."""
    random = torch.Generator().manual_seed(0)
    seen = set()
    for task, outputs in (("multiclass", 12), ("binary", 1), ("regression", 2)):
        targets = {
            "multiclass": torch.randint(12, (1, 50), generator=random),
            "binary": torch.randint(2, (1, 50), generator=random).float(),
        }.get(task, torch.randn(1, 50, 2, generator=random))
        dataset = Dataset(targets[0], targets[0], task, {"train": 50}, outputs, [], [])  # type: ignore[arg-type]
        for metric in metrics_for(dataset):
            low, high = BOUNDS[metric.name]
            values = metric.value(metric.sums(3 * torch.randn(1, 50, outputs, generator=random), targets) / 50)
            assert low <= values.item() <= high
            seen.add(metric.name)
    assert seen | {"distance", "parameters", "seconds", "per_second"} == set(BOUNDS)


@given(st.lists(floats, min_size=2, max_size=12), st.sampled_from([-8.0, 0.5, 4.0]))
def test_interval_moves_with_its_values(values: list[float], factor: float) -> None:
    low, high = mean_interval(values)
    if np.ptp(values) < 10 * APART:
        return
    scaled = sorted(bound * factor for bound in (low, high))
    assert low - 1e-6 <= np.mean(values) <= high + 1e-6
    assert mean_interval([value * factor for value in values]) == pytest.approx(scaled, rel=1e-6, abs=1e-6)
    assert mean_interval(values) == (low, high)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy(counts: tuple[int, int]) -> None:
    expected = stats.binomtest(*counts).proportion_ci(method="wilson")
    low, high = wilson_interval(*counts)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= low <= counts[0] / counts[1] <= high <= 1


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.9, 0.99]))
def test_exact_interval_equals_scipys(counts: tuple[int, int], level: float) -> None:
    expected = stats.binomtest(*counts).proportion_ci(level, method="exact")
    assert exact_interval(*counts, level) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_exact_interval_of_nothing() -> None:
    assert exact_interval(0, 0) == (0, 1)


def test_wilson_of_nothing() -> None:
    assert wilson_interval(0, 0) == (0, 1)


def test_summary_counts_what_finished_and_names_what_did_not() -> None:
    status = ["finished", "stopped_early", "finished", "diverged", "failed", "interrupted"]
    values = [0.9, 0.7, 0.5, 99.0, nan, 0.1]
    found = summarize(pd.Series(values), pd.Series(status), larger_is_better=True)
    assert (found.runs, found.n, found.diverged, found.failed) == (6, 3, 1, 1)
    assert (found.mean, found.std, found.median, found.best) == pytest.approx((0.7, 0.2, 0.7, 0.9))
    assert (found.low, found.high) == pytest.approx(stats.ttest_1samp(values[:3], 0).confidence_interval())
    assert (found.diverged_low, found.diverged_high) == wilson_interval(1, 4)
    assert summarize(pd.Series(values), pd.Series(status), larger_is_better=False).best == 0.5


def test_summary_of_runs_that_all_diverged() -> None:
    found = summarize(pd.Series([nan, nan]), pd.Series(["diverged"] * 2), larger_is_better=False)
    assert (found.n, found.diverged) == (0, 2) and isnan(found.mean) and isnan(found.best) and isnan(found.low)


# Comparisons


def pair(differences: np.ndarray | list[float]) -> tuple[pd.Series, pd.Series]:
    return pd.Series(differences), pd.Series(0.0, index=range(len(differences)))


def test_comparison_pairs_by_seed() -> None:
    a = pd.Series([0.9, 0.8, 0.7, 0.95, nan], index=[4, 3, 2, 1, 0])
    b = pd.Series([0.6, 0.5, 0.5, 0.1, 0.2], index=[1, 2, 4, 7, 0])
    found = compare(a, b)
    d = [0.35, 0.2, 0.4]  # seeds 1, 2, 4
    assert (found.n, found.difference) == pytest.approx((3, np.mean(d)))
    assert (found.low, found.high) == pytest.approx(stats.ttest_1samp(d, 0).confidence_interval())
    higher = compare(a, b, level=0.998)
    assert (higher.low, higher.high) == pytest.approx(stats.ttest_1samp(d, 0).confidence_interval(0.998))


@pytest.mark.parametrize("n", [3, 5, 30])
def test_effect_size_has_no_bias(n: int) -> None:
    """Its uncorrected value is t / sqrt(n), and SciPy knows by how much the noncentral t's mean is off."""
    d = np.random.default_rng(n).normal(0.7, 1, n)
    bias = stats.nct.mean(n - 1, 0.7 * sqrt(n)) / (0.7 * sqrt(n))
    assert compare(*pair(d)).effect == pytest.approx(d.mean() / d.std(ddof=1) / bias)


def test_comparison_of_too_little() -> None:
    nothing = compare(pd.Series([1.0], index=[0]), pd.Series([1.0], index=[1]))
    assert nothing.n == 0 and isnan(nothing.difference) and isnan(nothing.effect)
    same = compare(*pair([0.0] * 8))
    assert (same.n, same.difference) == (8, 0) and all(map(isnan, (same.low, same.high, same.effect)))


def test_differences_that_cancel_out_leave_nothing_to_rounding() -> None:
    d = [20 / 22 - 21 / 22, 18 / 22 - 16 / 22, 20 / 22 - 21 / 22]
    assert sum(d) / 3 != 0
    found = compare(*pair(d))
    assert found.difference == 0 and found.effect == 0


def test_differences_that_differ_by_rounding_alone_are_equal() -> None:
    b = pd.Series([0.8, 0.7, 0.1, 0.3])
    assert len(set((b + 0.1) - b)) > 1
    found = compare(b + 0.1, b)
    assert found.difference == pytest.approx(0.1) and isnan(found.low)
    apart = compare(b + 0.1 + np.array([0, 1e-6, 0, 0]), b)
    assert apart.low < apart.high


def test_interval_of_a_difference_of_accuracies_stays_within_what_it_can_be() -> None:
    a, b = pd.Series([1.0, 0.9]), pd.Series([0.0, 0.3])
    assert compare(a, b).high > 1
    found = compare(a, b, (0, 1))
    assert -1 <= found.low < 0.8 < found.high <= 1
    assert compare(a, b, (0, inf)).low == compare(a, b).low  # of losses it can be anything


def test_a_seed_that_occurs_twice_cannot_be_paired() -> None:
    with pytest.raises(ConfigError, match="seed 3 occurs more than once"):
        compare(pd.Series([1.0, 2.0], index=[3, 3]), pd.Series([1.0], index=[3]))


@given(st.floats(0.5, 0.999), st.integers(2, 30))
def test_joint_levels_share_the_error_among_all_pairs(level: float, settings: int) -> None:
    pairs = len([(a, b) for a in range(settings) for b in range(a)])
    assert (1 - simultaneous(level, settings)) * pairs == pytest.approx(1 - level)


def test_intervals_of_30_equal_settings_hold_together_whichever_seems_the_best() -> None:
    """By Student's t, as SciPy has it; for the 29 comparisons alone they hold in 3 of 4 families."""
    values = np.random.default_rng(0).normal(size=(1000, 30, 10))
    d = values - values[np.arange(1000), values.mean(2).argmin(1)][:, None]
    t = abs(d.mean(2)) / np.maximum(stats.sem(d, axis=2), 1e-9)
    level = simultaneous(0.95, 30)
    assert np.mean(t.max(1) <= stats.t.ppf(0.5 + level / 2, 9)) >= 0.94
    assert np.mean(t.max(1) <= stats.t.ppf(1 - 0.025 / 29, 9)) < 0.85


def told(differences: list[float], margin: float = 0.0, larger_is_better: bool = True, level: float = 0.95) -> str:
    return verdict(
        "adam", "sgd", compare(*pair(differences), level=level), margin, larger_is_better=larger_is_better
    ).words


STEADY = [0.1, 0.2, 0.15, 0.12, 0.18, 0.11, 0.13]  # 0.107 to 0.176


def test_verdict_in_plain_words() -> None:
    assert told(STEADY) == "adam is better than sgd"
    assert told(STEADY, larger_is_better=False) == "sgd is better than adam"
    assert told([-d for d in STEADY]) == "sgd is better than adam"
    assert told(STEADY, 0.1) == "adam is better than sgd by more than 0.1"
    assert told(STEADY, 0.2) == "equivalent: adam and sgd differ by 0.2 at most"
    assert told(STEADY, 0.15).startswith("undecided, whether by more than 0.15: about ")
    assert told([-0.53, -0.56, -0.6, -0.6]) == "sgd is better than adam"  # four seeds can tell this
    assert told([0.3]) == "one seed: nothing can be told"
    assert told([]) == "no finished seed in common"
    assert told([0.0] * 8) == "the same for each of 8 seeds"
    assert told([0.25] * 3) == "the same difference for each of 3 seeds, so that it has no interval"
    assert told([0.1, -0.1, 0.2, -0.2]) == "undecided: the difference is 0, as far as can be seen"


def test_undecided_says_how_many_seeds_would_do() -> None:
    """As many as make Student's interval, of these differences' spread, shorter than their mean."""
    d = [0.1, 0.4, -0.2]
    spread, mean = np.std(d, ddof=1), np.mean(d)
    needed = next(n for n in range(4, 999) if stats.t.ppf(0.975, n - 1) * spread / sqrt(n) < mean)
    assert told(d) == f"undecided: about {needed - 3} more seeds" == "undecided: about 35 more seeds"
    many = told(d, level=0.999)
    needed = next(n for n in range(4, 999) if stats.t.ppf(0.9995, n - 1) * spread / sqrt(n) < mean)
    assert many == f"undecided: about {-(-(needed - 3) // 10) * 10} more seeds"


def test_seeds_that_it_takes_are_not_fewer_where_bounds_cut_the_interval_short() -> None:
    a, b = pd.Series([0.9, 0.2, 0.7]), pd.Series([0.1, 0.3, 0.2])
    free, cut = (compare(a, b, bounds, 0.999) for bounds in ((-inf, inf), (0, 1)))
    assert free.high - free.low > 10 and cut.high - cut.low <= 2
    assert verdict("a", "b", free, larger_is_better=True) == verdict("a", "b", cut, larger_is_better=True)


@given(
    st.lists(st.integers(-3, 9), min_size=2, max_size=9),
    st.sampled_from([0.0, 0.05, 0.3]),
    st.sampled_from([0.95, 0.999]),
)
def test_no_verdict_contradicts_the_interval_beside_it(differences: list[int], margin: float, level: float) -> None:
    found = compare(*pair([d / 10 for d in differences]), level=level)
    answer = verdict("adam", "sgd", found, margin, larger_is_better=True)
    if isnan(found.low):
        assert answer.words.startswith("the same")
        return
    assert (answer.kind == BETTER) == (found.low > margin or found.high < -margin)
    assert (answer.kind == EQUIVALENT) == (found.low >= -margin and found.high <= margin)
    assert (answer.kind == UNDECIDED) == answer.words.startswith("undecided")
    if answer.kind == BETTER:
        assert answer.words.startswith("adam is better" if found.difference > 0 else "sgd is better")


# Time to a target


def test_time_to_target() -> None:
    curves = pd.DataFrame(
        [
            *[("a", epoch, "val_accuracy", value) for epoch, value in enumerate([0.1, 0.8, 0.95, 0.7, 0.97])],
            *[("b", epoch, "val_accuracy", value) for epoch, value in enumerate([0.1, 0.8, 0.89])],
            *[("c", epoch, "val_accuracy", value) for epoch, value in enumerate([0.2, nan])],
            *[("b", epoch, "val_loss", value) for epoch, value in enumerate([0.3, 0.2, 0.1, 0.05])],
        ],
        columns=["run", "epoch", "metric", "value"],
    ).sample(frac=1, random_state=0)
    found = time_to_target(curves, "val_accuracy", 0.9, larger_is_better=True)
    assert found["time"].to_dict() == {"a": 2, "b": 2, "c": 1}
    assert found["reached"].to_dict() == {"a": True, "b": False, "c": False}
    assert time_to_target(curves, "val_loss", 0.2, larger_is_better=False).loc["b"].tolist() == [1, True]


FREIREICH = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
RELAPSED = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]


def test_median_of_freireichs_leukemia_patients() -> None:
    """6-MP group of Freireich et al. 1963: median 23 weeks, 95 % interval from 13 by the log-log method."""
    assert kaplan_meier_median(FREIREICH, RELAPSED) == (23, 13, inf)


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=15))
def test_median_is_where_scipys_survival_falls_below_a_half(runs: list[tuple[int, bool]]) -> None:
    times, reached = map(np.array, zip(*runs, strict=True))
    curve = stats.ecdf(stats.CensoredData.right_censored(times, ~reached)).sf
    low, high = (
        min((t for t, s in zip(curve.quantiles, curve.probabilities, strict=True) if s <= at), default=inf)
        for at in (0.5 + 1e-9, 0.5 - 1e-9)
    )
    expected = (low + high) / 2 if high < inf else low
    found = kaplan_meier_median(times, reached)
    assert found.median == pytest.approx(expected) and found.low <= found.median <= found.high


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=25))
def test_median_without_censoring_is_the_plain_median(times: list[float]) -> None:
    assert kaplan_meier_median(times, [True] * len(times)).median == pytest.approx(np.median(times))


@pytest.mark.parametrize("n", [6, 9, 10, 20, 33])
def test_interval_without_censoring_is_the_sign_tests(n: int) -> None:
    times = np.random.default_rng(n).permutation(n) + 1.0
    expected = stats.quantile_test(times, p=0.5).confidence_interval()
    assert kaplan_meier_median(times, [True] * n)[1:] == (expected.low, expected.high)


def test_interval_covers_the_median_where_runs_are_censored() -> None:
    random = np.random.default_rng(0)
    times, budget = random.exponential(size=(500, 12)), random.uniform(0.5, 4, size=(500, 12))
    found = [kaplan_meier_median(t, r) for t, r in zip(np.minimum(times, budget), times <= budget, strict=True)]
    assert 0.94 <= np.mean([low <= np.log(2) <= high for _, low, high in found]) <= 0.995
    assert np.mean([high < inf for *_, high in found]) > 0.5


def test_few_and_tied_and_diverged_runs() -> None:
    assert kaplan_meier_median([3, 3, 3], [True] * 3) == (3, 0, inf)
    assert kaplan_meier_median([4] * 10, [True] * 10) == (4, 4, 4)
    assert kaplan_meier_median([1, 2, inf, inf, inf], [True, True, False, False, False]).median == inf
    assert kaplan_meier_median([5, 5], [False, False]) == (inf, 0, inf)
    assert all(map(isnan, kaplan_meier_median([], [])))


# Tables


def test_edge_of_a_grid() -> None:
    assert edge_warning("lr", [0.1, 0.01, 0.1, 0.001], 0.01) is None
    above = edge_warning("lr", [0.1, 0.01, 0.001], 0.1)
    assert above == "the best lr, 0.1, is the greatest that was tried: the optimum may lie above it"
    below = edge_warning("lr", [0.1, 0.01, 0.001], 0.001)
    assert below == "the best lr, 0.001, is the least that was tried: the optimum may lie below it"
    assert edge_warning("lr", [0.1, 0.1], 0.1) is None


def test_a_summarys_interval_stays_within_its_bounds() -> None:
    accuracies = [0.97, 0.99, 1.0, 0.98]
    within = summarize(accuracies, ["finished"] * 4, larger_is_better=True, bounds=(0, 1))
    assert (within.low, within.high) == mean_interval(np.array(accuracies), (0, 1)) and within.high <= 1
    assert summarize(accuracies, ["finished"] * 4, larger_is_better=True).high > 1


def sweep() -> pd.DataFrame:
    """Two optimizers, two rates, eight seeds; adam at 0.1 is the best by validation among its surviving runs."""
    rows = []
    for optimizer, lr, val, test in [("sgd", 0.01, 0.5, 0.4), ("sgd", 0.1, 0.3, 0.6), ("adam", 0.01, 0.2, 0.3)]:
        for seed in range(8):
            off = 0.001 * seed**2
            rows.append((f"{len(rows)}", "finished", optimizer, lr, seed, val + off, test - off))
    rows += [(f"d{seed}", "finished" if seed < 2 else "diverged", "adam", 0.1, seed, 0.1, 0.1) for seed in range(8)]
    columns = ["run", "status", "optimizer", "lr", "seed", "best_val_loss", "test_loss"]
    return pd.DataFrame(rows, columns=columns)


AXES = ["optimizer", "lr"]


def test_settings_are_runs_that_differ_by_seed() -> None:
    found = tables.settings(sweep(), AXES, "test_loss", larger_is_better=False)
    assert found[AXES].values.tolist() == [["sgd", 0.01], ["sgd", 0.1], ["adam", 0.01], ["adam", 0.1]]
    assert found["n"].tolist() == [8, 8, 8, 2] and found["diverged"].tolist() == [0, 0, 0, 6]
    assert found["mean"][1] == pytest.approx(0.6 - 0.001 * np.mean(np.arange(8) ** 2))
    assert tables.settings(sweep(), [], "test_loss", larger_is_better=False)["runs"].tolist() == [32]


def test_selection_is_by_validation_and_not_by_survivors() -> None:
    best = tables.select(sweep(), AXES, per=["optimizer"])
    assert best[AXES].drop_duplicates().values.tolist() == [["sgd", 0.1], ["adam", 0.01]]
    assert len(best) == 16  # sgd at 0.1 has the worse test loss, and is chosen all the same
    most = tables.select(sweep(), AXES, larger_is_better=True)
    assert most[AXES].drop_duplicates().values.tolist() == [["sgd", 0.01]]
    with pytest.raises(ConfigError, match="no run of optimizer=adam has finished"):
        tables.select(sweep().query("status == 'diverged'"), AXES, per=["optimizer"])


def test_comparisons_with_the_chosen_setting() -> None:
    table = sweep()
    found = tables.comparisons(table, AXES, "test_loss", tables.select(table, AXES), larger_is_better=False)
    assert found[AXES].values.tolist() == [["sgd", 0.01], ["sgd", 0.1], ["adam", 0.1]]
    assert found["n"].tolist() == [8, 8, 2]
    assert found["difference"][:2].tolist() == pytest.approx([0.1, 0.3])
    assert found["level"].tolist() == pytest.approx([1 - 0.05 / 6] * 3)  # of four settings there are six pairs
    assert found["kind"].tolist() == ["equal", "equal", "better"]  # but for rounding
    moved = table.assign(test_loss=table["test_loss"] + 0.01 * np.sin(np.arange(len(table))))
    found = tables.comparisons(moved, AXES, "test_loss", tables.select(moved, AXES), larger_is_better=False)
    assert found["verdict"][1] == "optimizer=adam lr=0.01 is better than optimizer=sgd lr=0.1"
    values = {axes: rows.set_index("seed")["test_loss"] for axes, rows in moved.groupby(AXES)}
    expected = stats.ttest_1samp(values["sgd", 0.1] - values["adam", 0.01], 0).confidence_interval(1 - 0.05 / 6)
    assert found.loc[1, ["low", "high"]].tolist() == pytest.approx(expected, rel=0.3)  # or the bootstrap's
    looked = tables.comparisons(
        moved, AXES, "test_loss", tables.select(moved, AXES), larger_is_better=False, looks=Looks((2, 8, 20))
    )
    of_looks = levels([2, 8, 20])
    assert looked["level"].tolist() == pytest.approx([1 - (1 - of_looks[i]) / 6 for i in (1, 1, 0)])


def test_a_diverged_run_is_not_merely_stopped() -> None:
    table = sweep()
    curves = pd.DataFrame({"run": table["run"], "epoch": 3, "metric": "val_loss", "value": table["best_val_loss"]})
    curves.loc[table["status"] == "diverged", ["epoch", "value"]] = [1, 9.0]
    found = tables.speeds(table, AXES, curves, "val_loss", 0.3, larger_is_better=False)
    assert found["reached"].tolist() == [0, 1, 8, 2]
    assert found["median"].tolist() == [inf, inf, 3, inf]


def test_a_column_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match="no column test_accuracy; it has run, status"):
        tables.settings(sweep(), AXES, "test_accuracy", larger_is_better=True)
