"""Curvature over a training: the largest eigenvalues beside 2/lr, the smallest, and the trace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of
from dlrun.plots.diagnostics.layers import LAST, MAP, NAMED, finish, lines, of_quantity, page, unit_of
from dlrun.plots.page import FEW, LARGE, LR, SMALL, TRAIN, gaps, log_if_wide, title

FAR = 5  #: times the largest eigenvalue from which 2/lr is told and not drawn


def figure(folder: str | Path) -> Figure:
    """Panels: the largest eigenvalues; the smallest; the trace; and, if they are told, each layer's largest."""
    frame = read_table(folder, table_of("hessian"))
    unit, whole = unit_of(frame), frame["layer"] == "all"
    of_layers = of_quantity(frame[~whole], "eigenvalue_1")
    found = frame[whole].pivot(index=unit, columns="quantity", values="value")
    sheet, panels = page(4 if len(of_layers.columns) else 3)
    _largest(panels[0], found)
    _with_error(panels[1], found, "smallest", "smallest_residual")
    _with_error(panels[2], found, "trace", "trace_error")
    if len(of_layers.columns):
        lines(panels[3], of_layers, "largest\nby layer")
    finish(sheet, panels, unit, f"hessian: {title(folder, summary_of(Path(folder)))}")
    return sheet


def _largest(axes: Axes, found: pd.DataFrame) -> None:
    names = [name for name in (f"eigenvalue_{i}" for i in range(1, len(found.columns))) if name in found]
    shown = found[names].to_numpy()
    for name, place in zip(names, np.linspace(0, LAST, len(names)), strict=True):
        named = len(names) <= NAMED or name in (names[0], names[-1])
        _line(axes, found[name], MAP(place), name.removeprefix("eigenvalue_") if named else "")
    if "2/lr" in found:
        limit, highest = gaps(found["2/lr"]), np.nanmax(np.where(np.isfinite(shown), shown, -np.inf), initial=-np.inf)
        near = np.isfinite(limit).any() and np.nanmin(limit) <= FAR * highest
        if near:
            shown = np.column_stack([shown, limit])
        text = "2/lr" if near or not np.isfinite(limit).any() else f"2/lr is\n{np.nanmin(limit):,.3g} or more"
        axes.plot(
            found.index, limit if near else np.full(len(limit), np.nan), "--", color=LR, linewidth=2.5, label=text
        )
    log_if_wide(axes, shown)
    axes.set_ylabel("largest", fontsize=LARGE)
    axes.legend(fontsize=SMALL, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=1)


def _with_error(axes: Axes, found: pd.DataFrame, name: str, error: str) -> None:
    """A line, and a band of its error on either side."""
    values, errors = gaps(found[name]), gaps(found[error])
    if len(found) > 1:
        axes.fill_between(found.index, values - errors, values + errors, color=TRAIN, alpha=0.25, linewidth=0)
    else:
        axes.errorbar(found.index, values, errors, color=TRAIN, capsize=8)
    _line(axes, found[name], TRAIN, "")
    axes.set_ylabel(name, fontsize=LARGE)


def _line(axes: Axes, values: pd.Series, colour: object, label: str) -> None:
    few = len(values) <= FEW
    axes.plot(
        values.index, gaps(values), color=colour, label=label or None, linewidth=2.5 if few else 1.5,
        marker="o" if few else None, markersize=5,
    )  # fmt: skip
