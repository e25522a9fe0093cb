"""YellowFin (Zhang & Mitliagkas 2018): momentum that tunes its own rate and momentum."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.optimizers.rule import Rule, State


class YellowFin(Rule):
    r"""Momentum with the rate and the momentum that a noisy quadratic would want, measured from the gradients.

    $$\mu, \alpha = \text{SingleStep}(C, D, h_{\max}, h_{\min}), \quad
    v \leftarrow \mu v - \text{lr}\; \alpha g, \quad \theta \leftarrow \theta + v$$

    From g alone, by moving averages with decay beta, free of their start at 0 as in Adam:
    the range of curvature $h_{\min}, h_{\max}$ (extremes of $\|g\|^2$ over the last `window` steps), the variance C
    of the gradient, and the distance D to the optimum (the average of $\overline{\|g\|} / \overline{\|g\|^2}$).

    lr multiplies the rate that is found; 1 leaves it as in the paper. Two guards are the paper's too: the rate is at
    most $t \alpha / (10\, \text{window})$ in step t (slow start), and a gradient longer than $\sqrt{h_{\max}}$ is
    shortened to that, after it has been measured.

    Args:
        window: steps that the range of curvature looks back.

    Reference: Zhang & Mitliagkas 2018, arXiv:1706.03471 (Algorithms 1-4).
    """

    def __init__(self, window: int = 20) -> None:
        self.window = window

    def init(self, theta: Tensor) -> State:
        names = ("t", "h_max", "h_min", "norm", "square", "distance")
        numbers = {name: torch.zeros_like(theta[:, :1]) for name in names}
        vectors = {name: torch.zeros_like(theta) for name in ("v", "g", "g_square")}
        return {**numbers, **vectors, "curvatures": theta.new_zeros(len(theta), self.window)}

    def update(self, theta: Tensor, g: Tensor, state: State, *, lr: Tensor, beta: Tensor) -> None:
        t = state["t"].add_(1)
        seen = 1 - beta**t  # the weights in a moving average so far

        def average(name: str, value: Tensor) -> Tensor:
            return state[name].lerp_(value, 1 - beta) / seen

        # the tiny number stands for a gradient of zero, of which no ratio can be taken
        h = g.square().sum(1, keepdim=True).clamp(min=1e-30)
        curvatures = state["curvatures"]
        curvatures.copy_(torch.where(t == 1, h, torch.cat([curvatures[:, 1:], h], 1)))
        h_max = average("h_max", curvatures.amax(1, keepdim=True))
        h_min = average("h_min", curvatures.amin(1, keepdim=True))
        variance = (average("g_square", g * g) - average("g", g).square()).sum(1, keepdim=True)
        distance = average("distance", average("norm", h.sqrt()) / average("square", h))

        mu, alpha = single_step(variance, distance, h_max, h_min)
        slow_start = (t / (10 * self.window)).clamp(max=1)
        clip = (h_max / h).sqrt().clamp(max=1)
        v = state["v"].mul_(mu).addcmul_(lr * slow_start * alpha * clip, g, value=-1)
        theta.add_(v)


def single_step(variance: Tensor, distance: Tensor, h_max: Tensor, h_min: Tensor) -> tuple[Tensor, Tensor]:
    r"""The momentum and the rate that bring a quadratic nearest to its optimum in one step, in expectation.

    $$\min_\mu\; \mu D^2 + \alpha^2 C, \quad \alpha = (1 - \sqrt{\mu})^2 / h_{\min}, \quad
    \sqrt{\mu} \ge \frac{\sqrt{h_{\max} / h_{\min}} - 1}{\sqrt{h_{\max} / h_{\min}} + 1}$$

    Without the bound, $y = 1 - \sqrt{\mu}$ is the only real root of $y^3 = p\,(1 - y)$, $p = D^2 h_{\min}^2 / (2 C)$,
    which a hyperbolic sine gives in closed form.
    """
    # p is infinite where the gradient does not vary, and rounding can make the variance negative
    p = ((distance * h_min).square() / (2 * variance.clamp(min=1e-30))).clamp(1e-30, 1e30)
    y = 2 * (p / 3).sqrt() * torch.sinh(torch.asinh(1.5 * (3 / p).sqrt()) / 3)
    y = torch.minimum(y, 2 / ((h_max / h_min).sqrt() + 1))
    return (1 - y).square(), y.square() / h_min
