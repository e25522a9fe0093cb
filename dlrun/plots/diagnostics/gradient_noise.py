"""Gradient noise over a training: the noise scale, and the signal in each weight's gradient."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of
from dlrun.plots.diagnostics.layers import finish, lines, of_quantity, page, unit_of, weights
from dlrun.plots.page import title


def figure(folder: str | Path) -> Figure:
    """The simple noise scale of all parameters; the signal to noise of every weight."""
    frame = read_table(folder, table_of("gradient_noise"))
    sheet, panels = page(2)
    lines(panels[0], of_quantity(frame[frame["layer"] == "all"], "noise_scale"), "noise scale,\nsamples", named=False)
    lines(panels[1], of_quantity(weights(frame[frame["layer"] != "all"]), "snr"), "signal to noise\nof one sample")
    finish(sheet, panels, unit_of(frame), f"gradient noise: {title(folder, summary_of(Path(folder)))}")
    return sheet
