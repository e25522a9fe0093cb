"""The paths of several runs over one surface."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from dlrun.folder.names import surface_of, table_of
from dlrun.folder.reading import read_table, summary_of, told_of
from dlrun.plots.diagnostics import race
from dlrun.plots.diagnostics.race import Racer
from dlrun.plots.diagnostics.trajectory import explained
from dlrun.plots.page import SMALL, shortened, title

NAME = "paths"
LETTERS = 100  #: of what was left out


def figure(folder: str | Path) -> Figure:
    """Every path with its end over contours of the objective, the run that ended lowest first; what was left out."""
    table, surface = read_table(folder, table_of(NAME)), read_table(folder, surface_of(NAME))
    summary = summary_of(Path(folder))
    runs = {str(name): rows.reset_index(drop=True) for name, rows in table.groupby("run", sort=False)}
    ordered = sorted(runs.items(), key=lambda run: run[1]["objective"].iloc[-1])
    page = race.figure({name: Racer(rows, surface) for name, rows in ordered}, title(folder, summary))
    for label, name in ((page.axes[0].xaxis.label, "pc_1"), (page.axes[0].yaxis.label, "pc_2")):
        label.set_text(f"{label.get_text()}{explained(summary, NAME, name)}")
    left_out = told_of(summary, NAME).get("left_out")
    if isinstance(left_out, str):
        page.axes[0].set_title(f"left out: {shortened(left_out, LETTERS)}", fontsize=SMALL - 4, parse_math=False)
    return page
