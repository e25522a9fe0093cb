"""Spatial transformer: a network that moves, turns and scales its image before it looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.architectures.blocks import Blocks
from dlrun.architectures.cnn import CNN
from dlrun.architectures.images import need_images


class STN(nn.Sequential):
    r"""A spatial transformer in front of a CNN.

    $$\hat x(u, v) = x(u', v'), \quad (u', v')^\top = A\,(u, v, 1)^\top$$

    with the 2x3 matrix A that fully connected layers make of the image x, the identity at first; u and v run from -1
    to 1 between the image's edges.

    Args:
        localisation: units of the fully connected layers that find the transformation.
        channels, kernel, hidden: as in the CNN.

    Raises ConfigError where the CNN does.

    Reference: Jaderberg et al. 2015, arXiv:1506.02025; lecture 002.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        blocks: Blocks,
        localisation: Sequence[int],
        channels: Sequence[int],
        kernel: int,
        hidden: Sequence[int],
    ) -> None:
        need_images("stn", shape)
        head = blocks.head()
        units = [prod(shape), *localisation]
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in pairwise(units):
            layers += [nn.Linear(fan_in, fan_out), *head.hidden(fan_out, axes=0)]
        transformer = Transformer(nn.Sequential(*layers, Pose(units[-1])))
        super().__init__(transformer, CNN(shape, outputs, blocks, channels, kernel, hidden))


class Transformer(nn.Module):
    r"""Samples the image, bilinearly and with zeros outside, at $A\,(x, y, 1)^T$ for the output's coordinates x, y.

    A is what `localisation` makes of the image, (batch, 2, 3); coordinates run from -1 to 1 between the image's edges.
    """

    def __init__(self, localisation: nn.Module) -> None:
        super().__init__()
        self.localisation = localisation

    def forward(self, x: Tensor) -> Tensor:
        *_, height, width = x.shape
        # the middles of pixels; torch's affine_grid would do, but a stack of runs can't be batched through it
        rows, columns = (
            (2 * torch.arange(size, dtype=x.dtype, device=x.device) + 1) / size - 1 for size in (height, width)
        )
        points = torch.stack(
            [columns.expand(height, width), rows[:, None].expand(height, width), torch.ones_like(x[0, 0])], -1
        )
        grid = points.flatten(0, 1) @ self.localisation(x).transpose(1, 2)  # (batch, height * width, 2)
        return F.grid_sample(x, grid.unflatten(1, (height, width)), align_corners=False)


class Pose(nn.Module):
    """(batch, units) to affine matrices (batch, 2, 3), the identity at first, whatever the initializer."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(6, units))
        self.bias = nn.Parameter(torch.eye(2, 3).flatten())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias).unflatten(-1, (2, 3))
