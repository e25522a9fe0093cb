"""A run's notes in its sweep's table."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from dlrun.folder.lock import Busy, locked
from dlrun.report.cells import read_csv, write_csv
from dlrun.report.collect import SWEEP, read_run


def update_notes(folder: Path) -> None:
    """Bring the row of a run in its sweep's sweep.csv up to its notes; where there is none yet, nothing."""
    folder = folder.resolve()
    sweep = next((above for above in folder.parents if (above / SWEEP).exists()), None)
    if not sweep:
        return
    with suppress(Busy), locked(sweep):  # a sweep at work writes all of it once it ends
        cells = read_csv(sweep / SWEEP)
        header, rows = list(cells.columns), list(cells)
        for row in rows:
            if row["run"] == folder.relative_to(sweep).as_posix():
                new = read_run(folder, row["run"])
                row |= {key: new.get(key, "") for key in ("note", "tags") if new.get(key) or key in header}
                columns = [*header, *(key for key in ("note", "tags") if key not in header and key in row)]
                write_csv(sweep / SWEEP, columns, [{key: each.get(key, "") for key in columns} for each in rows])
