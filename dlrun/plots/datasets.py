"""Settings over several datasets: their mean ranks, and how often their runs are better than any threshold."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from dlrun.plots.comparison import COLOURS, DRAWN, finish, style
from dlrun.plots.page import LARGE, SMALL

Profile = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def figure(
    found: pd.DataFrame,
    labels: Sequence[str],
    taus: NDArray[np.float64],
    profiles: Mapping[str, Profile],
    metric: str,
    heading: str,
    *,
    larger_is_better: bool,
    datasets: int,
) -> Figure:
    """Mean ranks with their intervals, of the first 8 settings, and beside them their performance profiles.

    found: a row per setting, the best first: setting, rank, rank_low, rank_high (nan where there is no interval).
    labels: their names. profiles: of settings the shares at the thresholds taus and the ends of the band; none where
    values of different datasets do not compare. metric: of the profiles.

    Reference: Agarwal et al. 2021, arXiv:2108.13264 (profiles); Demšar 2006, JMLR 7:1-30 (ranks).
    """
    rows = found.head(DRAWN).to_dict("records")
    drawn = {label: profiles[row["setting"]] for label, row in zip(labels, rows, strict=False) if profiles}
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    panels = list(page.subplots(1, 1 + bool(drawn), squeeze=False)[0])
    _ranks(panels[0], rows, len(found))
    if drawn:
        _profiles(panels[1], taus, drawn, metric, larger_is_better)
    told = [
        f"the {DRAWN} best of {len(found)} settings" if len(found) > DRAWN else "",
        f"means over {datasets} datasets",
        "bars and bands: 95 % of resamples" if any(np.isfinite(row["rank_low"]) for row in rows) else "",
    ]
    lines = zip(labels, COLOURS, strict=False)
    legend = {label: Line2D([], [], color=colour, linestyle=style(colour), linewidth=3) for label, colour in lines}
    finish(page, panels, heading, "; ".join(filter(None, told)), legend=legend)
    return page


def _ranks(axes: Axes, rows: Sequence[Mapping[Any, Any]], settings: int) -> None:
    for at, (row, colour) in enumerate(zip(rows, COLOURS, strict=False)):
        if np.isfinite(row["rank_low"]):
            axes.plot([row["rank_low"], row["rank_high"]], [at, at], color=colour, linewidth=6, alpha=0.4)
        axes.plot([row["rank"]], [at], "o", color=colour, markersize=12)
        axes.annotate(
            f"{row['rank']:.3g}", (row["rank"], at), xytext=(0, 12), textcoords="offset points", ha="center",
            fontsize=SMALL,
        )  # fmt: skip
    axes.set_xlabel(f"mean rank, of {settings} settings; 1 is the best", fontsize=LARGE - 2)
    axes.set_yticks([])
    axes.set_ylim(len(rows) - 0.5, -0.7)


def _profiles(
    axes: Axes, taus: NDArray[np.float64], drawn: Mapping[str, Profile], metric: str, larger_is_better: bool
) -> None:
    for (share, low, high), colour in zip(drawn.values(), COLOURS, strict=False):
        axes.plot(taus, share, style(colour), color=colour, linewidth=3, drawstyle="steps-post")
        if np.isfinite(low).any():
            axes.fill_between(taus, low, high, color=colour, alpha=0.1, linewidth=0, step="post")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(f"{metric} τ", fontsize=LARGE - 2)
    axes.set_ylabel(
        textwrap.fill(f"share of runs {'above' if larger_is_better else 'below'} τ", 40), fontsize=LARGE - 2
    )
