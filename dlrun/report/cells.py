"""Cells of a sweep's tables: as texts in a CSV file, and as numbers again."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from io import StringIO
from itertools import chain
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


def csv_lines(header: Collection[str], rows: Iterable[Row]) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writerows({key: guarded(cell) for key, cell in row.items()} for row in rows)
    return text.getvalue()


class Cells:
    """Rows of sweep.csv, by columns: as rows, each with its keys, those of a hundred thousand runs would fill the
    memory."""

    def __init__(self, header: Iterable[str] = ()) -> None:
        self.columns: dict[str, list[str]] = {key: [] for key in header}

    def add(self, row: Row) -> None:
        """Add a row; what it lacks is empty."""
        for key in row.keys() - self.columns.keys():
            self.columns[key] = [""] * len(self)
        for key, column in self.columns.items():
            column.append(row.get(key, ""))

    def put(self, at: int, row: Row) -> None:
        """Put other cells into the row at a place."""
        for key, cell in row.items():
            self.columns[key][at] = cell

    def take(self, header: Iterable[str], places: Sequence[int]) -> None:
        """Keep these columns, in this order, and of them the rows at these places."""
        if len(places) == len(self):
            self.columns = {key: self.columns[key] for key in header}
        else:
            self.columns = {key: [self.columns[key][at] for at in places] for key in header}

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def __iter__(self) -> Iterator[Row]:
        """The rows, each made anew."""
        return (dict(zip(self.columns, row, strict=True)) for row in zip(*self.columns.values(), strict=True))


def write_csv(path: Path, header: Collection[str], rows: Iterable[Row]) -> None:
    with replacing(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        for row in chain([{key: key for key in header}], rows):
            file.write(csv_lines(header, [row]))


def read_csv(path: Path) -> Cells:
    reader = csv.DictReader(StringIO(read(path.parent, path.name), newline=""))
    cells, whole = Cells(reader.fieldnames or []), True
    for row in reader:
        if whole := whole and None not in row and None not in row.values():
            cells.add({key: unguarded(cell) for key, cell in row.items()})
    if BETWEEN not in cells.columns or not whole:
        raise ConfigError(
            f"{path} is no table of a sweep; `{shell_command('report', path.parent)}` makes it from the runs' folders"
        )
    return cells


def frame(cells: Cells) -> pd.DataFrame:
    """Rows of sweep.csv as a table, in which numbers are numbers."""
    import pandas as pd

    # one after the other: as lists they would be large
    return pd.DataFrame(
        {key: pd.Series(column if key in TEXT else numbers(column)) for key, column in cells.columns.items()}
    )


def numbers(cells: list[str]) -> list[Any]:
    """The cells as numbers, nan where empty, if all are numbers."""
    for number in (int, float):
        try:
            return [number(cell) if cell else nan for cell in cells]
        except ValueError:
            continue
    return cells
