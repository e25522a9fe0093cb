"""Initial weights drawn from a distribution, layer by layer."""

from __future__ import annotations

from math import prod, sqrt
from typing import Literal

import torch
from torch import Generator, Tensor

from dlrun.initializers.initializer import Bias, Initializer, Shape
from dlrun.matrix.theta import fans


class Zeros(Initializer):
    """All weights zero: hidden units stay identical. Reference: lectures 002, 004 (symmetry breaking)."""

    def weight(self, shape: Shape, slope: float, generator: Generator) -> Tensor:
        return torch.zeros(shape)


class Constant(Initializer):
    """All weights equal: hidden units stay identical. Reference: lecture 004 (symmetry breaking)."""

    def __init__(self, value: float, bias: Bias) -> None:
        super().__init__(bias)
        self.value = value

    def weight(self, shape: Shape, slope: float, generator: Generator) -> Tensor:
        return torch.full(shape, float(self.value))


class Uniform(Initializer):
    """$w \\sim U(-a, a)$. Reference: lecture 002 (XOR with a = 10)."""

    def __init__(self, a: float, bias: Bias) -> None:
        super().__init__(bias)
        self.a = a

    def weight(self, shape: Shape, slope: float, generator: Generator) -> Tensor:
        return _uniform(shape, self.a, generator)


class Normal(Initializer):
    """$w \\sim N(0, \\text{std}^2)$. Reference: lecture 002."""

    def __init__(self, std: float, bias: Bias) -> None:
        super().__init__(bias)
        self.std = std

    def weight(self, shape: Shape, slope: float, generator: Generator) -> Tensor:
        return self.std * torch.randn(shape, generator=generator)


class Scaled(Initializer):
    """Weights whose variance follows from the layer's fans, normal or uniform on ±√(3 variance)."""

    def __init__(self, distribution: Literal["normal", "uniform"], bias: Bias) -> None:
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
    r"""Keeps unit variance through linear layers.

    $$\mathrm{Var}(w) = 1 / \text{fan}_{\text{in}}$$

    Args:
        distribution: normal, or uniform on $\pm \sqrt{3\, \mathrm{Var}(w)}$.

    Reference: LeCun et al. 1998, "Efficient BackProp", doi:10.1007/978-3-642-35289-8_3; lecture 002.
    """

    def variance(self, fan_in: int, fan_out: int, slope: float) -> float:
        return 1 / fan_in


class Xavier(Scaled):
    r"""A compromise between the variances that keep the forward and the backward pass.

    $$\mathrm{Var}(w) = 2 / (\text{fan}_{\text{in}} + \text{fan}_{\text{out}})$$

    Args:
        distribution: normal, or uniform on $\pm \sqrt{3\, \mathrm{Var}(w)}$.

    Reference: Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks
    (AISTATS); lecture 002.
    """

    def variance(self, fan_in: int, fan_out: int, slope: float) -> float:
        return 2 / (fan_in + fan_out)


class He(Scaled):
    r"""Keeps the variance through rectifiers of slope a left of zero.

    $$\mathrm{Var}(w) = 2 / ((1 + a^2)\, \text{fan})$$

    Args:
        distribution: normal, or uniform on $\pm \sqrt{3\, \mathrm{Var}(w)}$.
        mode: the fan that counts: fan_in keeps the forward pass, fan_out the backward pass.
        a: the slope; None takes the activation's own (0 for ReLU, 0.25 for a new PReLU).

    Reference: He et al. 2015, arXiv:1502.01852; lecture 002.
    """

    def __init__(
        self,
        distribution: Literal["normal", "uniform"],
        mode: Literal["fan_in", "fan_out"],
        a: float | None,
        bias: Bias,
    ) -> None:
        super().__init__(distribution, bias)
        self.mode = mode
        self.a = a

    def variance(self, fan_in: int, fan_out: int, slope: float) -> float:
        a = slope if self.a is None else self.a
        return 2 / ((1 + a**2) * (fan_in if self.mode == "fan_in" else fan_out))


class Orthogonal(Initializer):
    r"""$W^\top W = \text{gain}^2 I$, or $W W^\top$ where W has fewer rows than columns; W is (out, the rest).

    Args:
        gain: the length of what a unit vector is mapped to.

    Reference: Saxe, McClelland & Ganguli 2013, arXiv:1312.6120; torch.nn.init.orthogonal_.
    """

    def __init__(self, gain: float, bias: Bias) -> None:
        super().__init__(bias)
        self.gain = gain

    def weight(self, shape: Shape, slope: float, generator: Generator) -> Tensor:
        rows, columns = shape[0], prod(shape[1:])
        drawn = torch.randn(rows, columns, generator=generator)
        q, r = torch.linalg.qr(drawn if rows >= columns else drawn.T)
        q = q * r.diagonal().sign()  # QR's own choice of signs is not uniform over the orthogonal matrices
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


class TorchDefault(Initializer):
    r"""torch.nn's own, for weights and biases alike.

    $$w \sim U(-1 / \sqrt{\text{fan}_{\text{in}}}, 1 / \sqrt{\text{fan}_{\text{in}}})$$

    Reference: torch.nn.Linear.reset_parameters (He's uniform with a = √5); lecture 002.
    """

    def __init__(self, bias: Bias | None) -> None:
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
