"""Which tables a report has: a sweep's findings as people read them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from math import inf, isfinite, isinf
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from dlrun.folder.names import CURVES, FRONT, LOG, METRICS, SUMMARY, in_all_forms
from dlrun.plots import front
from dlrun.report.across import MOST_NUMBERS, RESAMPLES, Across
from dlrun.report.collect import SWEEP
from dlrun.report.effects import Effects
from dlrun.report.findings import TIMES, Findings
from dlrun.report.front import Front
from dlrun.report.grid import NOTHING, Cell, Grid
from dlrun.report.statistics import FINISHED
from dlrun.report.strata import REPEATS, is_stacked, varied
from dlrun.report.survival import Median
from dlrun.report.tables import SPLIT, lacking, typed
from dlrun.terminal.console import counted, number

MOST = 1000  #: rows of a table that the page shows
STACK = "stack's seconds"
MOST_EFFECTS = 15  #: that a table has, and all axes
MOST_RANKS = 8  #: datasets of which each has a column of ranks
NAMED = 3  #: settings that a sentence names at most
EFFECT = "Hedges' g"
JOINT = "joint 95 % interval"  #: which holds together with those of the other rows


def grids(found: Findings, over: Across | None = None) -> Iterator[Grid]:
    """The tables of settings, comparisons, and times to the target; of several datasets, for each.

    over: what settings are over all datasets, which comes first.
    """
    if over:
        yield _across(over)
    first = 0
    for label, each in found.strata.items():
        yield from _of_one(each, f" on {label}", first)
        first += len(each.settings)
    if not found.strata:
        yield from _of_one(found, "", 0)


def _across(over: Across) -> Grid:
    """The settings over all datasets, by their mean rank."""
    axes, count = over.axes, len(over.datasets)
    columns = ["mean rank", "95 % interval"]
    columns += ["IQM", "95 % interval of it"] if over.comparable else []
    named = over.datasets if count <= MOST_RANKS else []
    rows = [
        [
            *_setting(row, axes),
            _number(row["rank"], ".3g"),
            _interval(row["rank_low"], row["rank_high"], 1, ".3g"),
            *([_number(row["iqm"]), _interval(row["iqm_low"], row["iqm_high"], 1)] if over.comparable else []),
            *(Cell(f"{row['ranks'][i]:g}", row["ranks"][i]) for i in range(len(named))),
        ]
        for row in over.table.to_dict("records")
    ]
    words = [not pd.api.types.is_numeric_dtype(over.table[axis]) for axis in axes]
    return Grid(
        f"Over {count} datasets, by mean rank of {f'test {over.metric}' if over.metric else 'each main metric'}",
        [*axes, *columns, *(f"on {name}" for name in named)],
        rows,
        " ".join(sentences(over)),
        [*words, *[False] * (len(columns) + len(named))],
        named_by=len(axes),
        spoken=True,
    )


def sentences(over: Across) -> Iterator[str]:
    """How settings are ranked over datasets, and what that rests on."""
    yield (
        "On each dataset 1 is the setting that diverges least often, of those the one with the best mean; equal ones "
        "share the average of their ranks."
    )
    yield (
        f"IQM: mean of the middle half of {over.metric} over all runs and datasets."
        if over.comparable
        else f"Values of {over.metric or 'several metrics'} do not compare from dataset to dataset: ranks alone."
    )
    yield (
        "Intervals: 95 % of 2,000 stratified resamples of each dataset's runs, for these datasets."
        if over.table["rank_low"].notna().any()
        else "There are no intervals: these take two runs or more of each setting on each dataset."
        if over.runs * RESAMPLES <= MOST_NUMBERS
        else f"There are no intervals: {over.runs:,} runs are too many to resample."
    )
    if over.splits:
        yield "Runs of folds or splits of the same samples are not independent: the intervals are too narrow."
    if over.diverged:
        worst = "counts as the metric's worst value" if over.comparable else "counts as worse than all others"
        yield f"{counted(over.diverged, 'run')} diverged, each of which {worst}."
    if over.unfinished:
        yield f"On {counted(over.unfinished, 'dataset')} settings without a finished run share the last ranks."
    if over.left_out:
        more = f" and {len(over.left_out) - NAMED} more" if len(over.left_out) > NAMED else ""
        yield f"Left out, for they are not on every dataset: {', '.join(over.left_out[:NAMED])}{more}."


def effects_grid(found: Effects, where: str) -> Grid:
    """Which axis matters. where: on which dataset, in words."""
    shown = [each for i, each in enumerate(found.effects) if i < MOST_EFFECTS or len(each.axes) == 1]
    rows = []
    for each in shown:
        means = found.means[each.axes[0]] if len(each.axes) == 1 else []
        low, high = (extreme(means, key=lambda pair: pair[1]) if means else None for extreme in (min, max))
        rows.append(
            [
                Cell(each.name),
                Cell(f"{100 * each.share:.1f} %", each.share),
                _interval(100 * each.low, 100 * each.high, 1, ".1f"),
                *(Cell(f"{number(end[1])} with {end[0]}", end[1]) if end else NOTHING for end in (low, high)),
            ]
        )
    of_rest, settings = f"{100 * found.rest:.1f} %", counted(found.settings, "setting")
    how = (
        f"Exact, of all combinations: {settings} (functional ANOVA, Hooker 2007). "
        if found.exact
        else f"By a random forest over {settings}, which are not all combinations (Hutter et al. 2014); it explains "
        f"R² = {found.explained:.2g} of settings that its trees have not seen. The intervals are of its trees. "
    )
    share = f"{100 * found.noise:.2g} %"
    noise = f"{share} of what the means of settings differ by is noise of seeds, folds and splits, and taken off. "
    seeds = noise if isfinite(found.noise) else ""
    return Grid(
        f"Which axis matters{where}: shares of the variance of {found.metric}",
        ["axis", "share", "95 % interval", "least mean", "greatest mean"],
        rows,
        f"{how}{seeds}More than two axes together make {of_rest}. Means are over all values of the other axes, "
        f"{counted(found.runs, 'run')} in all. {' '.join(found.said)}".strip(),
        [True, False, False, False, False],
        spoken=True,
    )


def front_grid(found: Front, where: str) -> Grid:
    """The settings that no other dominates. where: on which dataset, in words."""
    axes, best, aims = found.axes or ["setting"], found.best, list(zip(found.objectives, found.larger, strict=True))
    rows = [
        [
            *_setting(row, axes),
            *chain.from_iterable(
                (_mean(row[f"{name}_mean"]), _interval(row[f"{name}_low"], row[f"{name}_high"], row["runs"]))
                for name in found.objectives
            ),
            Cell(str(row["runs"]), row["runs"]),
        ]
        for row in best.to_dict("records")
    ]
    columns = [column for name in found.objectives for column in (name, "95 % interval")]
    left_out = counted(found.left_out, "setting") + (" is" if found.left_out == 1 else " are")
    return Grid(
        f"Front{where}: {', '.join(f'{front.better(name, larger_is_better=more)} {name}' for name, more in aims)}",
        [*axes, *columns, "n"],
        rows,
        f"{len(best)} of {counted(len(found.table), 'setting')}, of which no other is better in one of these and as "
        f"good in all; means over {found.over}, n runs, each with its own interval; {FRONT} has these settings. "
        "Means of few seeds are partly luck, and a front gathers the lucky."
        + (f" {left_out} left out, of which a run did not finish or has no such value." if found.left_out else "")
        + "".join(f" {name}: {front.SHARED}." for name in found.shared),
        [*(not pd.api.types.is_numeric_dtype(found.table[axis]) for axis in axes), *[False] * (len(columns) + 1)],
        named_by=len(axes),
        spoken=True,
    )


def _mean(value: float) -> Cell:
    """Whole numbers, as of parameters, with all of their digits."""
    return Cell(f"{value:,.0f}", value) if float(value).is_integer() and abs(value) < 1e15 else _number(value)


def _of_one(found: Findings, where: str, first: int) -> Iterator[Grid]:
    """The tables of one dataset. where: on which, in words. first: the number of its first setting on the page."""
    axes = found.axes or ["setting"]
    ranks = {setting: rank for rank, setting in enumerate(found.settings["setting"], first)}
    what = found.repeats.what
    words = [not pd.api.types.is_numeric_dtype(found.settings[axis]) for axis in axes]
    part = "test" if found.quoted.startswith("test") else "val"
    pruned = set(found.table.loc[found.table["status"] == "pruned", "setting"])
    finished = found.table.loc[found.table["status"].isin(FINISHED), "setting"].value_counts()
    measured: dict[str, Callable[[dict[Any, Any]], Cell]] = {
        "val": lambda row: Cell("pruned", "") if not row["n"] and row["setting"] in pruned else _number(row["val"]),
        f"{part} ± std": lambda row: (
            Cell(f"{number(row['mean'])} ± {_number(row['std'], '.2g').text}", row["mean"]) if row["n"] else NOTHING
        ),
        "95 % interval" if what == "seed" else "corrected 95 % interval": lambda row: _interval(
            row["low"], row["high"], row["n"]
        ),
        "median": lambda row: _number(row["median"]),
        "best": lambda row: _number(row["best"]),
        "n": lambda row: Cell(_of_all(row, finished), row["n"]),
    }
    if found.settings["diverged"].any():
        measured["diverged"] = _share
    if found.settings["failed"].any():
        measured["failed"] = lambda row: Cell(str(row["failed"]), row["failed"])
    equal = (found.settings["n"] > 1) & found.settings["low"].isna()
    yield Grid(
        f"Settings{where}: {found.metric}{_averaged(found)}, at the best validation loss",
        [*axes, *measured],
        [
            [*_setting(row, axes), *(cell(row) for cell in measured.values())]
            for row in found.settings.to_dict("records")
        ],
        f"The best first, by val, the mean of {found.chosen_by}; those that diverge less often before others. "
        f"{part}: {found.quoted}, mean ± standard deviation over the {what}s that finished, with the mean's interval, "
        f"median and best. n: {'' if what == 'seed' else 'runs that '}finished of all"
        + ("; diverged: with the 95 % interval of its share." if "diverged" in measured else ".")
        + (" Values that are all equal have no interval: they say nothing of how much others would differ."
           if equal.any() else "") + _corrected(found),
        [*words, *[False] * len(measured)],
        named_by=len(axes),
        settings=list(ranks.values()),
        main=True,
    )  # fmt: skip
    best = found.settings["setting"].iloc[0]
    if len(found.comparisons) > 1 and (found.comparisons["n"] == 1).all():
        yield Grid(
            f"Compared with {best}{where}",
            [*axes, "difference"],
            [
                [*_setting(row, axes), _number(row["difference"], "+.3g")]
                for row in found.comparisons.to_dict("records")
            ],
            f"One {what} each: nothing can be told of differences in {found.quoted}.",
            [*words, False],
            named_by=len(axes),
            settings=[ranks[setting] for setting in found.comparisons["setting"]],
            spoken=True,
        )
    elif len(found.comparisons):
        yield Grid(
            f"Compared with {best}{where}",
            [*axes, "difference", JOINT, "n", EFFECT, "in words"],
            [
                [
                    *_setting(row, axes),
                    _number(row["difference"], "+.3g"),
                    _interval(row["low"], row["high"], row["n"], "+.3g"),
                    Cell(str(row["n"]), row["n"]),
                    _number(row["effect"], "+.2f"),
                    Cell(row["verdict"]),
                ]
                for row in found.comparisons.to_dict("records")
            ],
            f"{found.quoted} minus that of the best setting by validation, paired by {what}; n: {what}s of both. "
            f"{_joint(found)} The words say what the interval says: "
            + (f"whether it lies beyond ±{found.margin:g}, within, or neither. " if found.margin
               else "whether it lies beyond 0. ")
            + f"{EFFECT}: the mean difference in standard deviations of the differences, without its bias at small n.",
            [*words, False, False, False, False, True],
            named_by=len(axes),
            settings=[ranks[setting] for setting in found.comparisons["setting"]],
        )  # fmt: skip
    if found.target:
        column, value = found.target
        stacked = is_stacked(found.table)
        yield Grid(
            f"Time to {column} = {value:g}{where}",
            [*axes, "reached", *(STACK if time == "seconds" and stacked else name for time, name in TIMES.items())],
            [
                [*_setting(row, axes), Cell(f"{row['reached']}/{row['runs']}", row["reached"])]
                + [_time(row[time]) for time in TIMES]
                for row in found.speeds.to_dict("records")
            ],
            "Kaplan–Meier median, with its 95 % interval where the runs are enough for one; a run that was stopped "
            "before it reached the target counts as one that takes longer."
            + (f" {STACK}: of all the runs that trained together." if stacked else ""),
            [*words, False, False, False, False],
            named_by=len(axes),
            settings=[ranks[setting] for setting in found.speeds["setting"]],
        )


def most_of(found: Findings) -> int:
    """Rows that the page shows of a table of settings."""
    return MOST // max(1, len(found.strata))


def shown_settings(found: Findings) -> pd.DataFrame:
    """The settings that the page shows: of very many the first and the last, of each dataset."""
    half, parts = most_of(found) // 2, list[pd.DataFrame]()
    first = 0
    for size in [len(each.settings) for each in found.strata.values()] or [len(found.settings)]:
        own = found.settings.iloc[first : first + size]
        parts += [own] if size <= most_of(found) else [own.iloc[:half], own.iloc[-half:]]
        first += size
    return pd.concat(parts)


def _averaged(found: Findings) -> str:
    """Of what the rows of settings are means, where that is more than seeds."""
    if found.repeats.what == "seed":
        return ""
    return f", mean over {counted(int(found.table[SPLIT].nunique()), found.repeats.what)}"


def _corrected(found: Findings) -> str:
    """How the intervals of folds and splits are made."""
    what, overlap = found.repeats.what, found.repeats.overlap
    if what == "seed":
        return ""
    return (
        f" The seeds of a {what} are averaged first. The training parts of {what}s overlap, so that their values are "
        f"correlated: intervals are of the corrected resampled t (Nadeau & Bengio 2003), with {overlap:.3g} rows that "
        "measure for each that trains."
    )


def _joint(found: Findings) -> str:
    """What the intervals of the comparisons hold together."""
    rivals = int((found.settings["n"] > 0).sum())
    looks = f", at all looks planned, {', '.join(map(str, found.looks.seeds))} seeds" if found.looks else ""
    each = ", ".join(f"{100 * (1 - level):.2g}" for level in sorted(found.comparisons["level"].unique()))
    pairs = f" (Bonferroni, for {rivals * (rivals - 1) // 2:,} pairs of settings)" if rivals > 2 else ""
    return f"The intervals hold all together with 95 %{looks}; each by itself misses in {each} %{pairs}."


def _of_all(row: dict[Any, Any], finished: pd.Series) -> str:
    """How many of a setting's runs finished, of all; and with how many values, where some have none."""
    ended = int(finished.get(row["setting"], 0))
    lack = f", {row['n']} with a value" if row["n"] < ended else ""
    return f"{ended}/{row['runs']}{lack}"


