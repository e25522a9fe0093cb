"""A schedule: the learning rate by step, and the momentum where it moves."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dlrun.plots.page import FEW, LARGE, LR, SMALL, TRAIN, log_if_wide, whole

FLAT = 0.05  #: of its largest, below which half of a rate would lie flat on a linear axis


def figure(frame: pd.DataFrame, heading: str, note: str = "") -> Figure:
    """A panel for each column after `step` and `epoch`; the epochs stand above.

    note: what is told below the heading.
    """
    names = list(frame.columns[2:])
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    heights = (2, *[1] * (len(names) - 1))
    panels = page.subplots(len(names), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    few = len(frame) <= FEW
    for axes, name, colour in zip(panels, names, (LR, TRAIN), strict=False):
        axes.plot(
            frame["step"], frame[name], color=colour, linewidth=3, marker="o" if few else None, markersize=6,
        )  # fmt: skip
        axes.set_ylabel(name, fontsize=LARGE)
        axes.tick_params(labelsize=SMALL)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    lr = frame["lr"].to_numpy()
    if np.median(lr) < FLAT * lr.max():
        log_if_wide(panels[0], lr)
    if panels[0].get_yscale() == "linear":
        panels[0].set_ylim(bottom=0)
    per_epoch = frame["step"].iloc[-1] / frame["epoch"].iloc[-1] if len(frame) > 1 else 1.0
    above = panels[0].secondary_xaxis("top", functions=(lambda t: t / per_epoch, lambda epoch: epoch * per_epoch))
    above.set_xlabel("epoch", fontsize=LARGE)
    above.tick_params(labelsize=SMALL)
    if len(frame) == 1:
        panels[-1].set_xlim(-1, 1)
    panels[-1].set_xlabel("step", fontsize=LARGE)
    whole(panels[-1])
    page.align_ylabels()
    told = "\n".join([heading, *textwrap.wrap(note, 60)])
    page.suptitle(told, fontsize=LARGE, fontweight="bold", parse_math=False)
    return page
