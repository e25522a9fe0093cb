"""The learning rate range test: loss over rate, and the rate that it suggests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dlrun.folder.names import RANGE, SUMMARY
from dlrun.folder.reading import read_metrics, read_summary
from dlrun.plots.page import GREY, LARGE, LR, SMALL, TRAIN, gaps, log_if_wide, title


def figure(folder: str | Path) -> Figure:
    """Each minibatch's loss over the rate of its step, their moving average, and the suggestion of the summary."""
    frame = read_metrics(folder, RANGE)
    summary = read_summary(folder) if (Path(folder) / SUMMARY).exists() else {}
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    axes = page.subplots()
    axes.plot(frame["lr"], gaps(frame["loss"]), ".", color=GREY, markersize=6, alpha=0.6, label="minibatch")
    axes.plot(frame["lr"], gaps(frame["smoothed"]), color=TRAIN, linewidth=4, label="moving average")
    suggested = summary.get("suggested_lr")
    if suggested:
        axes.axvline(suggested, color=LR, linewidth=3, linestyle="--", label=f"falls fastest: lr {suggested:.2g}")
    axes.set_xscale("log")
    smoothed = frame["smoothed"].to_numpy()
    low, high = np.nanmin(smoothed), np.nanmax(smoothed[: max(1, len(smoothed) // 10)])  # at first, nothing has moved
    if not log_if_wide(axes, smoothed[np.isfinite(smoothed) & (smoothed <= 2 * high)]):
        axes.set_ylim(max(0, low - 0.1 * (high - low)), high + 0.5 * (high - low))
    axes.set_xlabel("lr", fontsize=LARGE)
    axes.set_ylabel("training loss", fontsize=LARGE)
    axes.tick_params(labelsize=SMALL)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=SMALL, loc="lower left")
    page.suptitle(title(folder, summary), fontsize=LARGE, fontweight="bold", parse_math=False)
    return page
