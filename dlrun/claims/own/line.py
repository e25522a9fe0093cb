"""How a linear neuron of one input stands to the least-squares line through its data.

All read `fit.csv`, which has the training samples in their own units, and beside it what the run went through.
"""

from __future__ import annotations

from math import inf, sqrt
from pathlib import Path

import numpy as np

from dlrun.claims.measures import rows_where
from dlrun.folder.names import surface_of, table_of
from dlrun.folder.reading import read_metrics, read_table


def away(folder: Path, noise: float) -> float:
    r"""How far the last parameters are from the least-squares line's, in its standard errors; the larger of the two.

    The noise on the targets is uniform on $\pm$ `noise`, so these are the roots of the diagonal of
    $\frac{\text{noise}^2}{3} (X^\top X)^{-1}$ for rows (x, 1) of X. Inputs must not be scaled.
    """
    x, _ = _samples(folder)
    errors = noise / sqrt(3) * np.sqrt(np.diag(np.linalg.inv(x.T @ x)))
    return float((np.abs(_path(folder)[-1] - _line(folder)) / errors).max())


def steps_within(folder: Path, distance: float) -> float:
    """Steps until both parameters are first within this distance of the least-squares line's; inf if they never are."""
    there = np.abs(_path(folder) - _line(folder)).max(1) <= distance
    steps = read_table(folder, table_of("trajectory"))["step"].to_numpy()
    return float(steps[there.argmax()]) if there.any() else inf


def excess(folder: Path) -> float:
    """The last training loss, a mean squared error, above the least there is, whatever scale inputs were in."""
    x, y = _samples(folder)
    least = float(np.square(x @ _line(folder) - y).mean())
    return float(read_metrics(folder)["train_loss"].iloc[-1]) - least


def bowl(folder: Path) -> float:
    r"""The largest difference between the surface around the path and the closed form, over the surface's height.

    $$f(\theta) = (\theta - \theta^*)^\top H (\theta - \theta^*) / 2 + f(\theta^*), \quad H = 2 X^\top X / n$$
    """
    x, y = _samples(folder)
    surface = read_table(folder, surface_of("trajectory"))
    away = surface[["theta_0", "theta_1"]].to_numpy() - _line(folder)
    least = np.square(x @ _line(folder) - y).mean()
    closed = np.einsum("ni,ij,nj->n", away, x.T @ x / len(x), away) + least
    heights = surface["objective"].to_numpy()
    return float(np.abs(heights - closed).max() / (heights.max() - heights.min()))


def _samples(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Rows (x, 1) and targets of the training samples."""
    rows = rows_where(folder, "fit", {"quantity": "train"})
    x = rows["x"].to_numpy()
    return np.stack([x, np.ones_like(x)], 1), rows["target"].to_numpy()


def _line(folder: Path) -> np.ndarray:
    """The least-squares line's slope and intercept."""
    x, y = _samples(folder)
    return np.asarray(np.linalg.lstsq(x, y, rcond=None)[0])


def _path(folder: Path) -> np.ndarray:
    """Weight and bias at each moment, (moments, 2)."""
    return read_table(folder, table_of("trajectory"))[["theta_0", "theta_1"]].to_numpy()
