"""The length of the gradient at every step."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of
from dlrun.plots.diagnostics.layers import finish, page
from dlrun.plots.page import FEW, GREY, LARGE, TRAIN, gaps, left_out, log_if_wide, seen, title

WINDOW = 20  #: of so many parts of a training, the median of each stands in a line


def figure(folder: str | Path) -> Figure:
    """Every step's norm, and its running median."""
    frame = read_table(folder, table_of("gradient_norm"))
    sheet, [axes] = page(1)
    few, drawn = len(frame) <= FEW, frame.iloc[seen(frame["grad_norm"])]
    axes.plot(
        drawn["step"], gaps(drawn["grad_norm"]), color=TRAIN if few else GREY, linewidth=2.5 if few else 0.8,
        alpha=1 if few else 0.5, label=f"every step{left_out(len(drawn), len(frame), 'steps')}",
    )  # fmt: skip
    if not few:
        window = max(3, len(frame) // WINDOW)
        median = frame["grad_norm"].rolling(window, center=True, min_periods=1).median()
        axes.plot(
            drawn["step"], gaps(median.iloc[drawn.index]), color=TRAIN, linewidth=3, label=f"median of {window} steps"
        )
        axes.legend(fontsize=LARGE, frameon=False)
    log_if_wide(axes, frame["grad_norm"].to_numpy())
    axes.set_ylabel("norm of the gradient", fontsize=LARGE)
    finish(sheet, [axes], "step", f"gradient_norm: {title(folder, summary_of(Path(folder)))}")
    return sheet
