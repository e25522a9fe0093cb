"""What is told of a matrix of second derivatives, and of each layer's block: its extreme eigenvalues and its trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dlrun.diagnostics.blocks import ALL, layers, within
from dlrun.diagnostics.dense import dense, eigenvalues_of
from dlrun.diagnostics.hutchinson import traces
from dlrun.diagnostics.lanczos import Lanczos
from dlrun.diagnostics.products import Product
from dlrun.matrix.seeds import CURVATURE, generator
from dlrun.training.stack import Stack

Told = Callable[[str, int, int], None]  #: told what is done, how many products, and of how many at most


@dataclass
class Extremes:
    r"""The k largest eigenvalues of each row's matrix, from the largest, then the smallest; NaN where there are fewer.

    values: (runs, k + 1). residuals: (runs, k + 1); an eigenvalue is as near to each of the values.
    """

    values: Tensor
    residuals: Tensor


@dataclass
class Curvature:
    """By layer, and of `all` parameters. traces: value and standard error, or the bound of rounding's, (runs,)."""

    extremes: dict[str, Extremes] = field(default_factory=dict)
    traces: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


def of_matrix(matrix: Tensor, rounding: Tensor, stack: Stack, k: int, by_layer: bool) -> Curvature:
    """Of matrices that are known, (runs, params, params), up to `rounding`, (runs,)."""
    found = Curvature()
    for name, columns in {ALL: slice(None), **layers(stack.layout)}.items():
        block = matrix[:, columns, columns]
        if name == ALL or by_layer:
            found.extremes[name] = _extremes(block, rounding, k)
        trace = block.diagonal(dim1=1, dim2=2).sum(1)
        found.traces[name] = trace, rounding * block.shape[1] ** 0.5
    return found


def of_products(
    product: Product,
    stack: Stack,
    k: int,
    iterations: int,
    tolerance: float,
    vectors: int,
    by_layer: bool,
    told: Told,
) -> Curvature:
    """Of a matrix of which there are only products; of a block of no more parameters than iterations, of the block."""
    found = Curvature(traces=traces(product, stack, vectors, lambda *counts: told("trace", *counts)))
    for name, columns in {ALL: slice(None), **(layers(stack.layout) if by_layer else {})}.items():
        like = stack.theta[:, columns]
        of_block = product if name == ALL else within(product, columns, stack.layout.params)
        report = _said(told, f"eigenvalues of {name}")
        if like.shape[1] <= iterations:
            found.extremes[name] = _extremes(*dense(of_block, like, report), k)
        else:
            found.extremes[name] = _by_lanczos(of_block, like, stack.seeds, k, iterations, tolerance, report)
    return found


def _said(told: Told, text: str) -> Callable[[int, int], None]:
    return lambda done, total: told(text, done, total)


def _extremes(matrix: Tensor, rounding: Tensor, k: int) -> Extremes:
    ascending = eigenvalues_of(matrix)
    missing = ascending.new_full((len(ascending), max(0, k - ascending.shape[1])), torch.nan)
    values = torch.cat([ascending.flip(1)[:, :k], missing, ascending[:, :1]], 1)
    return Extremes(values, torch.where(values.isnan(), torch.nan, rounding[:, None]))


def _by_lanczos(
    product: Product,
    like: Tensor,
    seeds: Sequence[int],
    k: int,
    iterations: int,
    tolerance: float,
    told: Callable[[int, int], None],
) -> Extremes:
    runs, params = like.shape

    def converged(values: Tensor, residuals: Tensor) -> bool:
        worst = torch.cat([residuals[-k:], residuals[:1]]).max()
        return len(values) > k and bool(worst <= tolerance * values.abs().max())

    # not of signs: those are often orthogonal to (1, -1, 0, ...), which is an eigenvector wherever two units are alike
    start = [torch.randn(params, generator=generator(seed, CURVATURE), dtype=torch.float64) for seed in seeds]
    space = Lanczos(product, torch.stack(start).to(like), iterations, converged, told)
    values = torch.full((runs, k + 1), torch.nan, dtype=torch.float64, device=like.device)
    residuals, found = values.clone(), [space.of_row(row) for row in range(runs)]
    for i, place in enumerate([*range(-1, -k - 1, -1), 0]):
        v = torch.zeros(runs, params, dtype=torch.float64, device=like.device)
        for row, (own, vectors, _) in enumerate(found):
            if -len(own) <= place < len(own):
                values[row, i] = own[place]
                v[row] = vectors[:, place] @ space.basis[row, : len(own)]
        residuals[:, i] = torch.linalg.vector_norm(space.times(v) - values[:, i, None] * v, dim=1)
    return Extremes(values, residuals)
