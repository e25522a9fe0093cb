"""Which pictures a sweep gets, from its findings and curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dlrun.errors import ConfigError
from dlrun.folder.names import FRONT, METRICS, films_of, form_of, in_all_forms, table_of
from dlrun.plots import beside, comparison, datasets, effects, film, front, sensitivity
from dlrun.plots.diagnostics import race
from dlrun.plots.page import content, png
from dlrun.plots.pictures import drawable
from dlrun.report.across import Across
from dlrun.report.beside import seen
from dlrun.report.collect import config_of
from dlrun.report.effects import Effects
from dlrun.report.evaluations import Evaluations
from dlrun.report.findings import Findings
from dlrun.report.front import Front, csv_of
from dlrun.report.grid import short
from dlrun.report.race import racers
from dlrun.report.statistics import FINISHED
from dlrun.report.tables import name
from dlrun.terminal.console import counted

FILMS = films_of("race")  #: beside the page, which would be too large with them
PICTURES = ("comparison", "datasets", "front", "effects", "sensitivity", "heatmap", "race", *beside.LOOKS)
NAMES = (*(name for picture in PICTURES for name in in_all_forms(f"{picture}.png")), FRONT, *FILMS)


class Pictures(NamedTuple):
    """Those of the page, as PNG, by name; the files beside it, by theirs; and of what form these are."""

    shown: dict[str, bytes]
    files: dict[str, bytes]
    form: str = "png"


def draw(
    found: Findings,
    curves: Evaluations,
    heading: str,
    folders: Mapping[str, Path],
    over: Across | None = None,
    matters: Mapping[str, Effects] | None = None,
    made: Mapping[str, Front] | None = None,
) -> Pictures:
    """The pictures that the sweep has; none where no run has finished. The files are of the form that runs draw.

    folders: of each run. over: what settings are over several datasets. matters: which axis does, by dataset.
    made: the front, by dataset. What cannot be drawn is told in the notes of `found`.
    """
    form = form_of(config_of(folders[found.table["run"].iloc[0]]))
    pictures = Pictures({}, {}, form)
    any_value = bool(found.settings["n"].any())

    def add(name: str, page: Figure) -> None:
        pictures.shown[name] = png(page)
        pictures.files[f"{name}.{form}"] = pictures.shown[name] if form == "png" else content(page, form)

    settings, rows = found.settings, found.settings.to_dict("records")
    labels = [label_of(row, found.axes) or "all runs" for row in rows]
    fates = fates_of(found.table)
    with _told(found, "curves", METRICS):
        for name, page in _of_results(found, curves, heading, labels, fates, over) if any_value else ():
            add(name, page)
    if made:
        pictures.files[FRONT] = csv_of(made)
        add("front", front.figure({name: _drawn(each) for name, each in made.items()}, heading))
    if not any_value:
        return pictures
    if matters:
        add("effects", effects.figure({name: _bars(each) for name, each in matters.items()}, heading, _rests(matters)))
    by_setting = dict(zip(settings["setting"], labels, strict=True))
    for diagnostic in beside.LOOKS:
        with _told(found, diagnostic, table_of(diagnostic)):
            told = {key: f"{label} ({fates[key]})" if key in fates else label for key, label in by_setting.items()}
            tables, left_out, damaged = seen(diagnostic, found, folders, told)
            found.notes.extend(damaged)
            if tables:
                add(diagnostic, beside.figure(diagnostic, tables, heading, over=found.repeats.over, left_out=left_out))
    with _told(found, "race", table_of("trajectory")):
        if running := racers(found, folders, by_setting):
            add("race", race.figure(running, heading))
            pictures.files.update(film.films("race", race.pictures(running, heading), comparison.COLOURS))
    return pictures


@contextmanager
def _told(found: Findings, name: str, table: str) -> Iterator[None]:
    """A note in place of what cannot be drawn."""
    try:
        with drawable(Path(table)):
            yield
    except ConfigError as problem:
        found.notes.append(f"there is no picture of {name}: {problem}")


def _of_results(
    found: Findings,
    curves: Evaluations,
    heading: str,
    labels: Sequence[str],
    others: Mapping[str, str],
    over: Across | None,
) -> Iterator[tuple[str, Figure]]:
    """The pictures of what settings came to, by name.

    labels: of the settings. others: what became of runs that have not finished, by setting.
    """
    settings, rows = found.settings, found.settings.to_dict("records")
    column = f"val_{found.metric}"
    ended = found.table[found.table["status"].isin(FINISHED)].groupby("setting", sort=False)
    runs = ended["run"].agg(list)
    drawn = {label: runs[row["setting"]] for label, row in zip(labels, rows, strict=True) if row["n"]}
    gone = pruned_of(found.table)
    fates = {
        label: others[row["setting"]]
        for label, row in zip(labels, rows, strict=True)
        if row["setting"] in others and row["setting"] not in gone
    }
    without = (
        f"; without {counted(len(gone), 'setting')} that {'was' if len(gone) == 1 else 'were'} pruned" if gone else ""
    )
    if found.strata:
        yield from _of_datasets(found, curves, heading, over, without)
    else:
        yield (
            "comparison",
            comparison.figure(
                curves.long([column]), drawn, column, heading, fates, over=found.repeats.over, left_out=without
            ),
        )

    many = comparison.are_many(drawn)
    finals = ended[f"last_{column}"]
    low, high = map(finals.quantile, comparison.QUARTILES) if many else (finals.min(), finals.max())
    ends = {"mean": finals.mean(), "low": low, "high": high}
    data = settings.assign(**{end: settings["setting"].map(value) for end, value in ends.items()})
    lost = ~np.isfinite(data["mean"].astype(float)) & (data["diverged"] == 0)
    if len(data) > 1 and (~lost).sum() < 2 and found.axes:
        of_lost = counted(int(lost.sum()), "setting")
        found.notes.append(f"of {of_lost} no run finished: there is no picture of how the result hangs on the axes")
        return
    if "lr" in found.axes and not found.strata:  # of several datasets the lines would not compare
        rates = pd.to_numeric(data["lr"], errors="coerce")
        words = data.loc[rates.isna(), "lr"].drop_duplicates().tolist()
        rest = [axis for axis in found.axes if axis != "lr"]
        swept = data.assign(lr=rates, line=[label_of(row, rest) for row in rows])[(rates > 0) & ~lost]
        if swept["lr"].nunique() > 1:
            lines = swept["line"].drop_duplicates().tolist()
            left_out = f"; without lr={','.join(map(str, words))}" if words else ""
            left_out += without
            if others_lost := int(lost.sum()) - len(gone):
                left_out += f"; without {counted(others_lost, 'setting')} of which no run finished"
            page = sensitivity.figure(
                swept, lines, f"last {column}", heading, many=many, over=found.repeats.over, left_out=left_out
            )
            yield "sensitivity", page
    if len(found.axes) == 2 and (not found.strata or (over and over.comparable)):
        x, y = found.axes
        told = without.removeprefix("; ")
        page = sensitivity.heatmap(
            data,
            (x, y),
            f"last {column}",
            heading,
            larger_is_better=found.larger_is_better,
            over=found.repeats.over,
            left_out=told,
        )
        yield "heatmap", page


def _drawn(found: Front) -> front.Shown:
    rows = found.table.to_dict("records")
    labels = [label_of(row, found.axes) or "all runs" for row in rows]
    return front.Shown(
        found.table.assign(label=labels), found.objectives, found.larger, found.left_out, found.over, found.shared
    )


def _bars(found: Effects) -> effects.Shown:
    bars = [effects.Bar(each.name, each.share, each.low, each.high, len(each.axes)) for each in found.effects]
    return effects.Shown(bars, found.means, found.numeric, found.metric)


def _rests(matters: Mapping[str, Effects]) -> str:
    """What the shares in the picture are, and what they rest on."""
    first = next(iter(matters.values()))
    runs, settings = (sum(getattr(each, what) for each in matters.values()) for what in ("runs", "settings"))
    how = "functional ANOVA" if all(each.exact for each in matters.values()) else "functional ANOVA, of random forests"
    metric = first.metric if len({each.metric for each in matters.values()}) == 1 else "each main metric"
    line = (
        "; lines: 95 % intervals" if any(isfinite(bar.low) for each in matters.values() for bar in each.effects) else ""
    )
    return f"shares of the variance of {metric}: {how} of {settings:,} settings, {runs:,} runs{line}"


def _of_datasets(
    found: Findings, curves: Evaluations, heading: str, over: Across | None, without: str
) -> Iterator[tuple[str, Figure]]:
    """The pictures of settings on several datasets."""
    axes = next(iter(found.strata.values())).axes
    rows = [row for each in found.strata.values() for row in each.settings.to_dict("records")]
    named = {row["setting"]: label_of(row, axes) or "all runs" for row in rows}
    order = over.table["setting"].tolist() if over else list(named)
    panels = {}
    for dataset, each in found.strata.items():
        good = each.table[each.table["status"].isin(FINISHED)]
        runs = good.groupby("setting", sort=False)["run"].agg(list)
        panels[dataset] = (f"val_{each.metric}", {named[key]: own for key, own in runs.items()})
    gone = {dataset: pruned_of(each.table) for dataset, each in found.strata.items()}
    lost = {
        f"{named[key]} on {dataset}": fate
        for dataset, each in found.strata.items()
        for key, fate in fates_of(each.table).items()
        if key not in gone[dataset]
    }
    ranked_by = "by their mean rank" if over else "in the order of validation on the first dataset"
    page = comparison.on_datasets(
        curves.long({metric for metric, _ in panels.values()}),
        panels,
        heading,
        [named[key] for key in order],
        ranked_by,
        lost,
        left_out=without,
    )
    yield "comparison", page
    if over:
        yield "datasets", datasets.figure(
            over.table, [named[key] for key in order], over.taus, over.profiles, f"test {over.metric}", heading,
            larger_is_better=over.larger_is_better, datasets=len(over.datasets),
        )  # fmt: skip


def label_of(row: Mapping[Any, Any], axes: Sequence[str]) -> str:
    """What tells a setting from its rivals, with the last parts of its keys alone."""
    return name(dict(zip(short(axes), [row[axis] for axis in axes], strict=True)))


def pruned_of(table: pd.DataFrame) -> set[str]:
    """The settings of which all runs were pruned."""
    return set(table["setting"]) - set(table.loc[table["status"] != "pruned", "setting"])


def fates_of(table: pd.DataFrame) -> dict[str, str]:
    """What became of runs that have not finished, by their settings: `2 of 3 diverged`."""
    runs, fates = table["setting"].value_counts(), dict[str, str]()
    lost = Counter(table.loc[~table["status"].isin(FINISHED), ["setting", "status"]].itertuples(index=False, name=None))
    for (setting, status), count in lost.items():
        before = f"{fates[setting]}, " if setting in fates else ""
        fates[setting] = f"{before}{count} of {runs[setting]} {status}"
    return fates