def _setting(row: dict[Any, Any], axes: Sequence[str]) -> Iterator[Cell]:
    """What names a setting: its axes' values."""
    for axis in axes:
        lacks = len(axes) > 1 and lacking(row[axis])
        yield NOTHING if lacks else Cell(typed(row[axis]) or "all runs", row[axis])


def runs_grid(found: Findings, runs: Mapping[str, Path], into: Path) -> Grid:
    """The runs, each with a link to a file of its folder; of very many the best, the worst and some that have none."""
    table, remark = of_interest(found)
    ranks = {setting: rank for rank, setting in enumerate(found.settings["setting"])}
    if is_stacked(found.table):
        seconds, width = (pd.to_numeric(table[column], errors="coerce") for column in ("seconds", "width"))
        table = table.assign(**{STACK: seconds, "its share": seconds / width})
        remark += (
            f" {STACK}: of all the runs that trained together, until this one's end; its share: that over their number."
        )
    values = [
        *found.axes,
        *(key for key in varied(found.table) if key in REPEATS),
        "seed",
        "status",
        found.chosen_by,
        found.quoted,
    ]
    values += [STACK, "its share"] if STACK in table else ["seconds"]
    values = [column for column in dict.fromkeys([*values, "reason", "note", "tags", "error"]) if column in table]
    return Grid(
        "Runs",
        ["run", *values],
        [
            [
                Cell(row["run"], link=_link(runs[row["run"]], row["status"], into)),
                *(
                    _number(row[column]) if isinstance(row[column], float) else Cell(str(row[column]))
                    for column in values
                ),
            ]
            for row in table.to_dict("records")
        ],
        remark.strip(),
        text=[True, *(not pd.api.types.is_numeric_dtype(table[column]) for column in values)],
        settings=[ranks[setting] for setting in table["setting"]],
    )


