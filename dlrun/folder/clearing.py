"""What is refused before a run's folder is written to, and what is removed from it: its own files, and no others."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from dlrun.config.catalogue import choices
from dlrun.errors import ConfigError
from dlrun.files.opening import beginning, inside, refuse_links
from dlrun.folder.names import (
    BEST,
    CHECKPOINT,
    CONFIG,
    CURVES,
    ENCODING,
    HYDRA,
    LAST,
    LOCK,
    LOG,
    MATRICES,
    RANGE_PLOT,
    SUMMARY,
    TABLES,
    arrays_of,
    films_of,
    holds_run,
    in_all_forms,
    kept_of,
    picture_of,
    surface_of,
    table_of,
)

PAGE = "report.html"
MARK = '<meta name="generator" content="dlrun report">'  #: in the page's head; what lacks it is not overwritten
SWEEP_TABLES = ("sweep.csv", "curves.csv")  #: each begins with the column `run`


def refuse_foreign_sweep(folder: Path) -> None:
    """Raise ConfigError where the tables and the report of a sweep would take the place of what is none of dlrun's."""
    if (folder / PAGE).exists():
        if MARK in beginning(folder, PAGE):
            return
        raise ConfigError(f"{folder / PAGE} is none of dlrun's reports, and is not overwritten; move it away first")
    for name in SWEEP_TABLES:
        if (folder / name).exists() and not beginning(folder, name).startswith("run,"):
            raise ConfigError(f"{folder / name} is no table of a sweep, and is not overwritten; move it away first")


def refuse_old_run(folder: str | Path) -> None:
    """Raise ConfigError if the folder holds a run."""
    if holds_run(folder):
        raise ConfigError(
            f"the folder {folder} already holds a run, which is never overwritten; "
            "choose another with hydra.run.dir=..., or delete it"
        )


def refuse_foreign_files(folder: Path) -> None:
    """Raise ConfigError where what a run writes into its folder would go elsewhere: through a link, or into a pipe."""
    growing = [path.name for kind in ("*.csv", kept_of("*")) for path in folder.glob(kind)]
    refuse_links(folder, *TABLES, *growing, LOG, LOCK, CHECKPOINT, *HYDRA)


def clear(folder: Path) -> None:
    """Delete what a run that did not come to its end left in its folder: its own files, and no others.

    A link among them goes itself, and what it leads to stays.
    """
    present = set(os.listdir(folder)) if folder.is_dir() else set()
    if not present - {LOCK}:  # of a sweep's many new folders
        return
    if (folder / CHECKPOINT).is_symlink():
        (folder / CHECKPOINT).unlink()
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    kinds = (table_of, surface_of, arrays_of, kept_of)
    diagnostics = [of(name) for name in choices("diagnostics") for of in kinds]
    drawn = (CURVES, RANGE_PLOT, *map(picture_of, choices("diagnostics")))
    pictures = [name for picture in drawn for name in in_all_forms(picture)]  # the form may have been another
    films = [name for diagnostic in choices("diagnostics") for name in films_of(diagnostic)]
    # without CONFIG it is no run's folder
    for file in (*TABLES, *diagnostics, *pictures, *films, SUMMARY, BEST, LAST, LOG, ENCODING, CONFIG):
        if file in present:
            (folder / file).unlink(missing_ok=True)
    clear_parts(folder)
    for path in folder.glob(MATRICES):
        path.unlink()


def clear_parts(folder: Path) -> None:
    """Delete what `replacing` left when its process was killed."""
    for part in folder.glob(".*.part"):
        if part.is_symlink() or part.is_file():
            part.unlink()


def discard(folder: Path) -> None:
    """Remove what Hydra made for a run or a sweep that never began; in the working directory also the date's folder."""
    if holds_run(folder) or (folder / LOCK).exists():
        return
    for file in (*HYDRA[1:], "multirun.yaml"):
        with suppress(ConfigError):  # what a link leads to is not of this run
            inside(folder, file).unlink(missing_ok=True)
    parents = [parent for parent in folder.parents if Path.cwd() in parent.parents]
    for made in (folder / ".hydra", folder, *parents):
        if made.is_dir() and not made.is_symlink():
            if any(made.iterdir()):
                break
            made.rmdir()
