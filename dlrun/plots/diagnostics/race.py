"""Runs that descend one surface, side by side: their paths, and an animation of them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from dlrun.plots.comparison import COLOURS, DRAWN
from dlrun.plots.diagnostics.contours import GREYS, bar, fill, grid_of, label_of, levels_of
from dlrun.plots.diagnostics.trajectory import AXES, Drawn, coordinates, frame, seen_on_a_plane
from dlrun.plots.page import LARGE, SMALL, competition, gaps, left_out
from dlrun.terminal.console import number

AROUND = 0.2  #: of the range of the paths, what is shown around them
FRAMES = 100  #: of the animation, at most
DOTS = 75  #: per inch: 900 wide


class Racer(NamedTuple):
    """The tables of a run: trajectory.csv and trajectory_surface.csv."""

    path: pd.DataFrame
    surface: pd.DataFrame


def figure(
    racers: Mapping[str, Racer], heading: str, of_axes: Sequence[str] = ("", ""), note: str = "", of: str = "settings"
) -> Figure:
    """The whole path of each setting, the best first, over one set of contours; of 8 at most.

    of_axes: what the axes' labels say besides. note: a line over the picture. of: what races, if not settings.
    """
    page, axes, shown, drawn = _page(racers, heading, of_axes, note, of)
    for artists, racer, places in zip(_artists(axes, shown), shown.values(), drawn, strict=True):
        _move(artists, racer, places, _end(shown))
    return page


def pictures(
    racers: Mapping[str, Racer], heading: str, of_axes: Sequence[str] = ("", ""), note: str = "", of: str = "settings"
) -> list[Image.Image]:
    """The same while they run, picture by picture, in which every step takes as long as any other."""
    page, axes, shown, drawn = _page(racers, heading, of_axes, note, of)
    artists, end = _artists(axes, shown), _end(shown)
    clock = axes.text(0.02, 0.97, "", transform=axes.transAxes, fontsize=LARGE, va="top", zorder=6)
    clock.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.85})
    canvas, moving = cast(FigureCanvasAgg, page.canvas), [*(line for lines in artists for line in lines), clock]
    page.set_dpi(DOTS)
    for artist in moving:
        artist.set_animated(True)
    canvas.draw()
    still = canvas.copy_from_bbox(page.bbox)
    found = []
    for step in np.linspace(0, end, min(FRAMES, end + 1)):
        canvas.restore_region(still)
        for lines, racer, places in zip(artists, shown.values(), drawn, strict=True):
            _move(lines, racer, places, step)
        clock.set_text(f"step {step:,.0f}")
        for artist in sorted(moving, key=lambda artist: artist.zorder):
            axes.draw_artist(artist)
        found.append(Image.fromarray(np.array(canvas.buffer_rgba())[..., :3]))
    return found


def _page(
    racers: Mapping[str, Racer], heading: str, of_axes: Sequence[str], note: str, of: str
) -> tuple[Figure, Axes, dict[str, Racer], list[Drawn]]:
    """The contours and the legend; the settings that are drawn, and what of their paths."""
    shown = dict(list(racers.items())[:DRAWN])
    names = coordinates(next(iter(shown.values())).path)
    surfaces = [grid_of(racer.surface, *names, "objective") for racer in shown.values()]
    view = [_view(shown, surfaces, i) for i in (0, 1)]
    inside = [
        z[np.ix_((y >= view[1][0]) & (y <= view[1][1]), (x >= view[0][0]) & (x <= view[0][1]))] for x, y, z in surfaces
    ]
    levels = levels_of(inside)
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    axes = page.subplots()
    # each run has the surface around its own path: the wide ones are coarse, and lie below
    for x, y, z in sorted(surfaces, key=lambda grid: -np.ptp(grid[0]) * np.ptp(grid[1])):
        fill(axes, x, y, z, levels, GREYS)
    label = label_of(next(iter(shown.values())).surface)
    bar(page, axes, levels, label, GREYS, max(np.nanmax(gaps(z), initial=-np.inf) for z in inside))
    frame(axes, *view)
    axes.set_facecolor("white")  # where no run has a surface
    end, moments = _end(shown), sum(len(racer.path) for racer in shown.values())
    drawn = [
        seen_on_a_plane([racer.path[name] for name in names], axes.get_xlim(), axes.get_ylim())
        for racer in shown.values()
    ]
    axes.set_xlabel(f"{AXES[names[0]]}{of_axes[0]}", fontsize=LARGE)
    axes.set_ylabel(f"{AXES[names[1]]}{of_axes[1]}", fontsize=LARGE)
    if note:
        axes.set_title(note, fontsize=SMALL - 4, parse_math=False)
    thinned = left_out(sum(each.moments for each in drawn), moments, "moments")
    handles, labels = [], []
    for (name, racer), colour in zip(shown.items(), COLOURS, strict=False):
        handles.append(Line2D([], [], color=colour, linewidth=4, marker="o", markersize=12, markeredgecolor="black"))
        last, step = racer.path["objective"].iloc[-1], int(racer.path["step"].iloc[-1])
        labels.append(textwrap.fill(f"{name}: {number(last)}" + (f" at step {step:,}" if step < end else ""), 38))
    legend = page.legend(
        handles, labels, loc="outside lower center", ncols=2, fontsize=SMALL, frameon=False,
        title=f"{label} after {end:,} steps{thinned}", title_fontsize=SMALL,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    others = f"\nthe {DRAWN} best of {len(racers)} {of}" if len(racers) > DRAWN else ""
    page.suptitle(textwrap.fill(f"race: {heading}", 60) + others, fontsize=LARGE, fontweight="bold", parse_math=False)
    return page, axes, shown, drawn


def _view(
    shown: Mapping[str, Racer], surfaces: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], i: int
) -> tuple[float, float]:
    """The range of a coordinate that the paths take, where they lie on their surfaces, and some more."""
    spans = []
    for racer, grid in zip(shown.values(), surfaces, strict=True):
        path = racer.path[coordinates(racer.path)[i]].clip(grid[i][0], grid[i][-1])
        spans.append((path.min(), path.max()))
    low, high, _ = competition(spans)
    margin = AROUND * (high - low)
    return low - margin, high + margin


def _end(shown: Mapping[str, Racer]) -> int:
    """The last step that any of them took."""
    return int(max(racer.path["step"].max() for racer in shown.values()))


def _artists(axes: Axes, shown: Mapping[str, Racer]) -> list[tuple[Line2D, Line2D, Line2D]]:
    """Of each setting an edge, the path and its head, still nowhere."""
    found = []
    for order, (racer, colour) in enumerate(zip(shown.values(), COLOURS, strict=False)):
        edge, path, head = (axes.plot([], [], zorder=zorder - order / 100)[0] for zorder in (3, 3, 5))
        edge.set(color="white", linewidth=6)
        path.set(color=colour, linewidth=3.5)
        # the best on top, and the others round it where they arrive too
        head.set(color=colour, marker="o", markersize=13 + 2.5 * order, markeredgecolor="black", markeredgewidth=1.5)
        axes.plot(
            *(racer.path[name].iloc[:1] for name in coordinates(racer.path)), "s", color="black", markersize=9, zorder=4
        )
        found.append((edge, path, head))
    return found


def _move(lines: tuple[Line2D, Line2D, Line2D], racer: Racer, drawn: Drawn, step: float) -> None:
    """Draw a path up to a step, between two moments on the straight line; it stands still when it has ended."""
    steps = racer.path["step"].to_numpy(float)
    past = int((steps <= step).sum())
    at = [gaps(racer.path[name]) for name in coordinates(racer.path)]
    with np.errstate(invalid="ignore"):
        head = [np.interp(step, steps, values) for values in at]
    edge, path, dot = lines
    for line in (edge, path):
        line.set_data(*(np.append(values, last) for values, last in zip(drawn.line(at, past), head, strict=True)))
    dot.set_data([head[0]], [head[1]])
