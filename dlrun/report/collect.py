"""The tables of a sweep, sweep.csv and curves.csv, from its runs' folders alone."""

from __future__ import annotations

import csv
import functools
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING, Any, TypeVar

from dlrun.errors import ConfigError
from dlrun.files.opening import appending, beginning
from dlrun.files.replacing import replacing
from dlrun.folder import wellformed
from dlrun.folder.columns import NEEDED
from dlrun.folder.contents import read
from dlrun.folder.formulas import unguarded
from dlrun.folder.names import CONFIG, KNOWN_BY, METRICS, OVERRIDES, PLAN, SUMMARY, shell_command
from dlrun.folder.notes import notes_of
from dlrun.folder.packs import PACKED, packed_below
from dlrun.report.cells import BETWEEN, TEXT, Cells, Row, as_typed, cell_of, csv_lines, frame, read_csv, write_csv

if TYPE_CHECKING:
    import pandas as pd

    from dlrun.report.evaluations import Evaluations

SEARCHED = 10_000  #: folders that are searched for runs, without those of runs
SWEEP, CURVES = "sweep.csv", "curves.csv"
HYDRA_YAML = ".hydra/hydra.yaml"
COMPOSED = ".hydra/config.yaml"  #: before its interpolations were resolved
# What summary.json says of a run's end, renamed where an override has the name: `epochs` is how long it was to be.
RENAMED = {"epochs": "last_epoch", "steps": "last_step"}
ORDER = [
    r"status", r"best_(epoch|step)", r"best_", r"last_(epoch|step)", r"last_(?!test_)", r"test_", r"last_test_",
    r"parameters$", r"seconds$", r"width$", r"steps_per_second$", r"lr_sum_infinite$", r"lr_squared_sum_finite$",
    r"reason$", r"error$", r"note$", r"tags$",
]  # fmt: skip


T = TypeVar("T")


def find(folders: Sequence[str | Path]) -> dict[str, Path]:
    """The folders of all runs in or below the folders, in the order of their numbers, by their names in the tables.

    A run's name is its path within the sweep; of several sweeps, or single runs, within the folder that holds them all.
    Links to folders below them are not followed, `linked` has these.
    Raises ConfigError for a folder in which there is no run, or which has so many others that it is no place of runs.
    """
    found: dict[Path, None] = {}
    for folder in (Path(folder).resolve() for folder in folders):
        runs = sorted({*_runs(folder), *packed_below(folder)}, key=lambda run: natural(str(run)))
        if not runs:
            why = "" if folder.is_dir() else ", for it is a file" if folder.exists() else ", for it is not there"
            raise ConfigError(f"{folder} holds no run{why}; give the folders of sweeps or of runs")
        found |= dict.fromkeys(runs)
    roots = [Path(folder).resolve() for folder in folders]
    root = os.path.commonpath([root.parent if root in found else root for root in roots])
    return {run.relative_to(root).as_posix(): run for run in found}


def read_run(folder: str | Path, name: str | None = None) -> Row:
    """A run's row: its name, its overrides as typed and its seed, then its status and results; "" where there is none.

    A run without a summary, because it was killed or still goes on, is interrupted. Raises ConfigError for a file that
    is damaged.
    """
    folder = Path(folder)
    overrides = overrides_of(folder)
    typed, tags = (overrides.pop(key, "") for key in ("note", "tags"))
    if taken := [key for key in overrides if key in TEXT or _rank(key) < len(ORDER)]:
        raise ConfigError(f"{folder / OVERRIDES}: {taken[0]} is the name of a result")
    summary = wellformed.summary(_text(folder, SUMMARY) or '{"status": "interrupted"}', f"{folder}/{SUMMARY}")
    if "seed" not in overrides:
        overrides["seed"] = as_typed(summary["seed"]) if "seed" in summary else configured(folder, ["seed"])["seed"]
    results = {RENAMED.get(key, key): value for key, value in summary.items() if key not in ("note", "tags")}
    results |= notes_of(folder).cells(typed if typed != "null" else "", _listed(tags))
    # cells that runs have alike are one text: of many runs they fill the memory
    return {"run": name or folder.name, **overrides} | {
        key: intern(cell_of(results[key])) for key in sorted(results, key=_rank) if _rank(key) < len(ORDER)
    }


