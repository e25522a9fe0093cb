"""The tables of a sweep, sweep.csv and curves.csv, from its runs' folders alone."""

from __future__ import annotations

import csv
import functools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dlrun.errors import ConfigError
from dlrun.records import CONFIG, KNOWN_BY, METRICS, SUMMARY, replacing

if TYPE_CHECKING:
    import pandas as pd

SWEEP, CURVES = "sweep.csv", "curves.csv"
# What summary.json says of a run's end, renamed where an override has the name: `epochs` is how long it was to be.
RENAMED = {"epochs": "last_epoch", "steps": "last_step"}
ORDER = [
    r"status", r"best_(epoch|step)", r"best_", r"last_(epoch|step)", r"last_(?!test_)", r"test_", r"last_test_",
    r"parameters$", r"seconds$", r"width$", r"steps_per_second$", r"lr_sum_infinite$", r"lr_squared_sum_finite$",
    r"error$",
]  # fmt: skip
TEXT = {"run", "status", "error"}  #: columns that are never numbers, whatever stands in them
BETWEEN = "status"  #: the column that parts a run's overrides from its results

Row = dict[str, str]


def find(folders: Sequence[str | Path]) -> dict[str, Path]:
    """The folders of all runs in or below the folders, in the order of their numbers, by their names in the tables.

    A run's name is its path within the sweep; of several sweeps, or single runs, within the folder that holds them all.
    Raises ConfigError for a folder in which there is no run.
    """
    found: dict[Path, None] = {}
    for folder in (Path(folder).resolve() for folder in folders):
        runs = sorted(_runs(folder), key=lambda run: _natural(str(run)))
        if not runs:
            raise ConfigError(f"{folder} holds no run; give the folders of sweeps or of runs")
        found |= dict.fromkeys(runs)
    roots = [Path(folder).resolve() for folder in folders]
    root = os.path.commonpath([root.parent if root in found else root for root in roots])
    return {run.relative_to(root).as_posix(): run for run in found}


def read_run(folder: str | Path, name: str | None = None) -> Row:
    """A run's row: its name, its overrides as typed and its seed, then its status and results; "" where there is none.

    A run without a summary, because it was killed or still goes on, is interrupted.
    """
    folder = Path(folder)
    overrides = overrides_of(folder)
    summary = json.loads(_text(f"{folder}/{SUMMARY}") or '{"status": "interrupted"}')
    if "seed" not in overrides:
        overrides["seed"] = _typed(summary["seed"]) if "seed" in summary else configured(folder, ["seed"])["seed"]
    results = {RENAMED.get(key, key): value for key, value in summary.items()}
    return {"run": name or folder.name, **overrides} | {
        key: _cell(results[key]) for key in sorted(results, key=_rank) if _rank(key) < len(ORDER)
    }


def overrides_of(folder: Path) -> Row:
    """A run's overrides as typed."""
    typed = yaml.load(_text(f"{folder}/.hydra/overrides.yaml"), Loader=yaml.CSafeLoader) or []
    pairs = (override.lstrip("+~").partition("=") for override in typed)
    return {key: _typed(value) for key, _, value in pairs}


def collect(folders: Sequence[str | Path]) -> pd.DataFrame:
    """sweep.csv's rows of all runs in the folders, finished or not; numbers are numbers."""
    return frame(*_rows(find(folders)))


def write_tables(folders: Sequence[str | Path], into: str | Path) -> None:
    """Write sweep.csv, and curves.csv with a row per run, evaluation and column of its metrics.csv, into a folder.

    The same runs give the same bytes. Raises ConfigError for a folder in which there is no run.
    """
    write(find(folders), Path(into))


def write(runs: Mapping[str, Path], into: Path) -> tuple[list[str], list[Row]]:
    """`write_tables` for runs that were found; returns sweep.csv's header and rows."""
    header, rows = _rows(runs)
    _write(into / SWEEP, header, rows)
    with replacing(into / CURVES) as part, open(part, "w", encoding="utf-8", newline="") as file:
        file.write("run,epoch,step,seconds,metric,value\n")
        for name, folder in runs.items():
            file.writelines(_long(name, _text(f"{folder}/{METRICS}")))
    return header, rows


def append_run(sweep: str | Path, folder: str | Path) -> None:
    """Add the row of a run that has ended to sweep.csv, while the sweep goes on; for one process at a time.

    The header is that of the first run. A column that it lacks is added to all rows, and stays empty where a run has
    no such result. `write_tables` brings the rows into the order of their numbers in the end.
    """
    sweep, folder = Path(sweep).resolve(), Path(folder).resolve()
    row = read_run(folder, folder.relative_to(sweep).as_posix())
    header: list[str] = []
    if (sweep / SWEEP).exists():
        with open(sweep / SWEEP, encoding="utf-8", newline="") as file:
            header = next(csv.reader(file))  # the rows of a thousand runs would be read a thousand times
    columns = _header([dict.fromkeys(header, ""), row]) if header else list(row)
    _fill([row], {row["run"]: folder}, columns)
    if columns == header:
        with open(sweep / SWEEP, "a", encoding="utf-8", newline="") as file:
            file.write(_lines(header, [row]))
    else:
        rows = _read(sweep / SWEEP)[1] if header else []
        _fill(rows, {row["run"]: sweep / row["run"] for row in rows}, columns)
        _write(sweep / SWEEP, columns, [*rows, row])


