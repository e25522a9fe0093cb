"""A diagnostic of the user's own: what it tells of layers over a training, a panel per quantity.

Its own code is not asked: a picture is drawn from a folder's files alone, which may be a stranger's.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of
from dlrun.plots.diagnostics.layers import finish, lines, of_quantity, page, unit_of
from dlrun.plots.page import LARGE, shortened, title

LONG = ("epoch", "step", "layer", "quantity", "value")  #: columns of a table that is drawn
PANELS = 5  #: quantities that a page holds
LETTERS = 60  #: for which the page is high enough


def figure(folder: str | Path, name: str) -> Figure | None:
    """Each quantity of each layer over the training; None for a table of other columns, or of several values each."""
    frame = read_table(folder, table_of(name))
    if tuple(frame.columns) != LONG or frame.empty or frame.duplicated(["step", "layer", "quantity"]).any():
        return None
    quantities = list(dict.fromkeys(frame["quantity"]))
    shown = quantities[:PANELS]
    sheet, panels = page(len(shown))
    for axes, quantity in zip(panels, shown, strict=True):
        lines(axes, of_quantity(frame, quantity, unit_of(frame)), "")
        axes.set_ylabel(shortened(quantity, LETTERS // len(shown)), fontsize=LARGE, parse_math=False)
    some = f"the first {PANELS} of {len(quantities)} quantities, " if len(quantities) > PANELS else ""
    finish(sheet, panels, unit_of(frame), f"{name}: {some}{title(folder, summary_of(Path(folder)))}")
    return sheet
