"""How numbers spread: their mean, standard deviation and percentiles."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dlrun.diagnostics.counting import of_rank, zeros

PERCENTILES = (15, 50, 85)
LARGEST = 10_000  #: numbers that percentiles are taken of: to find them among more takes long


def spread(values: Tensor, percentiles: tuple[int, ...] = PERCENTILES) -> dict[str, Tensor]:
    """mean, std and p15, p50, p85 of each run's numbers, (runs,) each.

    The standard deviation divides by their count. A percentile p is the number of rank ceil(p / 100 n), from 1, among
    n, which are all of them up to 10,000. Of more, 10,000 that lie evenly among them tell it, so that its rank is right
    to half a per cent or so.

    values: (runs, ...).
    """
    flat = flattened(values)
    mean = flat.mean(1)
    std = (flat - mean[:, None]).square().mean(1).sqrt()
    some = flat if flat.shape[1] <= LARGEST else flat.index_select(1, evenly(flat.shape[1], LARGEST).to(flat.device))
    found = of_rank(some, [max(1, -(-p * some.shape[1] // 100)) for p in percentiles])
    return {"mean": mean, "std": std, **{f"p{p}": value for p, value in zip(percentiles, found.unbind(1), strict=True)}}


def flattened(values: Tensor) -> Tensor:
    """(runs, numbers) of (runs, ...), in the order in which they lie in memory, which spares a copy where that is
    another than that of the axes, as it is of the gradient of a linear map's weights."""
    axes = sorted(range(1, values.ndim), key=lambda axis: (-values.stride()[axis], axis))
    return values.permute(0, *axes).flatten(1)


def evenly(size: int, count: int) -> Tensor:
    """The places of `count` among `size` that lie evenly, the first and the last among them."""
    return torch.from_numpy(np.linspace(0, size - 1, count).round().astype(np.int64))  # no operation to be recorded


def share(condition: Tensor) -> Tensor:
    """The share of true entries in each run, (runs,), of (runs, ...)."""
    flat = flattened(condition)
    return (flat.shape[1] - zeros(flat)).double() / flat.shape[1]


def share_of_zeros(values: Tensor) -> Tensor:
    """The share of entries that are exactly 0 in each run, (runs,), of (runs, ...)."""
    flat = flattened(values)
    return zeros(flat).double() / flat.shape[1]
