"""A sweep's tables: its settings, the choice among them by validation, their comparisons, their speed to a target.

Each works on the sweep's table, a row per run: run, status, a column per override (seed among them), and best_*, last_*
and test_* values. `axes` are the overrides that make a setting, all that differ but the seed. A column that the table
lacks raises ConfigError.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from math import inf, nan
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dlrun.errors import ConfigError
from dlrun.report.comparison import compare, paired, simultaneous, verdict
from dlrun.report.judging import ALPHA, Looks
from dlrun.report.statistics import FINISHED, UNBOUNDED, Interval, Summary, summarize
from dlrun.report.survival import kaplan_meier_median, time_to_target

SPLIT = "split"  #: the column that numbers the ways in which runs' data are split, where there are several


def settings(
    table: pd.DataFrame,
    axes: Sequence[str],
    metric: str,
    *,
    larger_is_better: bool,
    bounds: Interval = UNBOUNDED,
    overlap: float = 0.0,
) -> pd.DataFrame:
    """A row per setting, in the order of their first runs: its axes' values and its Summary of the metric's column.

    bounds: of the metric. overlap: of the splits of the data, where there are several, see `statistics.mean_interval`.
    """
    _require(table, "status", metric)
    values, status = table[metric].to_numpy(float), table["status"].to_numpy(object)
    splits = table[SPLIT].to_numpy() if SPLIT in table else None
    how: dict[str, Any] = {"larger_is_better": larger_is_better, "bounds": bounds, "overlap": overlap}

    def summary(at: NDArray[np.intp]) -> Summary:
        return summarize(values[at], status[at], splits=None if splits is None else splits[at], **how)

    return pd.DataFrame({**setting, **vars(summary(at))} for setting, at in _groups(table, axes))


def judge(table: pd.DataFrame, axes: Sequence[str], metric: str) -> pd.DataFrame:
    """A row per setting, in the order of their first runs: its axes' values, and of its Summary of the metric's column
    what decides: n, mean and diverged. Of several splits of the data the mean is that of their means."""
    _require(table, "status", metric)
    values, status = table[metric].to_numpy(float), table["status"]
    counts = np.isfinite(values) & status.isin(FINISHED).to_numpy()
    parts = pd.DataFrame({"n": counts, "mean": np.where(counts, values, nan), "diverged": status == "diverged"})
    groups = list(_groups(table, axes))
    codes = _codes([at for _, at in groups], len(table))
    found = parts.groupby(codes)
    means = found["mean"].mean()
    if SPLIT in table:
        means = parts.groupby([codes, table[SPLIT].to_numpy()])["mean"].mean().groupby(level=0).mean()
    frame = pd.DataFrame([setting for setting, _ in groups])
    return frame.assign(n=found["n"].sum(), mean=means, diverged=found["diverged"].sum())


def select(
    table: pd.DataFrame,
    axes: Sequence[str],
    *,
    by: str = "best_val_loss",
    larger_is_better: bool = False,
    per: Sequence[str] = (),
) -> pd.DataFrame:
    """The runs of the best setting for each combination of the axes `per`, chosen by a validation column.

    What is quoted of the chosen runs should be a test column.

    Raises ConfigError where no run has finished.
    """
    chosen: list[NDArray[np.intp]] = []
    for setting, at in _groups(table, per):
        rivals = table.iloc[at]
        found = judge(rivals, axes, by)
        found = found[found["n"] > 0]
        if found.empty:
            raise ConfigError(
                f"no run of {name(setting) or 'the sweep'} has finished with a {by}: nothing to choose from"
            )
        best = ranked(found, larger_is_better=larger_is_better)[0]
        chosen.append(at[next(itertools.islice(_groups(rivals, axes), best, None))[1]])
    return table.iloc[np.concatenate(chosen)]


def ranked(found: pd.DataFrame, *, larger_is_better: bool) -> list[int]:
    """The rows of `settings` or `judge`, the best first.

    A setting whose runs diverge less often goes first, then the better mean: a mean over the survivors alone would
    favour settings that kill their bad runs. Those without a finished run come last.
    """
    share = found["diverged"] / (found["diverged"] + found["n"]).clip(lower=1)
    mean = -found["mean"] if larger_is_better else found["mean"]
    order = pd.DataFrame({"none": found["n"] == 0, "share": share, "mean": mean})
    return order.sort_values(["none", "share", "mean"], kind="stable").index.tolist()


def comparisons(
    table: pd.DataFrame,
    axes: Sequence[str],
    metric: str,
    reference: pd.DataFrame,
    *,
    larger_is_better: bool,
    bounds: Interval = UNBOUNDED,
    margin: float = 0.0,
    looks: Looks | None = None,
    what: str = "seed",
    overlap: float = 0.0,
) -> pd.DataFrame:
    """A row per setting other than that of the reference runs: its Comparison (setting - reference) and its Verdict.

    The intervals hold all together, whichever setting the reference is. Only finished runs are paired, by their seed
    and their split of the data, and averaged over the seeds of each split.

    bounds: of the metric. margin: what a difference must exceed to matter. looks: at which the runs were to be looked
    at, where these were planned. what, overlap: see `verdict`.
    """
    _require(table, "status", "seed", metric)
    ((base, _),) = _groups(reference, axes)
    groups = list(_groups(table, axes))
    others = [(setting, at) for setting, at in groups if name(setting) != name(base)]
    values, status = table[metric].to_numpy(float), table["status"]
    finished = status.isin(FINISHED).to_numpy()
    rivals = sum(bool(finished[at].any()) for _, at in groups)
    good = reference[reference["status"].isin(FINISHED)]
    pairs = [SPLIT, "seed"] if SPLIT in table else ["seed"]
    places = table.set_index(pairs).index
    theirs = pd.Series(good[metric].to_numpy(float), index=good.set_index(pairs).index)
    rows = []
    for setting, at in others:
        own = at[finished[at]]
        ours = pd.Series(values[own], index=places[own])
        level = simultaneous(looks.level(_seeds(ours, theirs)) if looks else 1 - ALPHA, rivals)
        found = compare(ours, theirs, bounds, level, overlap)
        told = verdict(
            name(setting), name(base), found, margin, larger_is_better=larger_is_better, what=what, overlap=overlap
        )
        words = told.words + (lost(status.iloc[at]) if not found.n else "")
        rows.append({**setting, **vars(found), "verdict": words, "kind": told.kind, "more": told.more})
    return pd.DataFrame(rows)


def _seeds(ours: pd.Series, theirs: pd.Series) -> int:
    """How many seeds both have."""
    if isinstance(ours.index, pd.MultiIndex) and isinstance(theirs.index, pd.MultiIndex):
        return int(ours.index.intersection(theirs.index).get_level_values(-1).nunique())
    return len(paired(ours, theirs))


def speeds(
    table: pd.DataFrame,
    axes: Sequence[str],
    curves: pd.DataFrame,
    metric: str,
    target: float,
    *,
    larger_is_better: bool,
    time: str = "epoch",
) -> pd.DataFrame:
    """A row per setting: runs, how many reached the target, and the median time to it with its interval.

    curves: as for time_to_target. A run that diverged never reaches what it has not; one that was stopped or failed
    might have; one without curves is left out.
    """
    _require(table, "status", "run")
    runs_of = time_to_target(curves, metric, target, larger_is_better=larger_is_better, time=time)
    joined = table.join(runs_of, on="run")
    watched = joined["time"].notna().to_numpy()
    reached = (joined["reached"] == True).to_numpy()  # noqa: E712 - nan where a run has no curves
    never = (table["status"] == "diverged").to_numpy() & ~reached
    times = np.where(never, inf, joined["time"].to_numpy(float))
    rows = []
    for setting, at in _groups(table, axes):
        at = at[watched[at]]
        median = kaplan_meier_median(times[at], reached[at])
        rows.append({**setting, "runs": len(at), "reached": int(reached[at].sum()), **median._asdict()})
    return pd.DataFrame(rows)


def lost(status: pd.Series) -> str:
    """How many of a setting's runs diverged, where that is worth telling: ` (3 of 3 diverged)`."""
    diverged = int((status == "diverged").sum())
    return f" ({diverged} of {len(status)} diverged)" if diverged else ""


