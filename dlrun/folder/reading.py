"""What a run left in its folder, read back: its rows, its summary, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.errors import ConfigError
from dlrun.folder import wellformed
from dlrun.folder.columns import NEEDED
from dlrun.folder.contents import exists, read
from dlrun.folder.formulas import unguarded
from dlrun.folder.names import CONFIG, METRICS, PLAN, SUMMARY

if TYPE_CHECKING:
    import pandas as pd


def refuse_no_run(folder: Path) -> None:
    """Raise ConfigError where a folder is not that of a single run."""
    if not exists(folder, CONFIG):
        way = (
            "it is a sweep's; give that of one of its runs"
            if (folder / PLAN).exists()
            else "give the folder of one run"
        )
        raise ConfigError(f"{folder} holds no run: it has no {CONFIG}; {way}")


def read_metrics(folder: str | Path, name: str = METRICS) -> pd.DataFrame:
    """The rows of metrics.csv, or of another of the run's CSV files, bit for bit as they were appended.

    A line cut short by a crash is left out. Raises ConfigError if there is no such file, or it is damaged.
    """
    import pandas as pd

    header, rows = wellformed.metrics(_read(Path(folder), name), Path(folder) / name, NEEDED.get(name, ("step",)))
    if not header:
        raise ConfigError(f"{Path(folder) / name} is empty: the run ended before it could write; delete the folder")
    # Python's float() is exact; pandas' own parser is in some versions an ulp off.
    cells = [[float(cell) for cell in row] for row in rows]
    return pd.DataFrame(cells, columns=header, dtype=float).astype({"step": "int64"})


def read_table(folder: str | Path, name: str) -> pd.DataFrame:
    """The rows of a diagnostic's table: numbers, bit for bit as they were written, and words.

    A line cut short by a crash is left out. Raises ConfigError if there is no such file, or it is damaged.
    """
    import pandas as pd

    header, rows = wellformed.table(_read(Path(folder), name), Path(folder) / name)
    columns = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else {column: () for column in header}
    return pd.DataFrame({
        column: list(map(unguarded, cells)) if column in wellformed.WORDS else [float(cell) for cell in cells]
        for column, cells in columns.items()
    })  # fmt: skip


def read_summary(folder: str | Path) -> dict[str, Any]:
    """The contents of summary.json; raises ConfigError if there is no such file, or it is damaged."""
    return wellformed.summary(_read(Path(folder), SUMMARY), Path(folder) / SUMMARY)


def summary_of(folder: Path) -> dict[str, Any]:
    """The contents of summary.json; of a run that has none, that it was interrupted."""
    return read_summary(folder) if exists(folder, SUMMARY) else {"status": "interrupted"}


def numbers(summary: Mapping[str, Any]) -> list[str]:
    """The names of a summary's numbers, each of which may be an objective."""
    return [key for key, value in summary.items() if isinstance(value, int | float) and not isinstance(value, bool)]


def told_of(summary: dict[str, Any], diagnostic: str) -> dict[str, Any]:
    """What a summary says of a diagnostic; nothing where it does not."""
    found = summary.get("diagnostics")
    told = found.get(diagnostic) if isinstance(found, dict) else None
    return told if isinstance(told, dict) else {}


def status_of(folder: Path) -> str | None:
    """How a run ended, by its summary.json; None where it has none that can be read, or one that a crash cut short."""
    try:
        return str(read_summary(folder)["status"])
    except (ConfigError, OSError):
        return None


def _read(folder: Path, name: str) -> str:
    try:
        return read(folder, name)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{folder} holds no run: it has no {name}; give the folder of one run") from None
