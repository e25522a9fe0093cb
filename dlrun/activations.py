"""Hidden transfer functions, by the name of `architecture.activation`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class LecunTanh(nn.Module):
    r"""Scaled hyperbolic tangent, $f(x) = 1.7159 \tanh(2x/3)$, so that f(1) = 1 and f(-1) = -1.

    Reference: LeCun et al. 1998, "Efficient BackProp"; lecture 002.
    """

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(x * (2 / 3))


class SymmetricSigmoid(nn.Module):
    r"""Sigmoid made odd with unit slope at the origin, $f(x) = 4 (\sigma(x) - 1/2)$.

    Reference: Glorot & Bengio 2010; lecture 002.
    """

    def forward(self, x: Tensor) -> Tensor:
        return 4 * (torch.sigmoid(x) - 0.5)


class Same(nn.Identity):
    """$f(x) = x$, told apart from an Identity that stands for something left out."""


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "lecun_tanh": LecunTanh,
    "softplus": nn.Softplus,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "identity": Same,
    "symmetric_sigmoid": SymmetricSigmoid,
}


def negative_slope(activation: nn.Module) -> float:
    """The slope a left of zero that He's variance 2 / ((1 + a²) fan) corrects for; 0 for anything but a leaky ReLU."""
    if isinstance(activation, nn.LeakyReLU):
        return float(activation.negative_slope)
    if isinstance(activation, nn.PReLU):
        return float(activation.init)
    return 0.0