def name(setting: dict[str, Any]) -> str:
    """What tells a setting from its rivals, as typed, without keys that it lacks: `optimizer=adam lr=0.001`."""
    own = {axis: value for axis, value in setting.items() if not lacking(value)}
    return " ".join(f"{axis}={typed(value)}" for axis, value in (own or setting).items())


def lacking(value: Any) -> bool:
    """Whether a setting has no such key, as SGD has no momentum: its cell is empty, and nan among numbers."""
    return value == "" or value != value


def typed(value: Any) -> str:
    """A value as one would type it; pandas makes a float of a whole number where others of its column are none."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)


def _groups(table: pd.DataFrame, axes: Sequence[str]) -> Iterator[tuple[dict[str, Any], NDArray[np.intp]]]:
    """Each setting, in the order of their first runs, and the places of its runs in the table."""
    _require(table, *axes)
    if not axes:
        yield {}, np.arange(len(table))
        return
    codes = table.groupby(list(axes), sort=False, dropna=False).ngroup().to_numpy()
    order = np.argsort(codes, kind="stable")
    places = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    columns = [table[axis].to_numpy()[[at[0] for at in places]].tolist() for axis in axes]
    for values, at in zip(zip(*columns, strict=True), places, strict=True):
        yield dict(zip(axes, values, strict=True)), at


def _codes(places: Sequence[NDArray[np.intp]], length: int) -> NDArray[np.intp]:
    """The number of the setting of each row."""
    codes = np.empty(length, np.intp)
    for code, at in enumerate(places):
        codes[at] = code
    return codes


def _require(table: pd.DataFrame, *columns: str) -> None:
    for column in columns:
        if column not in table:
            raise ConfigError(f"the sweep has no column {column}; it has {', '.join(map(str, table.columns))}")
