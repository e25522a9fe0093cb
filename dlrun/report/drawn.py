"""What the page of a report draws itself: axes, and the curves of settings and runs with their bands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dlrun.plots import comparison
from dlrun.plots.page import is_wide
from dlrun.report.axes import axes_of
from dlrun.report.collect import CURVES
from dlrun.report.evaluations import Evaluations
from dlrun.report.findings import Findings
from dlrun.report.grids import most_of, of_interest, shown_settings
from dlrun.report.packing import Grids, packed, thinned, within
from dlrun.report.pictures import fates_of, label_of
from dlrun.report.statistics import FINISHED
from dlrun.terminal.console import counted
from dlrun.terminal.printable import in_line

#: the colours of the pictures; those for dark paper, where black and the darker ones would not be seen
COLOURS = {
    "light": comparison.COLOURS,
    "dark": ["#4FA8E0", "#F58237", "#2BC79A", "#E08FBF", "#8CCBF2", "#F2B632", "#FFFFFF", "#A0A0A0"],
}


class Table(NamedTuple):
    """A run's evaluations, of which nothing is copied: those of very many runs would fill the memory."""

    found: NDArray[np.float64]  #: (evaluations, columns)
    epochs: NDArray[np.float64]
    steps: NDArray[np.float64]
    places: list[int | None]  #: the column of each metric; None where there is none

    def values(self, at: int) -> NDArray[np.float64]:
        """Those of a metric."""
        place = self.places[at]
        return np.full(len(self.found), np.nan) if place is None else self.found[:, place]


class Gathered(NamedTuple):
    """A setting's curves of all metrics, over the steps, and the epochs that these are."""

    epochs: NDArray[np.float64]
    curve: comparison.Curve


def drawn(found: Findings, curves: Evaluations) -> dict[str, Any]:
    """What the page's script draws, as JSON holds it.

    axes: of `axes_of`. settings: each one's rank, label, what became of its runs, and when it was evaluated: the first
    `length` times of a grid. runs: likewise. grids: these times, which curves share. stride: each how manieth of them
    is drawn. curves: of each metric the settings' means and, where they are banded, the lower and upper ends of the
    bands, one setting after the other, and the values of runs, `packed`. A run that is all of its setting's (own is
    false) has no values beside these. said: sentences on what is drawn and what is not.

    curves: of curves.csv. Of very many settings and runs those are drawn that the page's tables have.
    """
    settings = shown_settings(found)
    shown = found.table[found.table["setting"].isin(settings["setting"])]
    names, tables = _tables(curves, shown["run"], found.metric)
    finished = _finished(found.table)
    many = comparison.are_many(finished)
    gathered = _gathered(settings["setting"], finished, tables, many)
    single = of_interest(found)[0]
    single = single[single["setting"].isin(settings["setting"]) & single["run"].isin(tables)]
    alone = {finished[setting][0] for setting in gathered if len(finished[setting]) == 1}
    own = [run for run in single["run"] if run not in alone]
    count = len(own) + sum(3 if each.curve.runs > 1 else 1 for each in gathered.values())
    stride, columns = within(max((len(table.steps) for table in tables.values()), default=0), count, len(names))
    grids = Grids()
    return {
        "axes": axes_of(found, settings),
        "settings": list(_settings(found, settings, gathered, grids)),
        "runs": list(_runs(found, single, tables, alone, grids)),
        "grids": grids.grids,
        "stride": stride,
        "unit": comparison.time_unit(curves.last_epoch) if names else "epoch",
        "curves": [
            {
                **_scale(name, [each.curve.mean[:, at] for each in gathered.values()]),
                "settings": packed(thinned([part for each in gathered.values() for part in _parts(each, at)], stride)),
                "runs": packed(thinned([tables[run].values(at) for run in own], stride)),
            }
            for at, name in enumerate(names[:columns])
        ],
        "spread": comparison.spread(many),
        "colours": COLOURS,
        "said": list(_said(found, settings, shown, single, tables, stride, names[columns:], many)) if names else [],
    }


def _finished(table: pd.DataFrame) -> dict[str, list[str]]:
    """The runs of each setting that count."""
    ended = table[table["status"].isin(FINISHED)]
    return {str(setting): runs.tolist() for setting, runs in ended.groupby("setting", sort=False)["run"]}


def _tables(curves: Evaluations, runs: pd.Series, metric: str) -> tuple[list[str], dict[str, Table]]:
    """The metrics, the main one first, and the evaluations of each run that has any."""
    own = {run: found for run in runs if len((found := curves.of(run))[1])}
    seen = {
        name
        for header, found in own.values()
        for name, there in zip(header, np.logical_not(np.isnan(found).all(axis=0)), strict=True)
        if there
    }
    first = [f"val_{metric}", "val_loss", f"train_{metric}", "train_loss", *curves.metrics(own.keys())]
    names = [name for name in dict.fromkeys(first) if name in seen]

    @cache
    def places(header: tuple[str, ...]) -> list[int | None]:
        return [header.index(name) if name in header else None for name in names]

    def table(header: tuple[str, ...], found: NDArray[np.float64]) -> Table:
        return Table(found, found[:, header.index("epoch")], found[:, header.index("step")], places(header))

    return names, {run: table(*found) for run, found in own.items()} if names else {}


