"""What a sweep's runs say: its settings, the best of them by validation, the others compared with it, and warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from dlrun.config.words import did_you_mean, then
from dlrun.errors import ConfigError
from dlrun.folder.columns import HIGHER
from dlrun.folder.reading import read_summary
from dlrun.report import tables
from dlrun.report.cells import BETWEEN
from dlrun.report.collect import config_of
from dlrun.report.judging import Looks
from dlrun.report.settings import told_apart
from dlrun.report.statistics import BOUNDS, FINISHED, UNBOUNDED, Interval, edge_warning
from dlrun.report.survival import Median
from dlrun.terminal.console import counted

FEW = 10  #: seeds, from which on intervals hold of skewed values that nothing bounds, see docs/statistics.md
NO_SETTING = ("seed", "name")  #: what tells runs of a setting apart; names may be made of seeds
NAMED = 3  #: settings that a note names at most
T = TypeVar("T")
TIMES = {"epoch": "epochs", "step": "steps", "seconds": "seconds"}


@dataclass(frozen=True)
class Findings:
    """Everything that a report shows; the settings are in the order of validation, the best first."""

    table: pd.DataFrame  #: a row per run, without repeats, and its `setting`
    axes: list[str]  #: the overrides that differ from setting to setting
    constant: dict[str, Any]  #: those that do not
    metric: str  #: accuracy
    larger_is_better: bool
    chosen_by: str  #: best_val_accuracy
    quoted: str  #: test_accuracy
    settings: (
        pd.DataFrame
    )  #: axes, `setting` (their names and values), `val` (mean of chosen_by), and the Summary of `quoted`
    comparisons: pd.DataFrame  #: with the best setting: `setting`, a Comparison's columns, `verdict`, `kind`, `more`
    margin: float  #: what a difference must exceed to matter
    looks: Looks | None  #: at which the runs were to be looked at, where these were planned
    target: tuple[str, float] | None
    speeds: pd.DataFrame  #: `setting`, runs, reached, and a Median for each of TIMES
    notes: list[str]


def find(
    table: pd.DataFrame,
    runs: Mapping[str, Path],
    curves: pd.DataFrame,
    metric: str | None = None,
    target: tuple[str, float] | None = None,
    margin: float = 0.0,
    looks: Looks | None = None,
) -> Findings:
    """The findings of a sweep's table; settings are runs whose whole configs and data are equal but for the seed.

    runs: the folder of each run in the table. metric: the task's main one if None. target: a column of metrics.csv and
    the value to reach. margin: what a difference of the metric must exceed to matter. looks: those that were planned.

    Raises ConfigError for a metric or a target's column that the runs lack, or without a whole run.
    """
    table, notes = told_apart(table.copy(), _axes(table), runs)
    if table.empty:
        raise ConfigError("\n".join(notes))
    axes = _axes(table)
    ended_first = table.assign(ended=~table["status"].isin(FINISHED)).sort_values("ended", kind="stable")
    table = table.loc[sorted(ended_first.drop_duplicates([*axes, "seed"]).index)].reset_index(drop=True)
    table = _named(table, axes)
    if repeated := len(ended_first) - len(table):
        notes.append(f"{repeated} of the runs repeat another's setting and seed and are left out")
    first = next(iter(table.loc[table["status"].isin(FINISHED), "run"]), None)  # any: all are of one task
    main, higher = _metrics(runs[first]) if first else ("loss", set(HIGHER))
    known = [column.removeprefix("best_val_") for column in map(str, table) if column.startswith("best_val_")]
    metric = metric or main
    if known and metric not in known:
        near = did_you_mean(metric, known)
        told = then(f"--metric {metric}: the runs have no such metric{near}", f"there are {', '.join(known)}")
        raise ConfigError(told)
    larger_is_better = _larger_is_better(metric, higher)
    chosen_by = f"best_val_{metric}"
    quoted = f"test_{metric}" if f"test_{metric}" in table else chosen_by
    table = table.assign(**{column: nan for column in (chosen_by, quoted) if column not in table})  # none finished

    bounds = _bounds(metric, runs[first] if first else None, axes)
    settings = tables.settings(table, axes, quoted, larger_is_better=larger_is_better, bounds=bounds)
    judged = tables.judge(table, axes, chosen_by)
    settings = _named(settings.assign(val=judged["mean"]), axes)
    settings = settings.loc[tables.ranked(judged, larger_is_better=larger_is_better)].reset_index(drop=True)
    comparisons = speeds = pd.DataFrame()
    if settings["n"].any():
        best = tables.select(table, axes, by=chosen_by, larger_is_better=larger_is_better)
        compared = tables.comparisons(
            table, axes, quoted, best, larger_is_better=larger_is_better, bounds=bounds, margin=margin, looks=looks
        )
        comparisons = _in_order(_named(compared, axes), settings)
        notes += _edges(table, axes, chosen_by, larger_is_better)
        notes += _assumed(settings, bounds)
    else:
        notes.append("no run has finished: there is nothing to compare")
    notes += _ended_early(table)
    if target:
        speeds = _in_order(_speeds(table, axes, curves, target, higher), settings)
    return Findings(
        table=table,
        axes=axes,
        constant={key: table[key].iloc[0] for key in _overrides(table) if key not in (*_varied(table), "seed")},
        metric=metric,
        larger_is_better=larger_is_better,
        chosen_by=chosen_by,
        quoted=quoted,
        settings=settings,
        comparisons=comparisons,
        margin=margin,
        looks=looks,
        target=target,
        speeds=speeds,
        notes=[*notes, *_robbins_monro(table, axes)],
    )


def _ended_early(table: pd.DataFrame) -> Iterator[str]:
    """What to know of runs that ended before their last epoch, since others did better or their time was over."""
    if not {"reason", "last_epoch"} <= set(table):
        return
    reason, epoch = table["reason"].astype(str), pd.to_numeric(table["last_epoch"], errors="coerce")
    timed = table["status"].isin(FINISHED) & reason.str.startswith("max_time=")
    if timed.any():
        span = " to ".join(dict.fromkeys(f"{end:.5g}" for end in (epoch[timed].min(), epoch[timed].max())))
        yield (
            f"the time of {counted(int(timed.sum()), 'run')} was over at epoch {span}: what they are compared by is "
            "what they had reached by then, and hangs on how fast each was"
        )
    if pruned := int((table["status"] == "pruned").sum()):
        yield (
            f"{counted(pruned, 'run')} left the sweep at a rung, where others had a lower validation loss, and "
            f"{'are' if pruned > 1 else 'is'} compared with none; the column reason says where. What went on was "
            "chosen by its first epochs: of settings that begin slowly that says nothing"
        )


def _overrides(table: pd.DataFrame) -> list[str]:
    columns = table.columns.tolist()
    return columns[1 : columns.index(BETWEEN)]


def _axes(table: pd.DataFrame) -> list[str]:
    return [key for key in _varied(table) if key not in NO_SETTING]


def _varied(table: pd.DataFrame) -> list[str]:
    return [key for key in _overrides(table) if table[key].nunique(dropna=False) > 1]


def _metrics(run: Path) -> tuple[str, set[str]]:
    """The main metric of a run that finished, and those of which more is better."""
    summary = read_summary(run)
    names = [key.removeprefix("best_val_") for key in summary if key.startswith("best_val_")]
    main = summary.get("main_metric") or next((name for name in names if name != "loss"), "loss")
    directions = summary.get("metrics")
    return main, {name for name, way in directions.items() if way == "higher"} if directions else set(HIGHER)


def _bounds(metric: str, run: Path | None, axes: Sequence[str]) -> Interval:
    """What a metric can be. A loss is not negative, but for a likelihood's and for the height of a test function."""
    if _is(metric, "loss"):
        config = config_of(run) if run and not {"loss", "dataset"} & set(axes) else {}
        nodes = (config.get(group) for group in ("loss", "dataset"))
        loss, dataset = (str(node.get("_target_", "")) if isinstance(node, dict) else "" for node in nodes)
        own = loss.startswith("dlrun.losses.") and not loss.endswith(".GaussianNLL")
        return (0.0, inf) if own and ".surfaces." not in dataset else UNBOUNDED
    return next((bounds for name, bounds in BOUNDS.items() if _is(metric, name)), UNBOUNDED)


