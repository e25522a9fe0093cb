"""Polynomial regression: a linear map of Legendre polynomials of the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from dlrun.architectures.blocks import Blocks


class Polynomial(nn.Module):
    r"""A polynomial of each input, added up, whose coefficients are a linear map's weights; inputs are flattened.

    $$f(x) = b + \sum_j \sum_{k=1}^{\text{degree}} w_{jk} P_k(x_j), \quad
    P_0 = 1, \quad P_1(x) = x, \quad (k+1)\, P_{k+1}(x) = (2k+1)\, x\, P_k(x) - k\, P_{k-1}(x)$$

    Of one input these are all polynomials of that degree. Legendre's $P_k$ span what the powers $x^k$ span, and are
    orthogonal on [-1, 1], where dataset.scale=symmetric puts the training inputs: powers are so nearly parallel there
    that from degree 10 on single precision does not tell them apart. Beyond [-1, 1] they grow as $|2x|^k$.

    Reference: Bishop 2006, Pattern Recognition and Machine Learning, section 1.1; lecture 003 (capacity).
    """

    def __init__(self, shape: Sequence[int], outputs: int, blocks: Blocks, degree: int) -> None:
        super().__init__()
        blocks.refuse_normalization("polynomial")
        self.input = nn.Sequential(nn.Flatten(), *blocks.input())
        self.legendre = Legendre(degree)
        self.head = nn.Linear(prod(shape) * degree, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.legendre(self.input(x)))


class Legendre(nn.Module):
    """$P_1$ to $P_{degree}$ of each input: (batch, features) becomes (batch, features x degree)."""

    def __init__(self, degree: int) -> None:
        super().__init__()
        self.degree = degree

    def forward(self, x: Tensor) -> Tensor:
        before, here = torch.ones_like(x), x
        found = [here]
        for k in range(1, self.degree):
            before, here = here, ((2 * k + 1) * x * here - k * before) / (k + 1)
            found.append(here)
        return torch.stack(found, 2).flatten(1)
