"""A fitted function of one or two inputs, with the samples, and the kernels of an RBF network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of, told_of
from dlrun.plots.page import GREY, LARGE, SMALL, TRAIN, VAL, gaps, heading, shortened


def figure(folder: str | Path) -> Figure:
    """Of one input, f as a line and kernels below; of two, f in colour and each kernel as an ellipse of one width."""
    frame = read_table(folder, table_of("fit"))
    summary = summary_of(Path(folder))
    grid, kernels = (frame[frame["quantity"] == what] for what in ("grid", "kernel"))
    samples = frame[~frame["quantity"].isin(["grid", "kernel"])]
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    told = told_of(summary, "fit")
    part = samples["quantity"].iloc[0] if len(samples) else ""
    if "y" in frame:
        [last] = panels = [page.subplots()]
        _plane(page, last, grid, samples, kernels)
        last.set_ylabel(_name(told, "y"), fontsize=LARGE, parse_math=False)
    else:
        heights = (3, 1) if len(kernels) else (1,)
        panels = list(page.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0])
        _line(panels, grid, samples, kernels, part)
    panels[-1].set_xlabel(_name(told, "x"), fontsize=LARGE, parse_math=False)
    for axes in panels:
        axes.tick_params(labelsize=SMALL)
        axes.spines[["top", "right"]].set_visible(False)
    page.align_ylabels()
    error = np.sqrt(np.mean((samples["output"] - samples["target"]) ** 2))
    also = f", {len(kernels)} kernels" if len(kernels) else ""
    heading(page, folder, summary, f"fit: rmse {error:.4g} on {len(samples):,} {part} samples{also}")
    return page


def _line(panels: list[Axes], grid: pd.DataFrame, samples: pd.DataFrame, kernels: pd.DataFrame, part: str) -> None:
    above = panels[0]
    above.plot(samples["x"], samples["target"], "o", color=GREY, markersize=7, alpha=0.6, label=f"{part} samples")
    above.plot(grid["x"], gaps(grid["output"]), color=VAL, linewidth=3, label="network")
    above.set_ylabel("target", fontsize=LARGE)
    above.legend(fontsize=SMALL, framealpha=0.8, edgecolor="none")
    above.grid(alpha=0.3)
    if len(panels) > 1:
        x = grid["x"].to_numpy()
        for centre, width in zip(kernels["x"], kernels["width"], strict=True):
            panels[1].plot(x, np.exp(-((x - centre) ** 2) / (2 * width**2)), color=TRAIN, linewidth=1.5)
        panels[1].plot(kernels["x"], np.ones(len(kernels)), "v", color=TRAIN, markersize=8)
        panels[1].set_xlim(x[0], x[-1])
        panels[1].set_ylabel("kernels", fontsize=LARGE)


def _plane(page: Figure, axes: Axes, grid: pd.DataFrame, samples: pd.DataFrame, kernels: pd.DataFrame) -> None:
    x, y = np.unique(grid["x"]), np.unique(grid["y"])
    values = gaps(grid["output"]).reshape(len(x), len(y)).T
    seen = np.concatenate([values.ravel(), gaps(samples["target"])])
    limits: dict[str, Any] = {"vmin": np.nanmin(seen), "vmax": np.nanmax(seen)} if np.isfinite(seen).any() else {}
    mesh = axes.pcolormesh(x, y, values, cmap="viridis", shading="nearest", **limits)
    axes.scatter(samples["x"], samples["y"], 60, c=samples["target"], cmap="viridis", edgecolors="white", **limits)
    for x_, y_, width, height in kernels[["x", "y", "width", "width_y"]].to_numpy() if len(kernels) else ():
        axes.add_patch(Ellipse((x_, y_), 2 * width, 2 * height, fill=False, color=VAL, linewidth=1.5))
    axes.plot(kernels["x"], kernels["y"], "+", color=VAL, markersize=10, markeredgewidth=2)
    axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    bar = page.colorbar(mesh, aspect=40)
    bar.set_label("target (dots), network", fontsize=LARGE)
    bar.ax.tick_params(labelsize=SMALL)


def _name(told: dict[str, Any], axis: str) -> str:
    return shortened(str(told.get(axis, axis)), 50)
