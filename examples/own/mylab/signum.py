"""Signum (Bernstein et al. 2018): steps by the sign of the gradient's mean."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dlrun.optimizers.rule import Rule, State


class Signum(Rule):
    r"""Steps of the same length in every coordinate, by the sign of the mean gradient (Bernstein et al. 2018).

    $$m \leftarrow \beta m + (1-\beta) g, \quad \theta \leftarrow \theta - \text{lr}\, \text{sign}(m)$$

    Reference: Bernstein et al. 2018, arXiv:1802.04434 (Algorithm 2).
    """

    def init(self, theta: Tensor) -> State:
        return {"m": torch.zeros_like(theta)}

    def update(
        self,
        theta: Tensor,
        g: Tensor,
        state: State,
        *,
        lr: Any = 0.001,  # > 0; length of a step in every coordinate
        beta: Any = 0.9,  # in [0, 1); decay of the mean
    ) -> None:
        m = state["m"].mul_(beta).add_((1 - beta) * g)
        theta.sub_(lr * m.sign())
