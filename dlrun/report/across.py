"""Settings over several datasets: mean ranks, the interquartile mean and performance profiles, by the bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dlrun.plots.comparison import DRAWN
from dlrun.report.findings import Findings
from dlrun.report.statistics import FINISHED, Interval

COMPARABLE = ("accuracy", "zero_one", "top5", "ece", "r2")  #: metrics whose values mean the same on every dataset
RESAMPLES = 2000
MOST_NUMBERS = 2 * 10**7  #: in all resamples; with more there are no intervals
TAUS = 201  #: places at which a profile is drawn
TRIM = 0.25  #: of the values on either side, which the interquartile mean leaves out

Scores = Sequence[NDArray[np.float64]]  #: a setting's values on each dataset, (runs,) each
Profile = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]  #: shares, and the ends of their band


@dataclass(frozen=True)
class Across:
    """What the settings that were run on all datasets are, taken over these."""

    table: pd.DataFrame  #: axes, `setting`, rank, rank_low, rank_high, iqm, iqm_low, iqm_high, `ranks` of each dataset
    datasets: list[str]
    axes: list[str]
    metric: str  #: that all datasets have, "" where they have not
    larger_is_better: bool
    comparable: bool  #: whether values of different datasets may stand side by side; else there are ranks alone
    runs: int  #: of which the values are
    diverged: int  #: of these, which counts as the metric's worst value
    left_out: list[str]  #: settings that some dataset lacks
    unfinished: int  #: datasets on which some setting has no run that finished
    splits: bool  #: whether runs of a setting are of several splits of the same samples
    taus: NDArray[np.float64]
    profiles: dict[str, Profile]  #: of the best settings


def across(found: Findings) -> Across | None:
    """What can be said of settings over the datasets on which some run has finished; None of a single dataset or
    setting."""
    strata = {name: each for name, each in found.strata.items() if each.settings["n"].any()}
    if len(strata) < 2 or not next(iter(strata.values())).axes:
        return None
    each_has = [set(each.settings["setting"]) for each in strata.values()]
    common = set.intersection(*each_has)
    order = [name for each in strata.values() for name in each.settings["setting"]]
    left_out = [name for name in dict.fromkeys(order) if name not in common]
    names = [name for name in dict.fromkeys(order) if name in common]
    if len(names) < 2:
        return None
    metrics = {each.metric for each in strata.values()}
    metric = metrics.pop() if len(metrics) == 1 else ""
    comparable = any(metric == name or metric.endswith(f"_{name}") for name in COMPARABLE)
    values = [_values(each, names) for each in strata.values()]  # of each dataset, by setting
    counts = [len(own) for each in values for own in each]
    drawing = min(counts) > 1 and sum(counts) * RESAMPLES <= MOST_NUMBERS
    random = np.random.default_rng(0)
    ways = [each.larger_is_better for each in strata.values()]
    standing = np.stack([_standing(each, names) for each in strata.values()])  # (datasets, settings)
    drawn = [_ranks_resampled(own, way, random) for own, way in zip(values, ways, strict=True)] if drawing else []
    rank_low, rank_high = interval(np.mean(drawn, axis=0) if drawing else np.zeros((0, len(names))))
    frame = pd.DataFrame({"setting": names, "rank": standing.mean(0), "rank_low": rank_low, "rank_high": rank_high})
    first = next(iter(strata.values()))
    own_axes = first.settings.set_index("setting").loc[names, first.axes].reset_index(drop=True)
    frame = pd.concat([own_axes, frame], axis=1).assign(
        ranks=pd.Series([tuple(row) for row in standing.T], dtype=object)
    )
    taus, profiles = np.zeros(0), dict[str, Profile]()
    if comparable:
        bounds = [worst_of(each.bounds, each.larger_is_better) for each in strata.values()]
        scores = {
            name: [np.where(np.isnan(own[i]), worst, own[i]) for own, worst in zip(values, bounds, strict=True)]
            for i, name in enumerate(names)
        }
        means = {name: _with_interval(own, random if drawing else None) for name, own in scores.items()}
        frame[["iqm", "iqm_low", "iqm_high"]] = [means[name] for name in names]
        taus = places([own for each in scores.values() for own in each])
        best = frame.sort_values("rank", kind="stable")["setting"].head(DRAWN)
        profiles = {name: _banded(scores[name], taus, ways[0], random if drawing else None) for name in best}
    return Across(
        table=frame.sort_values("rank", kind="stable").reset_index(drop=True),
        datasets=list(strata),
        axes=first.axes,
        metric=metric,
        larger_is_better=ways[0],
        comparable=comparable,
        runs=sum(counts),
        diverged=sum(int(np.isnan(own).sum()) for each in values for own in each),
        left_out=left_out,
        unfinished=sum(
            int((each.settings.set_index("setting").loc[names, "n"] == 0).any()) for each in strata.values()
        ),
        splits=any(each.repeats.what != "seed" for each in strata.values()),
        taus=taus,
        profiles=profiles,
    )


def _values(found: Findings, names: Sequence[str]) -> list[NDArray[np.float64]]:
    """The values of each setting's runs on a dataset that finished or diverged; of these nan."""
    values = found.table[found.quoted].to_numpy(float)
    diverged = (found.table["status"] == "diverged").to_numpy()
    good = found.table["status"].isin(FINISHED).to_numpy() & np.isfinite(values)
    values = np.where(diverged, nan, values)
    groups = found.table.groupby("setting", sort=False).indices
    return [values[at[(good | diverged)[at]]] for at in (groups[name] for name in names)]


