"""Where theta starts: the distributions of initial weights, drawn run by run from the run's own generator."""

from __future__ import annotations

from math import sqrt
from typing import Literal

import torch
from torch import Generator, Tensor

from dlrun.theta import fans

Shape = tuple[int, ...]


class Initializer:
    """Draws one weight tensor (out, in, *kernel) and its bias (out,) at a time.

    Args:
        bias: the value of every bias.
    """

    def __init__(self, bias: float) -> None:
        self.bias_value = bias

    def weight(self, shape: Shape, slope: float, generator: Generator) -> Tensor:
        """The weights of a layer followed by an activation with this slope left of zero (0 but for leaky ReLUs)."""
        raise NotImplementedError

    def bias(self, weight_shape: Shape, generator: Generator) -> Tensor:
        """The biases of the layer whose weights have this shape."""
        return torch.full((weight_shape[0],), float(self.bias_value))


class Zeros(Initializer):
    """All weights zero: hidden units stay identical. Reference: lectures 002, 004 (symmetry breaking)."""

    def weight(self, shape: Shape, slope: float, generator: Generator) -> Tensor:
        return torch.zeros(shape)


class Uniform(Initializer):
    """$w \\sim U(-a, a)$. Reference: lecture 002 (XOR with a = 10)."""

    def __init__(self, a: float, bias: float) -> None:
        super().__init__(bias)
        self.a = a

    def weight(self, shape: Shape, slope: float, generator: Generator) -> Tensor:
        return _uniform(shape, self.a, generator)


class Normal(Initializer):
    """$w \\sim N(0, \\text{std}^2)$. Reference: lecture 002."""

    def __init__(self, std: float, bias: float) -> None:
        super().__init__(bias)
        self.std = std

    def weight(self, shape: Shape, slope: float, generator: Generator) -> Tensor:
        return self.std * torch.randn(shape, generator=generator)


class Scaled(Initializer):
    """Weights whose variance follows from the layer's fans, normal or uniform on ±√(3 variance)."""

    def __init__(self, distribution: Literal["normal", "uniform"], bias: float) -> None:
        super().__init__(bias)
        self.distribution = distribution

    def variance(self, fan_in: int, fan_out: int, slope: float) -> float:
        """The weights' variance."""
        raise NotImplementedError

    def weight(self, shape: Shape, slope: float, generator: Generator) -> Tensor:
        variance = self.variance(*fans(shape), slope)
        if self.distribution == "normal":
            return sqrt(variance) * torch.randn(shape, generator=generator)
        return _uniform(shape, sqrt(3 * variance), generator)


class Lecun(Scaled):
    """Variance 1 / fan_in keeps unit variance through linear layers.

    Reference: LeCun et al. 1998, "Efficient BackProp"; lecture 002.
    """

    def variance(self, fan_in: int, fan_out: int, slope: float) -> float:
        return 1 / fan_in


class Xavier(Scaled):
    """Variance 2 / (fan_in + fan_out), a compromise between the forward and the backward pass.

    Reference: Glorot & Bengio 2010; lecture 002.
    """

    def variance(self, fan_in: int, fan_out: int, slope: float) -> float:
        return 2 / (fan_in + fan_out)


class He(Scaled):
    """Variance 2 / ((1 + a²) fan) keeps the variance through rectifiers of slope a left of zero.

    Args:
        mode: the fan that counts: fan_in keeps the forward pass, fan_out the backward pass.
        a: the slope; None takes the activation's own (0 for ReLU, 0.25 for a new PReLU).

    Reference: He et al. 2015, arXiv:1502.01852; lecture 002.
    """

    def __init__(
        self,
        distribution: Literal["normal", "uniform"],
        mode: Literal["fan_in", "fan_out"],
        a: float | None,
        bias: float,
    ) -> None:
        super().__init__(distribution, bias)
        self.mode = mode
        self.a = a

    def variance(self, fan_in: int, fan_out: int, slope: float) -> float:
        a = slope if self.a is None else self.a
        return 2 / ((1 + a**2) * (fan_in if self.mode == "fan_in" else fan_out))


class TorchDefault(Initializer):
    """torch.nn's own: weights and biases from U(-1/√fan_in, 1/√fan_in).

    Reference: torch.nn.Linear.reset_parameters (He's uniform with a = √5); lecture 002.
    """

    def __init__(self, bias: float | None) -> None:
        super().__init__(0.0 if bias is None else bias)
        self.random_bias = bias is None

    def weight(self, shape: Shape, slope: float, generator: Generator) -> Tensor:
        return _uniform(shape, 1 / sqrt(fans(shape)[0]), generator)

    def bias(self, weight_shape: Shape, generator: Generator) -> Tensor:
        if self.random_bias:
            return _uniform(weight_shape[:1], 1 / sqrt(fans(weight_shape)[0]), generator)
        return super().bias(weight_shape, generator)


def _uniform(shape: Shape, bound: float, generator: Generator) -> Tensor:
    return bound * (2 * torch.rand(shape, generator=generator) - 1)