def _listed(text: str) -> list[str]:
    """The parts of a list, as typed."""
    return [part.strip(" '\"") for part in text.strip("[]").split(",") if part.strip(" '\"")] if text != "null" else []


def overrides_of(folder: Path) -> Row:
    """A run's overrides as typed. Raises ConfigError where the file that tells of them is damaged."""
    typed = wellformed.overrides(_text(folder, OVERRIDES), f"{folder}/{OVERRIDES}")
    pairs = (override.lstrip("+~").partition("=") for override in typed)
    return {key: as_typed(value) for key, _, value in pairs}


def collect(folders: Sequence[str | Path]) -> pd.DataFrame:
    """sweep.csv's rows of all runs in the folders, finished or not; numbers are numbers."""
    return frame(read_rows(find(folders), []))


def write_tables(folders: Sequence[str | Path], into: str | Path) -> None:
    """Write sweep.csv, and curves.csv with a row per run, evaluation and column of its metrics.csv, into a folder.

    The same runs give the same bytes. A run of which a file is damaged is left out. Raises ConfigError for a folder in
    which there is no run that can be read.
    """
    write(find(folders), Path(into))


def write(runs: Mapping[str, Path], into: Path) -> tuple[pd.DataFrame, Evaluations, list[str]]:
    """`write_tables` for runs that were found; returns what is in them, and a line for each run that is left out."""
    from dlrun.report.evaluations import Evaluations

    left_out: list[str] = []
    cells, curves = read_rows(runs, left_out), Evaluations()
    whole: list[int] = []
    with replacing(into / CURVES) as part, open(part, "w", encoding="utf-8", newline="") as file:
        file.write("run,epoch,step,seconds,metric,value\n")
        for at, run in enumerate(cells.columns["run"] if cells else ()):
            if (lines := _told(left_out, _long, run, runs[run], curves)) is not None:
                file.write(lines)
                whole.append(at)
        if not whole:
            raise ConfigError("\n".join(left_out))
    cells.take(cells.columns, whole)
    write_csv(into / SWEEP, cells.columns, cells)
    return frame(cells), curves, left_out


def linked(folders: Sequence[str | Path]) -> list[str]:
    """A line for each link to a folder that `find` does not follow, in or below the folders but not in their runs."""
    links = [link for folder in folders for link in _runs(Path(folder).resolve(), links=True)]
    return [f"{link} is a link, and is not followed: name the folder that it leads to" for link in links]


def _told(left_out: list[str], read: Callable[..., T], *arguments: Any) -> T | None:
    """What can be read of a run; where it is damaged, None, and a line more about what is left out."""
    try:
        return read(*arguments)
    except (ConfigError, OSError) as problem:
        why = f"{problem.filename}: {problem.strerror}" if isinstance(problem, OSError) else problem
        left_out.append(f"left out: {why}")
        return None


def append_run(sweep: str | Path, folder: str | Path) -> None:
    """Add the row of a run that has ended to sweep.csv, while the sweep goes on; for one process at a time.

    The header is that of the first run. A column that it lacks is added to all rows, and stays empty where a run has
    no such result. `write_tables` brings the rows into the order of their numbers in the end.
    """
    sweep, folder = Path(sweep).resolve(), Path(folder).resolve()
    row = read_run(folder, folder.relative_to(sweep).as_posix())
    header: list[str] = []
    if (sweep / SWEEP).exists():
        first = beginning(sweep, SWEEP).split("\n")[0]  # the rows of a thousand runs would be read a thousand times
        header = next(csv.reader([first]), [])
        header = header if BETWEEN in header else []  # damaged: in the end `write_tables` makes all of it anew
    columns = columns_of([dict.fromkeys(header, ""), row]) if header else list(row)
    row |= _wanting(row, folder, columns)
    if columns == header:
        with appending(sweep / SWEEP) as file:
            file.write(csv_lines(header, [row]))
    else:
        before = (_told([], read_csv, sweep / SWEEP) if header else None) or Cells()
        others = [each | _wanting(each, sweep / each["run"], columns) for each in before]
        write_csv(sweep / SWEEP, columns, [*others, row])


