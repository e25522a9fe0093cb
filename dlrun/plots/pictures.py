"""Which pictures a run's folder gets, from its CSV files and summary.json alone."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import numpy as np

from dlrun.config.catalogue import choices
from dlrun.errors import ConfigError
from dlrun.files.replacing import replacing
from dlrun.folder.names import CURVES, METRICS, RANGE, RANGE_PLOT, TABLES, picture_of, shell_command, table_of
from dlrun.folder.reading import summary_of
from dlrun.plots import curves, film, lr_range
from dlrun.plots.comparison import COLOURS
from dlrun.plots.diagnostics import own
from dlrun.plots.page import save, shortened
from dlrun.terminal.console import error

OWN = re.compile(r"[A-Za-z]\w*", re.ASCII)  #: names of diagnostics of the user's own, as a config may have them
TAKEN = {Path(file).stem for file in (*TABLES, CURVES, RANGE_PLOT)}  #: no names of diagnostics


def draw(folder: str | Path, form: str = "png") -> list[Path]:
    """Write the pictures into a run's folder, the curves first; the same files give the same bytes.

    form: see `page.save`.

    Raises ConfigError if the folder holds no run, a run without an evaluation, or a table that cannot be drawn.
    """
    folder = Path(folder)
    with drawable(folder / METRICS):
        written = [save(curves.figure(folder), folder / CURVES, form)]
    if (folder / RANGE).exists():
        with drawable(folder / RANGE):
            written.append(save(lr_range.figure(folder), folder / RANGE_PLOT, form))
    told = summary_of(folder).get("diagnostics")
    named = [name for name in told if OWN.fullmatch(name)] if isinstance(told, dict) else []
    return [*written, *draw_diagnostics(folder, [*choices("diagnostics"), *named], form)]


def draw_diagnostics(folder: Path, names: Collection[str], form: str = "png") -> list[Path]:
    """Write the pictures of these diagnostics, where the folder has their tables, and of some an animation.

    Raises ConfigError for a table that is not as the diagnostic leaves it.
    """
    written = []
    for name in choices("diagnostics"):
        if name in names and (folder / table_of(name)).exists():
            with drawable(folder / table_of(name)):
                drawing = import_module(f"dlrun.plots.diagnostics.{name}")
                written.append(save(drawing.figure(folder), folder / picture_of(name), form))
                moving = film.films(name, drawing.film(folder), COLOURS) if hasattr(drawing, "film") else {}
            for file, content in moving.items():
                with replacing(folder / file) as part:
                    part.write_bytes(content)
                written.append(folder / file)
    for name in sorted({*names} - {*choices("diagnostics")} - TAKEN):
        if (folder / table_of(name)).exists():
            with drawable(folder / table_of(name)):
                if page := own.figure(folder, name):
                    written.append(save(page, folder / picture_of(name), form))
    return written


def drawn(folder: Path, form: str) -> bool:
    """Draw what a run that has ended gets; where that cannot be done, say so in a line: its results are none the worse.

    Returns whether it was done.
    """
    try:
        draw(folder, form)
    except ConfigError as problem:
        error(f"{problem}; the run is complete, and `{shell_command('plot', folder)}` draws it again")
        return False
    return True


@contextmanager
def drawable(table: Path) -> Iterator[None]:
    """ConfigError, with the table's name, for what goes wrong where a damaged one, or a stranger's, is drawn."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numbers that no training leaves
            yield
    except ConfigError:
        raise
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError) as problem:
        why = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise ConfigError(f"{table} cannot be drawn, it is not as it was written ({shortened(why, 80)})") from problem
