"""The classes that a network predicts over two inputs, the more colour the more probable, with samples on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table, summary_of, told_of
from dlrun.plots.page import BESIDE, GREY, LARGE, LR, SMALL, TRAIN, VAL, heading, shortened

NAMED = 10  #: classes that the legend names
PALE, FULL = 0.15, 0.6  #: how strong a class's colour is where it is only just, and where it is surely predicted


def figure(folder: str | Path) -> Figure:
    """The predicted classes as areas with lines between them; samples in the colour of their true class, those that
    are taken for another one as crosses."""
    frame = read_table(folder, table_of("decision_boundary"))
    summary = summary_of(Path(folder))
    grid, samples = frame[frame["quantity"] == "grid"], frame[frame["quantity"] != "grid"]
    classes = sorted({*frame["predicted"], *samples["true"]}, key=_by_number)
    own = [TRAIN, VAL, LR, *BESIDE]
    colours = own if len(classes) <= len(own) else [colormaps["tab20"](i % 20) for i in range(len(classes))]
    shades = np.array([to_rgb(colours[i]) for i in range(len(classes))])

    places = {name: i for i, name in enumerate(classes)}
    side = len(grid["x"].unique())
    # rows of the table go along y first, rows of an image along x
    predicted = grid["predicted"].map(places).to_numpy().reshape(side, -1).T
    probability = grid["probability"].to_numpy().reshape(side, -1).T
    x, y = np.unique(grid["x"]), np.unique(grid["y"])
    least = 1 / max(2, len(classes))
    sure = np.clip(np.where(np.isfinite(probability), (probability - least) / (1 - least), 1), 0, 1)
    strength = (PALE + (FULL - PALE) * sure)[..., None]

    page = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(page)
    axes = page.subplots()
    half = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
    axes.imshow(
        1 - strength * (1 - shades[predicted]), origin="lower", aspect="auto", interpolation="nearest",
        extent=(x[0] - half[0], x[-1] + half[0], y[0] - half[1], y[-1] + half[1]),
    )  # fmt: skip
    for k in np.unique(predicted):
        level = np.where(predicted == k, 1.0, 0.0)
        if len(classes) == 2 and np.isfinite(probability).all():
            level = np.where(predicted == k, probability, 1 - probability)  # between the points, too
        if level.min() < 0.5 < level.max():
            axes.contour(x, y, level, [0.5], colors=GREY, linewidths=2)
    right = samples["predicted"] == samples["true"]
    for k, name in enumerate(classes):
        for correct, marker in ((True, "o"), (False, "X")):
            some = samples[(samples["true"] == name) & (right == correct)]
            axes.scatter(some["x"], some["y"], 60, color=colours[k], marker=marker, edgecolors="black", linewidths=0.8)
    handles = [
        Line2D([], [], color=colours[k], marker="o", markersize=10, linestyle="", label=shortened(name, 20))
        for k, name in enumerate(classes[:NAMED])
    ]
    if not right.all():
        handles.append(
            Line2D(
                [], [], color="white", marker="X", markeredgecolor="black", markersize=10, linestyle="", label="wrong"
            )
        )
    legend = page.legend(
        handles=handles, loc="outside lower center", ncols=min(5, len(handles)), fontsize=SMALL, frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    told = told_of(summary, "decision_boundary")
    axes.set_xlabel(shortened(str(told.get("x", "x")), 60), fontsize=LARGE, parse_math=False)
    axes.set_ylabel(shortened(str(told.get("y", "y")), 50), fontsize=LARGE, parse_math=False)
    axes.tick_params(labelsize=SMALL)
    part = samples["quantity"].iloc[0] if len(samples) else ""
    heading(page, folder, summary, f"decision boundary: {right.mean():.1%} of {len(samples):,} {part} samples right")
    return page


def _by_number(name: str) -> tuple[bool, float, str]:
    return (False, float(name), name) if name.isdecimal() else (True, 0.0, name)
