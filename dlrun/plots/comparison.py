"""The settings of a sweep side by side: the mean curve over seeds, in a band of where the seeds lie."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from dlrun.plots.page import (
    BESIDE,
    CLOSER,
    FEW,
    GREY,
    LARGE,
    LR,
    SMALL,
    TRAIN,
    VAL,
    competition,
    gaps,
    is_wide,
    log_if_wide,
    shortened,
    whole,
)

COLOURS = [TRAIN, VAL, LR, *BESIDE, GREY]
DRAWN = len(COLOURS)  #: more settings than colours cannot be told apart
QUARTILES = (0.25, 0.75)
SEEDS = 10  #: with more, a band holds the middle half of them: its ends would only tell of the rarest
PANELS = 6  #: datasets that are drawn
LOST = 3  #: settings without a finished run that are named
TABLES = "tables have each run's value at its best validation loss"
ERRORS = ("loss", "rmse", "mae", "distance")  #: metrics that may fall by decades


class Curve(NamedTuple):
    """Over the epochs or steps that all runs of a setting have: their mean, and the ends of the band."""

    at: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    runs: int


def figure(
    curves: pd.DataFrame,
    settings: Mapping[str, Sequence[str]],
    metric: str,
    heading: str,
    fates: Mapping[str, str] | None = None,
    over: str = "seeds",
    left_out: str = "",
) -> Figure:
    """The curves of a metric, of the first 8 settings; a second panel shows closer those that end near each other.

    curves: the rows of curves.csv. settings: each one's name and its runs that finished, the best setting first. A
    curve ends where the first of its runs does: a mean over those that are left would jump. fates: what became of other
    runs, by the names of their settings. over: what the runs of a setting are. left_out: what the picture has to say of
    settings that it lacks.
    """
    rows = _rows(curves, metric)
    unit = time_unit(rows["epoch"].max())
    fates, many = fates or {}, are_many(settings)
    drawn = list(settings.items())[:DRAWN]
    found = {name: _curve(rows[rows["run"].isin(runs)], unit, many, len(runs)) for name, runs in drawn}
    means = np.concatenate([curve.mean for curve in found.values()])
    view = _closer(list(found.values()), means, metric)
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    panels = list(page.subplots(1, 1 + bool(view), squeeze=False)[0])
    for axes in panels:
        _draw(axes, found, fates)
        scale(axes, metric, means)
        whole(axes)
        axes.set_xlabel(unit, fontsize=LARGE)
    if view:
        _zoom(panels, *view)
    lost = {name: fate for name, fate in fates.items() if name not in settings}
    best = f"the {DRAWN} best of {len(settings)} settings by validation; " if len(settings) > DRAWN else ""
    band = band_told([(curve.low, curve.high) for curve in found.values()], many)
    finish(page, panels, heading, f"{best}line: mean over {over}{band}; {TABLES}{left_out}", lost)
    return page


def on_datasets(
    curves: pd.DataFrame,
    datasets: Mapping[str, tuple[str, Mapping[str, Sequence[str]]]],
    heading: str,
    order: Sequence[str],
    ranked_by: str,
    fates: Mapping[str, str],
    left_out: str = "",
) -> Figure:
    """The curves of settings on each of several datasets, a panel for each, on axes of their own.

    datasets: of each the metric's column, and the runs that finished of each setting. order: the settings, the best
    first, of which 8 are drawn. ranked_by: how they are ranked, in words. fates: what became of runs that have not
    finished, by setting and dataset. left_out: as of `figure`.
    """
    shown = dict(list(datasets.items())[:PANELS])
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    columns = 2 if len(shown) in (2, 4) else min(3, len(shown))
    panels = page.subplots(-(-len(shown) // columns), columns, squeeze=False)
    many = any(are_many(settings) for _, settings in shown.values())
    handles: dict[str, Artist] = {}
    ends: list[tuple[np.ndarray, np.ndarray]] = []
    for axes, (name, (metric, settings)) in zip(panels.flat, shown.items(), strict=False):
        rows = _rows(curves, metric)
        unit = time_unit(rows["epoch"].max()) if len(rows) else "epoch"
        own = [setting for setting in order[:DRAWN] if settings.get(setting)]
        found = {
            setting: _curve(rows[rows["run"].isin(settings[setting])], unit, many, len(settings[setting]))
            for setting in own
        }
        ends += [(curve.low, curve.high) for curve in found.values()]
        colours = [COLOURS[order.index(setting)] for setting in own]
        _draw(axes, found, {}, colours)
        scale(axes, metric, np.concatenate([np.zeros(0), *(curve.mean for curve in found.values())]))
        whole(axes)
        axes.set_xlabel(unit, fontsize=SMALL)
        axes.set_ylabel(axes.get_ylabel(), fontsize=SMALL)
        axes.set_title(shortened(name, 40), fontsize=SMALL, parse_math=False)
        lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
        handles |= dict(zip(own, lines, strict=True))
        if not own:
            axes.text(0.5, 0.5, "no finished run", transform=axes.transAxes, ha="center", va="center", fontsize=SMALL)
    for axes in panels.flat[len(shown) :]:
        axes.set_visible(False)
    told = [
        f"the first {PANELS} of {len(datasets)} datasets" if len(datasets) > PANELS else "",
        f"the {DRAWN} best of {len(order)} settings" if len(order) > DRAWN else "",
        f"settings {ranked_by}",
        f"line: mean over runs{band_told(ends, many)}",
        f"{TABLES}{left_out}",
    ]
    legend = {setting: handles[setting] for setting in order if setting in handles}
    finish(page, list(panels.flat), heading, "; ".join(filter(None, told)), fates, legend)
    return page


def are_many(settings: Mapping[str, Sequence[str]]) -> bool:
    """Whether some setting has so many runs that the bands of all show the middle half."""
    return max(map(len, settings.values()), default=0) > SEEDS


def spread(many: bool) -> str:
    """What a band is."""
    return "the middle half of them" if many else "lowest to highest"


def band_told(ends: Sequence[tuple[Any, Any]], many: bool) -> str:
    """What a caption says of the bands that begin and end there; nothing where none has a height."""
    return f", band: {spread(many)}" if any((np.asarray(high) > np.asarray(low)).any() for low, high in ends) else ""


def band(values: np.ndarray, many: bool) -> tuple[np.ndarray, np.ndarray]:
    """Where the band of values, of a run in each column, begins and ends."""
    low, high = np.quantile(values, QUARTILES if many else (0, 1), axis=-1)
    return low, high


def gathered(at: np.ndarray, values: np.ndarray, many: bool, runs: int) -> Curve:
    """The curve of a setting from its runs' values (places, ..., runs); what is infinite in one of them is a gap."""
    with np.errstate(invalid="ignore"):  # infinities of both signs
        low, high = band(values, many)
        return Curve(at, gaps(values.mean(axis=-1)), gaps(low), gaps(high), runs)


