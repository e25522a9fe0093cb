"""What a sweep's runs say: its settings, the best of them by validation, the others compared with it, and warnings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from dlrun.config.words import did_you_mean, then
from dlrun.errors import ConfigError
from dlrun.folder.columns import HIGHER
from dlrun.folder.reading import read_summary
from dlrun.report import tables
from dlrun.report.collect import config_of
from dlrun.report.evaluations import Evaluations
from dlrun.report.judging import Looks
from dlrun.report.settings import told_apart
from dlrun.report.statistics import BOUNDS, FINISHED, UNBOUNDED, Interval, edge_warning
from dlrun.report.strata import (
    Repeats,
    apart,
    datasets,
    labels,
    overlap,
    overrides,
    told_by,
    varied,
    with_names,
    with_splits,
)
from dlrun.report.survival import Median
from dlrun.terminal.console import counted

FEW = 10  #: seeds, from which on intervals hold of skewed values that nothing bounds, see docs/statistics.md
#: of a setting, what a metric came to
RESULTS = ("val", "mean", "std", "low", "high", "median", "best")
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
    repeats: Repeats = field(default_factory=Repeats)  #: what the runs of a setting are
    bounds: Interval = UNBOUNDED  #: of the metric
    #: by dataset, where there are several, what was found on it; settings and comparisons are all of these, in order
    strata: dict[str, Findings] = field(default_factory=dict)

    @property
    def bests(self) -> set[str]:
        """The settings with which others are compared: the best of each dataset."""
        sizes = [len(each.settings) for each in self.strata.values()] or [len(self.settings)]
        starts = [sum(sizes[:at]) for at in range(len(sizes))]
        return {str(self.settings["setting"].iloc[at]) for at, size in zip(starts, sizes, strict=True) if size}


def find(
    table: pd.DataFrame,
    runs: Mapping[str, Path],
    curves: Evaluations,
    metric: str | None = None,
    target: tuple[str, float] | None = None,
    margin: float = 0.0,
    looks: Looks | None = None,
) -> Findings:
    """The findings of a sweep's table; settings are runs whose whole configs and data are equal but for the seed, and
    for the fold or split of the data. Those on different datasets are told apart, and never averaged.

    runs: the folder of each run in the table. metric: the task's main one if None. target: a column of metrics.csv and
    the value to reach. margin: what a difference of the metric must exceed to matter. looks: those that were planned.

    Raises ConfigError for a metric or a target's column that the runs lack, or without a whole run.
    """
    table, notes = told_apart(table.copy(deep=False), apart(table), runs)
    if table.empty:
        raise ConfigError("\n".join(notes))
    table = with_names(table, runs)
    own = table[[*apart(table), "seed"]]
    ended_first = own.loc[(~table["status"].isin(FINISHED)).sort_values(kind="stable").index]
    if repeated := int(ended_first.duplicated().sum()):
        table = table.loc[sorted(ended_first.drop_duplicates().index)]
        notes.append(f"{repeated} of the runs repeat another's setting and seed and are left out")
    table = table.reset_index(drop=True)
    keys, axes = datasets(table, told_by(table))
    parts = [part for _, part in table.groupby(keys, sort=False, dropna=False)] if keys else [table]
    able = [part for part in parts if metric is None or not _known(part) or metric in _known(part)]
    if not able:
        known = _known(table)
        near = did_you_mean(str(metric), known)
        told = then(f"--metric {metric}: the runs have no such metric{near}", f"there are {', '.join(known)}")
        raise ConfigError(told)
    found = [_of_one(part, axes, runs, curves, metric, target, margin, looks) for part in able]
    notes += _robbins_monro(table, axes)
    if len(parts) == 1:
        return replace(found[0], notes=[*notes, *found[0].notes])
    if len(able) < len(parts):
        notes.append(f"{len(parts) - len(able)} of the datasets have no {metric}, and are left out")
    return _together(found, able, keys, axes, notes)


def _of_one(
    table: pd.DataFrame,
    axes: list[str],
    runs: Mapping[str, Path],
    curves: Evaluations,
    metric: str | None,
    target: tuple[str, float] | None,
    margin: float,
    looks: Looks | None,
) -> Findings:
    """The findings of runs on one dataset, none of which repeats another. Arguments as of `find`."""
    notes: list[str] = []
    table, repeats = with_splits(_named(table, axes), runs)
    first = next(iter(table.loc[table["status"].isin(FINISHED), "run"]), None)  # any: all are of one task
    main, higher = metrics_of(runs[first]) if first else ("loss", set(HIGHER))
    metric = metric or main
    larger_is_better = more_is_better(metric, higher)
    chosen_by = f"best_val_{metric}"
    quoted = f"test_{metric}" if f"test_{metric}" in table else chosen_by
    table = table.assign(**{column: nan for column in (chosen_by, quoted) if column not in table})  # none finished
    if repeats.what != "seed":
        repeats = replace(repeats, overlap=overlap(table, axes, runs, quoted))

    bounds = bounds_of(metric, runs[first] if first else None, axes)
    how: dict[str, Any] = {"larger_is_better": larger_is_better, "bounds": bounds, "overlap": repeats.overlap}
    settings = tables.settings(table, axes, quoted, **how)
    judged = tables.judge(table, axes, chosen_by)
    settings = _named(settings.assign(val=judged["mean"]), axes)
    settings = settings.loc[tables.ranked(judged, larger_is_better=larger_is_better)].reset_index(drop=True)
    comparisons = speeds = pd.DataFrame()
    if settings["n"].any():
        best = tables.select(table, axes, by=chosen_by, larger_is_better=larger_is_better)
        stayed = _without_pruned(table, axes)
        compared = tables.comparisons(stayed, axes, quoted, best, margin=margin, looks=looks, what=repeats.what, **how)
        comparisons = _in_order(_named(compared, axes), settings)
        notes += _edges(table, axes, chosen_by, larger_is_better)
        notes += _assumed(settings, bounds) if repeats.what == "seed" else ()
    else:
        notes.append("no run has finished: there is nothing to compare")
    notes += _ended_early(table)
    if target:
        speeds = _in_order(_speeds(table, axes, curves, target, higher), settings)
    return Findings(
        table=table,
        axes=axes,
        constant={key: table[key].iloc[0] for key in overrides(table) if key not in (*varied(table), "seed")},
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
        notes=notes,
        repeats=repeats,
        bounds=bounds,
    )


def _without_pruned(table: pd.DataFrame, axes: list[str]) -> pd.DataFrame:
    """The runs but for those of settings that pruning ended: there is nothing of them to compare."""
    if not axes:
        return table
    status = table.groupby(axes, dropna=False, sort=False)["status"]
    left = status.transform(lambda runs: (runs == "pruned").any() and not runs.isin(FINISHED).any())
    return table[~left.astype(bool)]


def _ended_early(table: pd.DataFrame) -> Iterator[str]:
    """What to know of runs that ended before their last epoch, since others did better or their time was over."""
    if {"best_epoch", "last_epoch"} <= set(table):
        best, last = (pd.to_numeric(table[name], errors="coerce") for name in ("best_epoch", "last_epoch"))
        if untrained := int((table["status"].isin(FINISHED) & (best == 0) & (last > 0)).sum()):
            yield (
                f"the validation loss of {counted(untrained, 'run')} was never lower than before the training: tables "
                "have the untrained network of such a run, its best; curves show what became of it"
            )
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


def _together(
    found: Sequence[Findings], parts: Sequence[pd.DataFrame], keys: list[str], axes: list[str], notes: list[str]
) -> Findings:
    """The findings of several datasets: each one's own, one after the other, and what can be said over all of them.

    Settings of different datasets are not ranked among each other. parts: the runs of each dataset.
    """
    datasets_of = [{key: part[key].iloc[0] for key in keys} for part in parts]
    names = labels(datasets_of)
    first = next((each for each in found if each.settings["n"].any()), found[0])
    wholes = [key for key in told_by(pd.concat(parts)) if key in (*keys, *axes)]

    def joined(of: Callable[[Findings], pd.DataFrame]) -> pd.DataFrame:
        frames = [of(each).assign(**values) for each, values in zip(found, datasets_of, strict=True)]
        frames = [frame for frame in frames if len(frame)]
        return _named(pd.concat(frames, ignore_index=True), wholes) if frames else pd.DataFrame()

    def settings(each: Findings) -> pd.DataFrame:
        """Without the results of another metric, which are on no common axis."""
        own = each.settings
        return own if each.metric == first.metric else own.assign(**dict.fromkeys(RESULTS, nan))

    whole = pd.concat(parts).sort_index()
    table = joined(lambda each: each.table.assign(order=each.table.index)).sort_values("order").drop(columns="order")
    if others := [name for name, each in zip(names, found, strict=True) if each.metric != first.metric]:
        notes.append(f"curves and axes show {first.metric}; the tables of {', '.join(others)} have their own metric")
    for name, each in zip(names, found, strict=True):
        notes += [f"{name}: {note}" for note in each.notes]
    return replace(
        first,
        table=table.reset_index(drop=True),
        axes=wholes,
        constant={key: whole[key].iloc[0] for key in overrides(whole) if key not in (*varied(whole), "seed")},
        settings=joined(settings),
        comparisons=joined(lambda each: each.comparisons),
        speeds=joined(lambda each: each.speeds),
        notes=notes,
        strata=dict(zip(names, found, strict=True)),
    )


def _known(table: pd.DataFrame) -> list[str]:
    """The metrics that some of the runs have."""
    columns = [str(column) for column in table if str(column).startswith("best_val_")]
    return [
        column.removeprefix("best_val_")
        for column in columns
        if pd.to_numeric(table[column], errors="coerce").notna().any()
    ]


def metrics_of(run: Path) -> tuple[str, set[str]]:
    """The main metric of a run that finished, and those of which more is better."""
    summary = read_summary(run)
    names = [key.removeprefix("best_val_") for key in summary if key.startswith("best_val_")]
    main = summary.get("main_metric") or next((name for name in names if name != "loss"), "loss")
    directions = summary.get("metrics")
    return main, {name for name, way in directions.items() if way == "higher"} if directions else set(HIGHER)


def bounds_of(metric: str, run: Path | None, axes: Sequence[str]) -> Interval:
    """What a metric can be. A loss is not negative, but for a likelihood's and for the height of a test function."""
    if _is(metric, "loss"):
        config = config_of(run) if run and not {"loss", "dataset"} & set(axes) else {}
        nodes = (config.get(group) for group in ("loss", "dataset"))
        loss, dataset = (str(node.get("_target_", "")) if isinstance(node, dict) else "" for node in nodes)
        own = loss.startswith("dlrun.losses.") and not loss.endswith(".GaussianNLL")
        return (0.0, inf) if own and ".surfaces." not in dataset else UNBOUNDED
    return next((bounds for name, bounds in BOUNDS.items() if _is(metric, name)), UNBOUNDED)


def more_is_better(metric: str, higher: set[str]) -> bool:
    """Of a metric, also where it is measured on a part (val_accuracy) or of a network kept beside (ema_accuracy)."""
    return any(_is(metric, name) for name in higher)


def _is(metric: str, name: str) -> bool:
    return metric == name or metric.endswith(f"_{name}")


def _named(found: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    # of these columns alone: rows of all, of a hundred thousand runs, would fill the memory
    values = zip(*(found[axis].tolist() for axis in axes), strict=True) if axes and len(found) else [()] * len(found)
    names = [tables.name(dict(zip(axes, each, strict=True))) for each in values]
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
    table: pd.DataFrame, axes: Sequence[str], curves: Evaluations, target: tuple[str, float], higher: set[str]
) -> pd.DataFrame:
    column, value = target
    known = curves.metrics()
    if column not in known:
        told = f"--target {column}={value:g}: the runs have no such column{did_you_mean(column, known)}"
        raise ConfigError(then(told, f"there are {', '.join(known)}"))
    better = more_is_better(column, higher)
    rows = curves.long([column])
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
