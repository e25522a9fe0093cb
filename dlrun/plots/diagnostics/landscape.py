"""The landscape around a trained network: contours of the plane, and cuts along its axes."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.axes3d import Axes3D

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of
from dlrun.plots.diagnostics.contours import bar, fill, grid_of, label_of, levels_of, surface
from dlrun.plots.page import LARGE, SMALL, TRAIN, VAL, gaps, log_if_wide, title

CUTS = {"alpha": ("along α", TRAIN, "-"), "beta": ("along β", VAL, "--")}


def figure(folder: str | Path) -> Figure:
    """Three panels, of a plane: contours of the objective with the network marked, the cuts through it along both axes,
    and the surface from the side. Of a line: its cut alone."""
    frame = read_table(folder, table_of("landscape"))
    label = label_of(frame)
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    plane = "beta" in frame.columns
    places = page.add_gridspec(2, 2, width_ratios=[1.35, 1], height_ratios=[1, 1.35])
    panels = [page.add_subplot(place) for place in ((places[:, 0], places[0, 1]) if plane else (places[:, :],))]
    if plane:
        x, y, z = grid_of(frame, "alpha", "beta", "objective")
        levels = levels_of([z])
        fill(panels[0], x, y, z, levels)
        bar(page, panels[0], levels, label, highest=np.nanmax(gaps(z), initial=-np.inf))
        panels[0].plot([0], [0], "+", color="white", markersize=26, markeredgewidth=4, label="the network")
        panels[0].set_aspect("equal", "box")
        panels[0].set_xlabel("α", fontsize=LARGE)
        panels[0].set_ylabel("β", fontsize=LARGE, rotation=0)
        for axis in (panels[0].xaxis, panels[0].yaxis):
            axis.set_major_locator(MaxNLocator(5))
        panels[0].tick_params(labelsize=SMALL)
        if len(levels) >= 2:
            side = cast(Axes3D, page.add_subplot(places[1, 1], projection="3d"))
            surface(side, x, y, z, levels)
            for axis, name in ((side.xaxis, "α"), (side.yaxis, "β")):
                axis.set_major_locator(MaxNLocator(3))
                axis.set_label_text(name, fontsize=SMALL)
                axis.labelpad = 8
    axes, shown = panels[-1], []
    for name, (text, colour, style) in CUTS.items():
        if name in frame.columns:
            others = [other for other in CUTS if other in frame.columns and other != name]
            cut = frame[(frame[others] == 0).all(axis=1)]
            shown.append(gaps(cut["objective"]))
            axes.plot(cut[name], shown[-1], style, color=colour, linewidth=3, label=text if plane else None)
    middle = frame[(frame[[name for name in CUTS if name in frame.columns]] == 0).all(axis=1)]
    axes.plot([0], gaps(middle["objective"]), "o", color="black", markersize=11, zorder=3, label="the network")
    log_if_wide(axes, np.concatenate(shown))
    axes.set_xlabel("α, β" if plane else "α", fontsize=LARGE)
    if not plane:
        axes.set_ylabel(label, fontsize=LARGE)
    axes.tick_params(labelsize=SMALL)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    page.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
    page.suptitle(
        f"landscape: {title(folder, summary_of(Path(folder)))}", fontsize=LARGE, fontweight="bold", parse_math=False
    )
    return page
