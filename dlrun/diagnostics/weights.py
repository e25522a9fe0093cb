"""Weights by layer: how they are spread, how long they are, how many are zero."""

from __future__ import annotations

import torch

from dlrun.diagnostics.diagnostic import DuringTraining, Found, View, by_quantity
from dlrun.diagnostics.spread import quantities, spread

PERCENTILES = (1, 5, 15, 50, 85, 95, 99)


class Weights(DuringTraining):
    r"""Of each parameter, such as `1.weight`: mean, std and percentiles of its entries (`mean`, `std`, `p1` to `p99`),
    the least and the greatest (`min`, `max`), their Euclidean length $\|W\|$ (`norm`) and the share that is exactly 0
    (`zero`).

    Args:
        every: see `DuringTraining`.

    Reference: lectures 002, 004 (histograms of weights; sparsity by an L1 penalty).
    """

    @torch.no_grad()
    def look(self, view: View) -> list[Found]:
        weights = {name: each.flatten(1) for name, each in view.stack.layout.views(view.stack.theta).items()}
        ends = torch.stack([torch.stack([each.amin(1), each.amax(1)], 1) for each in weights.values()], 1)
        told = spread(list(weights.values()), PERCENTILES, length=True).unflatten(1, (len(weights), -1))
        names = [(name, each) for name in weights for each in (*quantities(PERCENTILES, length=True), "min", "max")]
        return by_quantity(view, names, torch.cat([told, ends.double()], 2).flatten(1).tolist())
