"""The first layer's weights as tiles, each by its own largest weight."""

from __future__ import annotations

from math import ceil, sqrt
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of
from dlrun.plots.page import heading

COLOURS = 3  #: channels that are shown as red, green and blue; of any other number but 1, their mean


def figure(folder: str | Path) -> Figure:
    """A tile per filter: of one channel red above 0 and blue below, of three the colours themselves, grey for 0."""
    frame = read_table(folder, table_of("filters"))
    sizes = [int(frame[name].max()) + 1 for name in ("filter", "channel", "row", "column")]
    weights = frame["value"].to_numpy().reshape(sizes)
    count, channels = sizes[:2]
    if channels not in (1, COLOURS):
        weights = weights.mean(1, keepdims=True)
    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    columns = min(count, ceil(sqrt(count * 4 / 3)))
    panels = page.subplots(ceil(count / columns), columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, filter_ in zip(panels, weights, strict=False):
        largest = np.abs(filter_).max()
        scaled = filter_ / largest if np.isfinite(largest) and largest > 0 else np.zeros_like(filter_)
        if channels == COLOURS:
            axes.imshow(scaled.transpose(1, 2, 0) / 2 + 0.5)
        else:
            axes.imshow(scaled[0], cmap="RdBu_r", vmin=-1, vmax=1)
    what = "red, green and blue, grey for 0" if channels == COLOURS else "red above 0, blue below"
    mean = f", mean of {channels} channels" if channels not in (1, COLOURS) else ""
    tiles = f"{count} of {'x'.join(map(str, sizes[2:]))}{mean}"
    heading(page, folder, summary_of(Path(folder)), f"filters: {tiles}, each by its own largest weight\n{what}")
    return page
