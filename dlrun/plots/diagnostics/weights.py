"""Weights over a training: their lengths by layer, and how the entries of each are spread."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of
from dlrun.plots.diagnostics.layers import edges, finish, lines, of_quantity, page, unit_of, weights
from dlrun.plots.page import FEW, LARGE, SMALL, TRAIN, gaps, title

BANDS = ((1, 99), (5, 95), (15, 85))


def figure(folder: str | Path) -> Figure:
    """Norm of every weight; percentiles of the entries of the first and the last."""
    frame = weights(read_table(folder, table_of("weights")))
    norms = of_quantity(frame, "norm")
    ends = list(dict.fromkeys([norms.columns[0], norms.columns[-1]]))
    sheet, panels = page(1 + len(ends))
    lines(panels[0], norms, "norm")
    for axes, layer in zip(panels[1:], ends, strict=True):
        _spread(axes, frame[frame["layer"] == layer], layer)
    finish(sheet, panels, unit_of(frame), f"weights: {title(folder, summary_of(Path(folder)))}")
    return sheet


def _spread(axes: Axes, rows: pd.DataFrame, layer: str) -> None:
    for low, high in BANDS:
        least, greatest = (of_quantity(rows, f"p{p}")[layer] for p in (low, high))
        label = f"{low} to {high}"
        axes.fill_between(least.index, gaps(least), gaps(greatest), color=TRAIN, alpha=0.2, linewidth=0, label=label)
        edges(axes, least, greatest, colour=TRAIN)
    middle = of_quantity(rows, "p50")[layer]
    few = "o" if len(middle) <= FEW else None
    axes.plot(middle.index, gaps(middle), color=TRAIN, linewidth=2.5, marker=few, label="50")
    axes.legend(
        title="percentiles", fontsize=SMALL, title_fontsize=SMALL, frameon=False, loc="center left",
        bbox_to_anchor=(1, 0.5), handlelength=1,
    )  # fmt: skip
    axes.set_ylabel(f"entries of\n{layer}", fontsize=LARGE, parse_math=False)
