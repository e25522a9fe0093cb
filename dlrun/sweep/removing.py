"""Runs that are not wanted any more: their own files are removed, never those of a run at work, and no others."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from dlrun.errors import ConfigError
from dlrun.files.opening import inside
from dlrun.folder import checkpoint
from dlrun.folder.clearing import beside, clear, refuse_foreign_sweep
from dlrun.folder.lock import Busy, locked
from dlrun.folder.names import CHECKPOINT, HYDRA, PLAN
from dlrun.folder.packs import place_of
from dlrun.folder.reading import status_of
from dlrun.folder.resume import COMPLETE
from dlrun.report import collect
from dlrun.report.where import condition
from dlrun.sweep.jobs import held
from dlrun.sweep.packing import clear_litter, drop
from dlrun.terminal.console import counted


@dataclass
class Removed:
    """What was removed, or would be."""

    runs: list[str] = field(default_factory=list)  #: by the names that tables have
    bytes: int = 0
    at_work: dict[str, str] = field(default_factory=dict)  #: runs that were left alone, and why
    left: list[str] = field(default_factory=list)  #: folders that hold other files too, which stay
    sweeps: list[Path] = field(default_factory=list)  #: of which runs were removed
    unread: list[str] = field(default_factory=list)  #: a line for each run of which a file is damaged


def remove(folder: Path, where: str, dry: bool) -> Removed:
    """Remove the runs in or below a folder that a condition means; see `condition`. dry: only say which.

    What dlrun made for a run goes, and its folder if nothing else is in it. A run that a process is at work with, or
    that a job of Slurm's holds, stays, and so do the others of its sweep while that goes on. The tables of the sweeps
    are written again.

    Raises ConfigError for a condition that cannot be read, and where there is no run that can.
    """
    runs = collect.find([folder])
    found = Removed()
    rows = collect.read_rows(runs, found.unread)
    if not rows:
        raise ConfigError("; ".join(found.unread))
    test = condition(where, list(rows.columns))
    meant = [row["run"] for row in rows if test(row)]
    sweeps = {run: _sweep(runs[run]) for run in meant}
    with ExitStack() as locks:
        busy = dict(_busy_sweeps(set(filter(None, sweeps.values())), locks))
        for run in meant:
            sweep = sweeps[run]
            name = os.path.relpath(runs[run], sweep) if sweep else ""
            why = busy.get(sweep, {}) if sweep else {}
            if told := why.get("") or why.get(name) or _needed(runs[run], {runs[each] for each in meant}):
                found.at_work[run] = told
                continue
            if place := place_of(runs[run]):
                found.runs.append(run)
                found.bytes += place[0].size(place[1])
                continue
            try:
                with locked(runs[run], new=False):
                    size = _size(runs[run])
                    if not dry:
                        _remove(runs[run])
            except Busy as problem:
                found.at_work[run] = str(problem)
                continue
            found.runs.append(run)
            found.bytes += size
            if not dry and not _gone(runs[run]):
                found.left.append(run)
        found.sweeps = sorted({sweep for run in found.runs if (sweep := sweeps[run])})
        if not dry:
            for sweep in found.sweeps:
                clear_litter(sweep)
                drop(sweep, {os.path.relpath(runs[run], sweep) for run in found.runs if sweeps[run] == sweep})
            _write_tables(found.sweeps)
    return found


def _sweep(run: Path) -> Path | None:
    """The folder of the sweep that a run belongs to."""
    return next((above for above in run.parents if (above / PLAN).exists()), None)


def _busy_sweeps(sweeps: set[Path], locks: ExitStack) -> Iterator[tuple[Path, dict[str, str]]]:
    """Of each sweep what may not be touched, and why: run by run, or "" for all of it. The others are kept locked."""
    for sweep in sorted(sweeps):
        try:
            locks.enter_context(locked(sweep, new=False))
            yield sweep, {name: f"Slurm's job {job} holds it" for name, job in held(sweep).items()}
        except ConfigError as problem:  # another process, or Slurm does not answer
            yield sweep, {"": str(problem)}


def _needed(run: Path, meant: Collection[Path]) -> str:
    """Why others need a run's folder: the checkpoint of a stack lies in that of its first run."""
    names = checkpoint.newest(run / CHECKPOINT).get("runs", [])
    others = {Path(os.path.normpath(run / name)) for name in names} - {run, *meant}
    waiting = [other for other in others if status_of(other) not in COMPLETE]
    return f"{counted(len(waiting), 'other run')} would go on from the checkpoint in it" if waiting else ""


def _size(run: Path) -> int:
    """Bytes of the files in a folder, of links their own."""
    found = 0
    for above, _, files in os.walk(run):
        for file in files:
            with suppress(OSError):
                found += os.lstat(os.path.join(above, file)).st_size
    return found


def _remove(run: Path) -> None:
    """What dlrun and Hydra made for a run."""
    clear(run)
    for name in (*HYDRA[1:], *beside(os.listdir(run))):
        with suppress(ConfigError):  # what a link leads to is not of this run
            inside(run, name).unlink(missing_ok=True)


def _gone(run: Path) -> bool:
    """Whether the folder was empty, and is away."""
    for folder in (run / Path(HYDRA[0]), run):
        if folder.is_dir() and not folder.is_symlink():
            with suppress(OSError):
                folder.rmdir()
    return not run.exists()


def _write_tables(sweeps: Collection[Path]) -> None:
    for sweep in sweeps:
        if not (sweep / collect.SWEEP).exists():
            continue
        with suppress(ConfigError):  # what is none of dlrun's stays
            refuse_foreign_sweep(sweep)
            try:
                collect.write_tables([sweep], sweep)
            except ConfigError:  # no run is left
                for name in (collect.SWEEP, collect.CURVES):
                    (sweep / name).unlink(missing_ok=True)
