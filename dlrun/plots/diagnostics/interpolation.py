"""Loss and main metric on the straight line between two networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of, told_of
from dlrun.plots.page import GREY, LARGE, SMALL, TRAIN, VAL, gaps, log_if_wide, title
from dlrun.terminal.printable import printable

TICKS = (-0.25, 0, 0.25, 0.5, 0.75, 1, 1.25)
DOTS = 400  #: points of the line that are marked, at most
LONGEST = 28  #: letters of a network's name, of which the last ones tell most


def figure(folder: str | Path) -> Figure:
    """A panel for the loss and one for the metric, of train and val over alpha, with both ends of the line."""
    frame = read_table(folder, table_of("interpolation"))
    summary = summary_of(Path(folder))
    told = told_of(summary, "interpolation")
    measures = [name.removeprefix("train_") for name in frame.columns if name.startswith("train_")]
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    panels = page.subplots(len(measures), 1, sharex=True, squeeze=False)[:, 0]
    few = "o" if len(frame) <= DOTS else None
    for axes, measure in zip(panels, measures, strict=True):
        for end in (0, 1):
            axes.axvline(end, color=GREY, linewidth=2, linestyle=":", label="ends of the line" if end else None)
        for part, colour, style in (("train", TRAIN, "-"), ("val", VAL, "--")):
            axes.plot(
                frame["alpha"], gaps(frame[f"{part}_{measure}"]), style, color=colour, linewidth=3, marker=few,
                markersize=6, label=part,
            )  # fmt: skip
        if measure == "loss":
            log_if_wide(axes, frame[["train_loss", "val_loss"]].to_numpy())
        axes.set_ylabel(measure, fontsize=LARGE)
        axes.tick_params(labelsize=SMALL)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    names = [f"{tick:g}".replace("-", "−") + "\n" + _network(told, tick) for tick in TICKS]
    panels[-1].set_xticks(TICKS, names, parse_math=False)
    panels[-1].set_xlim(frame["alpha"].min() - 0.02, frame["alpha"].max() + 0.02)
    panels[-1].set_xlabel("α", fontsize=LARGE)
    handles, labels = panels[0].get_legend_handles_labels()
    page.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
    page.suptitle(f"interpolation: {title(folder, summary)}", fontsize=LARGE, fontweight="bold", parse_math=False)
    page.align_ylabels(panels)
    return page


def _network(told: dict[str, Any], alpha: float) -> str:
    """Which network is at this place of the line, by the summary; nothing where it does not say."""
    network = told.get("begin" if alpha == 0 else "end") if alpha in (0, 1) else None
    if not isinstance(network, str):
        return ""
    if network == "this run" and told.get("which") in ("best", "last"):
        return f"this run, {told['which']}"
    network = " ".join(printable(network).split())
    return network if len(network) <= LONGEST else f"…{network[1 - LONGEST :]}"
