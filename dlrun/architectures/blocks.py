"""What follows each linear map of a network: normalization, activation and dropout, in the chosen order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from dlrun.activations import ACTIVATIONS
from dlrun.normalizations import Normalization


class Dropout(nn.Module):
    r"""Inverted dropout: zero with probability p and divide by 1 - p, so that the expectation stays.

    p is a buffer, so it may differ between the runs of a stack.

    Reference: Srivastava et al. 2014; lecture 002.
    """

    p: Tensor

    def __init__(self, p: float) -> None:
        super().__init__()
        self.register_buffer("p", torch.tensor(p))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


@dataclass
class Blocks:
    """The choices that every architecture shares.

    Args:
        activation: a name in `activations.ACTIVATIONS`.
        position: where the normalization stands, "before" or "after" the activation.
        p_input, p_hidden: dropout rates of the input and of fully connected hidden layers; None for no dropout.
    """

    activation: str
    normalization: Normalization
    position: Literal["before", "after"] = "before"
    p_input: float | None = None
    p_hidden: float | None = None
    hidden_layers: int = field(default=0, init=False)  #: how many there are so far

    def input(self) -> list[nn.Module]:
        """What the inputs pass through before the first layer."""
        return [] if self.p_input is None else [Dropout(self.p_input)]

    def hidden(self, channels: int, axes: int) -> list[nn.Module]:
        """What follows a hidden linear map onto this many channels with this many spatial axes."""
        self.hidden_layers += 1
        layers = [self.normalization.layer(channels, axes), ACTIVATIONS[self.activation]()]
        if self.position == "after":
            layers.reverse()
        if self.p_hidden is not None and axes == 0:
            layers.append(Dropout(self.p_hidden))
        return layers


class Residual(nn.Module):
    """x + body(x).

    Reference: He et al. 2016, arXiv:1512.03385; lecture 002.
    """

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)
