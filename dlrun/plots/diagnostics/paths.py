"""The paths of several runs over one surface, and an animation of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from dlrun.folder.names import surface_of, table_of
from dlrun.folder.reading import read_table, summary_of, told_of
from dlrun.plots.diagnostics import race
from dlrun.plots.diagnostics.race import Racer
from dlrun.plots.diagnostics.trajectory import explained
from dlrun.plots.page import shortened, title

NAME = "paths"
LETTERS = 100  #: of what was left out


def figure(folder: str | Path) -> Figure:
    """Every path with its end over contours of the objective, the run that ended lowest first; what was left out."""
    return race.figure(**_race(folder))


def film(folder: str | Path) -> list[Image.Image]:
    """The same while they train, picture by picture."""
    return race.pictures(**_race(folder))


def _race(folder: str | Path) -> dict[str, Any]:
    """What `race` draws."""
    table, surface = read_table(folder, table_of(NAME)), read_table(folder, surface_of(NAME))
    summary = summary_of(Path(folder))
    runs = {str(name): rows.reset_index(drop=True) for name, rows in table.groupby("run", sort=False)}
    ordered = sorted(runs.items(), key=lambda run: run[1]["objective"].iloc[-1])
    left_out = told_of(summary, NAME).get("left_out")
    return {
        "racers": {name: Racer(rows, surface) for name, rows in ordered},
        "heading": title(folder, summary),
        "of_axes": [explained(summary, NAME, name) for name in ("pc_1", "pc_2")],
        "note": f"left out: {shortened(left_out, LETTERS)}" if isinstance(left_out, str) else "",
        "of": "runs",
    }
