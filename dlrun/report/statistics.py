"""What a few runs of one setting can say: intervals, summaries."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from math import inf, isfinite, nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, expit, ndtri, stdtrit  # scipy.stats takes a second to import

Interval = tuple[float, float]

FINISHED = ["finished", "stopped_early"]  #: the statuses of runs whose numbers count
FEWEST_TO_RESAMPLE = 5  #: below, the studentized interval covers but its width explodes (n = 4: 18 times t's in 5 %)
MOST_TO_RESAMPLE = 1000  #: above, Student's t covers as well (log-normal with sigma 1, n = 1000: 94.5 %)
RESAMPLES = 4999
HIGHEST_LEVEL = 0.99  #: above, a tail has fewer than 25 of the resamples, and its quantile is mostly chance
APART = 1e-300  #: values that differ by less are equal: on a scale with bounds the slope between them is infinite
UNBOUNDED = (-inf, inf)
#: what a metric cannot go beyond; a loss may be of any sign, see `findings`
BOUNDS = {
    "accuracy": (0.0, 1.0), "zero_one": (0.0, 1.0), "top5": (0.0, 1.0), "ece": (0.0, 1.0),
    "r2": (-inf, 1.0), "rmse": (0.0, inf), "mae": (0.0, inf), "distance": (0.0, inf),
    "seconds": (0.0, inf), "per_second": (0.0, inf), "parameters": (0.0, inf),
}  # fmt: skip


def mean_interval(
    values: ArrayLike, bounds: Interval = UNBOUNDED, level: float = 0.95, overlap: float = 0.0
) -> Interval:
    r"""The interval of the mean of values that lie within bounds a and b, which may be infinite; it lies there, too.

    $$g^{-1}\left(g(\bar x) - q\, g'(\bar x)\, s/\sqrt n\right), \quad
    g(x) = \log(x - a) - \log(b - x)$$ without the logarithm of a bound that is infinite, g(x) = x for two of them.
    q is the quantile of Student's t with n - 1 degrees of freedom; where a bound is infinite, the level is 99 % at most
    and 5 to 1,000 values are not all alike, whichever is farther out, it or that of the studentized bootstrap,
    $(g(\bar x^*) - g(\bar x))\sqrt n / (g'(\bar x^*) s^*)$ over 4,999 resamples that are always the same ones.

    How often it holds the mean, of what values, stands in docs/statistics.md, written by scripts/coverage.py. Why not
    the usual ones: of 1,000 to 2,000 simulated samples of 10 the 95 % interval held the true mean in so many percent

    | values | this | bootstrap alone | Student's t | percentile | BCa |
    |---|---|---|---|---|---|
    | normal | 96 | 95 | 95 | 90 | 90 |
    | log-normal, sigma 0.5 | 95 | 94 | 93 | 87 | 87 |
    | log-normal, sigma 1, above 0 | 92 | 90 | 84 | | |
    | exponential | 96 | 95 | 90 | | |

    and for accuracies on 360 samples whose variance over seeds is 10 times the binomial one (beta-binomial), of which
    the true mean is .5 / .9 / .98; the bootstrap is the one above with g(x) = x, and Wilson's has $s^2/n$ in place of
    its variance:

    | n | this | Student's t | bootstrap | mean of logits | Wilson's |
    |---|---|---|---|---|---|
    | 3 | 95 / 95 / 96 | 94 / 94 / 88 | 94 / 94 / 88 | 95 / 95 / 95 | 95 / 95 / 95 |
    | 5 | 95 / 95 / 94 | 95 / 94 / 87 | 95 / 94 / 88 | 95 / 94 / 91 | 95 / 95 / 93 |
    | 10 | 95 / 94 / 94 | 95 / 94 / 90 | 95 / 95 / 95 | 95 / 91 / 75 | 95 / 94 / 93 |

    Values that are not finite are left out. Fewer than two, or equal ones, which say nothing of how much others would
    differ, have no interval, (nan, nan). Values beyond the bounds are taken as unbounded.

    overlap: of values from as many splits of one set of samples, whose training parts overlap, the rows that measure
    per row that trains, $n_2 / n_1$, which is 1 / (k - 1) for k folds. Such values are correlated, and the error of
    their mean does not vanish with their number: $s/\sqrt n$ becomes $s \sqrt{1/n + n_2/n_1}$, and q is Student's.

    Reference: Efron & Tibshirani 1993, An Introduction to the Bootstrap, sections 12.5 and 12.6; Oehlert 1992,
    doi:10.1080/00031305.1992.10475842 (delta method); Nadeau & Bengio 2003, doi:10.1023/A:1024068626366 (corrected
    resampled t); Bouckaert & Frank 2004, doi:10.1007/978-3-540-24775-3_3 (the same for repeated folds).
    """
    x = finite(values)
    n = len(x)
    if n < 2 or np.ptp(x) < APART:
        return nan, nan
    scale = Scale(*bounds) if bounds[0] <= x.min() and x.max() <= bounds[1] else Scale(*UNBOUNDED)
    tails = np.array([0.5 + level / 2, 0.5 - level / 2])
    q = stdtrit(n - 1, tails)
    resampled = len(np.unique(x)) >= FEWEST_TO_RESAMPLE and n <= MOST_TO_RESAMPLE and level <= HIGHEST_LEVEL
    if scale.bounds < 2 and resampled and not overlap:
        quantiles = np.quantile(_studentized(x, scale), tails, method="inverted_cdf")
        if np.isfinite(quantiles).all():
            q = np.array([max(q[0], quantiles[0]), min(q[1], quantiles[1])])
    mean = x.mean()  # a float64 of NumPy's, as all that Scale takes
    low, high = scale.back(scale.to(mean) - q * scale.slope(mean) * deviation(x) * sqrt(1 / n + overlap))
    return float(low), float(high)


@dataclass(frozen=True)
class Scale:
    """The scale g of `mean_interval`, on which what lies within bounds has none; a bound itself goes to infinity."""

    low: float
    high: float

    @property
    def bounds(self) -> int:
        """How many are finite."""
        return isfinite(self.low) + isfinite(self.high)

    def to(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """g(x)"""
        if not self.bounds:
            return x
        with np.errstate(divide="ignore"):
            logarithm = np.log(x - self.low) if isfinite(self.low) else np.zeros_like(x)
            return logarithm - np.log(self.high - x) if isfinite(self.high) else logarithm

    def slope(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """g'(x)"""
        if not self.bounds:
            return np.ones_like(x)
        with np.errstate(divide="ignore"):
            return 1 / (x - self.low) + 1 / (self.high - x)  # a bound that is infinite adds 0

    def back(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """The x of which y is g(x)."""
        if self.bounds == 2:
            return self.low + (self.high - self.low) * expit(y)
        if isfinite(self.low):
            return self.low + np.exp(y)
        return self.high - np.exp(-y) if isfinite(self.high) else y


def wilson_interval(successes: float, n: float, level: float = 0.95) -> Interval:
    r"""Wilson's score interval of a share; (0, 1) where nothing was tried.

    $$\frac{k + z^2/2}{n + z^2} \pm \frac{z}{n + z^2} \sqrt{k(n-k)/n + z^2/4}$$

    Reference: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    if n == 0:
        return 0.0, 1.0
    z = ndtri(0.5 + level / 2)
    middle, half = successes + z**2 / 2, z * sqrt(successes * (n - successes) / n + z**2 / 4)
    return max(0.0, float((middle - half) / (n + z**2))), min(1.0, float((middle + half) / (n + z**2)))


def exact_interval(successes: int, n: int, level: float = 0.95) -> Interval:
    r"""Clopper and Pearson's interval of a share, which holds it at least as often as its level says, however few are
    tried; (0, 1) where nothing was.

    $$B^{-1}\left(\tfrac{1 - \text{level}}2;\, k,\, n-k+1\right) \quad\text{to}\quad
    B^{-1}\left(\tfrac{1 + \text{level}}2;\, k+1,\, n-k\right)$$ with quantiles of the beta distribution.

    Reference: Clopper & Pearson 1934, doi:10.1093/biomet/26.4.404.
    """
    tail = (1 - level) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes else 0.0
    return low, float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0


@dataclass(frozen=True)
class Summary:
    """One setting's runs, which differ only by seed, fold or split. Numbers are over the runs that finished or stopped
    early; of several splits, over what each has on average."""

    runs: int
    n: int  #: finished, with a finite value
    mean: float
    std: float  #: with n - 1
    low: float  #: of the mean's 95 % interval; nan where there is none
    high: float
    median: float
    best: float
    failed: int  #: ended by an error
    diverged: int
    diverged_low: float  #: Wilson's 95 % interval of the share of runs that diverge; failed ones tell nothing of it
    diverged_high: float


def summarize(
    values: ArrayLike,
    status: Collection[str],
    *,
    larger_is_better: bool,
    bounds: Interval = UNBOUNDED,
    splits: ArrayLike | None = None,
    overlap: float = 0.0,
) -> Summary:
    """The summary of one setting: its runs' values and their statuses, as in summary.json, in the same order.

    splits: the number of each run's split of the data, where these differ. overlap: of these, see `mean_interval`.
    """
    counts = Counter(status)
    diverged, failed = counts["diverged"], counts["failed"]
    finished = np.array([each in FINISHED for each in status], bool)
    x = np.asarray(values, float)
    good = finished & np.isfinite(x)
    x = x[good] if splits is None else by_split(x[good], np.asarray(splits)[good])
    low, high = mean_interval(x, bounds, overlap=overlap)
    diverged_low, diverged_high = wilson_interval(diverged, diverged + int(finished.sum()))
    return Summary(
        runs=len(status),
        n=int(good.sum()),
        mean=float(x.mean()) if len(x) else nan,
        std=deviation(x) if len(x) > 1 else nan,
        low=low,
        high=high,
        median=float(np.median(x)) if len(x) else nan,
        best=float(x.max() if larger_is_better else x.min()) if len(x) else nan,
        failed=failed,
        diverged=diverged,
        diverged_low=diverged_low,
        diverged_high=diverged_high,
    )


def edge_warning(axis: str, values: ArrayLike, best: float) -> str | None:
    """The warning that the best of an axis' values is the least or greatest one tried; None where it lies inside, and
    where two were tried, of which one always is."""
    tried = np.unique(finite(values))
    if len(tried) < 3 or tried[0] < best < tried[-1]:
        return None
    which, side = ("greatest", "above") if best >= tried[-1] else ("least", "below")
    return f"the best {axis}, {best:g}, is the {which} that was tried: the optimum may lie {side} it"


def by_split(values: NDArray[np.float64], splits: NDArray[Any]) -> NDArray[np.float64]:
    """What the runs of each split have on average, in the order of the splits' numbers."""
    _, number = np.unique(splits, return_inverse=True)
    return np.bincount(number, values) / np.bincount(number)


def finite(values: ArrayLike) -> NDArray[np.float64]:
    """The values without NaN and infinities."""
    x = np.asarray(values, float)
    return x[np.isfinite(x)]


def deviation(x: NDArray[np.float64]) -> float:
    """Standard deviation with n - 1; exactly 0 for equal values, whose mean may be rounded."""
    return float(x.std(ddof=1)) if np.ptp(x) > 0 else 0.0


def _studentized(x: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    """The t of each resample on a scale; infinite where it drew one value n times, and so has no spread."""
    shares, n, mean, std = _resamples(len(x)), len(x), x.mean(), deviation(x)
    z = (x - mean) / std
    shifts = shares @ z
    variances = (shares @ z**2 - shifts**2) * n / (n - 1)
    spread = variances > 1e-12
    moved = shifts
    if scale.bounds:
        means = np.clip(mean + std * shifts, scale.low, scale.high)  # rounding must not lead beyond
        with np.errstate(invalid="ignore"):  # where all drawn values lie at a bound, and have no spread
            moved = (scale.to(means) - scale.to(mean)) / scale.slope(means) / std
    return np.where(spread, moved * sqrt(n) / np.sqrt(np.where(spread, variances, 1)), np.copysign(inf, shifts))


@functools.cache
def _resamples(n: int) -> NDArray[np.float64]:
    """What share of each resample every value is, (resamples, n)."""
    return np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES) / n
