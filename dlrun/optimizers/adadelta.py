"""Adadelta (Zeiler 2012)."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.optimizers.rule import Rule, State


class Adadelta(Rule):
    r"""A step in the units of theta: the gradient over its root mean square, times that of the past steps.

    $$r \leftarrow \rho r + (1-\rho) g^2, \quad \Delta = -\sqrt{d + \epsilon}\; g / \sqrt{r + \epsilon}$$
    $$d \leftarrow \rho d + (1-\rho) \Delta^2, \quad \theta \leftarrow \theta + \text{lr}\, \Delta$$

    The paper has no lr, that is lr = 1. Its first steps are about $\sqrt{\epsilon}$ long, so eps sets the start.

    Reference: Zeiler 2012, arXiv:1212.5701 (Algorithm 1).
    """

    def init(self, theta: Tensor) -> State:
        return {"r": torch.zeros_like(theta), "d": torch.zeros_like(theta)}

    def update(self, theta: Tensor, g: Tensor, state: State, *, lr: Tensor, rho: Tensor, eps: Tensor) -> None:
        r, d = state["r"].lerp_(g * g, 1 - rho), state["d"]
        delta = ((d + eps) / (r + eps)).sqrt_().mul_(g)
        d.lerp_(delta * delta, 1 - rho)
        theta.addcmul_(lr, delta, value=-1)
