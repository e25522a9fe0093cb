"""Gradients of a recurrent network by lag: a line for each of some moments of its training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of
from dlrun.plots.diagnostics.layers import NAMED, finish, lines, page, unit_of
from dlrun.plots.page import LARGE, title


def figure(folder: str | Path) -> Figure:
    """The mean norm at every lag, at the first moment, the last and some between."""
    frame = read_table(folder, table_of("lags"))
    unit = unit_of(frame)
    table = frame.pivot(index="lag", columns=unit, values="norm")
    chosen = np.unique(np.linspace(0, len(table.columns) - 1, NAMED).round().astype(int))
    shown = table.iloc[:, chosen].rename(columns=lambda moment: f"{unit} {moment:g}")
    sheet, [axes] = page(1)
    lines(axes, shown, "norm of the gradient in the inputs")
    finish(sheet, [axes], "lag", f"lags: {title(folder, summary_of(Path(folder)))}")
    axes.set_xlabel("lag: times before the last", fontsize=LARGE)
    return sheet
