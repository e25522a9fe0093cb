"""What parts of a Jacobian cost, in forward and in reverse mode."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of, told_of
from dlrun.plots.page import GREY, LARGE, SMALL, TRAIN, VAL, heading


def figure(folder: str | Path) -> Figure:
    """Milliseconds over the columns that forward mode computes, and over the rows of reverse mode, beside f alone."""
    frame = read_table(folder, table_of("jacobian"))
    summary = summary_of(Path(folder))
    told = told_of(summary, "jacobian")
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    axes = page.subplots()
    for mode, colour, marker, passes in (("forward", VAL, "o", "inputs"), ("reverse", TRAIN, "s", "outputs")):
        rows = frame[frame["quantity"] == mode]
        label = f"{mode} mode, a pass per {passes[:-1]}"
        axes.plot(
            rows["number"], rows["seconds"] * 1e3, color=colour, marker=marker, linewidth=3, markersize=9, label=label
        )
        number, at = rows["number"].iloc[-1], rows["seconds"].iloc[-1] * 1e3
        if told.get(passes) == number:
            axes.plot(number, at, marker, color=colour, markersize=18, fillstyle="none", markeredgewidth=3)
            axes.annotate(
                f"all of J: {number:,.0f} {passes}\n{at:.3g} ms", (number, at), (0, 18), textcoords="offset points",
                ha="left" if number == 1 else "right", fontsize=SMALL, color=colour,
            )  # fmt: skip
    alone = frame.loc[frame["quantity"] == "evaluation", "seconds"].item() * 1e3
    axes.axhline(alone, color=GREY, linestyle="--", linewidth=2, label=f"f alone, {alone:.3g} ms")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.margins(0.1, 0.15)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("columns (forward) or rows (reverse) of the Jacobian", fontsize=LARGE)
    axes.set_ylabel("ms", fontsize=LARGE)
    axes.tick_params(labelsize=SMALL)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=SMALL, frameon=False)
    size = f" of {told['outputs']:,} outputs by {told['inputs']:,} inputs" if "inputs" in told else ""
    heading(page, folder, summary, f"Jacobian{size}")
    return page
