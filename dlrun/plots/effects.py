"""Which axis of a sweep matters: shares of the variance with their intervals, and the means of the axes' values."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dlrun.plots.comparison import finish
from dlrun.plots.page import LARGE, LR, SMALL, TRAIN, VAL, apart, shortened

BARS = 10  #: effects that are drawn
CURVES = 2  #: axes whose values' means are drawn, of one dataset
PANELS = 4  #: datasets that are drawn
WIDE = 10  #: times the least value of an axis that the greatest has to be for a logarithmic one
TICKS = 8  #: values of an axis that are named


class Bar(NamedTuple):
    """An effect: its name, share of the variance and interval (nan where there is none), and of how many axes it is."""

    name: str
    share: float
    low: float
    high: float
    axes: int


class Shown(NamedTuple):
    """What is drawn of a dataset: the greatest effects first, and the means of each axis' values."""

    bars: Sequence[Bar]
    means: Mapping[str, Sequence[tuple[str, float]]]
    numeric: Collection[str]  #: the axes whose values are numbers, which a line joins
    metric: str


def figure(found: Mapping[str, Shown], heading: str, sentence: str) -> Figure:
    """A panel of shares for each dataset; of a single one beside it the means at the values of its first two axes.

    found: by dataset. sentence: what the shares are and what they rest on.
    """
    shown = list(found.items())[:PANELS]
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    if len(shown) == 1:
        [(_, only)] = shown
        grid = page.add_gridspec(CURVES, 2, width_ratios=(3, 2))
        panels = [page.add_subplot(grid[:, 0])]
        _bars(panels[0], only.bars)
        drawn = [bar.name for bar in only.bars if bar.axes == 1][:CURVES]
        for at, axis in enumerate(drawn):
            panels.append(page.add_subplot(grid[at, 1]))
            _means(panels[-1], axis, only)
        if len(panels) > 1:  # of one height, so that what matters looks as if it did
            low, high = (pick(panel.get_ylim()[at] for panel in panels[1:]) for at, pick in ((0, min), (1, max)))
            for panel in panels[1:]:
                panel.set_ylim(low, high)
    else:
        columns = 2
        panels = list(page.subplots(-(-len(shown) // columns), columns, squeeze=False).flat)
        for axes, (name, each) in zip(panels, shown, strict=False):
            _bars(axes, each.bars, BARS // 2)
            axes.set_title(shortened(name, 40), fontsize=SMALL, parse_math=False)
        for axes in panels[len(shown) :]:
            axes.set_visible(False)
    more = f"the first {PANELS} of {len(found)} datasets; " if len(found) > PANELS else ""
    handles = {
        "an axis": Line2D([], [], color=TRAIN, linewidth=8),
        "two, beyond each alone": Line2D([], [], color=VAL, linewidth=8),
    }
    finish(page, panels, heading, more + sentence, legend=handles)
    for axes in panels:
        axes.grid(visible=False, axis="y")
    return page


def _bars(axes: Axes, bars: Sequence[Bar], most: int = BARS) -> None:
    for at, bar in enumerate(bars[:most]):
        colour = TRAIN if bar.axes == 1 else VAL
        axes.barh(at, 100 * bar.share, color=colour, alpha=0.75, height=0.6)
        if np.isfinite(bar.low):
            axes.plot([100 * bar.low, 100 * bar.high], [at, at], color="black", linewidth=2.5)
    names = [textwrap.fill(shortened(bar.name, 44), 22) for bar in bars[:most]]
    axes.set_yticks(range(len(names)), names, fontsize=SMALL, parse_math=False)
    axes.set_ylim(min(len(bars), most) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("% of the variance", fontsize=LARGE - 2)


def _means(axes: Axes, axis: str, shown: Shown) -> None:
    values, numeric = shown.means[axis], axis in shown.numeric
    places = [float(name) if numeric else float(at) for at, (name, _) in enumerate(values)]
    means = [mean for _, mean in values]
    axes.plot(places, means, "o-" if numeric else "o", color=LR, linewidth=3, markersize=8)
    logarithmic = numeric and min(places) > 0 and max(places) >= WIDE * min(places)
    if logarithmic:
        axes.set_xscale("log")
    if numeric:  # many on a linear axis have the ticks of any axis
        named = apart(places, logarithmic=logarithmic, most=TICKS) if logarithmic or len(values) <= TICKS else []
        some = [places.index(place) for place in named]
    else:
        some = list(range(0, len(values), -(-len(values) // TICKS)))
    if some:
        names = [shortened(values[at][0], 14) for at in some]
        turned = sum(map(len, names)) > 26
        axes.set_xticks(
            [places[at] for at in some], names, rotation=45 if turned else 0, ha="right" if turned else "center",
            parse_math=False,
        )  # fmt: skip
        axes.minorticks_off()
    axes.set_xlabel(shortened(axis, 40), fontsize=LARGE - 2, parse_math=False)
    axes.set_ylabel(textwrap.fill(shown.metric, 20), fontsize=SMALL)
