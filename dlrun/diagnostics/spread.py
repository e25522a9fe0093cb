"""How numbers spread: their mean, standard deviation and percentiles."""

from __future__ import annotations

import torch
from torch import Tensor

PERCENTILES = (15, 50, 85)
LARGEST = 10_000  #: numbers that percentiles are taken of: to find them among more takes long


def spread(values: Tensor, percentiles: tuple[int, ...] = PERCENTILES) -> dict[str, Tensor]:
    """mean, std and p15, p50, p85 of each run's numbers, (runs,) each.

    The standard deviation divides by their count. A percentile p is the number of rank ceil(p / 100 n), from 1, among
    n, which are all of them up to 10,000. Of more, 10,000 that lie evenly among them tell it, so that its rank is right
    to half a per cent or so.

    values: (runs, ...).
    """
    flat = values.flatten(1)
    mean = flat.mean(1)
    std = (flat - mean[:, None]).square().mean(1).sqrt()
    some = flat if flat.shape[1] <= LARGEST else flat[:, evenly(flat.shape[1], LARGEST).to(flat.device)]
    ranks = {p: max(1, -(-p * some.shape[1] // 100)) for p in percentiles}
    return {"mean": mean, "std": std, **{f"p{p}": some.kthvalue(rank, 1).values for p, rank in ranks.items()}}


def evenly(size: int, count: int) -> Tensor:
    """The places of `count` among `size` that lie evenly, the first and the last among them."""
    return torch.linspace(0, size - 1, count, dtype=torch.float64).round().long()


def share(condition: Tensor) -> Tensor:
    """The share of true entries in each run, (runs,), of (runs, ...)."""
    flat = condition.flatten(1)
    return flat.sum(1).double() / flat.shape[1]
