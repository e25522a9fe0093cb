"""Maxout networks: each unit is the largest of several linear maps."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from dlrun.architectures.blocks import Blocks


class Largest(nn.Module):
    """The largest of each `pieces` neighbours: (batch, units * pieces) to (batch, units)."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, self.pieces)).amax(2)


class Maxout(nn.Sequential):
    r"""A hidden layer of units that are each the largest of several linear maps, then a linear map.

    $$h_i = \max_j\, (W_{ij} x + b_{ij}), \quad y = V h + c$$

    Reference: Goodfellow et al. 2013, arXiv:1302.4389.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        blocks: Blocks,
        units: int = 32,  # int >= 1; units of the hidden layer
        pieces: int = 4,  # int >= 2; linear maps of each unit
    ) -> None:
        blocks.refuse_normalization("maxout")
        hidden = [*blocks.input(), nn.Linear(prod(shape), units * pieces), Largest(pieces)]
        super().__init__(nn.Flatten(), *hidden, nn.Linear(units, outputs))
