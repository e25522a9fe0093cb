"""Whether an estimate settles a question: where it must lie, at which numbers of seeds one may look, how many more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, inf, isfinite, isnan

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

    def seeds_still(self, estimate: Estimate) -> int | None:
        r"""About how many more seeds settle it, if the estimate is right and intervals shrink as $1/\sqrt n$.

        None where no number does: without an interval, and where the estimate lies on an end of the region.
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
        return max(1, ceil(estimate.n * share**2) - estimate.n)

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.low:.6g}"
        if isfinite(self.low) and isfinite(self.high):
            return f"{self.low:.4g} to {self.high:.4g}"
        return f"above {self.low:.4g}" if isfinite(self.low) else f"below {self.high:.4g}"


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
