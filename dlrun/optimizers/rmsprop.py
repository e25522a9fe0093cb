"""RMSProp (Hinton 2012), with the momentum and the centring of Graves 2013."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.optimizers.rule import Rule, State


class RMSprop(Rule):
    r"""AdaGrad that forgets: a moving average of the squared gradients in place of their sum.

    $$r \leftarrow \rho r + (1-\rho) g^2$$
    $$v \leftarrow \mu v - \text{lr}\; g / (\sqrt{r} + \epsilon), \quad \theta \leftarrow \theta + v$$

    The velocity is a displacement as in `Momentum`; without momentum, $\mu = 0$, it is the step itself.

    Args:
        centered: divide by the standard deviation of the gradient, $\sqrt{r - m^2}$, where
            $m \leftarrow \rho m + (1-\rho) g$ (Graves).
        eps_inside_sqrt: divide by $\sqrt{r + \epsilon}$ instead (Graves; lecture 003).

    Reference: Hinton 2012, Coursera lecture 6e; Graves 2013, arXiv:1308.0850 (eq. 38-41); lectures 002, 003, 004.
    """

    def __init__(self, centered: bool = False, eps_inside_sqrt: bool = False) -> None:
        self.centered = centered
        self.eps_inside_sqrt = eps_inside_sqrt

    def init(self, theta: Tensor) -> State:
        names = ["r", "v", "m"] if self.centered else ["r", "v"]
        return {name: torch.zeros_like(theta) for name in names}

    def update(
        self, theta: Tensor, g: Tensor, state: State, *, lr: Tensor, rho: Tensor, momentum: Tensor, eps: Tensor
    ) -> None:
        r = state["r"].lerp_(g * g, 1 - rho)
        if self.centered:
            m = state["m"].lerp_(g, 1 - rho)
            # Rounding takes the variance of a constant gradient below zero.
            r = torch.addcmul(r, m, m, value=-1).clamp_(min=0)
        root = (r + eps).sqrt_() if self.eps_inside_sqrt else r.sqrt().add_(eps)
        v = state["v"].mul_(momentum).addcdiv_(lr * g, root, value=-1)
        theta.add_(v)
