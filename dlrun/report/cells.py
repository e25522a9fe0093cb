"""Cells of a sweep's tables: as texts in a CSV file, and as numbers again."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from io import StringIO
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.errors import ConfigError
from dlrun.files.opening import read
from dlrun.files.replacing import replacing
from dlrun.folder.formulas import guarded, unguarded
from dlrun.folder.names import shell_command

if TYPE_CHECKING:
    import pandas as pd


BETWEEN = "status"  #: the column that parts a run's overrides from its results
TEXT = {"run", "status", "error", "reason", "note", "tags"}  #: columns that are never numbers, whatever stands in them
Row = dict[str, str]


def as_typed(value: Any) -> str:
    """A value of the config as one would type it; equal numbers and lists look equal, however they were typed."""
    if isinstance(value, list):
        return f"[{','.join(map(as_typed, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    text = str(value).strip()
    if text[:1] in ("'", '"') and text[-1] == text[0]:
        text = text[1:-1]
    else:
        text = re.sub(r"\\([\\()\[\]{}:=, \t])", r"\1", text)  # Hydra's own escapes, which it puts before ${...}
    if text.startswith("["):
        return re.sub(r"\s*,\s*", ",", text)
    for number in (int, float):
        try:
            return repr(number(text))
        except ValueError:
            continue
    return text


def cell_of(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def csv_lines(header: Sequence[str], rows: Iterable[Row]) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writerows({key: guarded(cell) for key, cell in row.items()} for row in rows)
    return text.getvalue()


def write_csv(path: Path, header: list[str], rows: list[Row]) -> None:
    with replacing(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        for row in (dict(zip(header, header, strict=True)), *rows):
            file.write(csv_lines(header, [row]))


def read_csv(path: Path) -> tuple[list[str], list[Row]]:
    reader = csv.DictReader(StringIO(read(path.parent, path.name), newline=""))
    rows, header = list(reader), list(reader.fieldnames or [])
    if BETWEEN not in header or any(None in row or None in row.values() for row in rows):
        raise ConfigError(
            f"{path} is no table of a sweep; `{shell_command('report', path.parent)}` makes it from the runs' folders"
        )
    return header, [{key: unguarded(cell) for key, cell in row.items()} for row in rows]


def frame(header: list[str], rows: list[Row]) -> pd.DataFrame:
    """Rows of sweep.csv as a table, in which numbers are numbers."""
    import pandas as pd

    def column(key: str) -> pd.Series:
        cells = [row[key] for row in rows]
        return pd.Series(cells if key in TEXT else numbers(cells))

    return pd.DataFrame({key: column(key) for key in header})  # one after the other: as lists they would be large


def numbers(cells: list[str]) -> list[Any]:
    """The cells as numbers, nan where empty, if all are numbers."""
    for number in (int, float):
        try:
            return [number(cell) if cell else nan for cell in cells]
        except ValueError:
            continue
    return cells
