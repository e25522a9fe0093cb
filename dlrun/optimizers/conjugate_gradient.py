"""Nonlinear conjugate gradients (Polak & Ribière 1969)."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.optimizers.line_search import StrongWolfe
from dlrun.optimizers.quasi_newton import dot
from dlrun.optimizers.rule import Objective, Rule, State


class ConjugateGradient(Rule):
    r"""Line searches that do not undo each other: along the gradient and as much of the last direction as that takes.

    $$\beta = \frac{g_t^\top (g_t - g_{t-1})}{g_{t-1}^\top g_{t-1}}, \quad
    d_t = -g_t + \beta d_{t-1}, \quad \theta \leftarrow \theta + \alpha d_t$$

    It restarts, with $d = -g$, where two gradients are far from orthogonal, $|g_t^\top g_{t-1}| \ge 0.1\, g_t^\top g_t$
    (Powell; wherever $\beta$ would be negative this holds too, which makes it Polak-Ribière+), where d does not lead
    downhill, and after a search that found no lower point. A search tries first the length that would change the loss
    as much as the last one did, to first order, times lr; after a restart of the last two kinds, and in the first
    step, lr min(1, 1/||g||).

    Args:
        c1, c2: the constants of the strong Wolfe conditions.

    Reference: Polak & Ribière 1969; Gilbert & Nocedal 1992, doi:10.1137/0802003 (the +); Powell 1977,
    doi:10.1007/BF01593790; Nocedal & Wright 2006, Numerical Optimization, section 5.2 and page 59.
    """

    traceable = False
    stackable = False
    searches = True

    def __init__(self, c1: float = 1e-4, c2: float = 0.1) -> None:
        self.search = StrongWolfe(c1, c2)

    def init(self, theta: Tensor) -> State:
        numbers = {name: torch.zeros_like(theta[:, :1]) for name in ("alpha", "slope")}
        return {**numbers, "g": torch.zeros_like(theta), "d": torch.zeros_like(theta)}

    def update(self, theta: Tensor, g: Tensor, state: State, objective: Objective, *, lr: Tensor) -> None:
        last = state["g"]
        beta = dot(g, g - last) / dot(last, last)
        d = torch.where(dot(g, last).abs() < 0.1 * dot(g, g), beta, 0) * state["d"] - g
        if state["alpha"] > 0 and dot(g, d) < 0:
            first = lr * state["alpha"] * state["slope"] / dot(g, d)
        else:
            d = -g
            first = lr * (1 / dot(g, g).sqrt()).clamp(max=1)
        found = self.search(objective, theta, g, d, first.item())
        for name, value in {"alpha": theta.new_tensor(found.alpha), "slope": dot(g, d), "g": g, "d": d}.items():
            state[name].copy_(value)
        theta.copy_(found.theta)
