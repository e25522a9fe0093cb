"""The path of parameters over the surface that they descend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dlrun.folder.names import surface_of, table_of
from dlrun.folder.reading import read_table, summary_of, told_of
from dlrun.plots.diagnostics.contours import bar, fill, grid_of, label_of, levels_of
from dlrun.plots.page import FEW, LARGE, SMALL, VAL, gaps, left_out, title

NAME = "trajectory"
AXES = {"theta_0": "θ₀", "theta_1": "θ₁", "pc_1": "first principal axis", "pc_2": "second principal axis"}
CELLS, FINEST = 140, 16  #: along each side of a picture; and points of a way that are looked at, at most
MANY = 3000  #: moments of which not all are drawn
SQUARE = 2.5  #: times that one side may be the other, for both to have one scale


def figure(folder: str | Path) -> Figure:
    """Contours of the objective, and the path over them with its moments, its start and its end."""
    path, surface = read_table(folder, table_of(NAME)), read_table(folder, surface_of(NAME))
    summary = summary_of(Path(folder))
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    axes = page.subplots()
    names = coordinates(path)
    x, y, z = grid_of(surface, *names, "objective")
    levels = levels_of([z])
    fill(axes, x, y, z, levels)
    bar(page, axes, levels, label_of(surface), highest=np.nanmax(gaps(z), initial=-np.inf))
    drawn = seen_on_a_plane([path[name] for name in names], (x[0], x[-1]), (y[0], y[-1]))
    at = [gaps(path[name]) for name in names]
    marker = "o" if len(path) <= FEW else None
    line, told = drawn.line(at, len(path)), left_out(drawn.moments, len(path), "of them")
    axes.plot(*line, color="black", linewidth=5, solid_capstyle="round")  # an edge, against any colour
    axes.plot(*line, color=VAL, linewidth=3, marker=marker, markersize=7, label=f"path, {len(path):,} moments{told}")
    ends(axes, at[0][0], at[1][0], at[0][-1], at[1][-1])
    frame(axes, (x[0], x[-1]), (y[0], y[-1]))
    x_label, y_label = (f"{AXES[name]}{explained(summary, NAME, name)}" for name in names)
    axes.set_xlabel(x_label, fontsize=LARGE)
    axes.set_ylabel(y_label, fontsize=LARGE)
    page.legend(loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
    page.suptitle(f"trajectory: {title(folder, summary)}", fontsize=LARGE, fontweight="bold", parse_math=False)
    return page


class Drawn(NamedTuple):
    """What is drawn of a path: the places of its moments in the order of the line, and -1 where that has a gap."""

    places: np.ndarray

    @property
    def moments(self) -> int:
        """How many of them."""
        return len(np.unique(self.places[self.places >= 0]))

    def line(self, at: Sequence[np.ndarray], moments: int) -> list[np.ndarray]:
        """The coordinates of the line through the first moments, up to the last of these."""
        places = self.places[: np.searchsorted(np.maximum.accumulate(self.places), moments)]
        if moments and places[-1] != moments - 1:
            places = np.append(places, [-1, moments - 1])
        return [np.where(places < 0, np.nan, values[places]) for values in at]


def seen_on_a_plane(at: Sequence[pd.Series | np.ndarray], x: tuple[float, float], y: tuple[float, float]) -> Drawn:
    """What of a path can be seen in a picture of this part of a plane: of many moments, the way from one to the next
    where it is the first that leads through one of 140 x 140 cells, each as wide as a line."""
    moments = len(at[0])
    if moments <= MANY:
        return Drawn(np.arange(moments))
    with np.errstate(all="ignore"):
        cells = [
            np.clip((np.asarray(values, float) - low) / (high - low) * CELLS, -CELLS, 2 * CELLS)
            for values, (low, high) in zip(at, (x, y), strict=True)
        ]
        ways = [np.diff(values) for values in cells]
        longest = max(np.nanmax(np.abs(way), initial=1) for way in ways)
        along = np.linspace(0, 1, min(FINEST, int(longest) + 2))
        i, j = (np.floor(values[:-1, None] + way[:, None] * along) for values, way in zip(cells, ways, strict=True))
        number = np.where(np.isfinite(i + j), i * 4 * CELLS + j, np.inf)
    through, first = np.unique(number, return_index=True)
    places = [0]
    for way in np.unique(np.append(first[np.isfinite(through)] // len(along), moments - 2)).tolist():
        before = places[-1]
        apart = max(abs(values[way] - values[before]) for values in cells) > 1
        places += [way + 1] if before == way else [-1, way, way + 1] if apart else [way, way + 1]
    return Drawn(np.array(places))


def coordinates(path: pd.DataFrame) -> tuple[str, str]:
    """The columns that tell where the path is."""
    return ("theta_0", "theta_1") if "theta_0" in path.columns else ("pc_1", "pc_2")


def ends(axes: Axes, x: float, y: float, last_x: float, last_y: float) -> None:
    """Mark where the path begins and ends."""
    for at, marker, size, name in (((x, y), "s", 14, "start"), ((last_x, last_y), "*", 24, "end")):
        axes.plot(
            [at[0]], [at[1]], marker, color="white", markersize=size, markeredgecolor="black", markeredgewidth=2,
            linestyle="", zorder=4, label=name,
        )  # fmt: skip


def frame(axes: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    """What the picture shows, both axes in one scale unless it were a strip; what has left it is not followed."""
    axes.set(xlim=x, ylim=y)
    sides = sorted((x[1] - x[0], y[1] - y[0]))
    if np.isfinite(sides).all() and sides[1] <= SQUARE * sides[0]:
        axes.set_aspect("equal", "box")
    axes.tick_params(labelsize=SMALL)


def explained(summary: dict, diagnostic: str, name: str) -> str:
    """What of a path's variance an axis explains, where the summary tells that."""
    share = told_of(summary, diagnostic).get(name.replace("pc", "explained"))
    return f", {share:.0%} of the variance" if isinstance(share, float) else ""