def of_interest(found: Findings) -> tuple[pd.DataFrame, str]:
    """The runs that the page shows, and what it says of those that it does not."""
    table = found.table
    if len(table) <= MOST:
        return table, ""
    good = table[table["status"].isin(FINISHED) & table[found.chosen_by].notna()]
    good = good.sort_values(found.chosen_by, ascending=not found.larger_is_better, kind="stable")
    others = table.drop(good.index)
    some, half = others.iloc[: MOST // 5], 2 * MOST // 5
    shown = pd.concat([some, good.iloc[:half], good.iloc[half:].iloc[-half:]])
    return shown, (
        f"Of {len(table):,} runs these are the {half} best and the {half} worst by {found.chosen_by}"
        + (f", and {len(some)} of the {len(others):,} without such a value" if len(others) else "")
        + f"; {SWEEP} has all."
    )


def _link(run: Path, status: str, into: Path) -> str:
    """The file of a run that shows most, as the page has to name it; "" where there is none."""
    files = (*in_all_forms(CURVES), METRICS, SUMMARY, LOG)
    for file in (LOG, *files) if status == "failed" else files:
        if (run / file).exists():
            return quote(os.path.relpath(run / file, into))
    return ""


def _number(value: Any, form: str = "#.4g") -> Cell:
    return Cell(number(value, form), value) if isfinite(value) else NOTHING


def _interval(low: float, high: float, n: int, form: str = "#.4g") -> Cell:
    """Equal values have none: they say nothing of how much others would differ."""
    if not isfinite(low):
        return Cell("all equal", "") if n > 1 else NOTHING
    return Cell(f"{number(low, form)} – {number(high, form)}", low)


def _time(found: Median) -> Cell:
    if isinf(found.median):
        return Cell("not reached", "")
    interval = f" [{_brief(found.low, 3)}, {'∞' if isinf(found.high) else _brief(found.high, 3)}]"
    return Cell(f"{_brief(found.median, 4)}{interval if found[1:] != (0, inf) else ''}", found.median)


def _brief(time: float, digits: int) -> str:
    """A time with this many digits, and with all of those before the point: 1,100 steps are not 1.1e+03."""
    return f"{time:,.0f}" if time >= 1000 else f"{time:.{digits}g}"


def _share(row: dict[Any, Any]) -> Cell:
    low, high = (f"{100 * row[bound]:.0f}" for bound in ("diverged_low", "diverged_high"))
    text = f"{row['diverged']} of {row['runs']} ({low}–{high} %)" if row["diverged"] else "0"
    return Cell(text, row["diverged"])
