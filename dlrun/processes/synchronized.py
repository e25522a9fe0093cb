r"""Batch normalization of a minibatch that several processes share, by the mean and variance of the whole.

A sum over the processes, $s = \sum_r s_r$, enters every share's loss, so that with $L = \sum_r L_r$
$$\partial L / \partial s_r = \sum_q \partial L_q / \partial s.$$
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.processes.team import Team

BatchNorm = nn.modules.batchnorm._BatchNorm


def synchronize(model: nn.Module, team: Team) -> None:
    """Have the model's batch normalization take its statistics from all shares of a minibatch.

    `torch.nn.SyncBatchNorm` does so on GPUs alone, and by operations that cannot be recorded.
    """
    for layer in model.modules():
        if isinstance(layer, BatchNorm):
            layer.forward = partial(_forward, layer, team)  # type: ignore[method-assign]


def _forward(layer: BatchNorm, team: Team, x: Tensor) -> Tensor:
    """The layer's outputs for this process's share, (share, channels, *spatial)."""
    if not layer.training:
        return type(layer).forward(layer, x)
    assert layer.running_mean is not None and layer.running_var is not None and layer.momentum is not None
    axes, shape = [0, *range(2, x.ndim)], (1, -1, *[1] * (x.ndim - 2))
    numbers = x.new_full((1,), x.numel() // x.shape[1])  # of this share in each channel
    sums, n = _Sum.apply(torch.cat([x.sum(axes), numbers]), team).split([x.shape[1], 1])
    mean = sums / n
    centered = x - mean.view(shape)
    variance = _Sum.apply(centered.square().sum(axes), team) / n
    with torch.no_grad():
        layer.running_mean.lerp_(mean, layer.momentum)
        layer.running_var.lerp_(variance * n / (n - 1), layer.momentum)
    y = centered * (variance + layer.eps).rsqrt().view(shape)
    return y * layer.weight.view(shape) + layer.bias.view(shape) if layer.affine else y


class _Sum(torch.autograd.Function):
    """The sum over all processes, forward and backward."""

    @staticmethod
    def forward(own: Tensor, team: Team) -> Tensor:
        return team.sum(own)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Team], output: Tensor) -> None:
        ctx.team = inputs[1]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return ctx.team.sum(g.contiguous()), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], own: Tensor, team: Team) -> tuple[Tensor, int]:
        return _Sum.apply(own, team), in_dims[0]
