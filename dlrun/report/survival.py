"""How long until a target is reached, where some runs never reach it."""

from __future__ import annotations

from math import inf, nan
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import betaincinv


def time_to_target(
    curves: pd.DataFrame, metric: str, target: float, *, larger_is_better: bool, time: str = "epoch"
) -> pd.DataFrame:
    """Per run (the index), the time of its first evaluation at the target or beyond, and whether it was reached.

    curves: long form, a row per run, evaluation and metric, columns run, metric, value and `time`. A run that did not
    reach the target has the time of its last evaluation: all that is known is that it takes longer.
    """
    rows = curves[curves["metric"] == metric]
    hit = rows["value"] >= target if larger_is_better else rows["value"] <= target
    first, last = rows[hit].groupby("run")[time].min(), rows.groupby("run")[time].max()
    return pd.DataFrame({"time": first.reindex(last.index).fillna(last), "reached": last.index.isin(first.index)})


class Median(NamedTuple):
    """A median time and its interval; inf where the runs do not bound it."""

    median: float
    low: float
    high: float


def kaplan_meier_median(times: ArrayLike, reached: ArrayLike, level: float = 0.95) -> Median:
    r"""The time by which half of the runs reach the target, by Kaplan and Meier's estimate.

    $$S(t) = \prod_{t_i \le t} (1 - d_i / r_i)$$ with d_i runs that reach it at t_i, and r_i that had not before and
    were still watched. The median is where S falls to one half; where S stays there for a while, the middle of that
    while. inf where fewer reach it. nan without runs.

    Stopping a run must not tell when it would have reached the target. One that never can, because it diverged, must
    not count as merely stopped: give it the time inf, with reached False.

    The interval holds each t at which one half lies in Clopper and Pearson's interval of S(t), for as many runs as S(t)
    would stand for without censoring, $r_i / S(t_{i-1})$. Without censoring it is the sign test's exact interval
    of the median, at least 95 % whatever the distribution and with ties, which the usual log-log interval cannot
    handle; fewer than six runs give (0, inf).

    Reference: Kaplan & Meier 1958, doi:10.2307/2281868; Brookmeyer & Crowley 1982, doi:10.2307/2530286; effective
    number: Dorey & Korn 1987, Statistics in Medicine 6:679-687.
    """
    t, event = np.asarray(times, float), np.asarray(reached, bool)
    if not len(t):
        return Median(nan, nan, nan)
    at = np.unique(t[event])
    at_risk = (t >= at[:, None]).sum(1)
    survival = np.cumprod(1 - (t[event] == at[:, None]).sum(1) / at_risk)
    before = np.concatenate([[1.0], survival[:-1]])
    runs = at_risk / before[: len(at)]

    # Before the first event S is 1, and for few runs even that says little.
    at, survival, runs = np.append(0.0, at), np.append(1.0, survival), np.append(len(t), runs)
    tail = (1 - level) / 2
    alive, gone = survival * runs, (1 - survival) * runs
    low = np.where(alive > 0, betaincinv(np.maximum(alive, 1e-300), gone + 1, tail), 0)
    high = np.where(gone > 0, betaincinv(alive + 1, np.maximum(gone, 1e-300), 1 - tail), 1)
    return Median(_median(at, survival), _first(at, low <= 0.5), _first(at, high < 0.5))


def _median(at: np.ndarray, survival: np.ndarray) -> float:
    below = _first(at, survival < 0.5 - 1e-12)
    flat = np.isclose(survival, 0.5, rtol=0, atol=1e-12)
    if not flat.any():
        return below
    start = float(at[flat.argmax()])
    return start if below == inf else (start + below) / 2


def _first(at: np.ndarray, where: np.ndarray) -> float:
    return float(at[where.argmax()]) if where.any() else inf
