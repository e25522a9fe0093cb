"""Steps over a training: how far each moves every weight, and the effective rate."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of
from dlrun.plots.diagnostics.layers import finish, lines, of_quantity, page, unit_of, weights
from dlrun.plots.page import GREY, title

HEALTHY = 1e-3  #: of a ratio, as a rule of thumb


def figure(folder: str | Path) -> Figure:
    """Ratio of the step's length to the weight's, for every weight; the effective rate of all together."""
    frame = read_table(folder, table_of("updates"))
    sheet, panels = page(2)
    lines(panels[0], of_quantity(weights(frame[frame["layer"] != "all"]), "ratio"), "‖Δθ‖ / ‖θ‖")
    panels[0].axhline(HEALTHY, color=GREY, linewidth=1.5, linestyle=":")
    lines(panels[1], of_quantity(frame[frame["layer"] == "all"], "effective_lr"), "‖Δθ‖ / ‖g‖", named=False)
    finish(sheet, panels, unit_of(frame), f"updates: {title(folder, summary_of(Path(folder)))}")
    return sheet
