"""Which tables a report has: a sweep's findings as people read them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf, isfinite, isinf
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from dlrun.folder.names import CURVES, LOG, METRICS, SUMMARY, in_all_forms
from dlrun.report.collect import SWEEP
from dlrun.report.findings import TIMES, Findings
from dlrun.report.grid import NOTHING, Cell, Grid
from dlrun.report.statistics import FINISHED
from dlrun.report.survival import Median
from dlrun.report.tables import lacking, typed
from dlrun.terminal.console import number

MOST = 1000  #: rows of a table that the page shows
STACK = "stack's seconds"
JOINT = "joint 95 % interval"  #: which holds together with those of the other rows


def grids(found: Findings) -> Iterator[Grid]:
    """The tables of settings, comparisons, and times to the target."""
    axes = found.axes or ["setting"]
    ranks = {setting: rank for rank, setting in enumerate(found.settings["setting"])}
    words = [not pd.api.types.is_numeric_dtype(found.settings[axis]) for axis in axes]
    part = "test" if found.quoted.startswith("test") else "val"
    measured: dict[str, Callable[[dict[Any, Any]], Cell]] = {
        "val": lambda row: _number(row["val"]),
        f"{part} ± std": lambda row: (
            Cell(f"{number(row['mean'])} ± {_number(row['std'], '.2g').text}", row["mean"]) if row["n"] else NOTHING
        ),
        "95 % interval": lambda row: _interval(row["low"], row["high"], row["n"]),
        "median": lambda row: _number(row["median"]),
        "best": lambda row: _number(row["best"]),
        "n": lambda row: Cell(f"{row['n']}/{row['runs']}", row["n"]),
    }
    if found.settings["diverged"].any():
        measured["diverged"] = _share
    if found.settings["failed"].any():
        measured["failed"] = lambda row: Cell(str(row["failed"]), row["failed"])
    equal = (found.settings["n"] > 1) & found.settings["low"].isna()
    yield Grid(
        f"Settings: {found.metric}",
        [*axes, *measured],
        [
            [*_setting(row, axes), *(cell(row) for cell in measured.values())]
            for row in found.settings.to_dict("records")
        ],
        f"The best first, by val, the mean of {found.chosen_by}; those that diverge less often before others. "
        f"{part}: {found.quoted}, mean ± standard deviation over the seeds that finished, with the mean's interval, "
        "median and best. n: finished of all"
        + ("; diverged: with the 95 % interval of its share." if "diverged" in measured else ".")
        + (" Values that are all equal have no interval: they say nothing of how much others would differ."
           if equal.any() else ""),
        [*words, *[False] * len(measured)],
        named_by=len(axes),
        settings=list(ranks.values()),
    )  # fmt: skip
    if len(found.comparisons):
        best = found.settings["setting"].iloc[0]
        yield Grid(
            f"Compared with {best}",
            [*axes, "difference", JOINT, "n", "effect", "in words"],
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
            f"{found.quoted} minus that of the best setting by validation, paired by seed; n: seeds that both have. "
            f"{_joint(found)} The words say what the interval says: "
            + (f"whether it lies beyond ±{found.margin:g}, within, or neither. " if found.margin
               else "whether it lies beyond 0. ")
            + "Effect: Hedges' g of the differences.",
            [*words, False, False, False, False, True],
            named_by=len(axes),
            settings=[ranks[setting] for setting in found.comparisons["setting"]],
        )  # fmt: skip
    if found.target:
        column, value = found.target
        stacked = is_stacked(found.table)
        yield Grid(
            f"Time to {column} = {value:g}",
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


def _joint(found: Findings) -> str:
    """What the intervals of the comparisons hold together."""
    rivals = int((found.settings["n"] > 0).sum())
    looks = f", at all looks planned, {', '.join(map(str, found.looks.seeds))} seeds" if found.looks else ""
    each = ", ".join(f"{100 * (1 - level):.2g}" for level in sorted(found.comparisons["level"].unique()))
    pairs = f" (Bonferroni, for {rivals * (rivals - 1) // 2:,} pairs of settings)" if rivals > 2 else ""
    return f"The intervals hold all together with 95 %{looks}; each by itself misses in {each} %{pairs}."


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
    values = [*found.axes, "seed", "status", found.chosen_by, found.quoted]
    values += [STACK, "its share"] if STACK in table else ["seconds"]
    values = [column for column in dict.fromkeys([*values, "reason", "error"]) if column in table]
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


def is_stacked(table: pd.DataFrame) -> bool:
    """Whether some runs trained together, so that their seconds are those of all of them."""
    return "width" in table and bool((pd.to_numeric(table["width"], errors="coerce") > 1).any())


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
