"""What is refused before a run's folder is written to, and what is removed from it: its own files, and no others."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from dlrun.config.catalogue import choices
from dlrun.errors import ConfigError
from dlrun.files.opening import beginning, inside, read, refuse_links
from dlrun.folder.names import (
    BEST,
    CHANGES,
    CHECKPOINT,
    CONFIG,
    CURVES,
    ENCODING,
    FRONT,
    HYDRA,
    LAST,
    LOCK,
    LOG,
    MATRICES,
    NOTES,
    PACKAGES,
    PLAN,
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
MULTIRUN = "multirun.yaml"  #: Hydra's record of a sweep
OURS = "app_name: dlrun"  #: in Hydra's records of dlrun's commands
SWEEP_PICTURES = ("comparison", "sensitivity", "heatmap", "effects", "datasets", "front", "race")
EXPORTED = ("model.onnx", "model.pt2", "events.out.tfevents.dlrun")  #: that dlrun makes of a run, if asked to
SWEEP_TABLES = ("sweep.csv", "curves.csv")  #: each begins with the column `run`


def refuse_foreign_sweep(folder: Path) -> None:
    """Raise ConfigError where the tables and the report of a sweep would take the place of what is none of dlrun's."""
    if not any((folder / name).exists() for name in (PLAN, PAGE, *SWEEP_TABLES)):
        names = [picture_of(name) for name in (*SWEEP_PICTURES, *choices("diagnostics"))]
        drawn = [*(each for name in names for each in in_all_forms(name)), *films_of(SWEEP_PICTURES[-1])]
        theirs = [MULTIRUN] if _of_another_program(folder, MULTIRUN) else []
        _refuse(folder, [name for name in (*drawn, FRONT, NOTES) if (folder / name).exists()] + theirs)
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
    if not folder.exists():
        return
    growing = [path.name for kind in ("*.csv", kept_of("*")) for path in folder.glob(kind)]
    refuse_links(folder, *TABLES, *growing, LOG, LOCK, CHECKPOINT, *HYDRA)


def written(diagnostics: Iterable[str] = ()) -> list[str]:
    """The names of the files that runs leave, but for those that a run is known by and its log.

    diagnostics: of the user's own.
    """
    looks = [*choices("diagnostics"), *diagnostics]
    drawn = (CURVES, RANGE_PLOT, *map(picture_of, looks))
    pictures = [name for picture in drawn for name in in_all_forms(picture)]  # the form may have been another
    films = [name for look in looks for name in films_of(look)]
    tables = [of(look) for look in looks for of in (table_of, surface_of, arrays_of, kept_of)]
    return [*TABLES, *tables, *pictures, *films, LAST, ENCODING]


def beside(names: Iterable[str]) -> list[str]:
    """Those of these names that dlrun made in a run's folder beside what `clear` removes and Hydra made."""
    own = re.compile(
        rf"({'|'.join(choices('regularizer'))})(_\d+)?\.safetensors"
        + "".join(rf"|{Path(name).stem}(-\d+)?{re.escape(Path(name).suffix)}" for name in (PACKAGES, CHANGES))
    )
    return [name for name in names if name in (NOTES, *EXPORTED) or own.fullmatch(name)]


def refuse_present(folder: Path, diagnostics: Iterable[str] = (), regularizers: Iterable[str] = ()) -> None:
    """Raise ConfigError where a new run would write over what lies in its folder, or add to it.

    What a run leaves that ended before it had begun, Hydra's record and the beginning of a log, may lie there.

    diagnostics, regularizers: of the run, whose files are named after them.
    """
    there = set(os.listdir(folder)) if folder.is_dir() else set()
    if not there:
        return
    patterns = [MATRICES, *(arrays_of(f"{name}*") for name in regularizers)]
    names = {*written(diagnostics), CHECKPOINT, NOTES}
    names |= {name for each in patterns for name in fnmatch.filter(there, each)}
    taken = sorted(there & names)
    if LOG in there and not re.match(r"(\[\d{4}-\d\d-\d\d \d\d:|$)", beginning(folder, LOG)):
        taken.append(LOG)
    if _of_another_program(folder, HYDRA[2]):
        taken.append(HYDRA[2])
    _refuse(folder, taken)


def _of_another_program(folder: Path, record: str) -> bool:
    """Whether this record of Hydra's is of another program; one that was cut short, by a full disk say, is nobody's."""
    text = read(folder, record) if (folder / record).exists() else ""
    cut = not text or (text.startswith("hydra:\n") and not text.endswith("\n"))
    return not cut and OURS not in text


def _refuse(folder: Path, taken: Sequence[str]) -> None:
    if taken:
        are, them = ("is", "it") if len(taken) == 1 else ("are", "them")
        raise ConfigError(
            f"{folder / ', '.join(taken)} {are} none of dlrun's, and {are} not overwritten; move {them} away first, or "
            "choose another folder"
        )


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
    for file in (*written(), SUMMARY, BEST, LOG, CONFIG):  # without CONFIG it is no run's folder
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
    kept = () if (folder / PLAN).exists() else (PACKAGES, CHANGES)  # of a sweep that is there these stay
    for file in (*HYDRA[1:], MULTIRUN, *kept):
        with suppress(ConfigError):  # what a link leads to is not of this run
            inside(folder, file).unlink(missing_ok=True)
    parents = [parent for parent in folder.parents if Path.cwd() in parent.parents]
    for made in (folder / ".hydra", folder, *parents):
        if made.is_dir() and not made.is_symlink():
            if any(made.iterdir()):
                break
            made.rmdir()
