"""AdaGrad (Duchi, Hazan & Singer 2011)."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.optimizers.rule import Rule, State


class Adagrad(Rule):
    r"""A rate for each parameter that falls with the sum of its squared gradients.

    $$r \leftarrow r + g^2, \quad \theta \leftarrow \theta - \text{lr}\; g / (\sqrt{r} + \epsilon)$$

    Args:
        eps_inside_sqrt: divide by $\sqrt{r + \epsilon}$ instead (lecture 003).

    Reference: Duchi et al. 2011, JMLR 12:2121-2159; lectures 002, 003, 004.
    """

    def __init__(self, eps_inside_sqrt: bool = False) -> None:
        self.eps_inside_sqrt = eps_inside_sqrt

    def init(self, theta: Tensor) -> State:
        return {"r": torch.zeros_like(theta)}

    def update(self, theta: Tensor, g: Tensor, state: State, *, lr: Tensor, eps: Tensor) -> None:
        r = state["r"].addcmul_(g, g)
        root = (r + eps).sqrt_() if self.eps_inside_sqrt else r.sqrt().add_(eps)
        theta.addcdiv_(lr * g, root, value=-1)
