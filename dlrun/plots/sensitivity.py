"""How a result depends on what was swept: over the learning rate, and over two axes as a heat map."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from dlrun.console import number
from dlrun.plots.comparison import COLOURS, DRAWN, finish, scale, style
from dlrun.plots.page import LARGE, LOG_FROM, SMALL, gaps


def figure(found: pd.DataFrame, lines: Sequence[str], metric: str, heading: str) -> Figure:
    """The metric over lr on a logarithmic axis, a line for each of the first 8 combinations of the other axes.

    found: a row per setting: lr, `line` (the name of the other axes' values), mean, least, greatest, diverged.
    lines: the lines' names, the best first.
    """
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    axes = page.subplots()
    for i, (line, colour) in enumerate(zip(lines, COLOURS, strict=False)):
        rows = found[found["line"] == line].sort_values("lr")
        lr = rows["lr"].to_numpy()
        axes.plot(
            lr, gaps(rows["mean"]), f"o{style(colour)}", color=colour, linewidth=3, markersize=9,
            label=line or "mean over seeds",
        )  # fmt: skip
        axes.fill_between(lr, gaps(rows["least"]), gaps(rows["greatest"]), color=colour, alpha=0.18, linewidth=0)
        lost = lr[rows["diverged"] > 0]
        if len(lost):
            axes.plot(
                lost, np.full(len(lost), 0.03 + 0.04 * i), "X", color=colour, markersize=13, clip_on=False, zorder=3,
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(_apart(found["lr"]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    scale(axes, metric, found["mean"].to_numpy())
    axes.set_xlabel("lr", fontsize=LARGE)
    finish(page, axes, heading)
    left_out = f"the {DRAWN} best of {len(lines)} lines by validation; " if len(lines) > DRAWN else ""
    crosses = "; cross: a run diverged" if found["diverged"].any() else ""
    axes.set_title(f"{left_out}line: mean over seeds, band: lowest to highest{crosses}", fontsize=SMALL)
    return page


def heatmap(
    found: pd.DataFrame, axes_swept: tuple[str, str], metric: str, heading: str, *, larger_is_better: bool
) -> Figure:
    """The mean over seeds for each pair of values of two axes, the brighter the better; empty where no run finished.

    found: a row per setting: the two axes' values, NaN where a run was given none, mean, runs, diverged.
    """
    (x, y) = sorted(axes_swept, key=lambda axis: axis != "lr")
    found = found.assign(**{axis: found[axis].astype(object).where(found[axis].notna(), "default") for axis in (x, y)})
    columns, rows = _values(found[x]), _values(found[y])
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    axes = page.subplots()
    means = found.pivot(index=y, columns=x, values="mean").reindex(index=rows, columns=columns).to_numpy(float)
    finite = means[np.isfinite(means)]
    wide = len(finite) > 0 and finite.min() > 0 and np.log10(finite.max() / finite.min()) > LOG_FROM
    limits = (finite.min(), finite.max()) if len(finite) else (0, 1)
    norm = LogNorm(*limits) if wide else Normalize(*limits)
    image = axes.imshow(
        np.where(np.isfinite(means), means, np.nan), norm=norm, cmap="viridis" if larger_is_better else "viridis_r",
        aspect="auto", origin="lower",
    )  # fmt: skip
    x_names, y_names = (
        [textwrap.fill(f"{value:g}" if isinstance(value, float) else str(value), 24) for value in values]
        for values in (columns, rows)
    )
    upright = _longest(x_names) * len(columns) > 50  # letters; more in a row would run into one another
    if len(found) <= 120:  # more would not be legible
        width = (660 - 10 * _longest(y_names)) / len(columns)  # of a cell, in points
        height = (520 - 10 * _longest(x_names) * upright) / len(rows)
        size = min(SMALL - 2, width / 5, height / (4 if found["diverged"].any() else 2))
        for row in found.to_dict("records"):
            text = [number(row["mean"], ".3g")] if np.isfinite(row["mean"]) else []
            text += [f"{row['diverged']} of {row['runs']}", "diverged"] if row["diverged"] else []
            at = columns.index(row[x]), rows.index(row[y])
            shade = image.cmap(norm(row["mean"]))[:3] if np.isfinite(row["mean"]) else (1, 1, 1)
            dark = np.dot(shade, (0.3, 0.59, 0.11)) < 0.5
            axes.annotate(
                "\n".join(text), at, ha="center", va="center", fontsize=size, color="white" if dark else "black"
            )
    axes.set_xticks(range(len(columns)), x_names, fontsize=SMALL, rotation=90 if upright else 0, parse_math=False)
    axes.set_yticks(range(len(rows)), y_names, fontsize=SMALL, parse_math=False)
    axes.set_xlabel(x, fontsize=LARGE, parse_math=False)
    axes.set_ylabel(y, fontsize=LARGE, parse_math=False)
    bar = page.colorbar(image, ax=axes)
    bar.set_label(f"{metric}, mean over seeds", fontsize=LARGE)
    bar.ax.tick_params(labelsize=SMALL)
    page.suptitle(textwrap.fill(heading, 60), fontsize=LARGE, fontweight="bold", parse_math=False)
    return page


def _apart(rates: pd.Series) -> list[float]:
    """The rates that were swept, without those whose labels would run into one another on a logarithmic axis."""
    least, greatest = np.log10(rates.min()), np.log10(rates.max())
    kept: list[float] = []
    for rate in sorted(rates.unique()):
        if not kept or np.log10(rate / kept[-1]) > (greatest - least) / 8:
            kept.append(rate)
    return kept


def _longest(names: Sequence[str]) -> int:
    """Letters in the longest line of the names."""
    return max(len(line) for name in names for line in name.splitlines())


def _values(axis: pd.Series) -> list[object]:
    """Numbers in their order, then words in that of their appearance."""
    values = axis.drop_duplicates().tolist()
    numbers = sorted(value for value in values if isinstance(value, int | float))
    return numbers + [value for value in values if value not in numbers]
