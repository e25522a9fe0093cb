"""Which pictures a sweep gets, from its findings and curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dlrun.errors import ConfigError
from dlrun.folder.names import table_of
from dlrun.plots import comparison, race, sensitivity
from dlrun.plots.page import png
from dlrun.plots.pictures import drawable
from dlrun.report.findings import Findings
from dlrun.report.grid import short
from dlrun.report.race import racers
from dlrun.report.statistics import FINISHED
from dlrun.report.tables import name

RACE = "race.gif"  #: beside the page, which would be too large with it
NAMES = ("comparison.png", "sensitivity.png", "heatmap.png", "race.png", RACE)


def draw(found: Findings, curves: pd.DataFrame, heading: str, folders: Mapping[str, Path]) -> dict[str, bytes]:
    """Each picture that the sweep has, as PNG or GIF, by its name; none where no run has finished.

    folders: of each run.
    """
    if not found.settings["n"].any():
        return {}
    column, pages = f"val_{found.metric}", {}
    settings, rows = found.settings, found.settings.to_dict("records")
    labels = [_label(row, found.axes) or "all runs" for row in rows]
    ended = found.table[found.table["status"].isin(FINISHED)].groupby("setting", sort=False)
    runs, others = ended["run"].agg(list), _fates(found.table)
    drawn = {label: runs[row["setting"]] for label, row in zip(labels, rows, strict=True) if row["n"]}
    fates = {label: others[row["setting"]] for label, row in zip(labels, rows, strict=True) if row["setting"] in others}
    pages["comparison.png"] = comparison.figure(curves, drawn, column, heading, fates)

    many = comparison.are_many(drawn)
    finals = ended[f"last_{column}"]
    low, high = map(finals.quantile, comparison.QUARTILES) if many else (finals.min(), finals.max())
    ends = {"mean": finals.mean(), "low": low, "high": high}
    data = settings.assign(**{end: settings["setting"].map(value) for end, value in ends.items()})
    if "lr" in found.axes:
        rates = pd.to_numeric(data["lr"], errors="coerce")
        words = data.loc[rates.isna(), "lr"].drop_duplicates().tolist()
        rest = [axis for axis in found.axes if axis != "lr"]
        swept = data.assign(lr=rates, line=[_label(row, rest) for row in rows])[rates > 0]
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
    drawn_pages = {picture: png(page) for picture, page in pages.items()}
    labels = [_label(row, found.axes) or "all runs" for row in rows]
    try:
        with drawable(Path(table_of("trajectory"))):
            running = racers(found, folders, dict(zip(settings["setting"], labels, strict=True)))
            if running:
                drawn_pages |= {"race.png": png(race.figure(running, heading)), RACE: race.animation(running, heading)}
    except ConfigError as problem:
        found.notes.append(f"there is no race: {problem}")
    return drawn_pages


def _label(row: dict[Any, Any], axes: Sequence[str]) -> str:
    return name(dict(zip(short(axes), [row[axis] for axis in axes], strict=True)))


def _fates(table: pd.DataFrame) -> dict[str, str]:
    """What became of runs that have not finished, by their settings: `2 of 3 diverged`."""
    runs, fates = table["setting"].value_counts(), dict[str, str]()
    lost = Counter(table.loc[~table["status"].isin(FINISHED), ["setting", "status"]].itertuples(index=False, name=None))
    for (setting, status), count in lost.items():
        before = f"{fates[setting]}, " if setting in fates else ""
        fates[setting] = f"{before}{count} of {runs[setting]} {status}"
    return fates
