"""What a few runs of one setting can say: intervals, summaries."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from math import inf, nan, sqrt

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit  # scipy.stats takes a second to import

Interval = tuple[float, float]

FINISHED = ["finished", "stopped_early"]  #: the statuses of runs whose numbers count
FEWEST_TO_RESAMPLE = 5  #: below, the studentized interval covers but its width explodes (n = 4: 18 times t's in 5 %)
RESAMPLES = 4999


def bootstrap_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    r"""The interval of the mean: studentized bootstrap from five different values on, Student's t below.

    $$[\bar x - q_{1-\alpha/2}\, s/\sqrt n,\; \bar x - q_{\alpha/2}\, s/\sqrt n], \quad q \text{ the quantiles of }
    (\bar x^* - \bar x)\sqrt n / s^*$$ over 4,999 resamples that are always the same ones; or q of Student's t.

    Why not the usual ones: of 2,000 simulated samples the 95 % interval held the true mean in so many percent
    (normal / skewed, log-normal with sigma 0.5):

    | n | this | Student's t | percentile | BCa |
    |---|---|---|---|---|
    | 3 | 95 / 92 | 95 / 92 | 76 / 71 | 74 / 69 |
    | 5 | 95 / 94 | 95 / 93 | 84 / 81 | 84 / 81 |
    | 10 | 95 / 95 | 95 / 92 | 90 / 87 | 90 / 87 |
    | 30 | 94 / 95 | 94 / 94 | 93 / 92 | 92 / 92 |

    Values that are not finite are left out; fewer than two have no interval, (nan, nan).

    Reference: Efron & Tibshirani 1993, An Introduction to the Bootstrap, section 12.5.
    """
    x = finite(values)
    n = len(x)
    if n < 2:
        return nan, nan
    mean, std = x.mean(), deviation(x)
    if std == 0:
        return float(mean), float(mean)
    tails = np.array([0.5 + level / 2, 0.5 - level / 2])
    q = stdtrit(n - 1, tails)
    if len(np.unique(x)) >= FEWEST_TO_RESAMPLE:
        quantiles = np.quantile(_studentized((x - mean) / std), tails, method="inverted_cdf")
        q = np.where(np.isfinite(quantiles).all(), quantiles, q)
    low, high = mean - q * std / sqrt(n)
    return float(low), float(high)


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


@dataclass(frozen=True)
class Summary:
    """One setting's runs, which differ only by seed. Numbers are over the runs that finished or stopped early."""

    runs: int
    n: int  #: finished, with a finite value
    mean: float
    std: float  #: with n - 1
    low: float  #: of the mean's 95 % interval
    high: float
    median: float
    best: float
    failed: int  #: ended by an error
    diverged: int
    diverged_low: float  #: Wilson's 95 % interval of the share of runs that diverge; failed ones tell nothing of it
    diverged_high: float


def summarize(values: pd.Series, status: pd.Series, *, larger_is_better: bool) -> Summary:
    """The summary of one setting: its runs' values and their statuses, as in summary.json, in the same order."""
    counts = status.value_counts()
    diverged, failed = int(counts.get("diverged", 0)), int(counts.get("failed", 0))
    finished = status.isin(FINISHED)
    x = finite(values[finished])
    low, high = bootstrap_interval(x)
    diverged_low, diverged_high = wilson_interval(diverged, diverged + int(finished.sum()))
    return Summary(
        runs=len(status),
        n=len(x),
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
    """The warning that the best of an axis' values is the least or greatest one tried; None where it lies inside."""
    tried = np.unique(finite(values))
    if len(tried) < 2 or tried[0] < best < tried[-1]:
        return None
    which, side = ("greatest", "above") if best >= tried[-1] else ("least", "below")
    return f"the best {axis}, {best:g}, is the {which} that was tried: the optimum may lie {side} it"


def finite(values: ArrayLike) -> NDArray[np.float64]:
    """The values without NaN and infinities."""
    x = np.asarray(values, float)
    return x[np.isfinite(x)]


def deviation(x: NDArray[np.float64]) -> float:
    """Standard deviation with n - 1; exactly 0 for equal values, whose mean may be rounded."""
    return float(x.std(ddof=1)) if np.ptp(x) > 0 else 0.0


def _studentized(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """The t of each resample of values with mean 0; infinite where it drew one value n times, and so has no spread."""
    shares, n = _resamples(len(z)), len(z)
    means = shares @ z
    variances = (shares @ z**2 - means**2) * n / (n - 1)
    spread = variances > 1e-12
    return np.where(spread, means * sqrt(n) / np.sqrt(np.where(spread, variances, 1)), np.copysign(inf, means))


@functools.cache
def _resamples(n: int) -> NDArray[np.float64]:
    """What share of each resample every value is, (resamples, n)."""
    return np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES) / n
