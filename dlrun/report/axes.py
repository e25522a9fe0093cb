"""The parallel axes of a report: one for each key in which settings differ and for each result, and where on them a
setting lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isnan
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray

from dlrun.plots.comparison import is_logarithmic
from dlrun.report.findings import Findings
from dlrun.report.grid import short
from dlrun.report.statistics import finite
from dlrun.report.tables import lacking, typed
from dlrun.terminal.console import number
from dlrun.terminal.printable import in_line

NAMED = 10  #: different values of a key that are all named
ASIDE = 0.1  #: of an axis' height, for each value that has no place on its scale
DECADE = 10.0


def axes_of(found: Findings, settings: pd.DataFrame) -> list[dict[str, Any]]:
    """The axes of these settings, rows of the findings' own: none where nothing differs.

    Each has its name, scale (linear, log or words), ticks [place, text], and each setting's place between 0 and 1 and
    text.
    """
    if not found.axes:
        return []
    keys = dict(zip(found.axes, short(found.axes), strict=True))
    axes = [_swept(settings[key], keys[key]) for key in found.axes]
    arrow = "↑ is better" if found.larger_is_better else "↓ is better"
    results = {found.chosen_by: "val", found.quoted: "mean"}
    for name, column in results.items():
        values = settings[column].to_numpy(float)
        short_name = name.removeprefix("best_").replace("_", " ", 1)
        axes.append(_axis(short_name, values, number, log=is_logarithmic(name, values), note=arrow))
    for lost in ("diverged", "failed"):
        if settings[lost].any():
            shares = (100 * settings[lost] / settings["runs"]).to_numpy(float)
            axes.append(_axis(lost, shares, number, note="% of runs"))
    return axes


def _swept(values: pd.Series, name: str) -> dict[str, Any]:
    if pd.api.types.is_numeric_dtype(values):
        numbers = values.to_numpy(float)
        return _axis(name, numbers, typed, log=swept_in_logarithm(numbers))
    texts = [typed(value) for value in values]
    words = sorted({text for text in texts if text}, reverse=True)
    words.sort(key=_number)
    places = {word: (i + 0.5) / len(words) for i, word in enumerate(words)}
    start = ASIDE if "" in texts else 0.0
    at = [round(start + (1 - start) * places[text], 4) if text else 0.0 for text in texts]
    ticks = sorted({(place, text or "none") for place, text in zip(at, texts, strict=True)})
    return {"name": in_line(name), "scale": "words", "note": "", **_told(at, ticks, [text or "none" for text in texts])}


def _axis(
    name: str, values: NDArray[np.float64], told: Callable[[float], str], *, log: bool = False, note: str = ""
) -> dict[str, Any]:
    """An axis of numbers. What has no place on its scale, such as 0 on a logarithmic one, lies below its beginning."""
    texts = ["none" if lacking(value) else told(value) for value in values.tolist()]
    able = np.isfinite(values) & (values > 0 if log else True)
    aside = list(dict.fromkeys(text for text, has in zip(texts, able, strict=True) if not has))
    start = min(0.5, ASIDE * len(aside))
    scaled = np.log10 if log else np.asarray
    ends = scaled(finite(values[able])) if able.any() else np.zeros(1)
    low, high = float(ends.min()), float(ends.max())

    def place(value: float) -> float:
        share = (float(scaled(np.array(value))) - low) / (high - low) if high > low else 0.5
        return round(start + (1 - start) * share, 4)

    below = {text: round(start * i / len(aside), 4) for i, text in enumerate(aside)}
    at = [place(value) if has else below[text] for value, text, has in zip(values.tolist(), texts, able, strict=True)]
    distinct = np.unique(values[able])
    if not len(distinct):
        ticks = []
    elif note == "" and len(distinct) <= NAMED:  # of results, few are the same
        ticks = [(place(value), told(value)) for value in distinct.tolist()]
    else:
        locator = LogLocator(subs=(1,) if high - low > 2 else (1, 2, 5)) if log else MaxNLocator(5)
        nice = np.asarray(locator.tick_values(distinct[0], distinct[-1])).tolist()
        ticks = [(place(value), f"{value:g}") for value in nice if distinct[0] <= value <= distinct[-1]]
    ticks = [*((level, text) for text, level in below.items()), *ticks]
    return {"name": in_line(name), "scale": "log" if log else "linear", "note": note, **_told(at, ticks, texts)}


def _told(at: Sequence[float], ticks: Sequence[tuple[float, str]], texts: Sequence[str]) -> dict[str, Any]:
    return {
        "ticks": [[place, in_line(text)] for place, text in ticks],
        "at": list(at),
        "texts": [in_line(text) for text in texts],
    }


def swept_in_logarithm(values: NDArray[np.float64]) -> bool:
    """Whether values lie more evenly on a logarithmic scale than on a linear one: 0.001, 0.01, 0.1. Of two values,
    whether they are a decade apart. A 0 beside them is what is switched off."""
    tried = np.unique(finite(values))
    if len(tried) and tried[0] < 0:
        return False
    tried = tried[tried > 0]
    if len(tried) < 3:
        return len(tried) == 2 and tried[1] / tried[0] >= DECADE
    gaps = [np.diff(tried), np.diff(np.log(tried))]
    linear, logarithmic = (float(each.std() / each.mean()) for each in gaps)
    return logarithmic < linear


def _number(word: str) -> float:
    """What numbers among words are sorted by, from below; words stand above, from the top by the alphabet."""
    try:
        value = float(word)
    except ValueError:
        return inf
    return inf if isnan(value) else value
