"""What diagnostics saw while a sweep's networks trained: a panel for each setting, all on the same axes."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from dlrun.plots.comparison import DRAWN
from dlrun.plots.diagnostics.layers import LAST, MAP, depths, of_quantity, unit_of, weights
from dlrun.plots.page import FEW, LARGE, SMALL, TRAIN, VAL, competition, gaps, is_wide, log_if_wide, shortened, whole

PERCENTILES = (15, 50, 85)  #: as Ioffe & Szegedy 2015, arXiv:1502.03167, show them in figure 1
MARGIN = 0.05  #: of the height, above and below
LINES = 3  #: of a setting's name above its panel


class Look(NamedTuple):
    """What of a diagnostic's table is shown, over the training.

    label: of the vertical axis. values: a column for each percentile, or for each layer where `layers` says so.
    """

    label: str
    values: Callable[[pd.DataFrame, str], pd.DataFrame]
    colour: str = TRAIN
    layers: bool = False


def _of_activations(frame: pd.DataFrame, unit: str) -> pd.DataFrame:
    hidden = frame[frame["layer"] != "output"]
    rows = hidden[hidden["layer"] == hidden["layer"].iloc[-1]]
    return _percentiles(rows, unit, "input_" if "input_p50" in set(rows["quantity"]) else "")


def _of_weights(frame: pd.DataFrame, unit: str) -> pd.DataFrame:
    rows = weights(frame)
    return _percentiles(rows[rows["layer"] == rows["layer"].iloc[0]], unit)


def _percentiles(rows: pd.DataFrame, unit: str, prefix: str = "") -> pd.DataFrame:
    found = {f"p{p}": of_quantity(rows, f"{prefix}p{p}", unit).iloc[:, 0] for p in PERCENTILES}
    return pd.DataFrame(found)


def _of_gradients(frame: pd.DataFrame, unit: str) -> pd.DataFrame:
    return of_quantity(weights(frame), "norm", unit)


def _of_updates(frame: pd.DataFrame, unit: str) -> pd.DataFrame:
    return of_quantity(weights(frame[frame["layer"] != "all"]), "ratio", unit)


LOOKS = {
    "activations": Look("last hidden layer's inputs", _of_activations, VAL),
    "gradients": Look("norm of gradients in weights", _of_gradients, layers=True),
    "weights": Look("entries of the first weight", _of_weights),
    "updates": Look("‖Δθ‖ / ‖θ‖ of weights", _of_updates, layers=True),
}


def figure(
    diagnostic: str,
    tables: Mapping[str, Sequence[pd.DataFrame]],
    heading: str,
    *,
    over: str = "seeds",
    left_out: str = "",
) -> Figure:
    """The look of this diagnostic into the networks of each setting, of 8 at most; means over its runs.

    tables: by the settings' names, the best first, the tables of their runs. A line ends where the first of its runs
    does. The axes have what the better half of the settings takes, and what of the others is not far off.
    over: what the runs of a setting are. left_out: what the picture has to say of settings that it lacks.
    """
    look, shown = LOOKS[diagnostic], dict(list(tables.items())[:DRAWN])
    unit = "epoch" if any(unit_of(frame) == "epoch" for frames in shown.values() for frame in frames) else "step"
    found = {name: _mean([look.values(frame, unit) for frame in frames]) for name, frames in shown.items()}
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    columns = 1 if len(found) == 1 else 2 if len(found) in (2, 4) else 3 if len(found) <= 6 else 4
    panels = page.subplots(-(-len(found) // columns), columns, sharex=True, sharey=True, squeeze=False)
    size = SMALL - 2 * max(0, columns - 2)
    letters = int((1250 if look.layers else 1400) / columns / size)  # in a line above a panel
    for axes, (name, values) in zip(panels.flat, found.items(), strict=False):
        _lines(axes, values) if look.layers else _band(axes, values, look.colour)
        if nothing := _nothing(values, look.layers):
            axes.text(0.5, 0.5, nothing, transform=axes.transAxes, ha="center", va="center", fontsize=size)
        folded = textwrap.wrap(name, letters)
        if len(folded) > LINES:
            folded = [*folded[: LINES - 1], shortened(" ".join(folded[LINES - 1 :]), letters)]
        axes.set_title("\n".join(folded), fontsize=size, parse_math=False)
        axes.tick_params(labelsize=size)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    lowest = [*panels[-1]]
    for place in range(len(found) - panels.size, 0):  # nothing is below what is above these
        lowest[place].set_visible(False)
        lowest[place] = panels[-2, place]
        lowest[place].tick_params(labelbottom=True)
    for axes in lowest:
        axes.set_xlabel(unit, fontsize=LARGE - 2 * max(0, columns - 2))
    told = _scale(panels[0, 0], list(found.values()), look.layers)
    whole(panels[0, 0])
    if all(len(values) == 1 for values in found.values()):
        at = max(values.index[0] for values in found.values())
        panels[0, 0].set_xlim(at - 0.7, at + 0.7)
    page.supylabel(look.label, fontsize=LARGE)
    if look.layers:
        bar = page.colorbar(ScalarMappable(Normalize(0, 1), depths()), ax=panels, pad=0.01, aspect=40, ticks=[0, 1])
        bar.ax.set_yticklabels(["first\nlayer", "last\nlayer"], fontsize=size)
    what = f"mean over {over}" if look.layers else f"15th, 50th and 85th percentile, mean over {over}"
    sentence = textwrap.fill("; ".join(filter(None, [left_out, what, told])), 88)
    page.legend([], [], loc="outside lower center", frameon=False, title=sentence, title_fontsize=SMALL)
    heading = textwrap.fill(f"{diagnostic}: {heading}", 60)
    page.suptitle(heading, fontsize=LARGE, fontweight="bold", parse_math=False)
    return page


def _mean(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Of tables with the same columns, over the moments that all of them have."""
    common = reduce(pd.Index.intersection, [table.index for table in tables])
    return reduce(pd.DataFrame.add, [table.loc[common] for table in tables]) / len(tables)


