"""Means and variances of normalized units: how far from 0 and 1 over the sets of each normalization, by layer."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of
from dlrun.plots.diagnostics.layers import finish, page
from dlrun.plots.page import LARGE, LR, SMALL, TRAIN, VAL, gaps, log_if_wide, title

COLOURS = {"batch": TRAIN, "layer": VAL, "instance": LR, "group": "black"}


def figure(folder: str | Path) -> Figure:
    """At the last look, a line for each kind of sets over the layers."""
    frame = read_table(folder, table_of("moments"))
    last = frame[frame["step"] == frame["step"].max()]
    layers = list(dict.fromkeys(last["layer"]))
    sheet, panels = page(2)
    for axes, moment in zip(panels, ("mean", "variance"), strict=True):
        table = last.pivot(index="layer", columns="quantity", values="value").loc[layers]
        for name, colour in COLOURS.items():
            if f"{name}_{moment}" in table:
                values = gaps(table[f"{name}_{moment}"])
                axes.plot(
                    range(1, len(layers) + 1), values, "o-", color=colour, linewidth=2.5, markersize=8, label=name
                )
        log_if_wide(axes, table[[column for column in table if column.endswith(moment)]].to_numpy())
        axes.set_ylabel("|mean|" if moment == "mean" else "|variance - 1|", fontsize=LARGE)
    panels[0].legend(
        title="over the sets of", fontsize=SMALL, title_fontsize=SMALL, frameon=False, loc="center left",
        bbox_to_anchor=(1, 0.5),
    )  # fmt: skip
    finish(sheet, panels, "normalization, from the input on", f"moments: {title(folder, summary_of(Path(folder)))}")
    return sheet
