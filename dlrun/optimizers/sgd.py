"""Gradient descent, plain (Robbins & Monro 1951), with momentum (Polyak 1964) and Nesterov's (1983)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from dlrun.optimizers.rule import Rule, State


class SGD(Rule):
    r"""A step against the gradient; batch gradient descent where the batch is full, online where it is 1.

    $$\theta \leftarrow \theta - \text{lr}\; g$$

    Reference: Robbins & Monro 1951, doi:10.1214/aoms/1177729586; lectures 002, 003, 004.
    """

    def update(self, theta: Tensor, g: Tensor, state: State, *, lr: Tensor) -> None:
        theta.addcmul_(lr, g, value=-1)


class Momentum(Rule):
    r"""A velocity that averages the gradients of about $1/(1-\mu)$ steps.

    $$v \leftarrow \mu v - \text{lr}\; g, \quad \theta \leftarrow \theta + v$$

    Args:
        velocity: "lectures" as above, where v is a displacement, or "torch", as torch.optim.SGD:
            $v \leftarrow \mu v + g$, $\theta \leftarrow \theta - \text{lr}\; v$. They differ once lr changes:
            past gradients keep the rate that they came with, or take the new one.

    Reference: Polyak 1964, doi:10.1016/0041-5553(64)90137-5; Sutskever et al. 2013; lectures 002, 003, 004.
    """

    def __init__(self, velocity: Literal["lectures", "torch"] = "lectures") -> None:
        self.velocity = velocity

    def init(self, theta: Tensor) -> State:
        return {"v": torch.zeros_like(theta)}

    def update(self, theta: Tensor, g: Tensor, state: State, *, lr: Tensor, momentum: Tensor) -> None:
        v = state["v"]
        if self.velocity == "torch":
            v.mul_(momentum).add_(g)
            theta.addcmul_(lr, v, value=-1)
        else:
            v.mul_(momentum).addcmul_(lr, g, value=-1)
            theta.add_(v)


class Nesterov(Momentum):
    r"""Momentum whose gradient is taken where the velocity is about to lead.

    $$v \leftarrow \mu v - \text{lr}\; \nabla L(\theta + \mu v), \quad \theta \leftarrow \theta + v$$

    Args:
        velocity: "lectures" as above (Sutskever's form), or "torch", as torch.optim.SGD(nesterov=True), which
            takes the gradient g at $\theta$ itself: $v \leftarrow \mu v + g$,
            $\theta \leftarrow \theta - \text{lr}\,(g + \mu v)$. With a constant lr and momentum, torch's $\theta$ is
            the point $\theta + \mu v$ of the lectures.

    Reference: Nesterov 1983; Sutskever et al. 2013 (ICML); lectures 002, 003, 004.
    """

    def point(self, theta: Tensor, state: State, *, momentum: Tensor, **_: Any) -> Tensor:
        return theta if self.velocity == "torch" else torch.addcmul(theta, momentum, state["v"])

    def update(self, theta: Tensor, g: Tensor, state: State, *, lr: Tensor, momentum: Tensor) -> None:
        if self.velocity == "torch":
            v = state["v"].mul_(momentum).add_(g)
            theta.addcmul_(lr, torch.addcmul(g, momentum, v), value=-1)
        else:
            super().update(theta, g, state, lr=lr, momentum=momentum)
