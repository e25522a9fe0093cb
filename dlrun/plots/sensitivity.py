"""How a result depends on what was swept: over the learning rate, and over two axes as a heat map."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from math import ceil, floor, log10

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from dlrun.plots.comparison import COLOURS, DRAWN, TABLES, band_told, finish, scale, style
from dlrun.plots.page import FEW, GREY, LARGE, SMALL, apart, competition, gaps, in_order, is_wide

SPARSE = 4  #: times as many pairs of values as settings, from which most cells would be empty


def figure(
    found: pd.DataFrame,
    lines: Sequence[str],
    metric: str,
    heading: str,
    *,
    many: bool = False,
    over: str = "seeds",
    left_out: str = "",
) -> Figure:
    """The metric over lr on a logarithmic axis, a line for each of the first 8 combinations of the other axes; where
    none has a second rate, as in a search whose points are drawn, the other settings lie in grey behind them.

    found: a row per setting: lr, `line` (the name of the other axes' values), mean, low and high (the band's ends),
    runs, diverged. lines: the lines' names, the best first. many: what the bands are, see `comparison.spread`.
    over: what the runs of a setting are. left_out: what the picture has to say of settings that it lacks.
    """
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    axes = page.subplots()
    alpha = 0.18 if len(lines) <= 3 else 0.1
    drawn = len(lines) > DRAWN and found.groupby("line")["lr"].nunique().max() == 1
    if drawn:
        axes.plot(found["lr"], gaps(found["mean"]), "o", color=GREY, alpha=0.35, markersize=7, zorder=1)
    for i, (line, colour) in enumerate(zip(lines, COLOURS, strict=False)):
        rows = found[found["line"] == line].sort_values("lr")
        lr = rows["lr"].to_numpy()
        axes.plot(
            lr, gaps(rows["mean"]), f"o{style(colour)}", color=colour, linewidth=3, markersize=9,
            label=line or f"mean over {over}",
        )  # fmt: skip
        axes.fill_between(lr, gaps(rows["low"]), gaps(rows["high"]), color=colour, alpha=alpha, linewidth=0)
        lost = rows[rows["diverged"] > 0]
        height = 0.03 + 0.04 * i
        if len(lost):
            axes.plot(
                lost["lr"], np.full(len(lost), height), "X", color=colour, markersize=13, clip_on=False, zorder=3,
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip
        for at, diverged, runs in lost[["lr", "diverged", "runs"]].itertuples(index=False) if len(lost) < FEW else ():
            axes.annotate(
                f"{diverged} of {runs}", (at, height), xycoords=axes.get_xaxis_transform(), xytext=(-10, 0),
                textcoords="offset points", ha="right", va="center", fontsize=SMALL - 2, color=colour, zorder=3,
            )  # fmt: skip
    axes.set_xscale("log")
    if not drawn:
        axes.set_xticks(apart(found["lr"]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    scale(axes, metric, found["mean"].to_numpy())
    axes.set_xlabel("lr", fontsize=LARGE)
    best = f"the {DRAWN} best of {len(lines)} lines by validation; " if len(lines) > DRAWN else ""
    best = f"the {DRAWN} best of {len(lines)} settings by validation, and the others in grey; " if drawn else best
    crosses = "; cross: runs that diverged" if found["diverged"].any() else ""
    band = band_told([(found["low"], found["high"])], many)
    finish(page, [axes], heading, f"{best}line: mean over {over}{band}; {TABLES}{crosses}{left_out}")
    return page


def heatmap(
    found: pd.DataFrame,
    axes_swept: tuple[str, str],
    metric: str,
    heading: str,
    *,
    larger_is_better: bool,
    over: str = "seeds",
    left_out: str = "",
) -> Figure:
    """The mean over the runs of each pair of values of two axes, the brighter the better; empty where no run finished.
    Where few of the pairs were tried, as in a search whose points are drawn, each is a dot where its numbers lie.

    found: a row per setting: the two axes' values, NaN where a run was given none, mean, runs, diverged.
    over: what the runs of a setting are. left_out: what the picture has to say of settings without a finished run.
    """
    metric = f"{metric}, mean over {over}"
    (x, y) = sorted(axes_swept, key=lambda axis: axis != "lr")
    places = [pd.to_numeric(found[axis], errors="coerce") for axis in (x, y)]
    if SPARSE * len(found) < places[0].nunique() * places[1].nunique() and not any(
        each.isna().any() for each in places
    ):
        return _dots(found, x, y, metric, heading, larger_is_better=larger_is_better, left_out=left_out)
    found = found.assign(**{axis: found[axis].astype(object).where(found[axis].notna(), "default") for axis in (x, y)})
    columns, rows = in_order(found[x].drop_duplicates().tolist()), in_order(found[y].drop_duplicates().tolist())
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    axes = page.subplots()
    means = found.pivot(index=y, columns=x, values="mean").reindex(index=rows, columns=columns).to_numpy(float)
    norm, extend = _colours(means[np.isfinite(means)], larger_is_better)
    colours = _map(larger_is_better)
    image = axes.imshow(
        np.where(np.isfinite(means), means, np.nan), norm=norm, cmap=colours, aspect="auto", origin="lower"
    )
    x_names, y_names = (
        [textwrap.fill(f"{value:g}" if isinstance(value, float) else str(value), 24) for value in values]
        for values in (columns, rows)
    )
    upright = _longest(x_names) * len(columns) > 50  # letters; more in a row would run into one another
    if len(found) <= 120:  # more would not be legible
        form = ".3g" if isinstance(norm, LogNorm) else _form(float(norm.vmin or 0), float(norm.vmax or 0))
        texts = {}
        for row in found.to_dict("records"):
            text = [f"{row['mean']:{form}}"] if np.isfinite(row["mean"]) else []
            text += [f"{row['diverged']} of {row['runs']}", "diverged"] if row["diverged"] else []
            shade = image.cmap(norm(row["mean"]))[:3] if np.isfinite(row["mean"]) else (1, 1, 1)
            texts[columns.index(row[x]), rows.index(row[y])] = "\n".join(text), np.dot(shade, (0.3, 0.59, 0.11)) < 0.5
        width = (660 - 10 * _longest(y_names)) / len(columns)  # of a cell, in points
        height = (520 - 10 * _longest(x_names) * upright) / len(rows)
        letters = max(5, _longest([words for words, _ in texts.values()]))
        size = min(SMALL - 2, 1.3 * width / letters, height / (4 if found["diverged"].any() else 2))
        for at, (words, dark) in texts.items():
            axes.annotate(words, at, ha="center", va="center", fontsize=size, color="white" if dark else "black")
    for axis, names, turned in ((axes.xaxis, x_names, 90 if upright else 0), (axes.yaxis, y_names, 0)):
        some = range(0, len(names), -(-len(names) // FEW))  # more would run into one another
        axis.set_ticks(some, [names[i] for i in some], fontsize=SMALL, rotation=turned, parse_math=False)
    if not np.isfinite(means).all():
        white = "white: no run, or none that finished"
        axes.set_title("; ".join(filter(None, (white, left_out))), fontsize=SMALL)
    _name(page, axes, image, x, y, metric, heading, extend)
    return page


def _dots(
    found: pd.DataFrame, x: str, y: str, metric: str, heading: str, *, larger_is_better: bool, left_out: str
) -> Figure:
    """Settings where their numbers lie, the brighter the better; crosses where no run finished."""
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    axes = page.subplots()
    shown = found[np.isfinite(found["mean"])].sort_values("mean", ascending=larger_is_better)  # the best on top
    lost = found[~np.isfinite(found["mean"])]
    norm, extend = _colours(shown["mean"].to_numpy(), larger_is_better)
    axes.plot(lost[x].astype(float), lost[y].astype(float), "X", color=GREY, markersize=13)
    image = axes.scatter(
        shown[x].astype(float), shown[y].astype(float), c=shown["mean"], norm=norm, cmap=_map(larger_is_better), s=220,
        edgecolors="white", linewidths=0.5,
    )  # fmt: skip
    for axis, name, rescale in ((axes.xaxis, x, axes.set_xscale), (axes.yaxis, y, axes.set_yscale)):
        values = found[name].to_numpy(float)
        if is_wide(values) and np.median(values) < values.max() / 4:  # uniform numbers, too, may come near to 0
            rescale("log")
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
        axis.set_tick_params(labelsize=SMALL)
    if len(lost):
        axes.set_title("; ".join(filter(None, ("cross: no run finished", left_out))), fontsize=SMALL)
    _name(page, axes, image, x, y, metric, heading, extend)
    return page


def _map(larger_is_better: bool) -> Colormap:
    return colormaps["viridis" if larger_is_better else "viridis_r"].with_extremes(under=GREY, over=GREY)


def _name(
    page: Figure, axes: Axes, image: ScalarMappable, x: str, y: str, metric: str, heading: str, extend: str
) -> None:
    """Say what the axes and the colours are."""
    axes.set_xlabel(x, fontsize=LARGE, parse_math=False)
    axes.set_ylabel(y, fontsize=LARGE, parse_math=False)
    bar = page.colorbar(image, ax=axes, extend=extend)
    bar.set_label(metric, fontsize=LARGE)
    bar.ax.tick_params(labelsize=SMALL)
    page.suptitle(textwrap.fill(heading, 60), fontsize=LARGE, fontweight="bold", parse_math=False)


def _colours(means: np.ndarray, larger_is_better: bool) -> tuple[Normalize, str]:
    """The range of the colours, and where they end before the values do: what is far off is grey, and does not make the
    others look alike."""
    if not len(means):
        return Normalize(0, 1), "neither"
    if is_wide(means):
        return LogNorm(means.min(), means.max()), "neither"
    best_first = sorted(means, reverse=larger_is_better)
    low, high, outside = competition([(mean, mean) for mean in best_first])
    return Normalize(low, high), ("min" if larger_is_better else "max") if outside else "neither"


def _form(low: float, high: float) -> str:
    """The format of all numbers of a picture: the decimals that three digits of the greatest take, or two of what they
    differ by."""
    greatest = max(abs(low), abs(high))
    decimals = [0, 3 - ceil(log10(greatest)) if greatest else 0, 1 - floor(log10(high - low)) if high > low else 0]
    return f".{max(decimals)}f" if max(decimals) <= 6 else ".3g"


def _longest(names: Sequence[str]) -> int:
    """Letters in the longest line of the names."""
    return max(len(line) for name in names for line in name.splitlines())
