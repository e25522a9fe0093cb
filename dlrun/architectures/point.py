"""The point that descends a test function: its coordinates are the parameters."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dlrun.architectures.blocks import Blocks
from dlrun.errors import ConfigError


class Point(nn.Module):
    r"""$f(x) = \theta$ whatever the input: the outputs (batch, dimensions) are where the parameters stand.

    theta, (dimensions,), starts at the dataset's only input, and no initializer changes it. Penalties on weights leave
    it alone, for it is none.

    Args:
        train_inputs: (1, dimensions).

    Raises ConfigError where a dropout is chosen, which has no unit to drop.

    Reference: lectures 003, 004 (animations of optimizers on test functions).
    """

    tasks = ("none",)

    def __init__(self, shape: Sequence[int], outputs: int, blocks: Blocks, train_inputs: Tensor) -> None:
        super().__init__()
        if blocks.p_input is not None:
            raise ConfigError("architecture=point has no units for regularizer=dropout to drop: leave dropout out")
        self.theta = nn.Parameter(train_inputs[0].clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.theta.expand(len(x), -1)
