"""Stochastic Lanczos quadrature: how a matrix's eigenvalues are distributed, from products with a few vectors."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt

import torch
from torch import Tensor

from dlrun.diagnostics.hutchinson import signs
from dlrun.diagnostics.lanczos import Lanczos
from dlrun.diagnostics.products import Product
from dlrun.training.stack import Stack

GRID = 1001  #: points of a density
WIDTH = 0.005  #: standard deviation of the density's kernel, as a share of the range of eigenvalues

Nodes = tuple[Tensor, Tensor]  #: (vectors, n) both: places, and weights that sum to 1 for each vector


def quadrature(
    product: Product, stack: Stack, iterations: int, vectors: int, told: Callable[[int, int], None]
) -> list[Nodes | None]:
    r"""Of each row's matrix, nodes $\theta_i$ and weights $w_i$ that stand for its eigenvalues; None: it is not finite.

    $$\frac1P \sum_{j=1}^P f(\lambda_j) \approx \sum_i w_i f(\theta_i)$$

    From a vector of random signs Lanczos' method makes a tridiagonal matrix: its eigenvalues are the nodes, the
    squares of the first entries of its eigenvectors the weights, a Gauss quadrature that is exact for polynomials up
    to degree $2n - 1$. The mean over several vectors makes up for each one's own view.

    Returns for each run the nodes of all its vectors, of as many each, filled up with weights of 0.

    Reference: Ubaru et al. 2017, doi:10.1137/16M1104974; Golub & Meurant 2010; Ghorbani et al. 2019, arXiv:1901.10159.
    """
    steps = min(iterations, stack.layout.params)
    nodes = torch.zeros(stack.runs, vectors, steps, dtype=torch.float64, device=stack.theta.device)
    weights, whole = torch.zeros_like(nodes), [True] * stack.runs
    for number in range(vectors):
        space = Lanczos(product, signs(stack, number), iterations)
        for row in range(stack.runs):
            values, vectors_of_t, _ = space.of_row(row)
            nodes[row, number, : len(values)] = values
            weights[row, number, : len(values)] = vectors_of_t[:1].square().sum(0)
            whole[row] &= len(values) > 0
        told(number + 1, vectors)
    return [(nodes[row], weights[row]) if whole[row] else None for row in range(stack.runs)]


def density(places: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    r"""A grid over all places, and there $\sum_i w_i\, N(\lambda; \theta_i, \sigma^2)$, (1001,) both, with
    $\sigma$ of half a per cent of their range.

    places, weights: (n,), the weights of sum 1.
    """
    there = places[weights > 0]
    low, high = there.min(), there.max()
    sigma = WIDTH * (high - low if high > low else high.abs() if high != 0 else torch.ones_like(high))
    grid = low - 4 * sigma + (high - low + 8 * sigma) * torch.linspace(0, 1, GRID, dtype=low.dtype, device=low.device)
    kernels = torch.exp(-((grid[:, None] - places) / sigma).square() / 2) / (sigma * sqrt(2 * pi))
    return grid, kernels @ weights
