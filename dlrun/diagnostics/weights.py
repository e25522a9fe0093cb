"""Weights by layer: how they are spread, how long they are, how many are zero."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.diagnostics.diagnostic import DuringTraining, Found, View, long_form
from dlrun.diagnostics.spread import share_of_zeros, spread

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
        values = dict[tuple[str, str], Tensor]()
        for name, weight in view.stack.layout.views(view.stack.theta).items():
            flat = weight.flatten(1)
            told = {
                **spread(flat, PERCENTILES),
                "min": flat.amin(1),
                "max": flat.amax(1),
                "norm": torch.linalg.vector_norm(flat, dim=1),
                "zero": share_of_zeros(flat),
            }
            values |= {(name, quantity): value for quantity, value in told.items()}
        return long_form(view, values)
