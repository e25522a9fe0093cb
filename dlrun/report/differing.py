"""What two runs or two sweeps differ in: config, versions, data, results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite, nan
from pathlib import Path
from typing import Any

import pandas as pd

from dlrun.config.check import leaves
from dlrun.errors import ConfigError
from dlrun.folder.notes import notes_of
from dlrun.folder.reading import read_summary, summary_of
from dlrun.report import collect
from dlrun.report.comparison import compare
from dlrun.report.findings import metrics_of
from dlrun.report.grid import NOTHING, Cell, Grid
from dlrun.report.settings import IGNORED
from dlrun.report.statistics import FINISHED
from dlrun.report.strata import REPEATS, SPLIT_SEED, apart, overrides, varied
from dlrun.report.tables import lacking, name, typed
from dlrun.terminal.console import counted, number, say
from dlrun.terminal.printable import in_line

MOST = 40  #: rows of a table
TEXTS = 40  #: letters of a value
NAMED = 3  #: settings that only one of two sweeps has, and that are named
RESULTS = ("best_", "last_", "test_")
SAME = "-"


def differ(a: Path, b: Path) -> None:
    """Print it. Raises ConfigError where a folder holds no run, and where one is a run's and the other a sweep's."""
    from rich.console import Console

    sides = [collect.find([folder]) for folder in (a, b)]
    single = [len(runs) == 1 and folder.resolve() in runs.values() for folder, runs in zip((a, b), sides, strict=True)]
    if single[0] != single[1]:
        raise ConfigError(f"diff: {a if single[0] else b} is a run's folder, and {b if single[0] else a} a sweep's")
    runs = [list(side.values()) for side in sides]
    grids = [*(_of_runs(runs[0][0], runs[1][0]) if single[0] else _of_sweeps(a, b, runs))]
    console = Console()
    say(f"A: {a}\nB: {b}")
    for grid in grids:
        say("")
        say(grid.title)
        if grid.rows:
            grid.show(console, MOST)
            if len(grid.rows) > MOST:
                say(f"and {len(grid.rows) - MOST} more")
        if grid.remark:
            say(grid.remark)


def _of_runs(a: Path, b: Path) -> Iterator[Grid]:
    summaries = [summary_of(folder) for folder in (a, b)]
    yield _both("Config", [_leaves(folder) for folder in (a, b)], "they agree, but for what changes no number")
    yield from _around([[each] for each in summaries], [[a], [b]])
    results = [_results(each) for each in summaries]
    rows = []
    for key in dict.fromkeys([*results[0], *results[1]]):
        one, other = (each.get(key, nan) for each in results)
        cells = [_number(one), _number(other), _number(other - one, "+.4g")]
        rows.append([Cell(in_line(key)), *cells])
    ends = [f"{side}: {each['status'].replace('_', ' ')}" for side, each in zip("AB", summaries, strict=True)]
    yield Grid("Results", ["what", "A", "B", "B - A"], rows, "; ".join(ends), [True, False, False, False])


def _of_sweeps(a: Path, b: Path, runs: list[list[Path]]) -> Iterator[Grid]:
    roots = [folder.resolve() for folder in (a, b)]
    if roots[0] == roots[1]:
        raise ConfigError("diff: both folders are the same")
    left_out: list[str] = []
    found = collect.find([a, b])
    sides = {name: int(folder not in runs[0]) for name, folder in found.items()}
    rows = collect.read_rows(found, left_out)
    if not rows:
        raise ConfigError("\n".join(left_out))
    table = collect.frame(rows)
    table = table.assign(side=table["run"].map(sides))
    keys = [key for key in overrides(table) if key not in ("name", "seed")]
    values = [{key: _swept(table.loc[table["side"] == side, key]) for key in (*keys, "seed")} for side in (0, 1)]
    yield _both("Config, of all runs", values, "the same keys with the same values")
    yield from _around([[each for folder in some if (each := _summary(folder))] for some in runs], runs)
    within = {key for side in (0, 1) for key in apart(table[table["side"] == side])}
    axes = [key for key in keys if key in within and key not in REPEATS]
    yield _compared(table, axes, found)
    for line in left_out:
        say(line)


def _setting(axes: Sequence[str], values: Sequence[Any]) -> str:
    return in_line(name(dict(zip(axes, values, strict=True)))) or "all runs"


def _compared(table: pd.DataFrame, axes: list[str], found: Mapping[str, Path]) -> Grid:
    """The results of the settings that both sweeps have, paired by seed, fold and split."""
    finished = table[table["status"].isin(FINISHED)]
    if finished.empty:
        return Grid("Results", [], [], "no run has finished")
    metric, _ = metrics_of(found[finished["run"].iloc[0]])
    column = f"test_{metric}" if f"test_{metric}" in table else f"best_val_{metric}"
    pairs = [key for key in (*REPEATS, "seed") if key in table and (key != SPLIT_SEED or key in varied(table))]
    rows = []
    known = [
        {_setting(axes, each) for each in table.loc[table["side"] == side, axes].itertuples(index=False, name=None)}
        for side in (0, 1)
    ]
    only: list[list[str]] = [[], []]  #: the settings that one of the sweeps lacks
    alone: list[list[str]] = [[], []]  #: those that it has, and none of whose runs has finished there
    groups = finished.groupby(axes, sort=False, dropna=False) if axes else [((), finished)]
    for values, own in groups:
        halves = [own[own["side"] == side].set_index(pairs)[column] for side in (0, 1)]
        setting = _setting(axes, values)
        if not all(map(len, halves)):
            at = 0 if len(halves[0]) else 1
            (alone if setting in known[1 - at] else only)[at].append(setting)
            continue
        one, other = (half[~half.index.duplicated()].reset_index(drop=False) for half in halves)
        joined = one.merge(other, on=pairs, suffixes=("_a", "_b"))
        told = compare(joined[f"{column}_b"], joined[f"{column}_a"])
        interval = f"{number(told.low, '+.3g')} – {number(told.high, '+.3g')}" if isfinite(told.low) else SAME
        rows.append(
            [
                Cell(setting),
                *(Cell(f"{number(half.mean())} (n = {len(half)})") for half in halves),
                _number(told.difference, "+.3g"),
                Cell(interval),
                Cell(str(told.n)),
            ]
        )
    sentence = f"B - A, paired by {', '.join(pairs)}, with Student's or the bootstrap's interval of this row alone."
    also = [
        f"{counted(len(some), 'setting')} {what} ({', '.join(some[:NAMED])}{', ...' * (len(some) > NAMED)})"
        for i, a in enumerate("AB")
        for what, some in (
            (f"only in {a}", only[i]),
            (f"finished only in {a}, though both have runs of them", alone[i]),
        )
        if some
    ]
    columns = ["setting", "A", "B", "B - A", "95 % interval", "n"]
    remark = " ".join([sentence if rows else "They have no setting in common.", f"{'; '.join(also)}." if also else ""])
    return Grid(f"Results: {column}", columns, rows, remark.strip(), [True, False, False, False, False, False])


def _around(summaries: list[list[dict[str, Any]]], runs: list[list[Path]]) -> Iterator[Grid]:
    """Versions, data, how many runs there are, and what was written of them. summaries: of A's and of B's runs."""
    yield _both("Versions", [_gathered(each, _versions) for each in summaries], "the same")
    yield _both("Data", [_gathered(each, _data) for each in summaries], "the same samples, by their digest")
    if max(map(len, runs)) > 1:
        counts = [_counts(each, len(some)) for each, some in zip(summaries, runs, strict=True)]
        yield _both("Runs", counts, "as many, and they ended alike")
    else:
        notes = [notes_of(some[0]).cells() for some in runs]
        if any(notes):
            yield _both("Notes", notes, "the same")


def _both(title: str, sides: list[dict[str, str]], same: str) -> Grid:
    a, b = sides
    rows = [
        [Cell(in_line(key)), Cell(_short(a.get(key))), Cell(_short(b.get(key)))]
        for key in dict.fromkeys([*a, *b])
        if a.get(key) != b.get(key)
    ]
    return Grid(title, ["what", "A", "B"], rows, "" if rows else same, [True, True, True])


def _short(value: str | None) -> str:
    text = in_line("no such key" if value is None else value)
    return text if len(text) <= TEXTS else f"{text[: TEXTS - 1]}…"


def _leaves(folder: Path) -> dict[str, str]:
    config = {key: value for key, value in collect.config_of(folder).items() if key not in IGNORED or key == "seed"}
    return {".".join(path): typed(collect.as_typed(value)) for path, value in leaves(config)}


def _swept(values: pd.Series) -> str:
    """The different values of a key, as one types them."""
    different = values.drop_duplicates()
    told = ["none" if lacking(value) else typed(value) for value in different.sort_values(key=lambda x: x.astype(str))]
    return ",".join(told) if len(told) <= 10 else f"{','.join(told[:5])}, … ({len(told)} values)"


def _summary(folder: Path) -> dict[str, Any] | None:
    try:
        return read_summary(folder)
    except (ConfigError, OSError):
        return None


def _gathered(summaries: list[dict[str, Any]], of: Callable[[dict[str, Any]], dict[str, str]]) -> dict[str, str]:
    """What summaries say, each key with its different values."""
    found: dict[str, dict[str, None]] = {}
    for summary in summaries:
        for key, value in of(summary).items():
            found.setdefault(key, {})[value] = None
    return {key: " and ".join(values) for key, values in found.items()}


def _versions(summary: dict[str, Any]) -> dict[str, str]:
    versions = summary.get("versions")
    told = {str(key): str(value) for key, value in versions.items()} if isinstance(versions, dict) else {}
    for key in ("git_commit", "git_dirty", "device", "threads"):
        if key in summary:
            told[key] = str(summary[key])
    return told


def _data(summary: dict[str, Any]) -> dict[str, str]:
    told = {"digest": f"{summary['data'][:12]}…"} if summary.get("data") else {}
    dataset = summary.get("dataset")
    if isinstance(dataset, dict):
        told |= {key: str(dataset[key]) for key in ("task", "shape", "split") if key in dataset}
        if isinstance(rows := dataset.get("rows"), dict):
            told["rows"] = ", ".join(f"{count} {part}" for part, count in rows.items())
    return told


def _counts(summaries: list[dict[str, Any]], runs: int) -> dict[str, str]:
    counts = pd.Series([str(summary["status"]) for summary in summaries], dtype=str).value_counts()
    unended = {"without an end": str(runs - len(summaries))} if runs > len(summaries) else {}
    return {"runs": str(runs), **{str(status): str(count) for status, count in counts.items()}, **unended}


def _results(summary: dict[str, Any]) -> dict[str, float]:
    keys = [key for key in summary if key.startswith(RESULTS) or key in ("seconds", "parameters")]
    return {key: float(summary[key]) for key in keys if isinstance(summary[key], int | float)}


def _number(value: float, form: str = "#.4g") -> Cell:
    return Cell(number(value, form), value) if isfinite(value) else NOTHING
