"""The front of a sweep: its settings by two objectives or more, those marked that no other dominates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from dlrun.plots.comparison import COLOURS, DRAWN, finish
from dlrun.plots.page import GREY, LARGE, SMALL, is_wide, shortened

PANELS = 4
ROOM = 0.5  #: of the means' range, beyond which bars are cut off
#: what an objective such as seconds is where runs trained together
SHARED = "that of the whole stack in which a run trained, the same for all of its runs"
FEWEST = 3  #: runs, of fewer of which an interval crosses the whole page


class Shown(NamedTuple):
    """What is drawn of a dataset.

    table: a row per setting, the best in the first objective first: label, runs, front, and of each objective
    NAME_mean, NAME_low and NAME_high. larger: whether more of each is better. left_out: settings that are not in it.
    over: what a mean is over. shared: objectives that are those of stacks.
    """

    table: pd.DataFrame
    objectives: Sequence[str]
    larger: Sequence[bool]
    left_out: int
    over: str
    shared: Sequence[str] = ()


def figure(found: Mapping[str, Shown], heading: str) -> Figure:
    """The first objective over each of the others, a panel for each and for each dataset, by whose names they go.

    The first 8 settings of the front have a colour and a name, of a single dataset; of two objectives a line joins the
    front: what is beyond it, no setting came to.
    """
    found = {label: shown._replace(table=_of_enough(shown.table)) for label, shown in found.items()}
    panels = [(label, shown, other) for label, shown in found.items() for other in range(1, len(shown.objectives))]
    drawn = panels[:PANELS]
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    grid = page.subplots(-(-len(drawn) // 2), min(2, len(drawn)), squeeze=False)
    first = next(iter(found.values()))
    best = first.table.loc[first.table["front"], "label"].tolist()
    colours = dict(zip(best, COLOURS, strict=False)) if len(found) == 1 else {}
    for axes, (label, shown, other) in zip(grid.flat, drawn, strict=False):
        _draw(axes, shown, other, colours)
        if label:
            axes.set_title(shortened(label, 40), fontsize=SMALL, parse_math=False)
    for axes in list(grid.flat)[len(drawn) :]:
        axes.set_visible(False)
    handles = {
        name: Line2D([], [], color=colour, marker="o", markersize=12, linestyle="") for name, colour in colours.items()
    }
    if len(best) > len(colours) or not colours:
        handles["on the front" if not colours else f"and {len(best) - DRAWN} more on the front"] = Line2D(
            [], [], color="black", marker="o", markersize=12, linestyle="", markerfacecolor="white"
        )
    if not all(shown.table["front"].all() for shown in found.values()):
        handles["dominated by another setting"] = Line2D([], [], color=GREY, marker="o", alpha=0.4, linestyle="")
    several = any(
        np.isfinite(shown.table[f"{name}_low"]).any() for shown in found.values() for name in shown.objectives
    )
    lost = sum(shown.left_out for shown in found.values())
    told = [
        f"the first {PANELS} of {len(panels)} panels" if len(panels) > PANELS else "",
        f"points: means over {first.over}" + (f"; bars: 95 % intervals, of {FEWEST} runs or more" if several else ""),
        "line: no setting came beyond it" if len(first.objectives) == 2 else "",
        f"without {lost} setting{'s' * (lost > 1)} of which a run did not finish or has no value" if lost else "",
        *(f"{name}: {SHARED}" for name in dict.fromkeys(each for shown in found.values() for each in shown.shared)),
    ]
    finish(page, list(grid.flat), heading, "; ".join(filter(None, told)), legend=handles)
    return page


def better(name: str, *, larger_is_better: bool) -> str:
    """The word for what is better of an objective: more accuracy, less loss, fewer parameters."""
    few = "fewer" if name.endswith("s") and not name.endswith("ss") else "less"
    return "more" if larger_is_better else few


def _of_enough(table: pd.DataFrame) -> pd.DataFrame:
    """Without the intervals of few runs."""
    ends = [column for column in table if str(column).endswith(("_low", "_high"))]
    return table.assign(**{str(column): table[column].where(table["runs"] >= FEWEST) for column in ends})


def _draw(axes: Axes, shown: Shown, other: int, colours: Mapping[str, str]) -> None:
    y, x = shown.objectives[0], shown.objectives[other]
    table = shown.table
    for name, scaled, limit in ((x, axes.set_xscale, axes.set_xlim), (y, axes.set_yscale, axes.set_ylim)):
        means, ends = table[f"{name}_mean"].to_numpy(float), table[[f"{name}_low", f"{name}_high"]].to_numpy(float)
        wide = is_wide(means)
        if wide:
            scaled("log")
        limit(*_limits(means, ends[np.isfinite(ends)], wide))
    others = table[~table["front"]]
    axes.errorbar(
        others[f"{x}_mean"], others[f"{y}_mean"], xerr=_bars(others, x), yerr=_bars(others, y), fmt="o", color=GREY,
        alpha=0.4, markersize=7, elinewidth=1, zorder=1,
    )  # fmt: skip
    best = table[table["front"]]
    if len(shown.objectives) == 2:
        along = best.sort_values(f"{x}_mean")
        # from each point on to the next, at the level of the one that is reached already
        where = "post" if not shown.larger[other] else "pre"
        axes.plot(along[f"{x}_mean"], along[f"{y}_mean"], drawstyle=f"steps-{where}", color=GREY, linewidth=2, zorder=2)
    for row in best.to_dict("records"):
        colour = colours.get(row["label"], "black")
        axes.errorbar(
            [row[f"{x}_mean"]], [row[f"{y}_mean"]], xerr=_bars(pd.DataFrame([row]), x),
            yerr=_bars(pd.DataFrame([row]), y), fmt="o", color=colour, markersize=13, elinewidth=2.5, zorder=3,
            markerfacecolor=colour if row["label"] in colours else "white",
        )  # fmt: skip
    for name, more, axis in ((x, shown.larger[other], axes.xaxis), (y, shown.larger[0], axes.yaxis)):
        axis.set_label_text(f"{name} ({better(name, larger_is_better=more)} is better)", fontsize=LARGE - 2)
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.yaxis.labelpad = 12  # as in `comparison.scale`


def _bars(rows: pd.DataFrame, name: str) -> np.ndarray:
    """How far the intervals go to both sides, (2, rows); nothing where there is none."""
    mean = rows[f"{name}_mean"].to_numpy(float)
    ends = np.stack([mean - rows[f"{name}_low"].to_numpy(float), rows[f"{name}_high"].to_numpy(float) - mean])
    return np.where(np.isfinite(ends), ends.clip(min=0), 0)


def _limits(means: np.ndarray, ends: np.ndarray, wide: bool) -> tuple[float, float]:
    """The range of an axis: of the means with their bars, of which those of few seeds may be very long."""
    to, back = (np.log10, lambda value: 10**value) if wide else (np.array, float)
    low, high = float(to(means.min())), float(to(means.max()))
    room = ROOM * (high - low) or 0.1 * abs(high) or 1.0
    bars = to(ends[ends > 0] if wide else ends)
    least, greatest = min(bars.min(initial=low), low), max(bars.max(initial=high), high)
    margin = 0.06 * (min(greatest, high + room) - max(least, low - room)) or room
    return float(back(max(least, low - room) - margin)), float(back(min(greatest, high + room) + margin))
