"""What pictures of loss surfaces share: filled contours, the closer together the nearer to the lowest point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap
from matplotlib.figure import Figure

from dlrun.plots.page import LARGE, LOG_FROM, SMALL

LEVELS = 20  #: contours in a picture
TICKS = 7  #: of them, with their values beside the colours
NOWHERE = "#E5A0A0"  #: where the surface is not finite, a colour that neither of these has:
SHADES = colormaps["viridis"]
GREYS = ListedColormap(colormaps["Greys_r"](np.linspace(0.4, 0.97, 256)))  #: under paths of many colours


def grid_of(frame: pd.DataFrame, x: str, y: str, value: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates and values, (y, x), of a table with a row per point of a grid."""
    table = frame.pivot_table(index=y, columns=x, values=value, aggfunc="last", dropna=False)
    return table.columns.to_numpy(float), table.index.to_numpy(float), table.to_numpy(float)


def label_of(frame: pd.DataFrame) -> str:
    """What the objective of a table is: the loss, or something else that training minimises."""
    same = np.array_equal(frame["objective"], frame["loss"], equal_nan=True)
    return "loss" if same else "objective that is minimised"


def levels_of(values: Sequence[np.ndarray]) -> np.ndarray:
    """Where contours lie: equal ratios of the height above the lowest value where heights span many decades, else
    equal steps; none where the surfaces are level, or nowhere finite."""
    finite = np.concatenate([each[np.isfinite(each)] for each in values])
    if not len(finite) or finite.min() == finite.max():
        return np.empty(0)
    low, high = finite.min(), finite.max()
    least = np.quantile(finite[finite > low] - low, 0.01)
    if np.log10((high - low) / least) < LOG_FROM:
        return np.linspace(low, high, LEVELS + 1)
    return np.unique(
        [low, *(low + np.geomspace(least, high - low, LEVELS)[:-1]), high]
    )  # beside a large lowest value, small heights are none


def fill(
    axes: Axes, x: np.ndarray, y: np.ndarray, z: np.ndarray, levels: np.ndarray, shades: Colormap = SHADES
) -> None:
    """The contours of one surface."""
    axes.set_facecolor(NOWHERE)
    if len(levels) < 2:
        return
    shown = np.ma.masked_invalid(z)
    axes.contourf(x, y, shown, levels, cmap=shades, norm=_norm(levels, shades), extend="max")
    axes.contour(x, y, shown, levels, colors="white", linewidths=0.6, alpha=0.6)


def bar(page: Figure, axes: Axes, levels: np.ndarray, label: str, shades: Colormap = SHADES) -> None:
    """Which colour is which height."""
    if len(levels) < 2:
        return
    colours = ScalarMappable(_norm(levels, shades), shades)
    places = levels[np.unique(np.linspace(0, len(levels) - 1, TICKS).round().astype(int))]
    scale = page.colorbar(colours, ax=axes, ticks=places, spacing="uniform", aspect=30)
    scale.ax.set_yticklabels([f"{place:.4g}" for place in places])
    scale.ax.tick_params(labelsize=SMALL)
    scale.set_label(label, fontsize=LARGE)


def _norm(levels: np.ndarray, shades: Colormap) -> BoundaryNorm:
    return BoundaryNorm(list(levels), shades.N)