def _gathered(
    settings: pd.Series, finished: Mapping[str, Sequence[str]], tables: Mapping[str, Table], many: bool
) -> dict[str, Gathered]:
    """Means and bands of each setting that has any, over the evaluations that all of its runs have."""
    found = {}
    for setting in settings:
        own = [tables[run] for run in finished.get(setting, []) if run in tables]
        if own:
            epochs, steps, at = _together(own)
            if len(steps):
                # one metric after the other: of all of them the values of very many runs would fill the memory
                curves = [
                    comparison.gathered(
                        steps,
                        np.stack([table.values(i)[rows] for table, rows in zip(own, at, strict=True)], axis=-1),
                        many,
                        len(own),
                    )
                    for i in range(len(own[0].places))
                ]
                mean, low, high = (
                    np.stack([getattr(curve, part) for curve in curves], axis=-1) for part in ("mean", "low", "high")
                )
                found[setting] = Gathered(epochs, comparison.Curve(steps, mean, low, high, len(own)))
    return found


def _together(tables: Sequence[Table]) -> tuple[NDArray[np.float64], NDArray[np.int64], list[Any]]:
    """The epochs and steps of the first run's evaluations that all runs have, and their places in each."""
    first, *others = tables
    if all(np.array_equal(first.steps, other.steps) for other in others):
        return first.epochs, first.steps.astype("int64"), [slice(None)] * len(tables)
    steps = np.array(sorted(set(first.steps.tolist()).intersection(*(other.steps.tolist() for other in others))), int)
    at = [np.searchsorted(table.steps, steps) for table in tables]
    return first.epochs[at[0]], steps, at


def _settings(
    found: Findings, settings: pd.DataFrame, gathered: Mapping[str, Gathered], grids: Grids
) -> Iterator[dict[str, Any]]:
    fates = fates_of(found.table)
    for rank, row in zip(settings.index.tolist(), settings.to_dict("records"), strict=True):
        own = gathered.get(row["setting"])
        yield {
            "id": rank,
            "label": in_line(label_of(row, found.axes)) or "all runs",
            "n": row["n"],
            "fate": fates.get(row["setting"], ""),
            "banded": own is not None and own.curve.runs > 1,
            **(grids.of(own.epochs, own.curve.at) if own else {"grid": None, "length": 0}),
        }


def _runs(
    found: Findings, single: pd.DataFrame, tables: Mapping[str, Table], alone: set[str], grids: Grids
) -> Iterator[dict[str, Any]]:
    ranks = {setting: rank for rank, setting in enumerate(found.settings["setting"])}
    for row in single.to_dict("records"):
        run = row["run"]
        yield {
            "name": in_line(run),
            "setting": ranks[row["setting"]],
            "seed": in_line(str(row["seed"])),
            "status": in_line(str(row["status"])),
            "own": run not in alone,
            **grids.of(tables[run].epochs, tables[run].steps.astype("int64")),
        }


def _scale(name: str, means: Sequence[NDArray[np.float64]]) -> dict[str, Any]:
    """The name of a metric, and how its axis is at first."""
    values = np.concatenate(means) if means else np.zeros(0)
    measured = name.startswith(("train_", "val_"))
    return {
        "name": in_line(name),
        "log": comparison.is_logarithmic(name, values) or (not measured and is_wide(values)),
        "floor": -1 if measured and comparison.is_cut(name, values) else None,
    }


def _parts(setting: Gathered, at: int) -> Iterator[NDArray[np.float64]]:
    """What is drawn of a setting's metric: the mean; of several runs also the ends of the band."""
    _, mean, low, high, runs = setting.curve
    yield from (part[:, at] for part in ((mean, low, high) if runs > 1 else (mean,)))


def _said(
    found: Findings,
    settings: pd.DataFrame,
    shown: pd.DataFrame,
    single: pd.DataFrame,
    tables: Mapping[str, Table],
    stride: int,
    left_out: Sequence[str],
    many: bool,
) -> Iterator[str]:
    """What a reader has to know of the curves."""
    runs = "seeds" if found.repeats.what == "seed" else "runs"
    yield (
        f"Line: mean over the {runs} that finished, up to the end of the first of them, or the one run; band: "
        f"{comparison.spread(many)}. Rounded to four digits; {comparison.TABLES}."
    )
    lost = shown[~shown["status"].isin(FINISHED)]
    if len(lost):
        counts = lost["status"].value_counts()
        how = ", ".join(f"{count} {str(status).replace('_', ' ')}" for status, count in counts.items())
        yield (
            f"{counted(len(lost), 'run')} did not finish ({how}): in no mean and no band. “single runs” draws them "
            "dashed, to a cross where they end."
        )
    having = shown["run"].isin(tables)
    if not having.all():
        yield f"{counted(int((~having).sum()), 'run')} ended before the first evaluation: no curve."
    if len(settings) < len(found.settings):
        where, half = " on each dataset" * bool(found.strata), most_of(found) // 2
        yield f"Of {len(found.settings):,} settings the first {half} and the last {half}{where} are drawn."
    if len(single) < having.sum():
        yield f"Of {having.sum():,} single runs {len(single):,} can be drawn, those of the table; means are of all."
    if stride > 1:
        yield f"Of every {stride} evaluations one is drawn, and the last; {CURVES} has all."
    if left_out:
        yield f"To keep this page small it is without the columns {', '.join(left_out)}; {CURVES} has them."