def table(folder: str | Path) -> pd.DataFrame:
    """A sweep's sweep.csv with numbers as numbers. Raises ConfigError where there is none."""
    if not (Path(folder) / SWEEP).exists():
        raise ConfigError(f"{folder} has no {SWEEP}; `dlrun report {folder}` makes it from the runs' folders")
    return frame(*_read(Path(folder) / SWEEP))


def curves(folder: str | Path) -> pd.DataFrame:
    """A sweep's curves.csv. Raises ConfigError where there is none."""
    import pandas as pd

    if not (Path(folder) / CURVES).exists():
        raise ConfigError(f"{folder} has no {CURVES}; `dlrun report {folder}` makes it from the runs' folders")
    types: dict[str, Any] = {"run": str, "metric": "category"}
    return pd.read_csv(Path(folder) / CURVES, dtype=types)


def _runs(folder: str | Path) -> Iterator[Path]:
    """The folders of runs in a folder, which may be one itself; a job that died at its start has left `.hydra` only."""
    if not os.path.isdir(folder):
        return
    with os.scandir(folder) as entries:
        inside = {entry.name: entry for entry in entries}
    if not inside.keys().isdisjoint(KNOWN_BY) or (".hydra" in inside and inside[".hydra"].is_dir()):
        yield Path(folder)
    else:
        for name, entry in inside.items():
            if not name.startswith(".") and entry.is_dir():
                yield from _runs(entry.path)


def _natural(text: str) -> list[tuple[int, str]]:
    """Sorts 10 after 9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def _rows(runs: Mapping[str, Path]) -> tuple[list[str], list[Row]]:
    rows = [read_run(folder, name) for name, folder in runs.items()]
    header = _header(rows)
    _fill(rows, runs, header)
    return header, rows


def _header(rows: Iterable[Row]) -> list[str]:
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


def _fill(rows: Iterable[Row], runs: Mapping[str, Path], header: list[str]) -> None:
    """Give each row the header's columns: of an override that its run did without, the value in its config."""
    overrides = header[1 : header.index(BETWEEN)]
    for row in rows:
        missing = [key for key in overrides if not row.get(key)]
        if missing:
            row |= configured(runs[row["run"]], missing)
        for key in header:
            row.setdefault(key, "")


def config_of(folder: Path) -> dict[str, Any]:
    """A run's config.yaml; empty for a run that died before it had one."""
    return yaml.load(_text(folder / CONFIG), Loader=yaml.CSafeLoader) or {}


def configured(folder: Path, keys: Sequence[str]) -> Row:
    """What a run's config says of the keys, as typed; of a group, the name of the choice."""
    config = config_of(folder)
    values = {}
    for key in keys:
        node: Any = config
        for part in key.split("."):
            node = node.get(part, "") if isinstance(node, dict) else ""
        if isinstance(node, dict):
            hydra = yaml.load(_text(folder / ".hydra" / "hydra.yaml"), Loader=yaml.CSafeLoader) or {}
            node = hydra.get("hydra", {}).get("runtime", {}).get("choices", {}).get(key, "")
        values[key] = _typed(node)
    return values


def _typed(value: Any) -> str:
    """A value of the config as one would type it; equal numbers and lists look equal, however they were typed."""
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    text = str(value).strip()
    if text[:1] in ("'", '"') and text[-1] == text[0]:
        text = text[1:-1]
    if text.startswith("["):
        return re.sub(r"\s*,\s*", ",", text)
    for number in (int, float):
        try:
            return repr(number(text))
        except ValueError:
            continue
    return text


def _cell(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _long(name: str, metrics: str) -> Iterator[str]:
    """A run's lines of curves.csv; a last line cut short by a crash is left out."""
    header, *rows = metrics[: metrics.rfind("\n") + 1].splitlines() or [""]
    columns = header.split(",")
    run = _lines(["run"], [{"run": name}]).rstrip("\n")
    for row in rows:
        cells = dict(zip(columns, row.split(","), strict=True))
        start = f"{run},{cells.pop('epoch')},{cells.pop('step')},{cells.pop('seconds')},"
        yield "".join([f"{start}{metric},{value}\n" for metric, value in cells.items()])


def _lines(header: Sequence[str], rows: Iterable[Row]) -> str:
    text = StringIO()
    csv.DictWriter(text, header, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _write(path: Path, header: list[str], rows: list[Row]) -> None:
    with replacing(path) as part:
        part.write_text(_lines(header, [dict(zip(header, header, strict=True)), *rows]), encoding="utf-8", newline="")


def _read(path: Path) -> tuple[list[str], list[Row]]:
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        return list(reader.fieldnames or []), list(reader)


def _text(path: str | Path) -> str:
    """What stands in a file; nothing where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def frame(header: list[str], rows: list[Row]) -> pd.DataFrame:
    """Rows of sweep.csv as a table, in which numbers are numbers."""
    import pandas as pd

    columns = {key: [row[key] for row in rows] for key in header}
    return pd.DataFrame({key: cells if key in TEXT else numbers(cells) for key, cells in columns.items()})


def numbers(cells: list[str]) -> list[Any]:
    """The cells as numbers, nan where empty, if all are numbers."""
    for number in (int, float):
        try:
            return [number(cell) if cell else nan for cell in cells]
        except ValueError:
            continue
    return cells
