"""Adam (Kingma & Ba 2015) and its decoupled-decay form AdamW (Loshchilov & Hutter 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.optimizers.rule import Rule, State


class Adam(Rule):
    r"""Bias-corrected moving averages of the gradient and of its square.

    $$s \leftarrow \beta_1 s + (1-\beta_1) g, \quad r \leftarrow \beta_2 r + (1-\beta_2) g^2$$
    $$\theta \leftarrow \theta - \text{lr}\; \hat s / (\sqrt{\hat r} + \epsilon), \quad
    \hat s = s / (1-\beta_1^t), \quad \hat r = r / (1-\beta_2^t)$$

    Args:
        eps_inside_sqrt: divide by $\sqrt{\hat r + \epsilon}$ instead (lecture 003).

    Reference: Kingma & Ba 2015, arXiv:1412.6980; lectures 002, 003, 004 (whose correction lacks the power t).
    """

    def __init__(self, eps_inside_sqrt: bool = False) -> None:
        self.eps_inside_sqrt = eps_inside_sqrt

    def init(self, theta: Tensor) -> State:
        return {"s": torch.zeros_like(theta), "r": torch.zeros_like(theta), "t": torch.zeros_like(theta[:, :1])}

    def update(
        self, theta: Tensor, g: Tensor, state: State, *, lr: Tensor, beta1: Tensor, beta2: Tensor, eps: Tensor
    ) -> None:
        t = state["t"].add_(1)
        s = state["s"].lerp_(g, 1 - beta1)
        r = state["r"].lerp_(g * g, 1 - beta2)
        r_hat = r / (1 - beta2**t)
        root = r_hat.add_(eps).sqrt_() if self.eps_inside_sqrt else r_hat.sqrt_().add_(eps)
        # lr s_hat, with both factors joined while they are one number per row
        theta.addcdiv_(lr / (1 - beta1**t) * s, root, value=-1)


class AdamW(Rule):
    r"""Adam after every parameter has shrunk towards zero, by a decay that no moving average sees.

    $$\theta \leftarrow (1 - \text{lr}\; \lambda)\, \theta, \quad \text{then Adam's step}$$

    The decay follows lr as in torch.optim.AdamW; the paper's own $\lambda$, which follows the schedule alone, is lr
    times this one.

    Args:
        eps_inside_sqrt: as in Adam.

    Reference: Loshchilov & Hutter 2019, arXiv:1711.05101.
    """

    def __init__(self, eps_inside_sqrt: bool = False) -> None:
        self.adam = Adam(eps_inside_sqrt)

    def init(self, theta: Tensor) -> State:
        return self.adam.init(theta)

    def update(
        self,
        theta: Tensor,
        g: Tensor,
        state: State,
        *,
        lr: Tensor,
        beta1: Tensor,
        beta2: Tensor,
        eps: Tensor,
        weight_decay: Tensor,
    ) -> None:
        theta.mul_(1 - lr * weight_decay)
        self.adam.update(theta, g, state, lr=lr, beta1=beta1, beta2=beta2, eps=eps)