def drop_runs(sweep: Path, names: Collection[str]) -> None:
    """Take the rows of these runs, which go on, out of sweep.csv: they are added again as they end."""
    if (sweep / SWEEP).exists():
        cells = _told([], read_csv, sweep / SWEEP) or Cells()
        others = [row for row in cells if row.get("run") not in names]
        if len(others) < len(cells):
            write_csv(sweep / SWEEP, cells.columns, others)


def table(folder: str | Path) -> pd.DataFrame:
    """A sweep's sweep.csv with numbers as numbers. Raises ConfigError where there is none."""
    if not (Path(folder) / SWEEP).exists():
        raise ConfigError(
            f"{folder} has no {SWEEP}; `{shell_command('report', folder)}` makes it from the runs' folders"
        )
    return frame(read_csv(Path(folder) / SWEEP))


def curves(folder: str | Path) -> pd.DataFrame:
    """A sweep's curves.csv. Raises ConfigError where there is none."""
    import pandas as pd

    if not (Path(folder) / CURVES).exists():
        raise ConfigError(
            f"{folder} has no {CURVES}; `{shell_command('report', folder)}` makes it from the runs' folders"
        )
    types: dict[str, Any] = {"run": str, "metric": "category"}
    missing = {column: ["", "nan"] for column in ("seconds", "value")}  # a folder may be named NA
    content = pd.read_csv(Path(folder) / CURVES, dtype=types, keep_default_na=False, na_values=missing)
    odd = {run: own for run in content["run"].unique() if (own := unguarded(run)) != run}
    return content.replace({"run": odd}) if odd else content


def _runs(folder: str | Path, links: bool = False) -> Iterator[Path]:
    """The folders of runs in a folder, which may be one itself; a job that died at its start has left `.hydra` only.

    links: the links to folders that are found on the way, in place of the runs.
    Raises ConfigError where more than `SEARCHED` folders on the way are none of runs.
    """
    waiting, searched = [str(folder)] if os.path.isdir(folder) else [], 0
    while waiting:
        here = waiting.pop()
        with os.scandir(here) as entries:
            inside = {entry.name: entry for entry in entries}
        if not inside.keys().isdisjoint(KNOWN_BY) or (".hydra" in inside and inside[".hydra"].is_dir()):
            if not links:
                yield Path(here)
            continue
        if {PACKED, PLAN} <= inside.keys() and not links:
            yield from packed_below(Path(here))
        searched += 1
        if searched > SEARCHED:
            raise ConfigError(
                f"{folder} has more than {SEARCHED:,} folders that hold no run: give the folders of sweeps or of runs"
            )
        for name, entry in inside.items():
            if not name.startswith(".") and entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif links and entry.is_symlink() and entry.is_dir():
                yield Path(entry.path)


def natural(text: str) -> list[str | int]:
    """Sorts 10 after 9."""
    parts = re.split(r"(\d+)", text)  # texts and numbers in turns
    return [int(part) if at % 2 else part for at, part in enumerate(parts)]


