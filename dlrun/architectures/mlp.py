"""Fully connected networks: linear models and multilayer perceptrons."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import nn

from dlrun.architectures.blocks import Blocks, Residual
from dlrun.errors import ConfigError


class Linear(nn.Sequential):
    """One linear layer: linear, logistic or softmax regression, by the loss.

    $f(x) = W x + b$ for inputs (batch, *shape), which are flattened. Reference: lecture 002.
    """

    def __init__(self, shape: Sequence[int], outputs: int, blocks: Blocks) -> None:
        super().__init__(nn.Flatten(), *blocks.input(), nn.Linear(prod(shape), outputs))


class MLP(nn.Sequential):
    r"""Multilayer perceptron: hidden layers of linear map, normalization, activation, dropout; then a linear map.

    $$h_l = f(W_l h_{l-1} + b_l), \quad h_0 = x, \quad y = W h_L + b$$

    Inputs (batch, *shape) are flattened.

    Args:
        hidden: units of each hidden layer.
        width: units of every hidden layer, in place of `hidden`; together with `depth`.
        depth: number of hidden layers, in place of `hidden`; together with `width`.
        skip: add the input of every hidden layer whose width equals its predecessor's to its output.

    Reference: Rumelhart et al. 1986; lectures 002, 003.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        blocks: Blocks,
        hidden: Sequence[int] | None,
        width: int | None,
        depth: int | None,
        skip: bool,
    ) -> None:
        if width is not None or depth is not None:
            if width is None or depth is None:
                missing = "depth" if depth is None else "width"
                raise ConfigError(f"architecture.width and architecture.depth go together: give architecture.{missing}")
            hidden = [width] * depth
        sizes = [prod(shape), *(hidden or [])]
        layers: list[nn.Module] = [nn.Flatten(), *blocks.input()]
        for fan_in, units in pairwise(sizes):
            layer = [nn.Linear(fan_in, units), *blocks.hidden(units, axes=0)]
            layers += [Residual(*layer)] if skip and fan_in == units else layer
        if skip and not any(isinstance(layer, Residual) for layer in layers):
            raise ConfigError(
                f"architecture.skip=true needs two neighbouring layers of equal width; "
                f"the widths are {', '.join(map(str, sizes))}"
            )
        super().__init__(*layers, nn.Linear(sizes[-1], outputs))
