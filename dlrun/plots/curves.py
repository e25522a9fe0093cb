"""Learning curves of one run: loss, main metric and learning rate over the training, large enough to be projected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dlrun.errors import ConfigError
from dlrun.folder.names import METRICS, SUMMARY
from dlrun.folder.reading import read_metrics, read_summary
from dlrun.plots.page import BESIDE, FEW, GREY, LARGE, LR, SMALL, TRAIN, VAL, gaps, log_if_wide, title, whole
from dlrun.terminal.console import number


def figure(folder: str | Path) -> Figure:
    """The curves of a run's metrics.csv; without a summary (still going, or killed) it has no best epoch yet.

    Raises ConfigError if the folder holds no run, or a run without an evaluation.
    """
    frame = read_metrics(folder)
    if frame.empty:
        raise ConfigError(f"{Path(folder) / METRICS} has no rows: the run ended before its first evaluation")
    summary = read_summary(folder) if (Path(folder) / SUMMARY).exists() else {}
    unit = "epoch" if frame["epoch"].iloc[-1] >= 2 else "step"
    drawn = [name.removeprefix("train_") for name in frame.columns if name.startswith("train_")][:2]
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    panels = page.subplots(len(drawn) + 1, sharex=True, height_ratios=[3] * len(drawn) + [1])
    for axes, quantity in zip(panels, drawn, strict=False):
        _curves(axes, frame, summary, unit, quantity)
    _learning_rate(panels[-1], frame, unit)
    for axes in panels:
        _finish(axes, frame, summary, unit)
    for axes in panels[:-1]:
        columns = 3 if len(axes.lines) > 4 else 4
        axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=columns, fontsize=SMALL, frameon=False, borderaxespad=0.1,
            handletextpad=0.4, columnspacing=1.2,
        )  # fmt: skip
    panels[-1].set_xlabel(unit, fontsize=LARGE)
    whole(panels[-1])
    page.suptitle(title(folder, summary), fontsize=LARGE, fontweight="bold", parse_math=False)
    page.align_ylabels(panels)
    return page


def _curves(axes: Axes, frame: pd.DataFrame, summary: dict[str, Any], unit: str, quantity: str) -> None:
    """Train and val curves of a quantity, with the last and best values for the legend."""
    few = len(frame) <= FEW
    # Dashes on top show the train curve where val runs below it; in a dense, noisy curve they would look like noise.
    for part, colour, style, order in (("train", TRAIN, "--" if few else "-", 2.2), ("val", VAL, "-", 2.1)):
        values = frame[f"{part}_{quantity}"]
        axes.plot(
            frame[unit], gaps(values), style, color=colour, linewidth=3 if few else 2, marker="o" if few else None,
            markersize=6, zorder=order, label=f"{part} (last {number(values.iloc[-1])})",
        )  # fmt: skip
    beside = [name for name in frame.columns if name.startswith("val_") and name.endswith(f"_{quantity}")]
    beside.remove(f"val_{quantity}")
    for name, colour in zip(beside, BESIDE * len(beside), strict=False):  # of networks kept beside the trained one
        kept = name.removeprefix("val_").removesuffix(f"_{quantity}").replace("_", " ")
        axes.plot(
            frame[unit], gaps(frame[name]), color=colour, linewidth=2, zorder=2.15,
            label=f"{kept} (last {number(frame[name].iloc[-1])})",
        )  # fmt: skip
    best = summary.get(f"best_val_{quantity}")
    if best is not None:
        at = summary[f"best_{unit}"]
        axes.plot(
            [at], [best], "o", color=VAL, markersize=13, markeredgecolor="black", markeredgewidth=2, zorder=3,
            label=f"best {unit} {f'{at:,.1f}'.removesuffix('.0')}: val {number(best)}",
        )  # fmt: skip
    shown = frame[[f"train_{quantity}", f"val_{quantity}", *beside]].to_numpy()
    if quantity == "loss":
        log_if_wide(axes, shown)
    elif np.nanmin(shown, initial=0) < -1 < np.nanmax(shown, initial=-1):
        axes.set_ylim(-1, 1.05)  # r2 ends at 1 but has no lower bound: an untrained network's would press the rest flat
    axes.set_ylabel(quantity, fontsize=LARGE)


def _learning_rate(axes: Axes, frame: pd.DataFrame, unit: str) -> None:
    """The rate, on a logarithmic axis where it would lie near the bottom of a linear one for most of the training."""
    lr = gaps(frame["lr"])
    axes.plot(frame[unit], lr, color=LR, linewidth=3)
    peak = np.nanmax(lr, initial=0)
    low = peak > 0 and np.nanmedian(lr) < peak / 5
    if not (low and log_if_wide(axes, frame["lr"].to_numpy(), ticks=3)) and peak > 0:
        axes.set_ylim(0, 1.15 * peak)
        axes.set_yticks([0, peak], ["0", f"{peak:.4g}"])
    axes.set_ylabel("lr", fontsize=LARGE)


def _finish(axes: Axes, frame: pd.DataFrame, summary: dict[str, Any], unit: str) -> None:
    """What all panels share: the span of the whole run, its best epoch, and where its losses ceased to be finite."""
    start, end = frame[unit].iloc[0], frame[unit].iloc[-1]
    margin = (end - start) / 100 or 1  # keeps the first and last dots whole
    axes.set_xlim(start - margin, end + margin)
    axes.tick_params(labelsize=SMALL)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if summary.get(f"best_{unit}") is not None:
        axes.axvline(summary[f"best_{unit}"], color=GREY, linewidth=1.5, linestyle=":")
    finite = np.isfinite(frame[["train_loss", "val_loss"]].to_numpy()).all(axis=1)
    if not finite[-1]:
        lost = frame.loc[finite, unit].max() if finite.any() else start
        axes.axvspan(lost, end + margin, color=GREY, alpha=0.15, linewidth=0, label="not finite")
