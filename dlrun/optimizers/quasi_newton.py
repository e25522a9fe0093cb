"""Curvature learnt from how gradients change: BFGS and L-BFGS (Nocedal 1980)."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.optimizers.line_search import StrongWolfe
from dlrun.optimizers.newton import times
from dlrun.optimizers.rule import Objective, Rule, State


class QuasiNewton(Rule):
    r"""A line search along $d = -H g$, H being what the last steps tell of the inverse Hessian.

    $$\theta \leftarrow \theta + \alpha d, \quad s = \alpha d, \quad y = g(\theta + \alpha d) - g(\theta)$$

    The first step goes along -g and tries the length lr min(1, 1/||g||), later ones try lr. A pair (s, y) that shows
    no positive curvature is not remembered, and all pairs are forgotten after a search that found no lower point.

    Args:
        c1, c2: the constants of the strong Wolfe conditions.
    """

    traceable = False
    stackable = False
    searches = True

    def __init__(self, c1: float = 1e-4, c2: float = 0.9) -> None:
        self.search = StrongWolfe(c1, c2)

    def init(self, theta: Tensor) -> State:
        return {"pairs": torch.zeros_like(theta[:, :1])}

    def direction(self, g: Tensor, state: State) -> Tensor:
        """-H g, (runs, params), after one pair at least."""
        raise NotImplementedError

    def remember(self, s: Tensor, y: Tensor, state: State) -> None:
        """Learn from a step s and the gradient's change y."""
        raise NotImplementedError

    def update(self, theta: Tensor, g: Tensor, state: State, objective: Objective, *, lr: Tensor) -> None:
        pairs = state["pairs"]
        d = self.direction(g, state) if pairs > 0 else -g
        if not dot(g, d) < 0:  # rounding has spoilt the memory
            pairs.zero_()
            d = -g
        first = lr if pairs > 0 else lr * (1 / dot(g, g).sqrt()).clamp(max=1)
        found = self.search(objective, theta, g, d, first.item())
        s, y = found.theta - theta, found.g - g
        if found.alpha == 0:
            pairs.zero_()
        elif dot(s, y) > torch.finfo(theta.dtype).eps * (dot(s, s) * dot(y, y)).sqrt():
            self.remember(s, y, state)
            pairs.add_(1)
        theta.copy_(found.theta)


class BFGS(QuasiNewton):
    r"""The quasi-Newton method that keeps the inverse Hessian as a matrix.

    $$H \leftarrow (I - \rho s y^\top) H (I - \rho y s^\top) + \rho s s^\top, \quad \rho = 1 / s^\top y$$

    starting, once the first pair is known, from $(s^\top y / y^\top y)\, I$.

    Reference: Nocedal & Wright 2006, Numerical Optimization, algorithm 6.1, formulas 6.17 and 6.20.
    """

    curvature = True

    def init(self, theta: Tensor) -> State:
        return {**super().init(theta), "H": theta.new_zeros(*theta.shape, theta.shape[1])}

    def direction(self, g: Tensor, state: State) -> Tensor:
        return -times(state["H"], g)

    def remember(self, s: Tensor, y: Tensor, state: State) -> None:
        H, sy = state["H"], dot(s, y)
        if state["pairs"] == 0:
            H.copy_(sy / dot(y, y) * torch.eye(len(H[0])).to(H))
        Hy = times(H, y)
        both = Hy[:, :, None] * s[:, None, :]
        H.sub_((both + both.mT) / sy).add_((1 + dot(y, Hy) / sy) / sy * s[:, :, None] * s[:, None, :])


class LBFGS(QuasiNewton):
    r"""BFGS from the last `history` pairs alone, in memory proportional to the parameters.

    H is BFGS's, built from $(s^\top y / y^\top y)\, I$ of the newest pair and all pairs remembered, but only its
    product with g is ever computed.

    Args:
        history: pairs (s, y) remembered.

    Reference: Nocedal 1980, doi:10.1090/S0025-5718-1980-0572855-7; Nocedal & Wright 2006, Numerical Optimization,
    algorithms 7.4 and 7.5.
    """

    def __init__(self, history: int = 10, c1: float = 1e-4, c2: float = 0.9) -> None:
        super().__init__(c1, c2)
        self.history = history

    def init(self, theta: Tensor) -> State:
        memory = {name: theta.new_zeros(len(theta), self.history, theta.shape[1]) for name in ("s", "y")}
        return {**super().init(theta), **memory}

    def direction(self, g: Tensor, state: State) -> Tensor:
        first = self.history - min(int(state["pairs"]), self.history)
        pairs = list(zip(state["s"].unbind(1)[first:], state["y"].unbind(1)[first:], strict=True))  # oldest first
        q, shares = g, []
        for s, y in reversed(pairs):
            shares.append(dot(s, q) / dot(s, y))
            q = q - shares[-1] * y
        s, y = pairs[-1]
        q = dot(s, y) / dot(y, y) * q
        for (s, y), share in zip(pairs, reversed(shares), strict=True):
            q = q + (share - dot(y, q) / dot(s, y)) * s
        return -q

    def remember(self, s: Tensor, y: Tensor, state: State) -> None:
        for name, newest in (("s", s), ("y", y)):
            state[name].copy_(torch.cat([state[name][:, 1:], newest[:, None]], 1))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """(1, 1): the product of two vectors (1, params)."""
    return (a * b).sum(1, keepdim=True)
