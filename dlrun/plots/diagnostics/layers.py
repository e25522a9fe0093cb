"""What pictures of networks' layers share: a line per layer over the training, coloured by depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from dlrun.plots.page import FEW, LARGE, SMALL, gaps, log_if_wide, whole

NAMED = 8  #: layers that a legend names; of more, a bar tells the depth by colour


def page(panels: int) -> tuple[Figure, Sequence[Axes]]:
    """A page of so many panels, one below the other, over a common time."""
    figure = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(panels, sharex=True, squeeze=False)[:, 0])


def unit_of(frame: pd.DataFrame) -> str:
    """What a training is counted in: epochs, or steps where there are fewer than two."""
    return "epoch" if frame["epoch"].max() >= 2 else "step"


def of_quantity(frame: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """A quantity over the training: a row per moment, a column per layer in the network's order."""
    rows = frame[frame["quantity"] == quantity]
    layers = list(dict.fromkeys(rows["layer"]))
    return rows.pivot_table(index=unit_of(frame), columns="layer", values="value", aggfunc="last", sort=False)[layers]


def lines(axes: Axes, table: pd.DataFrame, label: str, *, share: bool = False, style: str = "-") -> None:
    """A line per column of the table over its index; share: values from 0 to 1, in per cent."""
    few, shades = len(table) <= FEW, colours(len(table.columns))
    for (layer, values), colour in zip(table.items(), shades, strict=True):
        axes.plot(
            table.index, gaps(values * 100 if share else values), style, color=colour, linewidth=2.5 if few else 1.5,
            marker="o" if few else None, markersize=5, label=str(layer),
        )  # fmt: skip
    if share:
        axes.set_ylim(-3, 103)
    else:
        log_if_wide(axes, table.to_numpy())
    axes.set_ylabel(label, fontsize=LARGE)


def colours(count: int) -> list[tuple[float, ...]]:
    """One for each layer, from the first, dark, to the last."""
    return [colormaps["viridis"](place) for place in np.linspace(0, 0.9, count)]


def finish(figure: Figure, panels: Sequence[Axes], unit: str, layers: Sequence[str], heading: str) -> None:
    """Names of layers, ticks and title."""
    for axes in panels:
        axes.tick_params(labelsize=SMALL)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    if len(layers) <= NAMED:
        handles = [handle for handle in panels[0].get_lines() if handle.get_label() in layers][: len(layers)]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=min(4, len(layers)), fontsize=SMALL, frameon=False
        )
    else:
        shades = ScalarMappable(Normalize(1, len(layers)), colormaps["viridis"])
        bar = figure.colorbar(shades, ax=list(panels), aspect=40)
        bar.set_label(f"layer, of {len(layers)}", fontsize=LARGE)
        bar.ax.tick_params(labelsize=SMALL)
    panels[-1].set_xlabel(unit, fontsize=LARGE)
    whole(panels[-1])
    figure.suptitle(heading, fontsize=LARGE, fontweight="bold", parse_math=False)
    figure.align_ylabels(panels)