def worst_of(bounds: Interval, larger_is_better: bool) -> float:
    """The worst value of a metric with these bounds."""
    return bounds[0] if larger_is_better else bounds[1]


def _standing(found: Findings, names: Sequence[str]) -> NDArray[np.float64]:
    """The rank of each setting on a dataset, the best 1, ties averaged: first by how often it diverges, as everywhere
    in the report, then by the mean of the others."""
    own = found.settings.set_index("setting").loc[list(names)]
    share = (own["diverged"] / (own["diverged"] + own["n"]).clip(lower=1)).to_numpy(float)
    return ranked(np.where(own["n"] > 0, share, inf), own["mean"].to_numpy(float), found.larger_is_better)


def ranked(share: NDArray[np.float64], mean: NDArray[np.float64], larger_is_better: bool) -> NDArray[np.float64]:
    r"""Ranks along the last axis, 1 the best, of what comes first by the lesser share, then by the better mean.

    Equal ones share the average of their ranks: $1 + \#\{\text{better}\} + (\#\{\text{equal}\} - 1) / 2$. A mean that
    is none is the worst.

    Reference: Demšar 2006, JMLR 7:1-30 (average ranks over datasets).
    """
    loss = np.where(np.isnan(mean), inf, _rounded(-mean if larger_is_better else mean))
    flat_share, flat_loss = share.reshape(-1, share.shape[-1]), loss.reshape(-1, loss.shape[-1])
    order = np.lexsort((flat_loss, flat_share), axis=-1)
    in_order = [np.take_along_axis(each, order, -1) for each in (flat_share, flat_loss)]
    new = np.ones(order.shape, bool)  # whether it differs from the one before
    new[:, 1:] = np.logical_or.reduce([each[:, 1:] != each[:, :-1] for each in in_order])
    group = np.cumsum(new, -1) - 1 + np.arange(len(order))[:, None] * order.shape[1]
    places = np.tile(np.arange(1.0, order.shape[1] + 1), len(order))
    counts = np.bincount(group.ravel(), minlength=order.size)
    means = np.bincount(group.ravel(), places, order.size) / np.maximum(counts, 1)
    ranks = np.empty(order.shape)
    np.put_along_axis(ranks, order, means[group], -1)
    return ranks.reshape(share.shape)


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """To ten digits: means of the same values in another order are equal."""
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = 10.0 ** (np.floor(np.log10(np.abs(values))) - 9)
        return np.where(np.isfinite(values) & (values != 0), np.round(values / unit) * unit, values)


