"""A confusion matrix: true classes by predicted ones, coloured by their share of the true class."""

from __future__ import annotations

from math import isqrt
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of
from dlrun.plots.page import LARGE, SMALL, heading, shortened

NUMBERED = 20  #: classes up to which every cell shows its count
NAMES = 20  #: of classes beside each axis, at most
DARK = 0.55  #: share from which numbers are white on it


def figure(folder: str | Path) -> Figure:
    """A cell per pair of classes; up to 20 classes with the counts."""
    frame = read_table(folder, table_of("confusion"))
    classes = isqrt(len(frame))
    names = list(frame["true"][::classes])
    counts, rates = (frame[column].to_numpy().reshape(classes, classes) for column in ("count", "rate"))
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    axes = page.subplots()
    colours = colormaps["Blues"].with_extremes(bad="#DDDDDD")  # of a class that is not there
    image = axes.imshow(np.ma.masked_invalid(rates * 100), cmap=colours, vmin=0, vmax=100)
    if len(names) <= NUMBERED:
        size = min(SMALL, 760 // (len(names) * len(f"{counts.max():.0f}")))
        for (true, predicted), count in np.ndenumerate(counts):
            if count:
                colour = "white" if rates[true, predicted] > DARK else "black"
                axes.text(predicted, true, f"{count:.0f}", ha="center", va="center", fontsize=size, color=colour)
    every = -(-len(names) // NAMES)
    shown = [shortened(name, 18) for name in names[::every]]
    long = len(shown) > 6 and max(map(len, shown)) > 2
    size = SMALL if len(shown) <= 12 else 13
    axes.set_xticks(range(0, len(names), every), shown, rotation=45 if long else 0, ha="right" if long else "center")
    axes.set_yticks(range(0, len(names), every), shown)
    for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        label.set(fontsize=size, parse_math=False)
    axes.set_xlabel("predicted", fontsize=LARGE)
    axes.set_ylabel("true", fontsize=LARGE)
    bar = page.colorbar(image, aspect=40)
    bar.set_label("of the true class, %", fontsize=LARGE)
    bar.ax.tick_params(labelsize=SMALL)
    right = np.trace(counts) / counts.sum()
    heading(page, folder, summary_of(Path(folder)), f"confusion: {right:.2%} of {counts.sum():,.0f} right")
    return page
