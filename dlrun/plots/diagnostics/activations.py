"""Activations over a training: spread by layer, how many are saturated, the last hidden layer's percentiles."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of
from dlrun.plots.diagnostics.layers import finish, lines, of_quantity, page, unit_of
from dlrun.plots.page import LARGE, TRAIN, VAL, gaps, title


def figure(folder: str | Path) -> Figure:
    """Three panels: std of every layer's outputs; shares saturated and dead; percentiles of the last hidden layer."""
    frame = read_table(folder, table_of("activations"))
    hidden = frame[frame["layer"] != "output"]
    flat, dead = (of_quantity(hidden, quantity) for quantity in ("saturated", "dead"))
    sheet, panels = page(3 if len(flat.columns) else 2)
    spread = of_quantity(hidden, "std")
    lines(panels[0], spread, "std of outputs")
    if len(flat.columns):
        lines(panels[1], flat, "saturated, %", share=True)
        lines(panels[1], dead, "saturated (–)\ndead (··), %", share=True, style=":")
    last, axes = list(spread.columns)[-1], panels[-1]
    rows = hidden[hidden["layer"] == last]
    for prefix, colour, name in (("input_", VAL, "takes in"), ("", TRAIN, "puts out")):
        bands = [of_quantity(rows, f"{prefix}p{p}") for p in (15, 50, 85)]
        if all(len(band.columns) for band in bands):
            low, middle, high = (gaps(band[last]) for band in bands)
            at = bands[0].index
            axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
            axes.plot(at, middle, color=colour, linewidth=2.5, label=f"{last} {name}: 15th, 50th, 85th percentile")
    axes.legend(fontsize=14, frameon=False, loc="best")
    axes.set_ylabel("percentiles", fontsize=LARGE)
    finish(
        sheet, panels, unit_of(frame), list(spread.columns), f"activations: {title(folder, summary_of(Path(folder)))}"
    )
    return sheet