def time_unit(last_epoch: float) -> str:
    """What the horizontal axis counts: steps, where there is not even a second epoch."""
    return "epoch" if last_epoch >= 2 else "step"


def is_logarithmic(metric: str, values: np.ndarray) -> bool:
    """Whether these values of a metric need a logarithmic axis."""
    return metric.endswith(ERRORS) and is_wide(values)


def _rows(curves: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric's rows of curves.csv, with the columns that are drawn: of very many runs the others would be much."""
    return curves.loc[curves["metric"] == metric, ["run", "epoch", "step", "value"]]


def _curve(rows: pd.DataFrame, unit: str, many: bool, runs: int) -> Curve:
    at, places = np.unique(rows[unit].to_numpy(), return_inverse=True)
    codes, names = rows["run"].factorize(sort=True)
    values = np.full((len(at), len(names)), np.nan)  # as a pivot, which takes the memory of ten of these
    values[places, codes] = rows["value"]
    whole = ~np.isnan(values).any(axis=1)
    return gathered(at[whole], values[whole], many, runs)


def _draw(
    axes: Axes, found: Mapping[str, Curve], fates: Mapping[str, str], colours: Sequence[str] = tuple(COLOURS)
) -> None:
    alpha = 0.18 if len(found) <= 3 else 0.1
    for (name, curve), colour in zip(found.items(), colours, strict=False):
        few = "o" if len(curve.at) <= FEW else None
        fate = f"; {fates[name]}" if name in fates else ""
        label = f"{name} (n\u00a0=\u00a0{curve.runs}{fate})"  # its blanks are not to be folded at
        axes.plot(curve.at, curve.mean, style(colour), color=colour, linewidth=3, marker=few, label=label)
        if curve.runs > 1:
            axes.fill_between(curve.at, curve.low, curve.high, color=colour, alpha=alpha, linewidth=0)


def _closer(found: Sequence[Curve], means: np.ndarray, metric: str) -> tuple[float, float, float, float, int] | None:
    """The second half of the training (from, to) and the range (from, to) that the best settings have in it, and how
    many settings lie outside; None where that is no small part of all there is to see."""
    logarithmic = is_logarithmic(metric, means)
    end = max((curve.at[-1] for curve in found if len(curve.at)), default=0)
    late = [np.concatenate([curve.low, curve.high])[np.tile(curve.at >= end / 2, 2)] for curve in found]
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = np.log10 if logarithmic else lambda x: np.maximum(x, -1) if is_cut(metric, means) else x
        spans = [_span(seen(values)) for values in late]
        least, greatest = _span(seen(means))
    spans = [span for span in spans if np.isfinite(span).all()]
    if len(spans) < 2:
        return None
    low, high, outside = competition(spans)
    if not 0 < CLOSER * (high - low) < greatest - least:
        return None
    margin = (high - low) / 10
    low, high = (10**bound if logarithmic else bound for bound in (low - margin, high + margin))
    return end / 2 - end / 50, end + end / 50, low, high, len(outside)


def _span(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (np.nan, np.nan)


def _zoom(panels: Sequence[Axes], left: float, right: float, low: float, high: float, outside: int) -> None:
    """Show in the second panel what the first one has in a frame."""
    all_of_it, part = panels
    frame = Rectangle((left, low), right - left, high - low, fill=False, edgecolor=GREY, linestyle=":", linewidth=2)
    all_of_it.add_patch(frame)
    all_of_it.set_title("the whole training", fontsize=SMALL)
    part.set_ylabel("")
    if not is_wide(np.array([low, high])):
        part.set_yscale("linear")
    part.set(xlim=(left, right), ylim=(low, high))
    part.set_title("framed: its second half" + (f" ({outside} outside)" if outside else ""), fontsize=SMALL)


def style(colour: str) -> Literal["-", "--"]:
    """Grey is dashed: a projector shows it as black."""
    return "--" if colour == GREY else "-"


def scale(axes: Axes, metric: str, values: np.ndarray) -> None:
    """Name the vertical axis, and choose it so that the values fit."""
    axes.set_ylabel(metric, fontsize=LARGE, labelpad=12)  # nearer, the underscore of val_accuracy is read as a 1
    if metric.endswith(ERRORS):
        log_if_wide(axes, values)
    elif is_cut(metric, values):
        axes.set_ylim(-1, 1.05)
        axes.set_ylabel(f"{metric} (cut at -1)", fontsize=LARGE)


def is_cut(metric: str, values: np.ndarray) -> bool:
    """Whether an axis ends at -1: r2 has no lower bound: one bad value would press the others flat."""
    return not metric.endswith(ERRORS) and bool(np.nanmin(values, initial=0) < -1 < np.nanmax(values, initial=-1))


def finish(
    page: Figure,
    panels: Sequence[Axes],
    heading: str,
    sentence: str,
    lost: Mapping[str, str] | None = None,
    legend: Mapping[str, Artist] | None = None,
) -> None:
    """What the pictures of a sweep share: grid, legend below with a sentence on what is drawn, heading.

    lost: what became of settings that are not drawn. legend: what stands in it, if not the first panel's lines.
    """
    for axes in panels:
        axes.tick_params(labelsize=SMALL)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    if legend is not None:
        handles, labels = list(legend.values()), list(legend)
    for name, fate in list((lost or {}).items())[:LOST]:
        handles.append(Line2D([], [], color=GREY, marker="X", markersize=11, linestyle=""))
        labels.append(f"{name}: {fate}")
    if lost and len(lost) > LOST:
        handles.append(Line2D([], [], linestyle=""))
        labels.append(f"and {len(lost) - LOST} more with unfinished runs")
    told = textwrap.fill(sentence, 100)
    for size in range(SMALL, 4, -2):  # smaller where the names would leave the curves less than half of the page
        wrapped = [textwrap.fill(label, 36 * SMALL // size) for label in labels]  # two columns fill the page's width
        lines = max((text.count("\n") + 1 for text in wrapped), default=0) * -(-len(wrapped) // 2)
        if lines * size + told.count("\n") * SMALL <= 12 * SMALL:
            break
    placed = page.legend(
        handles, wrapped, loc="outside lower center", ncols=2, fontsize=size, frameon=False, handlelength=2.5,
        title=told, title_fontsize=SMALL,
    )  # fmt: skip
    for text in placed.get_texts():
        text.set_parse_math(False)
    page.suptitle(textwrap.fill(heading, 60), fontsize=LARGE, fontweight="bold", parse_math=False)
