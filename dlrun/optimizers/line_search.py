"""How far to go along a direction: a step length that satisfies the strong Wolfe conditions."""

from __future__ import annotations

from math import copysign, isfinite, nan, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from dlrun.errors import ConfigError
from dlrun.optimizers.rule import Objective

EVALUATIONS = 25  #: of the loss in one search; most end after one or two


class Point(NamedTuple):
    """A place on the line: its step length, theta, loss, gradient (1, params) and slope along the line."""

    alpha: float
    theta: Tensor
    value: float
    g: Tensor
    slope: float


class StrongWolfe:
    r"""Finds where the loss has fallen in proportion to the step, and its slope has flattened.

    $$\phi(\alpha) = f(\theta + \alpha d), \quad \phi(\alpha) \le \phi(0) + c_1 \alpha\, \phi'(0), \quad
    |\phi'(\alpha)| \le c_2 |\phi'(0)|$$

    A loss or slope that is not finite counts as too far.

    Args:
        c1: how much of the fall that the slope at 0 promises must come true.
        c2: how much of the slope at 0 may be left; 0.9 for quasi-Newton, 0.1 for conjugate gradients.

    Raises:
        ConfigError: unless 0 < c1 < c2 < 1, without which such a point need not exist.

    Reference: Nocedal & Wright 2006, Numerical Optimization, algorithms 3.5 and 3.6, formula 3.59 (cubic
    interpolation).
    """

    def __init__(self, c1: float, c2: float) -> None:
        if not 0 < c1 < c2 < 1:
            raise ConfigError(f"optimizer.c1={c1} and optimizer.c2={c2}: a line search wants 0 < c1 < c2 < 1")
        self.c1, self.c2 = c1, c2

    def __call__(self, objective: Objective, theta: Tensor, g: Tensor, d: Tensor, alpha: float) -> Point:
        """The point found on the line from theta along d, trying the step length alpha first.

        Where no point of those tried satisfies both conditions, the lowest that satisfies the first; theta itself,
        with alpha 0, where none does or d does not lead downhill. theta, g, d: (1, params). The search ends early
        where all that is left to gain is less than the loss's rounding.
        """

        def at(alpha: float) -> Point:
            there = theta + alpha * d
            value, gradient = objective.gradient(there)
            return Point(alpha, there, value.item(), gradient, (gradient * d).sum().item())

        start = Point(0.0, theta, objective.value.item(), g, (g * d).sum().item())
        if not (start.slope < 0 and isfinite(start.value)):
            return start
        rounding = torch.finfo(theta.dtype).eps * abs(start.value)
        # low is the lowest so far; a good point lies between it and high, which may be on either side
        low, high = start, None
        for _ in range(EVALUATIONS):
            trial = at(alpha)
            finite = isfinite(trial.value) and isfinite(trial.slope)
            enough = start.value + self.c1 * alpha * start.slope
            if not finite or trial.value > enough or trial.value > low.value:
                high = trial
            else:
                if abs(trial.slope) <= -self.c2 * start.slope:
                    return trial
                if trial.slope * (1 if high is None else high.alpha - low.alpha) >= 0:
                    high = low
                low = trial
            if high is not None and abs((high.alpha - low.alpha) * low.slope) <= rounding:
                break  # no lower loss could be told from this one
            alpha = next_alpha(start, low, high)
        return low


def next_alpha(start: Point, low: Point, high: Point | None) -> float:
    """The minimum of the cubic through two points, kept from crowding the ends of where a good point may lie."""
    if high is None:
        alpha = cubic_minimum(start, low)
        return min(max(alpha, 2 * low.alpha), 10 * low.alpha) if isfinite(alpha) else 10 * low.alpha
    width = high.alpha - low.alpha
    if not (isfinite(high.value) and isfinite(high.slope)):
        return low.alpha + width * (0.5 if low.alpha else 0.1)  # it may be many powers of ten too far
    part = (cubic_minimum(low, high) - low.alpha) / width
    return low.alpha + (min(max(part, 0.1), 0.9) if isfinite(part) else 0.5) * width


def cubic_minimum(a: Point, b: Point) -> float:
    """Where the cubic with the values and slopes of two points is least; NaN where it has no minimum."""
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.alpha - b.alpha)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return nan
    d2 = copysign(sqrt(square), b.alpha - a.alpha)
    bend = b.slope - a.slope + 2 * d2
    return b.alpha - (b.alpha - a.alpha) * (b.slope + d2 - d1) / bend if bend else nan
