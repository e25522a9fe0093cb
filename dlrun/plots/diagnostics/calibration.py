"""A reliability diagram: accuracy over confidence, and how many samples have which."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dlrun.errors import ConfigError
from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of
from dlrun.plots.page import GREY, LARGE, SMALL, TRAIN, VAL, heading

MOST = 10_000  #: bins that are drawn in some seconds


def figure(folder: str | Path) -> Figure:
    """Two panels: accuracy and mean confidence by bin, which would lie on the diagonal; the samples' shares."""
    frame = read_table(folder, table_of("calibration"))
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    above, below = page.subplots(2, sharex=True, height_ratios=(3, 1))
    held = frame[frame["samples"] > 0]
    if len(held) > MOST:
        raise ConfigError(f"{Path(folder) / table_of('calibration')} has {len(held):,} bins, too many to be drawn")
    middle, width = (held["low"] + held["high"]) / 2, held["high"] - held["low"]
    above.plot([0, 1], [0, 1], "--", color=GREY, linewidth=2)
    above.bar(middle, held["accuracy"], width, color=TRAIN, alpha=0.6, edgecolor="white", label="accuracy")
    above.hlines(held["confidence"], held["low"], held["high"], color=VAL, linewidth=5, label="mean confidence")
    above.vlines(middle, held["accuracy"], held["confidence"], color=VAL, linewidth=2)
    ece = (held["share"] * (held["confidence"] - held["accuracy"]).abs()).sum(skipna=False)
    above.set_ylabel("accuracy", fontsize=LARGE)
    above.set_ylim(0, 1)
    above.set_xlim(0, 1)
    above.legend(fontsize=SMALL, loc="upper left", frameon=False)
    below.bar(middle, held["share"] * 100, width, color=GREY, edgecolor="white")
    below.set_ylabel("samples, %", fontsize=LARGE)
    below.set_xlabel("confidence", fontsize=LARGE)
    for axes in (above, below):
        axes.tick_params(labelsize=SMALL)
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    page.align_ylabels()
    total = frame["samples"].sum()
    heading(page, folder, summary_of(Path(folder)), f"calibration: error {ece:.4f}, of {total:,.0f} samples")
    return page
