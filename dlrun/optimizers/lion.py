"""Lion (Chen et al. 2023): steps by the sign of a momentum."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.optimizers.rule import Rule, State


class Lion(Rule):
    r"""Every parameter moves by lr, by the sign of a mix of the gradient and its moving average.

    $$\theta \leftarrow \theta - \text{lr}\,(\mathrm{sign}(\beta_1 m + (1-\beta_1) g) + \lambda \theta), \quad
    m \leftarrow \beta_2 m + (1-\beta_2) g$$

    Its steps have a length of their own, so the paper takes an lr 3 to 10 times smaller than Adam's, and a
    weight decay $\lambda$ as much larger.

    Reference: Chen et al. 2023, arXiv:2302.06675 (Algorithm 2).
    """

    def init(self, theta: Tensor) -> State:
        return {"m": torch.zeros_like(theta)}

    def update(
        self, theta: Tensor, g: Tensor, state: State, *, lr: Tensor, beta1: Tensor, beta2: Tensor, weight_decay: Tensor
    ) -> None:
        m = state["m"]
        theta.mul_(1 - lr * weight_decay).addcmul_(lr, torch.lerp(g, m, beta1).sign_(), value=-1)
        m.lerp_(g, 1 - beta2)
