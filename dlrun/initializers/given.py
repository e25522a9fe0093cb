"""Starting from numbers that the user types."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from dlrun.datasets.dataset import Dataset
from dlrun.errors import ConfigError
from dlrun.initializers.initializer import Bias, Initializer, Shape
from dlrun.matrix.theta import Layout


class Given(Initializer):
    r"""Every parameter as it is given, in the network's own order.

    That is the order of `dlrun --summary`: of layer after layer the weights (out, in), row by row, then the biases. The
    seed decides nothing here.

    Args:
        values: all parameters, biases included.

    Raises ConfigError where these are not as many as the network has, or a bias is asked for beside them.

    Reference: lecture 002 (a line from theta = (10, 5)), lecture 003 (the backpropagation example).
    """

    def __init__(self, values: Sequence[float], bias: Bias) -> None:
        super().__init__(bias)
        self.values = values

    def weight(self, shape: Shape, slope: float, generator: Generator) -> Tensor:
        return torch.zeros(shape)  # until `initialize` has all of them

    def fits(self, model: nn.Module, layout: Layout, dataset: Dataset) -> None:
        if self.bias_value != 0:
            raise ConfigError(
                f"initializer.bias={self.bias_value}: initializer.values holds the biases too: leave initializer.bias=0"
            )
        if len(self.values) != layout.params:
            order = ", ".join(f"{slot.name} {' x '.join(map(str, slot.shape))}" for slot in layout.slots[:6])
            more = ", ..." if len(layout.slots) > 6 else ""
            raise ConfigError(
                f"initializer.values has {len(self.values)} numbers, and this network has {layout.params} parameters: "
                f"{order}{more}"
            )

    def initialize(
        self, model: nn.Module, layout: Layout, theta: Tensor, dataset: Dataset, generator: Generator
    ) -> Tensor:
        return theta.new_tensor(list(map(float, self.values)))