def _ranks_resampled(
    values: Sequence[NDArray[np.float64]], larger_is_better: bool, random: np.random.Generator
) -> NDArray[np.float64]:
    """The ranks of settings on a dataset in resamples of their runs, (resamples, settings)."""
    shares, means = np.full((2, RESAMPLES, len(values)), inf)
    for i, own in enumerate(values):
        drawn = own[random.integers(0, len(own), (RESAMPLES, len(own)))]
        lost = np.isnan(drawn)
        kept = (~lost).sum(1)
        shares[:, i] = np.where(kept, lost.mean(1), inf)
        means[:, i] = np.where(kept, np.where(lost, 0, drawn).sum(1) / np.maximum(kept, 1), nan)
    return ranked(shares, means, larger_is_better)


def interquartile_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""The mean of the middle half of values, along the last axis: of n sorted ones those from $\lfloor n/4 \rfloor$ to
    $n - \lfloor n/4 \rfloor$.

    Reference: Agarwal et al. 2021, arXiv:2108.13264 (section 4.3).
    """
    n = values.shape[-1]
    cut = int(TRIM * n)
    return np.sort(values, -1)[..., cut : n - cut].mean(-1) if n else np.full(values.shape[:-1], nan)


def resampled(scores: Scores, random: np.random.Generator) -> NDArray[np.float64]:
    """Stratified resamples: of each dataset as many of its runs as it has, with replacement, (resamples, all runs).

    Reference: Agarwal et al. 2021, arXiv:2108.13264 (section 4.1).
    """
    parts = [own[random.integers(0, len(own), (RESAMPLES, len(own)))] for own in scores if len(own)]
    return np.concatenate(parts, axis=1) if parts else np.zeros((0, 0))


def _with_interval(scores: Scores, random: np.random.Generator | None) -> tuple[float, float, float]:
    if not all(map(len, scores)):
        return nan, nan, nan
    value = float(interquartile_mean(np.concatenate(scores)))
    if random is None:
        return value, nan, nan
    low, high = interval(interquartile_mean(resampled(scores, random))[:, None])
    return value, float(low[0]), float(high[0])


def interval(resamples: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 95 % percentile interval of each column; nan where there are no resamples."""
    if not len(resamples):
        none = np.full(resamples.shape[1], nan)
        return none, none
    ordered = np.sort(resamples, axis=0)  # np.quantile makes nan of infinities
    low, high = (round((len(ordered) - 1) * share) for share in (0.025, 0.975))
    return ordered[low], ordered[high]


def places(values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The thresholds of a profile: evenly from the least to the greatest value that is finite."""
    finite = np.concatenate([own[np.isfinite(own)] for own in values] or [np.zeros(0)])
    return np.linspace(finite.min(), finite.max(), TAUS) if len(finite) else np.zeros(0)


def profile(scores: Scores, taus: NDArray[np.float64], larger_is_better: bool) -> NDArray[np.float64]:
    r"""Which share of a setting's runs is better than each threshold; every dataset weighs the same.

    $$\hat F(\tau) = \frac1M \sum_{m=1}^M \frac1{N_m} \sum_{n=1}^{N_m} [x_{m,n} > \tau]$$

    Reference: Agarwal et al. 2021, arXiv:2108.13264 (equation 2).
    """
    return np.mean([better(own, taus, larger_is_better).mean(0) for own in scores], axis=0)


def _banded(
    scores: Scores, taus: NDArray[np.float64], larger_is_better: bool, random: np.random.Generator | None
) -> Profile:
    """The profile, and where it lies in 95 % of stratified resamples, place by place."""
    if not all(map(len, scores)):
        none = np.full(len(taus), nan)
        return none, none, none
    share = profile(scores, taus, larger_is_better)
    if random is None:
        return share, *interval(np.zeros((0, len(taus))))
    total = np.zeros((RESAMPLES, len(taus)))
    for own in scores:
        drawn = random.multinomial(len(own), np.full(len(own), 1 / len(own)), RESAMPLES) / len(own)
        total += drawn @ better(own, taus, larger_is_better)
    return share, *interval(total / len(scores))


def better(values: NDArray[np.float64], taus: NDArray[np.float64], larger_is_better: bool) -> NDArray[np.float64]:
    """Of each value 1 where it is better than a threshold, else 0, (runs, thresholds)."""
    above = values[:, None] > taus if larger_is_better else values[:, None] < taus
    return above.astype(float)
