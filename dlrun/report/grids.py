"""Which tables a report has: a sweep's findings as people read them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf, isfinite, isinf
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from dlrun.console import number
from dlrun.report.findings import TIMES, Findings
from dlrun.report.grid import NOTHING, Cell, Grid
from dlrun.report.survival import Median
from dlrun.report.tables import typed


def grids(found: Findings) -> Iterator[Grid]:
    """The tables of settings, comparisons, and times to the target."""
    axes = found.axes or ["setting"]
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
    )  # fmt: skip
    if len(found.comparisons):
        best = found.settings["setting"].iloc[0]
        yield Grid(
            f"Compared with {best}",
            [*axes, "difference", "95 % interval", "p", "effect", "in words"],
            [
                [
                    *_setting(row, axes),
                    _number(row["difference"], "+.3g"),
                    _interval(row["low"], row["high"], row["n"], "+.3g"),
                    _number(row["p"], ".2g"),
                    _number(row["effect"], "+.2f"),
                    Cell(row["verdict"]),
                ]
                for row in found.comparisons.to_dict("records")
            ],
            f"{found.quoted} minus that of the best setting by validation, paired by seed, with the interval of each "
            f"difference by itself; p of the sign-flip test, adjusted by Holm for {len(found.comparisons)} "
            "comparisons; effect: Hedges' g of the differences.",
            [*words, False, False, False, False, True],
            named_by=len(axes),
        )
    if found.target:
        column, value = found.target
        yield Grid(
            f"Time to {column} = {value:g}",
            [*axes, "reached", *TIMES.values()],
            [
                [*_setting(row, axes), Cell(f"{row['reached']}/{row['runs']}", row["reached"])]
                + [_time(row[time]) for time in TIMES]
                for row in found.speeds.to_dict("records")
            ],
            "Kaplan–Meier median, with its 95 % interval where the runs are enough for one; a run that was stopped "
            "before it reached the target counts as one that takes longer.",
            [*words, False, False, False, False],
            named_by=len(axes),
        )


def _setting(row: dict[Any, Any], axes: Sequence[str]) -> Iterator[Cell]:
    """What names a setting: its axes' values."""
    for axis in axes:
        yield Cell(typed(row[axis]) or "all runs", row[axis])


def runs_grid(found: Findings, runs: Mapping[str, Path], into: Path) -> Grid:
    """All runs, with links to their folders."""
    table = found.table
    values = [*found.axes, "seed", "status", found.chosen_by, found.quoted, "seconds", "error"]
    values = [column for column in dict.fromkeys(values) if column in table]
    return Grid(
        "Runs",
        ["run", *values],
        [
            [
                Cell(row["run"], link=quote(os.path.relpath(runs[row["run"]], into)) + "/"),
                *(
                    _number(row[column]) if isinstance(row[column], float) else Cell(str(row[column]))
                    for column in values
                ),
            ]
            for row in table.to_dict("records")
        ],
        text=[True, *(not pd.api.types.is_numeric_dtype(table[column]) for column in values)],
    )


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
    interval = f" [{found.low:.3g}, {'∞' if isinf(found.high) else f'{found.high:.3g}'}]"
    return Cell(f"{found.median:.4g}{interval if found[1:] != (0, inf) else ''}", found.median)


def _share(row: dict[Any, Any]) -> Cell:
    low, high = (f"{100 * row[bound]:.0f}" for bound in ("diverged_low", "diverged_high"))
    return Cell(f"{row['diverged']} ({low}–{high} %)" if row["diverged"] else "0", row["diverged"])
