"""What pictures of networks' layers share: a line per layer over the training, coloured by depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from dlrun.plots.page import FEW, LARGE, SMALL, gaps, log_if_wide, whole

NAMED = 6  #: layers that a legend names; of more, a bar tells the depth by colour
MAP = colormaps["viridis"]
LAST = 0.9  #: of the colour map; what comes after is too light on white


def page(panels: int) -> tuple[Figure, list[Axes]]:
    """A page of so many panels, one below the other, over a common time."""
    figure = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(panels, sharex=True, squeeze=False)[:, 0])


def unit_of(frame: pd.DataFrame) -> str:
    """What a training is counted in: epochs, or steps where there are fewer than two."""
    return "epoch" if frame["epoch"].max() >= 2 else "step"


def split(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of layers of units, `3 ReLU`, and those of parameters, `1.weight`."""
    units = frame["layer"].str.contains(" ")
    return frame[units], frame[~units]


def weights(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of weights alone, where there are any."""
    found = frame[frame["layer"].str.endswith("weight")]
    return found if len(found) else frame


def of_quantity(frame: pd.DataFrame, quantity: str, unit: str | None = None) -> pd.DataFrame:
    """A quantity over the training: a row per moment, a column per layer in the network's order.

    unit: what moments are counted in, epoch or step; None: as the training lets it, see `unit_of`.
    """
    rows = frame[frame["quantity"] == quantity]
    layers = list(dict.fromkeys(rows["layer"]))
    return rows.pivot(index=unit or unit_of(frame), columns="layer", values="value")[layers]


def depths() -> Colormap:
    """The colours of the first layer to the last."""
    return LinearSegmentedColormap.from_list("depth", MAP(np.linspace(0, LAST, 64)))


def lines(
    axes: Axes, table: pd.DataFrame, label: str, *, share: bool = False, style: str = "-", named: bool = True
) -> None:
    """A line per column of the table over its index.

    share: values from 0 to 1, in per cent. named: say beside the panel which line is which layer's.
    """
    few, layers = len(table) <= FEW, list(map(str, table.columns))
    for (layer, values), place in zip(table.items(), np.linspace(0, LAST, len(layers)), strict=True):
        axes.plot(
            table.index, gaps(values * 100 if share else values), style, color=MAP(place), label=str(layer),
            linewidth=2.5 if few else 1.5, marker="o" if few else None, markersize=5,
        )  # fmt: skip
    if not np.isfinite(table.to_numpy(float)).any():
        axes.text(0.5, 0.6, "not finite", transform=axes.transAxes, ha="center", va="center", fontsize=SMALL)
    if share:
        axes.set_ylim(-3, 103)
    else:
        log_if_wide(axes, table.to_numpy())
    axes.set_ylabel(label, fontsize=LARGE)
    if named and len(layers) <= NAMED:
        legend = axes.legend(fontsize=SMALL, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=1)
        for text in legend.get_texts():
            text.set_parse_math(False)
    elif named:
        shades = ScalarMappable(Normalize(1, len(layers)), depths())
        bar = axes.figure.colorbar(shades, ax=axes, pad=0.01, aspect=12)
        bar.set_label(f"layer of {len(layers)}", fontsize=SMALL)
        bar.ax.tick_params(labelsize=SMALL - 2)


def edges(axes: Axes, *bounds: pd.Series, colour: str) -> None:
    """Marks at the bounds of a band that is finite at one moment alone, of which nothing would be seen."""
    for bound in bounds:
        if np.isfinite(bound).sum() == 1:
            axes.plot(bound.index, gaps(bound), "_", color=colour, markersize=24, markeredgewidth=2)


def finish(figure: Figure, panels: Sequence[Axes], unit: str, heading: str) -> None:
    """Ticks and title."""
    low, high = panels[-1].get_xlim()
    if high - low < 1:  # a single moment
        panels[-1].set_xlim((low + high) / 2 - 0.7, (low + high) / 2 + 0.7)
    for axes in panels:
        axes.tick_params(labelsize=SMALL)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_yscale() == "linear":  # ticks are the numbers themselves, but for a power of ten
            axes.ticklabel_format(axis="y", useOffset=False)
            axes.yaxis.get_offset_text().set_fontsize(SMALL)
    panels[-1].set_xlabel(unit, fontsize=LARGE)
    whole(panels[-1])
    figure.suptitle(heading, fontsize=LARGE, fontweight="bold", parse_math=False)
    figure.align_ylabels(panels)
