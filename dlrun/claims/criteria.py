"""The few ways to judge: what a criterion estimates from the measured runs, and where that must lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import exp, inf, isnan, log
from typing import Any

import numpy as np

from dlrun.errors import ConfigError
from dlrun.report.judging import Estimate, Region
from dlrun.report.statistics import exact_interval, mean_interval

Values = Mapping[str, Mapping[int, float]]  #: a measure's number by setting and seed


@dataclass(frozen=True)
class Criterion:
    """What is to hold of a measure, written before the run.

    | judge | what it estimates |
    |---|---|
    | `every` | each run's number, by seed a - b with `between: [a, b]` or the slope with `against`: without chance |
    | `mean` | the mean of the setting `in` |
    | `share` | the share of runs of the setting `in` of which a measure of 0 and 1 is 1 |
    | `difference`, `ratio` | of `between: [a, b]` the mean of a - b, the geometric mean of a / b, by seed |
    | `rates` | the difference of the shares of a and b |
    | `order` | of each setting in `settings` and the next, the mean by seed of the next less this one |
    | `slope` | the mean over seeds of the slope of log measure over log `against: {setting: number}` |

    Where it must lie say `above` and `below`, or `is` with its `tolerance`. `expects` is the effect, and its spread
    over seeds, that the looks were planned for.
    """

    judge: str
    of: str
    settings: tuple[str, ...]
    region: Region
    against: Mapping[str, float] = field(default_factory=dict)
    expects: Any = None

    @classmethod
    def parse(cls, judge: str, keys: Mapping[str, Any]) -> Criterion:
        """From `difference: {of: test_loss, between: [a, b], above: 0.1}`. Raises ConfigError for what is none."""
        if judge not in JUDGES:
            raise ConfigError(f"{judge}: there is no such judge; there are {', '.join(JUDGES)}")
        known = {"of", "in", "between", "settings", "against", "above", "below", "is", "tolerance", "expects"}
        if odd := keys.keys() - known:
            raise ConfigError(f"{judge}: there is no key {', '.join(sorted(odd))}")
        named = [keys[key] for key in ("in", "between", "settings", "against") if key in keys]
        if "of" not in keys or len(named) != 1:
            raise ConfigError(f"{judge}: say `of` which measure, and once of which settings")
        settings = (named[0],) if isinstance(named[0], str) else tuple(named[0])
        pairs = "between" in keys
        slopes = "against" in keys
        wrong = (judge in PAIRED and not (pairs and len(settings) == 2)) or (judge == "slope" and not slopes)
        if wrong or (slopes and judge not in ("slope", "every")):
            raise ConfigError(f"{judge}: wants {'against' if judge == 'slope' else 'between: [a, b]'}")
        if "is" in keys:
            region = Region(keys["is"] - keys.get("tolerance", 0), keys["is"] + keys.get("tolerance", 0))
        else:
            region = Region(keys.get("above", -inf), keys.get("below", inf))
        if region == Region():
            raise ConfigError(f"{judge}: say where it must lie: above, below, or is and tolerance")
        kind = judge
        if judge == "every" and (pairs or slopes):
            kind = "every_pairs" if pairs else "every_slope"
        return cls(kind, keys["of"], settings, region, keys.get("against", {}), keys.get("expects"))

    def answer(self, values: Values, level: float) -> Answer:
        """What the measured values say, with intervals of this level.

        values: the measure's, of each setting and seed.
        """
        return JUDGES[self.judge](self, values, level)


WHAT = {  #: what is estimated of the settings, in words; of two of them the sign between says it
    "slope": "slope of log over log", "every_slope": "slope of log over log", "share": "share of runs", "mean": "mean",
    "every": "every run",
}  # fmt: skip
SIGNS = {"difference": " - ", "every_pairs": " - ", "rates": " - ", "ratio": " / ", "order": " < "}


@dataclass(frozen=True)
class Answer:
    """What a criterion has found."""

    holds: bool | None
    estimates: list[Estimate]  #: one, but for an order, which has one for each step
    more: int | None = None  #: seeds that it would still take, about
    problem: str = ""  #: why nothing can be told


def _every(criterion: Criterion, values: Values, level: float) -> Answer:
    return _all_inside(criterion, np.array([x for name in criterion.settings for x in values[name].values()]))


def _every_pairs(criterion: Criterion, values: Values, level: float) -> Answer:
    a, b = _paired(values, criterion.settings)
    return _all_inside(criterion, a - b)


def _all_inside(criterion: Criterion, x: np.ndarray) -> Answer:
    if problem := _missing(x):
        return Answer(None, [], problem=problem)
    region, low, high = criterion.region, float(x.min()), float(x.max())
    farthest = low if region.low - low > high - region.high else high
    return Answer(low >= region.low and high <= region.high, [Estimate(farthest, low, high, len(x))])


def _mean(criterion: Criterion, values: Values, level: float) -> Answer:
    return _of_mean(criterion, np.array(list(values[criterion.settings[0]].values())), level)


def _difference(criterion: Criterion, values: Values, level: float) -> Answer:
    a, b = _paired(values, criterion.settings)
    return _of_mean(criterion, a - b, level)


def _ratio(criterion: Criterion, values: Values, level: float) -> Answer:
    a, b = _paired(values, criterion.settings)
    if (a <= 0).any() or (b <= 0).any():
        return Answer(None, [], problem="a ratio is of positive numbers, and some are not")
    found = _of_mean(criterion, np.log(a) - np.log(b), level, _logarithmic(criterion.region))
    return _raised(found)


def _slope(criterion: Criterion, values: Values, level: float) -> Answer:
    return _of_slopes(criterion, values, lambda slopes: _of_mean(criterion, slopes, level))


def _every_slope(criterion: Criterion, values: Values, level: float) -> Answer:
    return _of_slopes(criterion, values, lambda slopes: _all_inside(criterion, slopes))


def _of_slopes(criterion: Criterion, values: Values, judge: Callable[[np.ndarray], Answer]) -> Answer:
    """What a judge says of the slopes, one by seed."""
    x = np.log([criterion.against[name] for name in criterion.settings])
    y = np.array([list(column) for column in _by_seed(values, criterion.settings)])
    if problem := _missing(y):
        return Answer(None, [], problem=problem)
    if (y <= 0).any():
        return Answer(None, [], problem="a slope of logarithms is of positive numbers, and some are not")
    x = x - x.mean()
    return judge(x @ np.log(y) / (x @ x))


def _share(criterion: Criterion, values: Values, level: float) -> Answer:
    x = np.array(list(values[criterion.settings[0]].values()))
    if problem := _missing(x) or _no_shares(x):
        return Answer(None, [], problem=problem)
    low, high = exact_interval(int(x.sum()), len(x), level)
    return _settled(criterion.region, Estimate(float(x.mean()), low, high, len(x)))


def _rates(criterion: Criterion, values: Values, level: float) -> Answer:
    """Each share's interval misses with half the chance, so their ends' differences hold however the two depend on
    each other (Bonferroni)."""
    a, b = (np.array(list(values[name].values())) for name in criterion.settings)
    both = np.concatenate([a, b])
    if problem := _missing(both) or _no_shares(both):
        return Answer(None, [], problem=problem)
    (a_low, a_high), (b_low, b_high) = (exact_interval(int(x.sum()), len(x), (1 + level) / 2) for x in (a, b))
    estimate = Estimate(float(a.mean() - b.mean()), a_low - b_high, a_high - b_low, min(len(a), len(b)))
    return _settled(criterion.region, estimate)


def _order(criterion: Criterion, values: Values, level: float) -> Answer:
    """All steps must hold, and each is judged at the whole level: the chance that all intervals lie inside although one
    step does not is that of this one (intersection-union, Berger 1982)."""
    columns = [np.array(column) for column in _by_seed(values, criterion.settings)]
    answers = [_of_mean(criterion, after - before, level) for before, after in pairwise(columns)]
    if problem := next((each.problem for each in answers if each.problem), ""):
        return Answer(None, [], problem=problem)
    estimates = [each.estimates[0] for each in answers]
    if any(each.holds is False for each in answers):
        return Answer(False, estimates)
    if all(each.holds for each in answers):
        return Answer(True, estimates)
    more = [each.more for each in answers if each.holds is None]
    return Answer(None, estimates, None if None in more else max(m for m in more if m is not None))


def _of_mean(criterion: Criterion, x: np.ndarray, level: float, region: Region | None = None) -> Answer:
    if problem := _missing(x):
        return Answer(None, [], problem=problem)
    low, high = mean_interval(x, level=level)
    return _settled(region or criterion.region, Estimate(float(x.mean()), low, high, len(x)))


def _settled(region: Region, estimate: Estimate) -> Answer:
    if isnan(estimate.low):
        told = "one run has no interval" if estimate.n < 2 else f"{estimate.n} equal numbers have no interval"
        return Answer(None, [estimate], problem=told)
    holds = region.settled(estimate)
    return Answer(holds, [estimate], region.seeds_still(estimate) if holds is None else None)


def _raised(answer: Answer) -> Answer:
    """Back from logarithms."""
    estimates = [Estimate(exp(each.value), exp(each.low), exp(each.high), each.n) for each in answer.estimates]
    return Answer(answer.holds, estimates, answer.more, answer.problem)


def _logarithmic(region: Region) -> Region:
    return Region(*(log(end) if end > 0 else -inf for end in (region.low, region.high)))


def _paired(values: Values, settings: Sequence[str]) -> list[np.ndarray]:
    return [np.array(column) for column in _by_seed(values, settings)]


def _by_seed(values: Values, settings: Sequence[str]) -> list[list[float]]:
    """The numbers of the seeds that all settings have, in one order."""
    seeds = sorted(set.intersection(*(set(values[name]) for name in settings)))
    return [[values[name][seed] for seed in seeds] for name in settings]


def _missing(x: np.ndarray) -> str:
    if not x.size:
        return "no run of these settings has ended"
    lost = int(np.isnan(x).sum())
    return f"{lost} of {x.size} numbers are missing (runs that diverged or never got there)" if lost else ""


def _no_shares(x: np.ndarray) -> str:
    return "" if np.isin(x, (0, 1)).all() else "a share is of numbers that are 0 or 1, and some are not"


Judge = Callable[[Criterion, Values, float], Answer]
PAIRED = ("difference", "ratio", "rates")
JUDGES: dict[str, Judge] = {
    "every": _every, "every_pairs": _every_pairs, "every_slope": _every_slope, "mean": _mean, "share": _share,
    "difference": _difference, "ratio": _ratio, "rates": _rates, "order": _order, "slope": _slope,
}  # fmt: skip
