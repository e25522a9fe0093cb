"""When a question is settled: regions, numbers of seeds that it still takes, and the error over several looks."""

from __future__ import annotations

from math import inf, nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dlrun.report.judging import Estimate, Looks, Region, about, levels, students_width

ABOVE, WITHIN, ZERO = Region(low=0.1), Region(-0.1, 0.1), Region(0, 0)


@pytest.mark.parametrize(
    ("region", "low", "high", "settled"),
    [
        (ABOVE, 0.2, 0.4, True),
        (ABOVE, 0.1, 0.4, True),  # an end counts as inside
        (ABOVE, -0.2, 0.05, False),
        (ABOVE, -0.2, 0.1, None),
        (ABOVE, 0.0, 0.3, None),
        (Region(high=1), -5, 1, True),
        (Region(high=1), 1.01, 2, False),
        (WITHIN, -0.05, 0.1, True),
        (WITHIN, 0.11, 0.3, False),
        (WITHIN, -0.3, -0.11, False),
        (WITHIN, -0.3, 0.3, None),
        (WITHIN, 0.05, 0.15, None),
        (ZERO, 0.001, 1, False),
        (ZERO, -1, 0, None),
        (Region(), -inf, inf, True),
        (ABOVE, nan, nan, None),
    ],
)
def test_a_question_is_settled_where_the_whole_interval_lies_on_one_side(
    region: Region, low: float, high: float, settled: bool | None
) -> None:
    assert region.settled(Estimate((low + high) / 2, low, high, 5)) is settled


@pytest.mark.parametrize("level", [0.95, 0.999])
@pytest.mark.parametrize("n", [3, 5, 20])
@pytest.mark.parametrize(("region", "way"), [(ZERO, 0.3), (ABOVE, 0.2), (Region(-0.5, 0.5), 0.2), (WITHIN, 0.2)])
def test_seeds_still_are_those_that_make_students_interval_short_enough(
    region: Region, way: float, n: int, level: float
) -> None:
    """way: from the estimate, 0.3, to the end of the region that matters. Searched one by one."""
    std = 0.9
    half = stats.t.ppf(0.5 + level / 2, n - 1) * std / sqrt(n)
    found = region.seeds_still(Estimate(0.3, 0.3 - half, 0.3 + half, n), students_width(level))
    enough = next(m for m in range(n + 1, 10**4) if stats.t.ppf(0.5 + level / 2, m - 1) * std / sqrt(m) < way)
    if region == Region(-0.5, 0.5):  # inside, where both ends count: the farther one is decided sooner
        assert enough == next(m for m in range(n + 1, 10**4) if 0.3 + students_width(level)(m) / 2 * std < 0.5)
    assert found == enough - n


def test_with_so_many_seeds_half_of_all_repetitions_are_settled() -> None:
    effect, n = 0.4, 8
    half = stats.t.ppf(0.975, n - 1) / sqrt(n)
    more = ZERO.seeds_still(Estimate(effect, effect - half, effect + half, n), students_width(0.95))
    assert more
    x = np.random.default_rng(0).normal(effect, 1, (4000, n + more))
    settled = np.mean(stats.ttest_1samp(x, 0, axis=1).pvalue < 0.05)
    assert 0.45 < settled < 0.58


def test_seeds_still_of_intervals_that_shrink_with_the_root() -> None:
    assert ABOVE.seeds_still(Estimate(0.3, 0.0, 0.6, 10)) == 13  # half of 0.3 to below 0.2: 22.5 seeds
    assert ABOVE.seeds_still(Estimate(0.3, 0.0, 9.0, 10)) == 13  # the other end does not matter
    assert ABOVE.seeds_still(Estimate(0.1, 0.0, 0.6, 10)) is None
    assert ABOVE.seeds_still(Estimate(0.3, nan, nan, 10)) is None
    assert Region().seeds_still(Estimate(0.3, 0.0, 0.6, 10)) is None
    assert ZERO.seeds_still(Estimate(1e-9, -1.0, 1.0, 10)) is None  # more than can be counted


@given(st.lists(st.integers(2, 500), min_size=1, max_size=8, unique=True).map(sorted), st.floats(0.001, 0.2))
def test_the_error_is_spent_over_the_looks_and_no_more(looks: list[int], alpha: float) -> None:
    found = levels(looks, alpha)
    assert sum(1 - level for level in found) == pytest.approx(alpha)
    assert all(0 < 1 - level <= alpha + 1e-12 for level in found)


def test_levels_of_the_default_looks() -> None:
    assert levels([5, 10, 20, 40]) == pytest.approx([1 - 0.05 * share for share in (1 / 64, 3 / 64, 12 / 64, 48 / 64)])
    assert levels([7]) == [0.95]


@pytest.mark.parametrize("looks", [(5, 10, 20, 40), (3, 4, 5, 6, 7, 8, 9, 10)])
def test_of_nulls_that_are_looked_at_again_and_again_as_few_are_rejected_as_of_one_look(looks: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).normal(size=(2000, looks[-1]))
    p = np.array([stats.ttest_1samp(x[:, :n], 0, axis=1).pvalue for n in looks])
    spent = np.array([[1 - level] for level in levels(looks)])
    assert np.mean((p < spent).any(0)) <= 0.05
    assert np.mean((p < 0.05).any(0)) > 0.1  # what unplanned looks would find


def test_the_level_is_that_of_the_look_with_as_many_seeds() -> None:
    looks = Looks((5, 10, 20))
    first, second, third = levels([5, 10, 20])
    assert [looks.level(n) for n in (2, 5, 6, 10, 11, 20, 30)] == [first, first, second, second, third, third, third]


def test_numbers_that_are_about_right_have_two_digits() -> None:
    assert [about(n) for n in (1, 9, 38, 100, 101, 1234, 98_765)] == ["1", "9", "38", "100", "110", "1,300", "99,000"]


def test_a_region_is_told_by_its_ends_or_where_these_look_the_same_by_its_middle() -> None:
    told = {Region(0.4, 0.6): "0.4 to 0.6", Region(0.5 - 1e-9, 0.5 + 1e-9): "0.5 ± 1e-09", Region(2, 2): "2"}
    assert {region: str(region) for region in told} == told
