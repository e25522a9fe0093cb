"""A large table's numbers in a file, which need not fit the memory."""

from __future__ import annotations

from typing import Any

import numpy as np


class Mapped:
    """(rows, features) numbers mapped from a file, to be read as the array of doubles that they stand for.

    Args:
        stored: (rows, features) float32 or float64.
        bounds: (2, features) doubles, the least and the greatest number of each.
        holed: whether any is missing, NaN.
        filling: (features,) what stands for a missing number, NaN; None leaves it.
    """

    ndim, dtype = 2, np.dtype(np.float64)

    def __init__(self, stored: np.ndarray, bounds: np.ndarray, holed: bool, filling: np.ndarray | None = None) -> None:
        self.stored, self.bounds, self.holed, self.filling = stored, bounds, holed, filling
        self.shape = stored.shape

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, place: Any) -> np.ndarray:
        """The doubles there, read into memory."""
        found = np.array(self.stored[place], np.float64)
        return found if self.filling is None else np.where(np.isnan(found), self.filling, found)


Values = np.ndarray | Mapped
