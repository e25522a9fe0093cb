"""The report of a sweep, from its folders alone: on the terminal, as pictures, and as a page that opens offline."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dlrun.errors import ConfigError
from dlrun.files.opening import beginning
from dlrun.files.replacing import replacing
from dlrun.folder.clearing import PAGE, refuse_foreign_sweep
from dlrun.folder.names import FRONT, MEASURED, MEASURES, shell_command
from dlrun.folder.notes import notes_of
from dlrun.plots.page import smaller
from dlrun.report import collect
from dlrun.report.across import across
from dlrun.report.data import data_of, failed_looks
from dlrun.report.drawn import drawn
from dlrun.report.effects import which_matter
from dlrun.report.findings import Findings, find
from dlrun.report.front import fronts
from dlrun.report.grid import Grid, folded
from dlrun.report.grids import MOST, effects_grid, front_grid, grids, most_of, runs_grid
from dlrun.report.looking import peeking, plan_of, planned, stopping
from dlrun.report.pictures import FILMS, Pictures, draw
from dlrun.report.pictures import NAMES as PICTURES
from dlrun.report.pictures import PICTURES as KINDS
from dlrun.report.study import study
from dlrun.report.tables import name
from dlrun.terminal.console import counted, error
from dlrun.terminal.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

THERE = Path(__file__).parent / "page"
SCRIPTS = ("state", "tables", "axes", "curves", "begin")  #: in this order
WIDTH = 100  #: columns, where the output is no terminal
LINES = 20  #: rows of a table on the terminal; the page has all


def report(
    folders: Sequence[str | Path],
    *,
    target: tuple[str, float] | None = None,
    metric: str | None = None,
    margin: float | None = None,
    objectives: Sequence[str] = (),
    notes: Sequence[str] = (),
    console: Console | None = None,
) -> Path:
    """Print the report of all runs in the folders; write it, the pictures, sweep.csv and curves.csv; return the page.

    One sweep's report goes into its folder; that of several sweeps, or of single runs, into a folder of its own,
    outputs/report/<date>/<time>. target: a column of metrics.csv and the value to reach. metric: the main one if None.
    margin: what a difference of it must exceed to matter; if None that which was planned, or 0.
    objectives: of the front; if none those that the runs were trained with. notes: what stands below the tables beside
    the report's own.

    Raises ConfigError where there is no run, for an unknown metric, target or objective, and where the page or a
    picture would overwrite what is no report.
    """
    from rich.console import Console

    console = console or Console()
    if not console.is_terminal:
        console.width = WIDTH
    runs = collect.find(folders)
    into = Path(folders[0]).resolve()
    if len(folders) > 1 or into in runs.values():
        into = Path("outputs", "report", f"{datetime.now():%Y-%m-%d}", f"{datetime.now():%H-%M-%S-%f}").resolve()
        title = f"runs of {len(folders)} folders" if len(folders) > 1 else next(iter(runs))
    else:
        _refuse_others_files(into)
        title = into.name
    into.mkdir(parents=True, exist_ok=True)
    table, curves, left_out = collect.write(runs, into)
    try:
        plan = plan_of(Path(folders[0])) if len(folders) == 1 else {}
    except ConfigError as problem:
        plan = {}
        left_out.append(f"how often this sweep was looked at is not known: {problem}")
    looks = planned(plan)
    least = (looks.margin if looks else 0.0) if margin is None else margin
    found = find(table, runs, curves, metric, target, least, looks)
    if looks and metric is None and margin is None:
        found.notes.insert(0, stopping(found, looks))
    found.notes.extend(peeking(plan))
    found.notes[:0] = [f"{key}: {cell}" for key, cell in noted(into, left_out).items()]
    found.notes.extend([*notes, *left_out, *collect.linked(folders), *failed_looks(found, runs)])

    over = across(found)
    matters = which_matter(found)
    made = fronts(found, runs, into, objectives)
    pictures = draw(found, curves, title, runs, over, matters, made)
    shown = [*grids(found, over), *(front_grid(each, f" on {label}" * bool(label)) for label, each in made.items())]
    shown += [effects_grid(each, f" on {name}" * bool(found.strata)) for name, each in matters.items()]
    try:
        shown += study(into)
    except ConfigError as problem:
        found.notes.append(str(problem))
    tables = [*(grid.ends(most_of(found) if grid.settings else MOST) for grid in shown), runs_grid(found, runs, into)]
    if gone := _remove_stale(into, pictures):
        found.notes.append(f"removed, since these runs have no such picture or table any more: {', '.join(gone)}")
    _write(into / PAGE, _html(found, tables, pictures, title, data_of(found, runs), drawn(found, curves)).encode())
    for picture, content in pictures.files.items():
        _write(into / picture, content)
    _print(found, shown, title, console)
    _say(console, str(into / PAGE), whole=True)
    return into / PAGE


def noted(folder: Path, left_out: list[str]) -> dict[str, str]:
    """What its user wrote of the sweep; where that is damaged, a line more about what is left out."""
    try:
        return notes_of(folder).cells()
    except ConfigError as problem:
        left_out.append(str(problem))
        return {}


def redraw(folder: Path, ours: bool = False) -> list[Path]:
    """Write the tables and pictures of a sweep again, from its runs' folders; returns the pictures.

    ours: that all in the folder is dlrun's is known, though there is no report to tell it.

    Raises ConfigError where there is no run or no sweep, and where a file would overwrite what is none of dlrun's.
    """
    runs = collect.find([folder])
    if not (folder / collect.SWEEP).exists():
        raise ConfigError(
            f"{folder} is no sweep's folder: it has no {collect.SWEEP}; `{shell_command('report', folder)}` makes it"
        )
    into = folder.resolve()
    if not ours:
        _refuse_others_files(into)
    table, curves, left_out = collect.write(runs, into)
    for line in left_out:
        error(line)
    found = find(table, runs, curves, None, None)
    before = len(found.notes)
    drawn_now = draw(found, curves, into.name, runs, across(found), which_matter(found), fronts(found, runs, into))
    if gone := _remove_stale(into, drawn_now):
        found.notes.append(f"removed, since these runs have no such picture or table any more: {', '.join(gone)}")
    pictures = drawn_now.files
    for line in found.notes[before:]:
        error(line)
    for picture, content in pictures.items():
        _write(into / picture, content)
    return [into / picture for picture in pictures]


def _remove_stale(folder: Path, pictures: Pictures) -> list[str]:
    """Remove what an earlier report drew and this one does not, which would tell of other runs; returns the names.

    Only beside a report: there these names are dlrun's, and of no form but the one that is drawn.
    """
    if not (folder / PAGE).exists():
        return []
    files = [*(f"{picture}.{pictures.form}" for picture in KINDS), FRONT, *FILMS]
    stale = [file for file in files if file not in pictures.files and (folder / file).is_file()]
    for file in stale:
        (folder / file).unlink()
    return stale


def _refuse_others_files(folder: Path) -> None:
    refuse_foreign_sweep(folder)
    measured = (folder / MEASURED).exists() and beginning(folder, MEASURED).startswith(",".join(MEASURES))
    if (folder / PAGE).exists() or measured:  # of a claim `dlrun claims` draws the pictures without a page
        return
    for file in (folder / picture for picture in PICTURES):
        if file.exists():
            raise ConfigError(f"{file} is none of dlrun's reports, and is not overwritten; move it away first")


def _html(
    found: Findings, shown: list[Grid], pictures: Pictures, title: str, data: list[str], lines: dict[str, Any]
) -> str:
    """The page. Its policy lets its own style and script alone through, by their digests, and nothing of the network:
    what a run's folder says could not be run even if it were not escaped."""
    environment = Environment(
        loader=FileSystemLoader(THERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=lambda value: printable(value) if type(value) is str else value,
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    parts = {
        "style": (THERE / "style.css").read_text(encoding="utf-8"),
        "script": "\n".join((THERE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS),
    }
    return environment.get_template("page.html.jinja").render(
        {name: Markup(text) for name, text in parts.items()},
        digests={name: _digest(text) for name, text in parts.items()},
        drawn=lines,
        title=title,
        lead=_lead(found),
        constant=name(found.constant),
        data=data,
        notes=found.notes,
        grids=shown,
        pictures={
            picture: base64.b64encode(smaller(content)).decode()
            for picture, content in pictures.shown.items()
            if picture != "comparison" or not lines["curves"]  # which the page draws itself
        },
        films=[name for name in FILMS if name in pictures.files],
    )


def _digest(text: str) -> str:
    """As a Content-Security-Policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _lead(found: Findings) -> str:
    """How many runs there are, and how they ended."""
    counts = found.table["status"].value_counts().to_dict()
    ended = ", ".join(f"{count} {str(status).replace('_', ' ')}" for status, count in counts.items())
    settings = {name for each in found.strata.values() or [found] for name in each.settings["setting"]}
    on = f" on {counted(len(found.strata), 'dataset')}" if found.strata else ""
    return f"{counted(len(found.table), 'run')} of {counted(len(settings), 'setting')}{on}: {ended}."


def _print(found: Findings, shown: list[Grid], title: str, console: Console) -> None:
    """The report on the terminal."""
    _say(console, title, "bold", whole=True)
    _say(console, _lead(found))
    for grid in shown:
        _say(console, "")
        _say(console, grid.title, "bold")
        grid.show(console, LINES)
        if len(grid.rows) > LINES:
            _say(console, f"and {len(grid.rows) - LINES} more in {PAGE}", "dim")
        if grid.spoken:
            _say(console, grid.remark, "dim")
    for note in found.notes:
        _say(console, "")
        _say(console, note, "yellow")


def _say(console: Console, text: str, style: str = "", whole: bool = False) -> None:
    """Print a text, folded at its blanks unless it is to be kept whole, as a path is."""
    from rich.text import Text

    for line in [text] if whole else folded(text, console.width):
        console.print(Text(printable(line), style), soft_wrap=True)


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as part:
        part.write_bytes(content)
