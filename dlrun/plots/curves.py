"""Learning curves of one run: loss, main metric and learning rate over the training, large enough to be projected."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from dlrun.console import number
from dlrun.errors import ConfigError
from dlrun.records import CURVES, METRICS, SUMMARY, read_metrics, read_summary, replacing

# Blue, vermilion and green of Okabe & Ito 2008, which any colour vision tells apart.
TRAIN, VAL, LR, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
LARGE, SMALL = 20, 16  # points, on a page 12 inches wide
LOG_FROM = 1.5  # decades; on a linear axis the lower ones would lie flat
FEW = 40  # rows that can be told apart as dots


def draw(folder: str | Path) -> Path:
    """Write curves.png into a run's folder from its metrics.csv and summary.json; the same files give the same bytes.

    Raises ConfigError if the folder holds no run, or a run without an evaluation.
    """
    path = Path(folder) / CURVES
    with replacing(path) as part:
        figure(folder).savefig(part, format="png", dpi=100, metadata={"Software": None})
    return path


def figure(folder: str | Path) -> Figure:
    """The picture that `draw` writes; a run without a summary (still going, or killed) has no best epoch yet."""
    frame = read_metrics(folder)
    if frame.empty:
        raise ConfigError(f"{Path(folder) / METRICS} has no rows: the run ended before its first evaluation")
    summary = read_summary(folder) if (Path(folder) / SUMMARY).exists() else {}
    unit = "epoch" if frame["epoch"].iloc[-1] >= 2 else "step"
    metrics = [name.removeprefix("val_") for name in frame.columns if name.startswith("val_") and name != "val_loss"]

    drawn = ["loss", *metrics[:1]]
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    panels = page.subplots(len(drawn) + 1, sharex=True, height_ratios=[3] * len(drawn) + [1])
    for axes, quantity in zip(panels, drawn, strict=False):
        _curves(axes, frame, summary, unit, quantity)
    _learning_rate(panels[-1], frame, unit)
    for axes in panels:
        _finish(axes, frame, summary, unit)
    for axes in panels[:-1]:
        axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=4, fontsize=SMALL, frameon=False, borderaxespad=0.1,
            handletextpad=0.4, columnspacing=1.2,
        )  # fmt: skip
    panels[-1].set_xlabel(unit, fontsize=LARGE)
    page.suptitle(_title(folder, summary), fontsize=LARGE, fontweight="bold", parse_math=False)
    page.align_ylabels(panels)
    return page


def _curves(axes: Axes, frame: pd.DataFrame, summary: dict[str, Any], unit: str, quantity: str) -> None:
    """Train and val curves of a quantity, with the last and best values for the legend."""
    few = len(frame) <= FEW
    # Dashes on top show the train curve where val runs below it; in a dense, noisy curve they would look like noise.
    for part, colour, style, order in (("train", TRAIN, "--" if few else "-", 2.2), ("val", VAL, "-", 2.1)):
        values = frame[f"{part}_{quantity}"]
        axes.plot(
            frame[unit], _gaps(values), style, color=colour, linewidth=3 if few else 2, marker="o" if few else None,
            markersize=6, zorder=order, label=f"{part} (last {number(values.iloc[-1])})",
        )  # fmt: skip
    best = summary.get(f"best_val_{quantity}")
    if best is not None:
        at = summary[f"best_{unit}"]
        axes.plot(
            [at], [best], "o", color=VAL, markersize=13, markeredgecolor="black", markeredgewidth=2, zorder=3,
            label=f"best {unit} {f'{at:,.1f}'.removesuffix('.0')}: val {number(best)}",
        )  # fmt: skip
    shown = frame[[f"train_{quantity}", f"val_{quantity}"]].to_numpy()
    if quantity == "loss":
        _log_if_wide(axes, shown)
    elif np.nanmin(shown, initial=0) < -1 < np.nanmax(shown, initial=-1):
        axes.set_ylim(-1, 1.05)  # r2 ends at 1 but has no lower bound: an untrained network's would press the rest flat
    axes.set_ylabel(quantity, fontsize=LARGE)


def _learning_rate(axes: Axes, frame: pd.DataFrame, unit: str) -> None:
    axes.plot(frame[unit], _gaps(frame["lr"]), color=LR, linewidth=3)
    peak = np.nanmax(_gaps(frame["lr"]), initial=0)
    if not _log_if_wide(axes, frame["lr"].to_numpy()) and peak > 0:
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


def _log_if_wide(axes: Axes, values: np.ndarray) -> bool:
    """Use a logarithmic axis for positive values that span many decades."""
    finite = values[np.isfinite(values)]
    decades = np.ptp(np.log10(finite)) if len(finite) and finite.min() > 0 else 0
    if decades <= LOG_FROM:
        return False
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,), numticks=6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    return True


def _gaps(values: pd.Series) -> np.ndarray:
    """Infinities have no place on an axis: they become gaps, as NaN does."""
    return np.where(np.isfinite(values), values, np.nan)


def _title(folder: str | Path, summary: dict[str, Any]) -> str:
    name = summary.get("name") or Path(folder).resolve().name
    status = summary.get("status", "no summary yet")
    return textwrap.fill(name if status == "finished" else f"{name} ({status.replace('_', ' ')})", 60)
