"""The settings of a sweep side by side: the mean curve over seeds, in a band from the lowest to the highest."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dlrun.plots.page import BESIDE, FEW, GREY, LARGE, LR, SMALL, TRAIN, VAL, gaps, log_if_wide

COLOURS = [TRAIN, VAL, LR, *BESIDE, GREY]
DRAWN = len(COLOURS)  #: more settings than colours cannot be told apart


def figure(curves: pd.DataFrame, settings: Mapping[str, Sequence[str]], metric: str, heading: str) -> Figure:
    """The curves of a metric, of the first 8 settings.

    curves: the rows of curves.csv. settings: each one's name and its runs that finished, the best setting first. A
    curve ends where the first of its runs does: a mean over those that are left would jump.
    """
    rows = curves[curves["metric"] == metric]
    unit = "epoch" if rows["epoch"].max() >= 2 else "step"
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    axes = page.subplots()
    shown = []
    for (name, runs), colour in zip(settings.items(), COLOURS, strict=False):
        values = rows[rows["run"].isin(runs)].pivot(index=unit, columns="run", values="value").dropna()
        mean, low, high = (gaps(by(axis=1)) for by in (values.mean, values.min, values.max))
        few = "o" if len(values) <= FEW else None
        axes.plot(
            values.index, mean, style(colour), color=colour, linewidth=3, marker=few, label=f"{name} (n = {len(runs)})"
        )
        if len(runs) > 1:
            axes.fill_between(values.index.to_numpy(), low, high, color=colour, alpha=0.18, linewidth=0)
        shown.append(mean)
    scale(axes, metric, np.concatenate(shown))
    axes.set_xlabel(unit, fontsize=LARGE)
    finish(page, axes, heading)
    left_out = f"the {DRAWN} best of {len(settings)} settings by validation; " if len(settings) > DRAWN else ""
    axes.set_title(f"{left_out}line: mean over seeds, band: lowest to highest", fontsize=SMALL)
    return page


def style(colour: str) -> str:
    """Grey is dashed: a projector shows it as black."""
    return "--" if colour == GREY else "-"


def scale(axes: Axes, metric: str, values: np.ndarray) -> None:
    """Name the vertical axis, and choose it so that the values fit."""
    axes.set_ylabel(metric, fontsize=LARGE, labelpad=12)  # nearer, the underscore of val_accuracy is read as a 1
    if metric.endswith("loss"):
        log_if_wide(axes, values)
    elif np.nanmin(values, initial=0) < -1 < np.nanmax(values, initial=-1):
        axes.set_ylim(-1, 1.05)  # r2 has no lower bound: one bad value would press the others flat
        axes.set_ylabel(f"{metric} (cut at -1)", fontsize=LARGE)


def finish(page: Figure, axes: Axes, heading: str) -> None:
    """What the pictures of a sweep share: grid, legend below, heading."""
    axes.tick_params(labelsize=SMALL)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    for size in range(SMALL, 4, -2):  # smaller where the names would leave the curves less than half of the page
        wrapped = [textwrap.fill(label, 36 * SMALL // size) for label in labels]  # two columns fill the page's width
        lines = max((text.count("\n") + 1 for text in wrapped), default=0) * -(-len(wrapped) // 2)
        if lines * size <= 12 * SMALL:
            break
    legend = page.legend(
        handles, wrapped, loc="outside lower center", ncols=2, fontsize=size, frameon=False, handlelength=2.5
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    page.suptitle(textwrap.fill(heading, 60), fontsize=LARGE, fontweight="bold", parse_math=False)
