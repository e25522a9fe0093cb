"""A sweep's findings as tables for people, on the terminal and on the page."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite, isinf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import pandas as pd

from dlrun.console import number
from dlrun.report.findings import TIMES, Findings
from dlrun.report.survival import Median

if TYPE_CHECKING:
    from rich.console import Console


class Cell(NamedTuple):
    text: str
    key: float | str | None = None  #: what to sort by, if not the text; "" goes last
    link: str = ""


NOTHING = Cell("-", "")
NAME, WORDS = 12, 20  #: least widths of the terminal's columns that hold a setting's name, and words


@dataclass
class Grid:
    """A table for people, on the terminal and on the page."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    remark: str = ""
    text: list[bool] = field(default_factory=list)  #: whether each column holds words
    named_by: int = 1  #: how many of the first columns name a row

    def show(self, console: Console, lines: int) -> None:
        """Print the first rows, what names them in one column, which is folded first; no digit is ever cut off."""
        from rich.table import Table
        from rich.text import Text

        names = self.columns[: self.named_by]
        short = [name.rpartition(".")[2] for name in names]
        names = short if len(set(short)) == len(names) else names
        table = Table(box=None, pad_edge=False, header_style="dim")
        columns = list(enumerate(self.columns))[self.named_by :]
        widths = [max(len(text) for text in (column, *(row[i].text for row in self.rows))) for i, column in columns]
        least = [WORDS if self.text[i] else width for (i, _), width in zip(columns, widths, strict=True)]
        fits = NAME + sum(width + 2 for width in least) <= console.width
        first = names[0] if len(names) == 1 else "setting"
        table.add_column(first, overflow="fold", min_width=NAME if fits else None)
        for i, column in columns:
            words = self.text[i]
            table.add_column(
                Text(column), justify="left" if words else "right", no_wrap=fits and not words, overflow="fold",
                min_width=WORDS if words and fits else None,
            )  # fmt: skip
        for row in self.rows[:lines]:
            texts = [cell.text for cell in row]
            first = (
                " ".join(f"{n}={text}" for n, text in zip(names, texts, strict=False)) if len(names) > 1 else texts[0]
            )
            table.add_row(*map(Text, [first, *texts[self.named_by :]]))
        console.print(table)


def grids(found: Findings) -> Iterator[Grid]:
    """The tables of settings, comparisons, and times to the target."""
    axes = found.axes or ["setting"]
    words = [not pd.api.types.is_numeric_dtype(found.settings[axis]) for axis in axes]
    settings = found.settings.assign(setting=found.settings["setting"].replace("", "all runs"))
    part = "test" if found.quoted.startswith("test") else "val"
    measured: dict[str, Callable[[dict[Any, Any]], Cell]] = {
        "val": lambda row: _number(row["val"]),
        f"{part} ± std": lambda row: (
            Cell(f"{number(row['mean'])} ± {_number(row['std'], '.2g').text}", row["mean"]) if row["n"] else NOTHING
        ),
        "95 % interval": lambda row: _interval(row["low"], row["high"]),
        "median": lambda row: _number(row["median"]),
        "best": lambda row: _number(row["best"]),
        "n": lambda row: Cell(f"{row['n']}/{row['runs']}", row["n"]),
    }
    if settings["diverged"].any():
        measured["diverged"] = _share
    if settings["failed"].any():
        measured["failed"] = lambda row: Cell(str(row["failed"]), row["failed"])
    yield Grid(
        f"Settings: {found.metric}",
        [*axes, *measured],
        [
            [*(Cell(str(row[axis]), row[axis]) for axis in axes), *(cell(row) for cell in measured.values())]
            for row in settings.to_dict("records")
        ],
        f"The best first, by val, the mean of {found.chosen_by}; those that diverge less often before others. "
        f"{part}: {found.quoted}, mean ± standard deviation over the seeds that finished, with the mean's interval, "
        "median and best. n: finished of all"
        + ("; diverged: with the 95 % interval of its share." if "diverged" in measured else "."),
        [*words, *[False] * len(measured)],
        named_by=len(axes),
    )
    if len(found.comparisons):
        best = found.settings["setting"].iloc[0]
        yield Grid(
            f"Compared with {best}",
            ["setting", "difference", "95 % interval", "p", "effect", "in words"],
            [
                [
                    Cell(row["setting"]),
                    _number(row["difference"], "+.3g"),
                    _interval(row["low"], row["high"], "+.3g"),
                    _number(row["p"], ".2g"),
                    _number(row["effect"], "+.2f"),
                    Cell(row["verdict"]),
                ]
                for row in found.comparisons.to_dict("records")
            ],
            f"{found.quoted} minus that of the best setting by validation, paired by seed; p of the sign-flip test, "
            f"adjusted by Holm for {len(found.comparisons)} comparisons; effect: Hedges' g of the differences.",
            [True, False, False, False, False, True],
        )
    if found.target:
        column, value = found.target
        yield Grid(
            f"Time to {column} = {value:g}",
            ["setting", "reached", *TIMES.values()],
            [
                [Cell(row["setting"] or "all runs"), Cell(f"{row['reached']}/{row['runs']}", row["reached"])]
                + [_time(row[time]) for time in TIMES]
                for row in found.speeds.to_dict("records")
            ],
            "Kaplan–Meier median, with its 95 % interval where the runs are enough for one; a run that was stopped "
            "before it reached the target counts as one that takes longer.",
            [True, False, False, False, False],
        )


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


def _interval(low: float, high: float, form: str = "#.4g") -> Cell:
    return Cell(f"{number(low, form)} – {number(high, form)}", low) if isfinite(low) else NOTHING


def _time(found: Median) -> Cell:
    if isinf(found.median):
        return Cell("not reached", "")
    interval = f" [{found.low:.3g}, {'∞' if isinf(found.high) else f'{found.high:.3g}'}]"
    return Cell(f"{found.median:.4g}{interval if found[1:] != (0, inf) else ''}", found.median)


def _share(row: dict[Any, Any]) -> Cell:
    low, high = (f"{100 * row[bound]:.0f}" for bound in ("diverged_low", "diverged_high"))
    return Cell(f"{row['diverged']} ({low}–{high} %)" if row["diverged"] else "0", row["diverged"])
