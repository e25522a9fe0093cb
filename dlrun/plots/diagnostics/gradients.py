"""Gradients over a training: what comes back to the units of every layer, and the length of each weight's gradient."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of
from dlrun.plots.diagnostics.layers import finish, lines, of_quantity, page, split, unit_of, weights
from dlrun.plots.page import title


def figure(folder: str | Path) -> Figure:
    """Std of the gradient in every layer's outputs; norm of the gradient in every weight."""
    frame = read_table(folder, table_of("gradients"))
    units, parameters = split(frame)
    shown = [
        (of_quantity(units, "std"), "std of gradients\nin units"),
        (of_quantity(weights(parameters), "norm"), "norm of gradients\nin weights"),
    ]
    shown = [(table, label) for table, label in shown if len(table.columns)]
    sheet, panels = page(len(shown))
    for axes, (table, label) in zip(panels, shown, strict=True):
        lines(axes, table, label)
    finish(sheet, panels, unit_of(frame), f"gradients: {title(folder, summary_of(Path(folder)))}")
    return sheet