def _band(axes: Axes, values: pd.DataFrame, colour: str) -> None:
    low, middle, high = (gaps(values[column]) for column in values)
    few = "o" if len(values) <= FEW else None
    axes.fill_between(values.index, low, high, color=colour, alpha=0.2, linewidth=0)
    for line, width in ((low, 1.5), (high, 1.5), (middle, 3)):
        axes.plot(values.index, line, color=colour, linewidth=width, marker=few, markersize=4 if width < 3 else 6)


def _lines(axes: Axes, values: pd.DataFrame) -> None:
    few = "o" if len(values) <= FEW else None
    for column, place in zip(values, np.linspace(0, LAST, len(values.columns)), strict=True):
        line = values[column].where(values[column] > 0)
        axes.plot(values.index, gaps(line), color=MAP(place), linewidth=2, marker=few, markersize=4)


def _nothing(values: pd.DataFrame, layers: bool) -> str:
    """Why a panel is empty, where it is."""
    finite = values.to_numpy(float)[np.isfinite(values.to_numpy(float))]
    if not len(finite):
        return "not finite" if len(values) else "no moment in common"
    return "0 throughout" if layers and not finite.any() else ""


def _scale(axes: Axes, found: Sequence[pd.DataFrame], layers: bool) -> str:
    """Choose the vertical axis of all panels; returns what is to be said of it."""
    values = [table.to_numpy(float) for table in found]
    values = [each[np.isfinite(each) & (each > 0 if layers else True)] for each in values]
    said = []
    if layers and any((table == 0).to_numpy().any() for table in found):
        said.append("a gap where it is 0")
    everything = np.concatenate(values)
    logarithmic = layers and is_wide(everything)
    heights = [np.log10(each) if logarithmic else each for each in values if len(each)]
    if not heights:
        return "; ".join([*said, "nothing is finite"])
    low, high, outside = competition([(each.min(), each.max()) for each in heights])
    if outside:
        said.append(f"of {len(outside)} not all is in view")
    if logarithmic:
        inside = everything[(np.log10(everything) >= low) & (np.log10(everything) <= high)]
        if not log_if_wide(axes, inside):
            logarithmic, low, high = False, 10**low, 10**high
    if high > low:
        margin = MARGIN * (high - low)
        low, high = low - margin, high + margin
        axes.set_ylim((10**low, 10**high) if logarithmic else (low, high))
    return "; ".join(said)
