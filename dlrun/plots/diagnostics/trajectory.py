"""The path of parameters over the surface that they descend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dlrun.folder.names import surface_of, table_of
from dlrun.folder.reading import read_table, summary_of, told_of
from dlrun.plots.diagnostics.contours import bar, fill, grid_of, label_of, levels_of
from dlrun.plots.page import FEW, LARGE, SMALL, VAL, gaps, title

NAME = "trajectory"
AXES = {"theta_0": "θ₀", "theta_1": "θ₁", "pc_1": "first principal axis", "pc_2": "second principal axis"}
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
    at = [gaps(path[name]) for name in names]
    marker = "o" if len(path) <= FEW else None
    axes.plot(*at, color="black", linewidth=5, solid_capstyle="round")  # an edge, against any colour
    axes.plot(*at, color=VAL, linewidth=3, marker=marker, markersize=7, label=f"path, {len(path)} moments")
    ends(axes, at[0][0], at[1][0], at[0][-1], at[1][-1])
    frame(axes, (x[0], x[-1]), (y[0], y[-1]))
    x_label, y_label = (f"{AXES[name]}{_explained(summary, name)}" for name in names)
    axes.set_xlabel(x_label, fontsize=LARGE)
    axes.set_ylabel(y_label, fontsize=LARGE)
    page.legend(loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
    page.suptitle(f"trajectory: {title(folder, summary)}", fontsize=LARGE, fontweight="bold", parse_math=False)
    return page


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


def _explained(summary: dict, name: str) -> str:
    share = told_of(summary, NAME).get(name.replace("pc", "explained"))
    return f", {share:.0%} of the variance" if isinstance(share, float) else ""
