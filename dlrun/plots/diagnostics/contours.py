"""What pictures of loss surfaces share: filled contours, the closer together the nearer to the lowest point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, LightSource, ListedColormap
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.axes3d import Axes3D

from dlrun.plots.page import LARGE, LOG_FROM, SMALL

LEVELS = 20  #: contours in a picture
TICKS = 7  #: of them, with their values beside the colours
SPIKES, FAR = 0.01, 1000  #: share of the points, and times that they are higher, to be left above the contours
FINE = 81  #: points of a surface along each axis, of which more are not seen
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
    equal steps; none where the surfaces are level, or nowhere finite. Of the highest hundredth, what is 1000 times as
    high as the rest lies above the last of them."""
    finite = np.concatenate([each[np.isfinite(each)] for each in values])
    if not len(finite) or finite.min() == finite.max():
        return np.empty(0)
    low, high = finite.min(), finite.max()
    usual = np.quantile(finite, 1 - SPIKES, method="lower")
    if low < usual and high - low > FAR * (usual - low):
        high = usual
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
    shown = np.ma.masked_invalid(z)
    if len(levels) < 2:
        axes.pcolormesh(x, y, shown, cmap=ListedColormap([shades(0.5)]), shading="nearest")
        told = f"{shown.min():.4g} everywhere" if shown.count() else "not finite anywhere"
        axes.set_title(told, fontsize=SMALL)
        return
    axes.contourf(x, y, shown, levels, cmap=shades, norm=_norm(levels, shades), extend="max")
    axes.contour(x, y, shown, levels, colors="white", linewidths=0.6, alpha=0.6)


def surface(axes: Axes3D, x: np.ndarray, y: np.ndarray, z: np.ndarray, levels: np.ndarray) -> None:
    """The same seen from the side: from one contour to the next it rises by the same, as the colours do, so that
    neither a spike nor a narrow valley hides the rest. It has holes where it is not finite."""
    rows, columns = (np.unique(np.linspace(0, n - 1, min(n, FINE)).round().astype(int)) for n in z.shape)
    z = z[np.ix_(rows, columns)]
    height = np.where(np.isfinite(z), np.interp(z, levels, np.arange(len(levels))), np.nan)
    beside = [height[i:, j:][: len(rows) - 1, : len(columns) - 1] for i in (0, 1) for j in (0, 1)]
    colours = SHADES(_norm(levels, SHADES)(np.interp(np.mean(beside, 0), np.arange(len(levels)), levels)))
    axes.plot_surface(
        *np.meshgrid(x[columns], y[rows]), height, facecolors=colours, rstride=1, cstride=1, linewidth=0,
        antialiased=False, lightsource=LightSource(225, 45),
    )  # fmt: skip
    places = np.unique(np.linspace(0, len(levels) - 1, TICKS // 2 + 1).round().astype(int))
    axes.set_zticks(places, [f"{levels[place]:.3g}" for place in places])
    axes.set_zlim(0, len(levels) - 1)
    axes.tick_params(labelsize=SMALL - 4)


def bar(
    page: Figure, axes: Axes, levels: np.ndarray, label: str, shades: Colormap = SHADES, highest: float = -np.inf
) -> None:
    """Which colour is which height.

    highest: of the surfaces, for the bar to end in an arrow where that lies above the contours.
    """
    if len(levels) < 2:
        return
    colours = ScalarMappable(_norm(levels, shades), shades)
    places = levels[np.unique(np.linspace(0, len(levels) - 1, TICKS).round().astype(int))]
    scale = page.colorbar(
        colours,
        ax=axes,
        ticks=places,
        spacing="uniform",
        aspect=30,
        extend="max" if highest > levels[-1] else "neither",
    )
    scale.ax.set_yticklabels([f"{place:.4g}" for place in places])
    scale.ax.tick_params(labelsize=SMALL)
    scale.set_label(label, fontsize=LARGE)


def _norm(levels: np.ndarray, shades: Colormap) -> BoundaryNorm:
    return BoundaryNorm(list(levels), shades.N)
