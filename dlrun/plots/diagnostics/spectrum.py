"""A network's spectrum: the density of its eigenvalues, each of them where they are known, and its layers' largest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of
from dlrun.plots.page import GREY, LARGE, SMALL, TRAIN, VAL, gaps, title

DECADES = 6  #: below the density's peak that are shown
LETTERS = 70  #: that stand side by side below a panel


def figure(folder: str | Path) -> Figure:
    """The density on a logarithmic axis, with a tick for each eigenvalue or node; the layers' largest and smallest."""
    frame = read_table(folder, table_of("spectrum"))
    of_all, of_layers = frame[frame["layer"] == "all"], frame[frame["layer"] != "all"]
    of_layers = of_layers[of_layers["quantity"].isin(["largest", "smallest"])]
    sheet = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(sheet)
    panels = list(sheet.subplots(2 if len(of_layers) else 1, squeeze=False, height_ratios=[3, 2][: 1 + (len(of_layers) > 0)])[:, 0])
    _density(panels[0], of_all)
    if len(of_layers):
        _by_layer(panels[1], of_layers)
    for axes in panels:
        axes.tick_params(labelsize=SMALL)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    sheet.suptitle(
        f"spectrum: {title(folder, summary_of(Path(folder)))}", fontsize=LARGE, fontweight="bold", parse_math=False
    )
    return sheet


def _density(axes: Axes, frame: pd.DataFrame) -> None:
    rows = {quantity: group for quantity, group in frame.groupby("quantity")}
    axes.set_xlabel("eigenvalue", fontsize=LARGE)
    axes.set_ylabel("density", fontsize=LARGE)
    if "density" not in rows:
        axes.text(0.5, 0.5, "the matrix is not finite", ha="center", fontsize=LARGE, transform=axes.transAxes)
        return
    peak = rows["density"]["weight"].max()
    axes.fill_between(rows["density"]["value"], rows["density"]["weight"], peak * 10.0**-DECADES, color=TRAIN, alpha=0.3)
    axes.plot(rows["density"]["value"], rows["density"]["weight"], color=TRAIN, linewidth=2)
    axes.set_yscale("log")
    axes.set_ylim(peak * 10.0**-DECADES, peak * 3)
    axes.yaxis.set_major_locator(LogLocator(numticks=DECADES))
    axes.yaxis.set_minor_locator(NullLocator())
    known = rows.get("eigenvalue")
    ticks = known if known is not None else rows["node"]
    axes.plot(
        ticks["value"], np.full(len(ticks), 0.02), "|", color=GREY, markersize=14, transform=axes.get_xaxis_transform(),
        alpha=0.6, label=f"{len(ticks):,} eigenvalues, each" if known is not None else f"{len(ticks):,} nodes of the quadrature",
    )  # fmt: skip
    axes.legend(fontsize=SMALL, frameon=False, loc="upper right")


def _by_layer(axes: Axes, frame: pd.DataFrame) -> None:
    layers = list(dict.fromkeys(frame["layer"]))
    for quantity, colour in (("largest", TRAIN), ("smallest", VAL)):
        values = frame[frame["quantity"] == quantity].set_index("layer")["value"][layers]
        axes.bar(range(len(layers)), gaps(values), color=colour, label=quantity, width=0.8)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set_ylabel("by layer", fontsize=LARGE)
    axes.legend(fontsize=SMALL, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=1)
    axes.set_xlabel("layer", fontsize=LARGE)
    apart = max(1, -(-len(layers) * max(map(len, layers)) // LETTERS))
    axes.set_xticks(range(0, len(layers), apart), [layers[i] for i in range(0, len(layers), apart)], parse_math=False)
