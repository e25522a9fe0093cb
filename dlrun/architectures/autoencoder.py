"""Networks that give back their inputs through a narrow code."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.architectures.blocks import Blocks
from dlrun.errors import ConfigError


class Autoencoder(nn.Module):
    r"""$\hat x = g(f(x))$: an encoder of fully connected layers, and a decoder with its widths in reverse.

    All layers but the decoder's last, which is linear, end with normalization and activation; inputs (batch, *shape)
    are flattened, and come back as (batch, prod(shape)): its targets are its inputs, whatever else the dataset has, and
    loss, rmse and mae are in the unit that dataset.scale leaves them in.
    The decoder puts out more where the loss wants more, as loss=gaussian_nll's variances.
    With regularizer=augmentation or dropout on the input it learns to undo them (denoising).

    Args:
        widths: units of the encoder's layers, the code's last.
        tied: the decoder's weights are the encoder's, transposed; its biases are its own, 0 at first.

    Raises ConfigError with tied weights where the loss wants other outputs than the inputs.

    Reference: Hinton & Salakhutdinov 2006, doi:10.1126/science.1127647; tied weights, Vincent et al. 2010; lecture 002.
    """

    reconstructs = True  #: the dataset's targets become its inputs

    def __init__(self, shape: Sequence[int], outputs: int, blocks: Blocks, widths: Sequence[int], tied: bool) -> None:
        super().__init__()
        sizes = [prod(shape), *widths]
        encoder: list[nn.Module] = [nn.Flatten(), *blocks.input()]
        maps = [nn.Linear(fan_in, units) for fan_in, units in pairwise(sizes)]
        for linear in maps:
            encoder += [linear, *blocks.hidden(linear.out_features, axes=0)]
        decoder: list[nn.Module] = []
        for linear in reversed(maps):
            last = linear is maps[0]
            units = outputs if last else linear.in_features
            if tied and units != linear.in_features:
                raise ConfigError(
                    f"architecture.tied=true gives back the {linear.in_features} numbers of an input, and this loss "
                    f"wants {units} outputs: leave architecture.tied=false, or choose loss=mse"
                )
            decoder.append(Transposed(linear) if tied else nn.Linear(linear.out_features, units))
            decoder += [] if last else blocks.hidden(units, axes=0)
        self.encoder, self.decoder = nn.Sequential(*encoder), nn.Sequential(*decoder)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class Transposed(nn.Module):
    """$W^T x + b$ with another layer's W."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        self.bias = nn.Parameter(torch.zeros(linear.in_features))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.linear.weight.T, self.bias)