def read_rows(runs: Mapping[str, Path], left_out: list[str]) -> Cells:
    """sweep.csv's rows of runs that were found, from their folders; a line for each that cannot be read."""
    cells = Cells()
    orders: dict[tuple[str, ...], None] = {}
    for name, folder in runs.items():
        if row := _told(left_out, read_run, folder, name):
            cells.add(row)
            orders[tuple(row)] = None  # few differ
    if not cells:
        return cells
    header = columns_of(map(dict.fromkeys, orders))
    whole: list[int] = []
    for at, row in enumerate(cells):
        if (found := _told(left_out, _wanting, row, runs[row["run"]], header)) is not None:
            cells.put(at, found)
            whole.append(at)
    cells.take(header, whole)
    return cells


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """All columns: overrides in the order of their appearance, then results."""
    overrides: dict[str, None] = {}
    results: dict[str, None] = {}
    for row in rows:
        keys = list(row)
        at = keys.index(BETWEEN)
        overrides |= dict.fromkeys(keys[:at])
        results |= dict.fromkeys(keys[at:])
    return [*overrides, *sorted(results, key=_rank)]


@functools.cache  # a sweep asks for the same few names again and again
def _rank(result: str) -> int:
    """Where a result's column stands; len(ORDER) for what summary.json says besides."""
    return next((rank for rank, form in enumerate(ORDER) if re.match(form, result)), len(ORDER))


def _wanting(row: Row, folder: Path, header: Sequence[str]) -> Row:
    """The overrides of the header that a run did without, with the values in its config."""
    missing = [key for key in header[1 : header.index(BETWEEN)] if not row.get(key)]
    return configured(folder, missing) if missing else {}


def config_of(folder: Path) -> dict[str, Any]:
    """A run's config.yaml; empty for a run that died before it had one. Raises ConfigError for one that is damaged."""
    return wellformed.mapping(_text(folder, CONFIG), f"{folder}/{CONFIG}")


def composed_of(folder: Path) -> dict[str, Any]:
    """The config as Hydra composed it, with its interpolations; empty where there is none. ConfigError as above."""
    return wellformed.mapping(_text(folder, COMPOSED), folder / COMPOSED)


def config_text(folder: Path) -> str:
    """A run's config.yaml as it stands there."""
    return _text(folder, CONFIG)


def digest_of(folder: Path) -> str | None:
    """The digest of the data that a run was trained on; None where it did not come so far. ConfigError as above."""
    text = _text(folder, SUMMARY)
    digest = wellformed.summary(text, folder / SUMMARY).get("data") if text else None
    return intern(digest) if type(digest) is str else digest  # many runs have it alike


def configured(folder: Path, keys: Sequence[str]) -> Row:
    """What a run's config says of the keys, as typed; of a group, the name of the choice."""
    config = config_of(folder)
    values = {}
    for key in keys:
        node: Any = config
        for part in key.split("."):
            node = node.get(part, "") if isinstance(node, dict) else ""
        if isinstance(node, dict):
            node = wellformed.mapping(_text(folder, HYDRA_YAML), folder / HYDRA_YAML)
            for part in ("hydra", "runtime", "choices", key):
                node = node.get(part, "") if isinstance(node, dict) else ""
        values[key] = as_typed(node)
    return values


def _long(name: str, folder: Path, curves: Evaluations) -> str:
    """A run's lines of curves.csv, and its numbers into `curves`; a last line cut short by a crash is left out."""
    columns, rows = wellformed.metrics(_text(folder, METRICS), f"{folder}/{METRICS}", NEEDED[METRICS])
    try:
        run = csv_lines(["run"], [{"run": name}]).rstrip("\n")
        run.encode()
    except (csv.Error, UnicodeEncodeError) as problem:
        raise ConfigError(f"{folder}: the name of the folder cannot be written into a table ({problem})") from problem
    curves.add(name, columns, rows)
    lines = []
    for row in rows:
        cells = dict(zip(columns, row, strict=True))
        start = f"{run},{cells.pop('epoch')},{cells.pop('step')},{cells.pop('seconds')},"
        lines += [f"{start}{metric},{value}\n" for metric, value in cells.items()]
    return "".join(lines)


def _text(folder: Path, name: str) -> str:
    """What stands in a file; nothing where there is none."""
    try:
        return read(folder, name)
    except (FileNotFoundError, NotADirectoryError):
        return ""
