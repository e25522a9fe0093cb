"""Hutchinson's estimate of a matrix's trace from its products with vectors of random signs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dlrun.diagnostics.blocks import ALL, layers
from dlrun.diagnostics.products import Product
from dlrun.matrix.seeds import CURVATURE, generator
from dlrun.training.stack import Stack


def signs(stack: Stack, number: int) -> Tensor:
    """(runs, params) of -1 and 1; number: which of a run's vectors, each the same at every look."""
    shape = (stack.layout.params,)
    drawn = [torch.randint(0, 2, shape, generator=generator(seed, CURVATURE, number)) for seed in stack.seeds]
    return (2 * torch.stack(drawn) - 1).to(stack.theta)


def traces(
    product: Product, stack: Stack, vectors: int, told: Callable[[int, int], None]
) -> dict[str, tuple[Tensor, Tensor]]:
    r"""By layer, and of `all` parameters: the trace of that block of each row's matrix, and its standard error, (runs,)
    both.

    $$\text{tr} H \approx \frac1n \sum_{i=1}^n v_i^\top H v_i$$

    with $v_i$ of random signs; a block's trace from its own entries of $v_i$ and $H v_i$. The standard error is that
    of a mean of n numbers, $s / \sqrt n$ with their standard deviation s: about two times in three the trace is as
    near.

    vectors: n, 2 or more.

    Reference: Hutchinson 1989, doi:10.1080/03610918908812806.
    """
    blocks = {ALL: slice(None), **layers(stack.layout)}
    found = []
    for number in range(vectors):
        v = signs(stack, number)
        by_entry = v.double() * product(v).double()
        found.append([by_entry[:, columns].sum(1) for columns in blocks.values()])
        told(number + 1, vectors)
    samples = torch.stack([torch.stack(each) for each in found])  # (vectors, blocks, runs)
    errors = samples.std(0) / vectors**0.5
    return dict(zip(blocks, zip(samples.mean(0), errors, strict=True), strict=True))
