"""Whether an estimate settles a question: where it must lie, at which numbers of seeds one may look, how many more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, inf, isfinite, isnan, log10, sqrt

from scipy.special import stdtrit  # scipy.stats takes a second to import

MOST = 10**9  #: seeds; that it would take more is not told apart from that no number does
ALPHA = 0.05  #: the chance of an interval that misses, over all looks together


@dataclass(frozen=True)
class Estimate:
    """A number of n seeds with its interval."""

    value: float
    low: float  #: nan where there is no interval
    high: float
    n: int


@dataclass(frozen=True)
class Region:
    """Where a number is claimed to lie; its ends count as inside."""

    low: float = -inf
    high: float = inf

    def settled(self, estimate: Estimate) -> bool | None:
        """True where the whole interval lies inside, False where all of it lies outside, None where it may be either.

        Without an interval nothing is settled.
        """
        if isnan(estimate.low) or isnan(estimate.high):
            return None
        if estimate.low >= self.low and estimate.high <= self.high:
            return True
        return False if estimate.high < self.low or estimate.low > self.high else None

    def seeds_still(self, estimate: Estimate, width: Callable[[int], float] = lambda n: 1 / sqrt(n)) -> int | None:
        r"""About how many more seeds settle it, if the estimate is right: so many settle about half of all repetitions.

        The least $N - n$ with $h\, w(N) / w(n) < |\hat x - e|$, h the interval's part from the estimate to an end e.

        width: w, how wide the interval of n seeds is, but for a factor: `students_width` of one that is Student's.
        None where no number settles it: without an interval, and where the estimate lies on an end of the region.
        """
        inside = self.low <= estimate.value <= self.high
        ends = [end for end in (self.low, self.high) if isfinite(end)]
        if isnan(estimate.low) or isnan(estimate.high) or not ends:
            return None
        share = 0.0
        for end in ends if inside else [min(ends, key=lambda end: abs(end - estimate.value))]:
            way = abs(end - estimate.value)
            half = estimate.value - estimate.low if end < estimate.value else estimate.high - estimate.value
            share = max(share, half / way if way else inf)
        if not isfinite(share):
            return None
        few, many = estimate.n, estimate.n + 1  # too few settle it, so many do
        while width(many) * share >= width(estimate.n):
            few, many = many, 2 * many
            if many > MOST:
                return None
        while many - few > 1:
            middle = (few + many) // 2
            few, many = (middle, many) if width(middle) * share >= width(estimate.n) else (few, middle)
        return many - estimate.n

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.low:.6g}"
        if isfinite(self.low) and isfinite(self.high):
            ends = f"{self.low:.4g}", f"{self.high:.4g}"
            middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
            return " to ".join(ends) if ends[0] != ends[1] else f"{middle:.6g} ± {half:.1g}"
        return f"above {self.low:.4g}" if isfinite(self.low) else f"below {self.high:.4g}"


def students_width(level: float, overlap: float = 0.0) -> Callable[[int], float]:
    r"""How wide Student's interval of n values is, in deviations: $2\, t_{n-1,\, (1+\text{level})/2} / \sqrt n$.

    overlap: of values from splits, see `mean_interval`; then it is not less than twice t's and the root of this.
    """
    return lambda n: 2 * float(stdtrit(n - 1, 0.5 + level / 2)) * sqrt(1 / n + overlap)


def about(count: int) -> str:
    """A number of seeds that is only about right, rounded up to two digits: 1,300."""
    unit = 10 ** max(0, floor(log10(count)) - 1)
    return f"{ceil(count / unit) * unit:,}"


@dataclass(frozen=True)
class Looks:
    """At which numbers of seeds a sweep may be looked at, which was fixed before, and the margin of what matters."""

    seeds: tuple[int, ...]
    margin: float = 0.0

    def level(self, n: int) -> float:
        """Of the intervals of n seeds: that of the first look which has as many."""
        of_looks = levels(self.seeds)
        return next((level for level, seeds in zip(of_looks, self.seeds, strict=True) if seeds >= n), of_looks[-1])


def levels(looks: Sequence[int], alpha: float = ALPHA) -> list[float]:
    r"""The level of the intervals at each look, so that over all looks they miss with a chance of alpha at most.

    At look k with $n_k$ of $n_K$ seeds as much of alpha has been spent as
    $$\alpha_k = \alpha\, (n_k / n_K)^2,$$
    and its intervals have the level $1 - (\alpha_k - \alpha_{k-1})$. That the chances add up holds however the looks
    depend on one another.

    Reference: Lan & DeMets 1983, doi:10.1093/biomet/70.3.659 (error spent over looks); Kim & DeMets 1987,
    doi:10.1093/biomet/74.1.149 (powers of the share of the data).
    """
    spent = [0.0, *(alpha * (n / looks[-1]) ** 2 for n in looks)]
    return [1 - (after - before) for before, after in pairwise(spent)]
