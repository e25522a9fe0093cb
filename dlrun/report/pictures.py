"""Which pictures a sweep gets, from its findings and curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dlrun.plots import comparison, sensitivity
from dlrun.plots.page import png
from dlrun.report.findings import Findings
from dlrun.report.grid import short
from dlrun.report.statistics import FINISHED
from dlrun.report.tables import name

NAMES = ("comparison.png", "sensitivity.png", "heatmap.png")


def draw(found: Findings, curves: pd.DataFrame, heading: str) -> dict[str, bytes]:
    """Each picture that the sweep has, as PNG, by its name; none where no run has finished."""
    if not found.settings["n"].any():
        return {}
    column, pages = f"val_{found.metric}", {}
    settings = found.settings.to_dict("records")
    runs = dict(iter(found.table.groupby("setting", sort=False)))
    ended = [runs[row["setting"]][runs[row["setting"]]["status"].isin(FINISHED)] for row in settings]
    labels = [_label(row, found.axes) or "all runs" for row in settings]
    drawn = {label: rows["run"].tolist() for row, label, rows in zip(settings, labels, ended, strict=True) if row["n"]}
    fates = {label: fate for row, label in zip(settings, labels, strict=True) if (fate := _fate(runs[row["setting"]]))}
    pages["comparison.png"] = comparison.figure(curves, drawn, column, heading, fates)

    finals = [rows[f"last_{column}"].to_numpy(float) for rows in ended]
    many = comparison.are_many(drawn)
    bands = [comparison.band(final[np.isfinite(final)], many) for final in finals]
    data = found.settings.assign(
        mean=[final.mean() if len(final) else np.nan for final in finals],
        low=[low for low, _ in bands],
        high=[high for _, high in bands],
    )
    if "lr" in found.axes:
        rates = pd.to_numeric(data["lr"], errors="coerce")
        words = data.loc[rates.isna(), "lr"].drop_duplicates().tolist()
        others = [axis for axis in found.axes if axis != "lr"]
        swept = data.assign(lr=rates, line=[_label(row, others) for row in settings])[rates > 0]
        if swept["lr"].nunique() > 1:
            pages["sensitivity.png"] = sensitivity.figure(
                swept, swept["line"].drop_duplicates().tolist(), f"last {column}", heading, many=many,
                left_out=f"; without lr={','.join(map(str, words))}" if words else "",
            )  # fmt: skip
    if len(found.axes) == 2:
        x, y = found.axes
        pages["heatmap.png"] = sensitivity.heatmap(
            data, (x, y), f"last {column}", heading, larger_is_better=found.larger_is_better
        )
    return {picture: png(page) for picture, page in pages.items()}


def _label(row: dict[Any, Any], axes: Sequence[str]) -> str:
    return name(dict(zip(short(axes), [row[axis] for axis in axes], strict=True)))


def _fate(runs: pd.DataFrame) -> str:
    """What became of a setting's runs that have not finished: `2 of 3 diverged`."""
    counts = runs.loc[~runs["status"].isin(FINISHED), "status"].value_counts()
    return ", ".join(f"{count} of {len(runs)} {status}" for status, count in counts.items())
