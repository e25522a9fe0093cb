"""How the curves of a page are made small: thinned out, rounded, their times kept once."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

VALUES = 330_000  #: numbers that all curves of a page may have: 1.3 MB
POINTS = 500  #: of a curve, more than which a page cannot show
FEWEST = 50  #: to which curves are thinned out before columns are left out


class Grids:
    """Times of evaluations, each list once: one that ends earlier is the beginning of another."""

    def __init__(self) -> None:
        self.grids: list[dict[str, list[float]]] = []

    def of(self, epochs: NDArray[np.float64], steps: NDArray[np.int64]) -> dict[str, int | None]:
        """Which list begins with these, and how many of it they are."""
        own = {"epoch": [float(f"{each:.6g}") for each in epochs.tolist()], "step": steps.tolist()}
        n = len(own["step"])
        for place, grid in enumerate(self.grids):
            shorter = min(n, len(grid["step"]))
            if all(grid[unit][:shorter] == own[unit][:shorter] for unit in own):
                if n > shorter:
                    self.grids[place] = own
                return {"grid": place, "length": n}
        self.grids.append(own)
        return {"grid": len(self.grids) - 1, "length": n}


def within(longest: int, curves: int, columns: int) -> tuple[int, int]:
    """Each how manieth evaluation is drawn, and of how many columns, so that the page stays small.

    longest: evaluations of a curve. curves: how many there are in each column.
    """
    points = min(POINTS, max(FEWEST, VALUES // max(1, curves * columns)))
    stride = max(1, -(-longest // points))
    points = -(-longest // stride) + 1
    return stride, min(columns, max(1, VALUES // max(1, curves * points)))


def thinned(parts: Sequence[NDArray[np.float64]], stride: int) -> NDArray[np.float64]:
    """Of each part the values at 0, stride, 2 stride, ..., and its last one, one part after the other."""
    places = {n: np.unique(np.r_[np.arange(0, n, stride), n - 1]) for n in {len(part) for part in parts}}
    return np.concatenate([part[places[len(part)]] for part in parts]) if parts else np.zeros(0)


def packed(values: ArrayLike) -> str:
    """Numbers as base64, of each the first three bytes of single precision, rounded; NaN and infinities stay.

    The relative error is at most 2**-16 (15 bits and a hidden one), less than half a unit of the fourth digit.
    """
    with np.errstate(over="ignore"):  # beyond 3.4e38 it is infinite
        bits = np.asarray(values).astype("<f4").view("<u4")
    finite = (bits >> 23) & 0xFF != 0xFF
    rounded = np.where(finite, bits + 0x80, bits).astype("<u4")
    return base64.b64encode(rounded.view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()).decode()
