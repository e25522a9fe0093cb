"""Activations over a training: spread by layer, how many are saturated, the last hidden layer's percentiles."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of
from dlrun.plots.diagnostics.layers import edges, finish, lines, of_quantity, page, unit_of
from dlrun.plots.page import FEW, LARGE, SMALL, TRAIN, VAL, gaps, title


def figure(folder: str | Path) -> Figure:
    """Std of every layer's outputs; shares saturated and dead; percentiles of the last hidden layer."""
    frame = read_table(folder, table_of("activations"))
    hidden = frame[frame["layer"] != "output"]
    spread, flat, dead = (of_quantity(hidden, quantity) for quantity in ("std", "saturated", "dead"))
    sheet, panels = page(3 if len(flat.columns) else 2)
    lines(panels[0], spread, "std of outputs")
    if len(flat.columns):
        lines(panels[1], flat, "", share=True, named=False)
        lines(panels[1], dead, "saturated (–),\ndead (··), %", share=True, style=":", named=False)
    last, axes = list(spread.columns)[-1], panels[-1]
    rows = hidden[hidden["layer"] == last]
    for prefix, colour, style, name in (("input_", VAL, "-", "takes in"), ("", TRAIN, "--", "puts out")):
        low, middle, high = (of_quantity(rows, f"{prefix}p{p}") for p in (15, 50, 85))
        if len(middle.columns):
            axes.fill_between(low.index, gaps(low[last]), gaps(high[last]), color=colour, alpha=0.2, linewidth=0)
            few = "o" if len(low) <= FEW else None
            axes.plot(low.index, gaps(middle[last]), style, color=colour, linewidth=2.5, marker=few, label=name)
            edges(axes, low[last], high[last], colour=colour)
    legend = axes.legend(
        title=f"{last}\n15th, 50th, 85th", fontsize=SMALL, title_fontsize=SMALL, frameon=False, loc="center left",
        bbox_to_anchor=(1, 0.5), handlelength=1,
    )  # fmt: skip
    legend.get_title().set_parse_math(False)
    axes.set_ylabel("percentiles", fontsize=LARGE)
    finish(sheet, panels, unit_of(frame), f"activations: {title(folder, summary_of(Path(folder)))}")
    return sheet
