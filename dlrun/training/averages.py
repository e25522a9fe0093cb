"""Batch normalization's running averages for other parameters than those that were trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dlrun.matrix.rows import over_rows
from dlrun.matrix.theta import applied
from dlrun.optimizers.rule import State
from dlrun.training.stack import Stack


@torch.no_grad()
def measured_averages(stack: Stack, theta: Tensor) -> State:
    """The running averages that fit these parameters, (runs, ...): means over the training set's minibatches.

    Reference: Izmailov et al. 2018, arXiv:1803.05407, section 3.3.
    """
    if not stack.averages:
        return {}
    layers = [m for m in stack.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    stack.model.eval()
    for layer in layers:
        layer.train()
        layer.momentum = 1.0  # the average is then the minibatch's own

    def averages_of_row(parameters: Any, buffers: Any, x: Tensor) -> Any:
        averages = {name: buffers[name].clone() for name in stack.averages}
        applied(stack.model, {**parameters, **buffers, **averages}, x)
        return averages

    sums, batches = {name: torch.zeros_like(stack.buffers[name]) for name in stack.averages}, 0
    for x, _ in stack.chunks("train", stack.batch_size):
        if x.shape[-stack.dataset.inputs.ndim] == 1:  # a single sample has no variance
            continue
        own = 0 if stack.separate else None
        averages = over_rows(averages_of_row, (0, 0, own))(stack.layout.views(theta), stack.buffers, x)
        for name, total in sums.items():
            total += averages[name]
        batches += 1
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return {name: total / batches for name, total in sums.items()}
