"""The linear regions of a network: a plane cut into them, and how many lie on lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of
from dlrun.plots.page import LARGE, SMALL, TRAIN, heading, whole

EDGED = 3000  #: regions up to which lines are drawn between them; of more there is little else to be seen


def figure(folder: str | Path) -> Figure:
    """Each region of the plane in a colour of its own, which means nothing; a histogram of the regions on lines."""
    frame = read_table(folder, table_of("linear_regions"))
    lines, corners = (frame[frame["quantity"] == what] for what in ("line", "corner"))
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    if len(corners):
        plane, histogram = page.subplots(1, 2, width_ratios=(2, 1))
        edges = np.flatnonzero(np.diff(corners["number"])) + 1
        polygons = np.split(corners[["x", "y"]].to_numpy(), edges)
        _plane(plane, polygons)
        told = f"{len(polygons):,} in the plane, "
    else:
        histogram, told = page.subplots(), ""
    counts = lines["regions"].dropna()
    if len(counts):
        low, high = counts.min(), counts.max()
        width = max(1, int(np.ceil((high - low + 1) / 20)))
        histogram.hist(counts, np.arange(low, high + width + 1, width) - 0.5, color=TRAIN, edgecolor="white")
    whole(histogram)
    histogram.yaxis.set_major_locator(MaxNLocator(integer=True))
    histogram.xaxis.get_major_locator().set_params(nbins=5)
    histogram.set_xlabel("regions on a line", fontsize=LARGE)
    histogram.set_ylabel("lines", fontsize=LARGE)
    histogram.spines[["top", "right"]].set_visible(False)
    for axes in page.axes:
        axes.tick_params(labelsize=SMALL)
    mean = f"{counts.mean():,.1f}" if len(counts) else "-"
    heading(page, folder, summary_of(Path(folder)), f"linear regions: {told}{mean} on a line, mean of {len(counts)}")
    return page


def _plane(axes: Axes, polygons: list[np.ndarray]) -> None:
    shades = colormaps["Pastel1"](np.random.default_rng(0).integers(0, 9, len(polygons)))
    edge = {"edgecolors": "black", "linewidths": 0.5} if len(polygons) <= EDGED else {"edgecolors": "face"}
    axes.add_collection(PolyCollection(polygons, facecolors=shades, **edge))
    corners = np.concatenate(polygons)
    axes.set(xlim=(corners[:, 0].min(), corners[:, 0].max()), ylim=(corners[:, 1].min(), corners[:, 1].max()))
    axes.set_aspect("equal", adjustable="box")
    axes.set_xlabel("along the plane (scaled inputs)", fontsize=LARGE)