def _larger_is_better(metric: str, higher: set[str]) -> bool:
    """Of a metric, also where it is measured on a part (val_accuracy) or of a network kept beside (ema_accuracy)."""
    return any(_is(metric, name) for name in higher)


def _is(metric: str, name: str) -> bool:
    return metric == name or metric.endswith(f"_{name}")


def _named(found: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    names = [tables.name({axis: row[axis] for axis in axes}) for row in found.to_dict("records")]
    return found.assign(setting=pd.Series(names, index=found.index, dtype=str))


def _in_order(found: pd.DataFrame, settings: pd.DataFrame) -> pd.DataFrame:
    rank = {name: i for i, name in enumerate(settings["setting"])}
    return found.sort_values("setting", key=lambda names: names.map(rank)).reset_index(drop=True)


def _edges(table: pd.DataFrame, axes: Sequence[str], by: str, larger_is_better: bool) -> Iterator[str]:
    """The numeric axes that are best at their edge, for each combination of the axes that are words, as the optimizer.

    One that is best there for several combinations is told once.
    """
    numeric = [axis for axis in axes if pd.api.types.is_numeric_dtype(table[axis])]
    words = [axis for axis in axes if axis not in numeric]
    if not numeric:
        return
    able = table[table["status"].isin(FINISHED) & table[by].notna()]
    found: dict[str, list[str]] = {}
    for values, rivals in table.groupby(words, sort=False, dropna=False) if words else [((), table)]:
        if not rivals.index.isin(able.index).any():
            continue
        best = tables.select(rivals, axes, by=by, larger_is_better=larger_is_better)
        for axis in numeric:
            warning = edge_warning(axis, rivals[axis].dropna(), best[axis].iloc[0])
            if warning and best[axis].iloc[0] != 0:  # what is switched off can not be less
                found.setdefault(warning, []).append(tables.name(dict(zip(words, values, strict=True))))
    for warning, where in found.items():
        more = f", and {len(where) - NAMED} more" if len(where) > NAMED else ""
        yield f"{', '.join(where[:NAMED])}{more}: {warning}" if words else warning


def _assumed(settings: pd.DataFrame, bounds: Interval) -> Iterator[str]:
    """On what the intervals rest where simulation shows that they do not hold without it."""
    n = settings["n"]
    few = int(n[n > 1].min()) if (n > 1).any() else FEW
    if few < FEW and not any(map(isfinite, bounds)):
        yield f"intervals of {few} seeds assume values that are not strongly skewed (docs/statistics.md)"


def _speeds(
    table: pd.DataFrame, axes: Sequence[str], curves: pd.DataFrame, target: tuple[str, float], higher: set[str]
) -> pd.DataFrame:
    column, value = target
    known = curves["metric"].unique().tolist()
    if column not in known:
        told = f"--target {column}={value:g}: the runs have no such column{did_you_mean(column, known)}"
        raise ConfigError(then(told, f"there are {', '.join(known)}"))
    better = _larger_is_better(column, higher)
    rows = curves[curves["metric"] == column]
    found = pd.DataFrame()
    for time in TIMES:
        one = tables.speeds(table, axes, rows, column, value, larger_is_better=better, time=time)
        found = one if found.empty else found
        found[time] = [Median(*row) for row in one[list(Median._fields)].itertuples(index=False)]
    return _named(found, axes)


def _robbins_monro(table: pd.DataFrame, axes: Sequence[str]) -> Iterator[str]:
    """Whether each of the schedules that are compared, continued for ever, lets stochastic gradient descent converge
    (Robbins & Monro 1951)."""
    columns = ["lr_sum_infinite", "lr_squared_sum_finite"]
    keys = [axis for axis in axes if axis.split(".")[0] == "schedule"]
    if not keys or any(column not in table for column in columns):
        return
    for values, runs in table.groupby(keys, sort=False, dropna=False):
        answers = runs[columns].drop_duplicates()
        for infinite, finite in answers[answers[columns[0]] != ""].itertuples(index=False):
            where = tables.name(dict(zip(keys, values, strict=True)))
            holds = infinite == finite == "true"
            yield (
                f"Robbins–Monro, if {where} went on for ever: Σ lr = ∞ {_yes(infinite)}, "
                f"Σ lr² < ∞ {_yes(finite)}; the conditions {'hold' if holds else 'do not hold'}"
            )


def _yes(answer: str) -> str:
    return "yes" if answer == "true" else "no"
