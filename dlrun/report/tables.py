"""A sweep's tables: its settings, the choice among them by validation, their comparisons, their speed to a target.

Each works on the sweep's table, a row per run: run, status, a column per override (seed among them), and best_*, last_*
and test_* values. `axes` are the overrides that make a setting, all that differ but the seed. A column that the table
lacks raises ConfigError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from math import inf
from typing import Any

import pandas as pd

from dlrun.errors import ConfigError
from dlrun.report.comparison import compare, holm, verdict
from dlrun.report.statistics import FINISHED, UNBOUNDED, Interval, summarize
from dlrun.report.survival import kaplan_meier_median, time_to_target


def settings(
    table: pd.DataFrame, axes: Sequence[str], metric: str, *, larger_is_better: bool, bounds: Interval = UNBOUNDED
) -> pd.DataFrame:
    """A row per setting, in the order of their first runs: its axes' values and its Summary of the metric's column.

    bounds: of the metric.
    """
    _require(table, "status", metric)
    return pd.DataFrame(
        {**setting, **asdict(summarize(runs[metric], runs["status"], larger_is_better=larger_is_better, bounds=bounds))}
        for setting, runs in _groups(table, axes)
    )


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
    chosen = []
    for setting, rivals in _groups(table, per):
        found = settings(rivals, axes, by, larger_is_better=larger_is_better)
        found = found[found["n"] > 0]
        if found.empty:
            raise ConfigError(
                f"no run of {name(setting) or 'the sweep'} has finished with a {by}: nothing to choose from"
            )
        best = ranked(found, larger_is_better=larger_is_better)[0]
        chosen.append([runs for _, runs in _groups(rivals, axes)][best])
    return pd.concat(chosen)


def ranked(found: pd.DataFrame, *, larger_is_better: bool) -> list[int]:
    """The rows of `settings`, the best first.

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
) -> pd.DataFrame:
    """A row per setting other than that of the reference runs: its Comparison (setting - reference) and the verdict.

    p is adjusted by Holm for the number of rows. Only finished runs are paired, by their seed. bounds: of the metric.
    """
    _require(table, "status", "seed", metric)
    ((base, base_runs),) = _groups(reference, axes)
    others = [(setting, runs) for setting, runs in _groups(table, axes) if name(setting) != name(base)]
    found = [compare(_by_seed(runs, metric), _by_seed(base_runs, metric), bounds) for _, runs in others]
    adjusted = holm([comparison.p for comparison in found])
    return pd.DataFrame(
        {
            **setting,
            **asdict(replace(comparison, p=float(p))),
            "verdict": verdict(name(setting), name(base), comparison, p, len(others), larger_is_better=larger_is_better)
            + lost(runs["status"]) * (comparison.n == 0),
        }
        for (setting, runs), comparison, p in zip(others, found, adjusted, strict=True)
    )


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
    rows = []
    for setting, runs in _groups(table.join(runs_of, on="run"), axes):
        found = runs[runs["time"].notna()].astype({"reached": bool})
        never = (found["status"] == "diverged") & ~found["reached"]
        median = kaplan_meier_median(found["time"].mask(never, inf), found["reached"])
        rows.append({**setting, "runs": len(found), "reached": int(found["reached"].sum()), **median._asdict()})
    return pd.DataFrame(rows)


def lost(status: pd.Series) -> str:
    """How many of a setting's runs diverged, where that is worth telling: ` (3 of 3 diverged)`."""
    diverged = int((status == "diverged").sum())
    return f" ({diverged} of {len(status)} diverged)" if diverged else ""


def name(setting: dict[str, Any]) -> str:
    """What tells a setting from its rivals, as it would be typed: `optimizer=adam lr=0.001`."""
    return " ".join(f"{axis}={typed(value)}" for axis, value in setting.items())


def typed(value: Any) -> str:
    """A value as one would type it; pandas makes a float of a whole number where others of its column are none."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)


def _groups(table: pd.DataFrame, axes: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    _require(table, *axes)
    if not axes:
        yield {}, table
        return
    for values, runs in table.groupby(list(axes), sort=False, dropna=False):
        yield dict(zip(axes, values, strict=True)), runs


def _by_seed(runs: pd.DataFrame, metric: str) -> pd.Series:
    return runs[runs["status"].isin(FINISHED)].set_index("seed")[metric]


def _require(table: pd.DataFrame, *columns: str) -> None:
    for column in columns:
        if column not in table:
            raise ConfigError(f"the sweep has no column {column}; it has {', '.join(map(str, table.columns))}")
