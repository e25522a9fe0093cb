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

DECADES = 7  #: below the density's peak that are shown
LETTERS = 70  #: that stand side by side below a panel
FEWEST = 6  #: layers that there is room for, so that few have no broad bars


def figure(folder: str | Path) -> Figure:
    """The density on a logarithmic axis, with a tick for each eigenvalue or node; the layers' largest and smallest."""
    frame = read_table(folder, table_of("spectrum"))
    of_layers = frame[(frame["layer"] != "all") & frame["quantity"].isin(["largest", "smallest"])]
    sheet = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(sheet)
    heights = [3, 2] if len(of_layers) else [1]
    panels = list(sheet.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0])
    _density(panels[0], frame[frame["layer"] == "all"])
    if len(of_layers):
        _by_layer(panels[1], of_layers)
    for axes in panels:
        axes.tick_params(labelsize=SMALL)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    heading = f"spectrum: {title(folder, summary_of(Path(folder)))}"
    sheet.suptitle(heading, fontsize=LARGE, fontweight="bold", parse_math=False)
    sheet.align_ylabels(panels)
    return sheet


def _density(axes: Axes, frame: pd.DataFrame) -> None:
    rows = {quantity: group for quantity, group in frame.groupby("quantity")}
    axes.set_xlabel("eigenvalue", fontsize=LARGE)
    axes.set_ylabel("density", fontsize=LARGE)
    if "density" not in rows:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, "the matrix is not finite", ha="center", fontsize=LARGE, transform=axes.transAxes)
        return
    at, height = rows["density"]["value"], rows["density"]["weight"]
    floor = height.max() * 10.0**-DECADES
    axes.fill_between(at, height, floor, color=TRAIN, alpha=0.3, linewidth=0)
    axes.plot(at, height, color=TRAIN, linewidth=2)
    axes.set_yscale("log")
    axes.set_ylim(floor, height.max() * 10)  # with room for the legend
    axes.yaxis.set_major_locator(LogLocator(numticks=DECADES))
    axes.yaxis.set_minor_locator(NullLocator())
    ticks, text = rows.get("eigenvalue"), "each eigenvalue, of {:,}"
    if ticks is None:
        ticks, text = rows["node"], "nodes of the quadrature, {:,}"
    axes.plot(
        ticks["value"], np.full(len(ticks), 0.02), "|", color=GREY, markersize=14, alpha=0.6,
        transform=axes.get_xaxis_transform(), label=text.format(len(ticks)),
    )  # fmt: skip
    axes.legend(fontsize=SMALL, frameon=False, loc="upper right", handlelength=1)


def _by_layer(axes: Axes, frame: pd.DataFrame) -> None:
    layers = list(dict.fromkeys(frame["layer"]))
    for quantity, colour in (("largest", TRAIN), ("smallest", VAL)):
        values = frame[frame["quantity"] == quantity].set_index("layer")["value"][layers]
        axes.bar(range(len(layers)), gaps(values), color=colour, label=quantity)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set_axisbelow(True)
    axes.set_ylabel("eigenvalues\nby layer", fontsize=LARGE)
    axes.set_xlabel("layer", fontsize=LARGE)
    axes.legend(fontsize=SMALL, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=1)
    slots = max(FEWEST, len(layers))
    axes.set_xlim(-0.6, slots - 0.4)
    apart = max(1, -(-slots * (max(map(len, layers)) + 1) // LETTERS))
    axes.set_xticks(range(0, len(layers), apart), layers[::apart], parse_math=False)
