"""What the way that two parameters take says of the rule that moves them: `trajectory.csv` of every step."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path

import numpy as np

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table


def steps_near(folder: Path, point: Sequence[float], distance: float) -> float:
    """Steps until the parameters are first within this distance of a point; inf if they never are."""
    there = np.linalg.norm(_path(folder) - np.array(point), axis=1) <= distance
    return float(read_table(folder, table_of("trajectory"))["step"][there.argmax()]) if there.any() else inf


def turning(folder: Path, last: int | None = None) -> float:
    """The mean cosine of the angle between a step and the next: 1 straight on, -1 back and forth.

    last: of so many of the last steps; None of all.
    """
    steps = np.diff(_path(folder), axis=0)[-last if last else None :]
    lengths = np.linalg.norm(steps, axis=1)
    both = lengths[1:] * lengths[:-1]
    return float(((steps[1:] * steps[:-1]).sum(1)[both > 0] / both[both > 0]).mean())


def detour(folder: Path, point: Sequence[float], distance: float) -> float:
    """The length of the path until it is within this distance of a point, over that of the direct way; inf if never."""
    path = _path(folder)
    there = np.linalg.norm(path - np.array(point), axis=1) <= distance
    if not there.any():
        return inf
    path = path[: there.argmax() + 1]
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum() / np.linalg.norm(path[-1] - path[0]))


def momentum_error(folder: Path, momentum: float, lr: float, condition: float) -> float:
    r"""By how much the steps on `dataset=quadratic` differ from the sum of the gradients before them, over the longest.

    $$v_n = -\text{lr} \sum_{k=1}^n \mu^{n-k} g_k, \quad g_k = \Lambda \theta_{k-1}, \quad \Lambda = (1, \kappa)$$
    """
    path = _path(folder)
    steps, gradients = np.diff(path, axis=0), path[:-1] * np.array([1.0, condition])
    n = np.arange(len(steps))
    powers = np.where(n[:, None] >= n, float(momentum) ** np.abs(n[:, None] - n), 0.0)
    return float(np.abs(steps + lr * powers @ gradients).max() / np.abs(steps).max())


def furthest(folder: Path, parameter: int) -> float:
    """The largest magnitude that one of the two parameters has anywhere on the path."""
    return float(np.abs(_path(folder)[:, parameter]).max())


def _path(folder: Path) -> np.ndarray:
    """(moments, 2)."""
    return read_table(folder, table_of("trajectory"))[["theta_0", "theta_1"]].to_numpy()
