"""Test functions of optimization: nothing to learn, a surface to descend from a point where one starts.

Each returns the start as its only sample, (1, dimensions), which is train, val and test at once; the function and its
minima are the surface. All raise ConfigError where `start` has another number of coordinates than the function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from dlrun.datasets.data import Samples, Surface
from dlrun.errors import ConfigError

FLOOR = 0.01  #: slope of the long valley's floor
RECURRENCES, TARGET = 50, 0.7  #: of the cliff's recurrent net


def beale(start: Sequence[float]) -> Samples:
    r"""A plain with steep walls and a narrow, curved valley, least at (3, 0.5), where it is 0.

    $$f(x, y) = (1.5 - x + xy)^2 + (2.25 - x + xy^2)^2 + (2.625 - x + xy^3)^2$$

    Reference: Beale 1958, On an iterative method for finding a local minimum of a function of more than one variable;
    lecture 004 (animation by Radford 2014).
    """

    def value(point: Tensor) -> Tensor:
        x, y = point.unbind(-1)
        return (1.5 - x + x * y).square() + (2.25 - x + x * y**2).square() + (2.625 - x + x * y**3).square()

    return _from(start, ["x", "y"], value, (3.0, 0.5))


def saddle(start: Sequence[float]) -> Samples:
    r"""$f(x, y) = x^2 - y^2$: a saddle point at (0, 0), and no minimum.

    A start with y = 0 leads to the saddle point and stays there; the smaller y, the longer it takes to leave. Who
    descends for long is told to have diverged.

    Reference: Dauphin et al. 2014, arXiv:1406.2572; lecture 004 (saddle points; animation by Radford 2014).
    """

    def value(point: Tensor) -> Tensor:
        x, y = point.unbind(-1)
        return x.square() - y.square()

    return _from(start, ["x", "y"], value)


def quadratic(start: Sequence[float] | None, condition: float, dimensions: int) -> Samples:
    r"""A bowl of which the condition number is known, least at 0.

    $$f(x) = \tfrac12 \sum_{i=1}^d \lambda_i x_i^2, \quad \lambda_i = \kappa^{(i-1)/(d-1)}$$

    Args:
        start: None is 1 in every direction.
        condition: $\kappa$, the largest curvature over the smallest, which is 1.
        dimensions: d; a single one has curvature 1.

    Reference: lecture 004 (ill-conditioned curvature); Goh 2017, doi:10.23915/distill.00006.
    """
    curvatures = torch.from_numpy(np.geomspace(1, condition, dimensions))

    def value(point: Tensor) -> Tensor:
        return (curvatures.to(point) * point.square()).sum(-1) / 2

    names = [f"x{i + 1}" for i in range(dimensions)]
    return _from([1.0] * dimensions if start is None else start, names, value, (0.0,) * dimensions)


def random_quadratic(start: Sequence[float] | None, dimensions: int, seed: int) -> Samples:
    r"""A quadratic whose matrix of curvature is drawn: a critical point at 0, and nothing but chance says of what kind.

    $$f(x) = \tfrac12 x^\top A x, \quad A = (G + G^\top) / \sqrt 2, \quad G_{ij} \sim \mathcal N(0, 1)$$

    That all eigenvalues of A are positive, and 0 is a minimum, has the probability 1/2 for one variable,
    $(2 - \sqrt 2) / 4$ for two, $(\pi - 2 \sqrt 2) / (4 \pi)$ for three, and falls as $3^{-d^2 / 4}$.

    Args:
        start: None is 1 in every direction.
        dimensions: d.
        seed: of the matrix, apart from the run's.

    Reference: Dean & Majumdar 2006, arXiv:cond-mat/0609651; Dauphin et al. 2014, arXiv:1406.2572; lecture 004.
    """
    g = np.random.default_rng(seed).normal(size=(dimensions, dimensions))
    matrix = torch.from_numpy((g + g.T) / np.sqrt(2))

    def value(point: Tensor) -> Tensor:
        return (point @ matrix.to(point) * point).sum(-1) / 2

    names = [f"x{i + 1}" for i in range(dimensions)]
    return _from([1.0] * dimensions if start is None else start, names, value)


def slope(start: Sequence[float] | None, gradient: Sequence[float]) -> Samples:
    r"""A plane, $f(x) = \sum_i g_i x_i$, whose gradient is g everywhere, and which has no minimum.

    What a rule makes of gradients that do not change, it shows here: momentum's speed, the steps of moving averages.

    Args:
        start: None is 0 in every direction.
        gradient: g, a number per variable.

    Raises ConfigError for no number at all.

    Reference: lectures 002 (momentum under a constant gradient), 003 (AdaGrad, RMSProp, Adam's bias correction).
    """
    if not gradient:
        raise ConfigError("dataset.gradient=[]: give a number for each variable, one or more")
    g = torch.tensor(gradient, dtype=torch.float64)

    def value(point: Tensor) -> Tensor:
        return (g.to(point) * point).sum(-1)

    names = [f"x{i + 1}" for i in range(len(g))]
    return _from([0.0] * len(g) if start is None else start, names, value)


def rosenbrock(start: Sequence[float]) -> Samples:
    r"""$f(x, y) = (1 - x)^2 + 100 (y - x^2)^2$: a valley bent like a banana, least at (1, 1), where it is 0.

    Reference: Rosenbrock 1960, doi:10.1093/comjnl/3.3.175.
    """

    def value(point: Tensor) -> Tensor:
        x, y = point.unbind(-1)
        return (1 - x).square() + 100 * (y - x.square()).square()

    return _from(start, ["x", "y"], value, (1.0, 1.0))


def himmelblau(start: Sequence[float]) -> Samples:
    r"""$f(x, y) = (x^2 + y - 11)^2 + (x + y^2 - 7)^2$: four minima, all 0.

    Reference: Himmelblau 1972, Applied Nonlinear Programming.
    """

    def value(point: Tensor) -> Tensor:
        x, y = point.unbind(-1)
        return (x.square() + y - 11).square() + (x + y.square() - 7).square()

    others = (
        (-2.805118086952745, 3.131312518250573),
        (-3.779310253377747, -3.283185991286170),
        (3.584428340330492, -1.848126526964404),
    )
    return _from(start, ["x", "y"], value, (3.0, 2.0), *others)


def long_valley(start: Sequence[float]) -> Samples:
    r"""A straight valley, steep across and nearly flat along, least at (0, 0), where it is 0.

    $$f(x, y) = \tfrac12 x^2 + 0.01\, (\sqrt{1 + y^2} - 1)$$

    The floor's slope is 0.01 however far the minimum is, so a rate that x bears moves y by 0.02 per step at most;
    rules that divide by the gradient's size do not mind. The lectures show the animation without a formula; this one
    has what it shows.

    Reference: lectures 003, 004 (animation by Radford 2014).
    """

    def value(point: Tensor) -> Tensor:
        x, y = point.unbind(-1)
        return x.square() / 2 + FLOOR * ((1 + y.square()).sqrt() - 1)

    return _from(start, ["x", "y"], value, (0.0, 0.0))


def cliff(start: Sequence[float]) -> Samples:
    r"""The error of a recurrent net of one unit after 50 steps, by its weight w and bias b.

    $$f(w, b) = (\sigma(h_{50}) - 0.7)^2, \quad h_t = w\, \sigma(h_{t-1}) + b, \quad h_0 = 0.5$$

    Where the net has two attractors, a wall stands between what ends in the one and in the other. Its foot is the
    curve of all nets that end at 0.7, where f is 0: there is no single minimum to state.

    Reference: Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063 (figure 6); lectures 002, 004 (cliffs, clipping).
    """

    def value(point: Tensor) -> Tensor:
        w, b = point.unbind(-1)
        h = torch.full_like(w, 0.5)
        for _ in range(RECURRENCES):
            h = w * h.sigmoid() + b
        return (h.sigmoid() - TARGET).square()

    return _from(start, ["w", "b"], value)


def _from(
    start: Sequence[float], names: list[str], value: Callable[[Tensor], Tensor], *minima: tuple[float, ...]
) -> Samples:
    if len(start) != len(names):
        raise ConfigError(
            f"dataset.start={list(start)}: this function has {len(names)} variables: give {len(names)} numbers, "
            f"not {len(start)}"
        )
    only = np.zeros(1, dtype=np.int64)
    parts = {"train": only, "val": only, "test": only}
    inputs = np.array([start], dtype=np.float64)
    return Samples(inputs, np.zeros(1), "none", names, parts=parts, surface=Surface(value, minima))
