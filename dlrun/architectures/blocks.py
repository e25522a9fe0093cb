"""What follows each linear map of a network: normalization, activation and dropout, in the chosen order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from dlrun.activations import ACTIVATIONS
from dlrun.errors import ConfigError
from dlrun.normalizations import NoNormalization, Normalization


class Dropout(nn.Module):
    r"""Inverted dropout: zero with probability p and divide by 1 - p, so that the expectation stays.

    p is a buffer, so it may differ between the runs of a stack.

    Reference: Srivastava et al. 2014; lecture 002.
    """

    p: Tensor

    def __init__(self, p: float) -> None:
        super().__init__()
        self.register_buffer("p", torch.tensor(p), persistent=False)

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

    def around_sum(self, channels: int, axes: int) -> tuple[list[nn.Module], list[nn.Module]]:
        """`hidden` in two parts: what stands before the sum that ends a residual block, and what follows it."""
        layers = self.hidden(channels, axes)
        cut = 1 if self.position == "before" else 0
        return layers[:cut], layers[cut:]

    def head(self) -> Blocks:
        """The same choices for the fully connected layers of a convolutional network."""
        return replace(self, normalization=self.normalization.head())

    @property
    def bias(self) -> bool:
        """Whether a deep network's convolutions have biases: not where a normalization follows and shifts instead."""
        return isinstance(self.normalization, NoNormalization) or self.position == "after"

    def refuse_normalization(self, name: str) -> None:
        """ConfigError where a normalization is chosen and the architecture of this name has no place for it."""
        if not isinstance(self.normalization, NoNormalization):
            raise ConfigError(f"architecture={name} has no place for a normalization: leave normalization=none")


class Residual(nn.Module):
    """x + body(x).

    Reference: He et al. 2016, arXiv:1512.03385; lecture 002.
    """

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)
