"""Normalization layers: which axes of (batch, channels, *spatial) share a mean and a variance.

Each is made for a number of channels and of spatial axes (0 for vectors, 2 for images), and computes
$\\hat x = (x - \\mu) / \\sqrt{\\sigma^2 + \\epsilon}$, then $\\gamma \\hat x + \\beta$ where affine.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from dlrun.errors import ConfigError


class Normalization:
    """Makes the layer for one place in a network."""

    def layer(self, channels: int, axes: int) -> nn.Module:
        """The layer for (batch, channels, *spatial) with this many spatial axes; ConfigError where it cannot be."""
        raise NotImplementedError

    def head(self) -> Normalization:
        """What takes its place in the fully connected layers that follow convolutions."""
        return self


class NoNormalization(Normalization):
    """Leaves the activations as they are."""

    def layer(self, channels: int, axes: int) -> nn.Module:
        return nn.Identity()


class BatchNorm(Normalization):
    r"""Mean and variance per channel c over the minibatch and space; running averages of them in evaluation.

    $$\hat x_c = (x_c - \mu_c) / \sqrt{\sigma_c^2 + \epsilon}, \quad y_c = \gamma_c \hat x_c + \beta_c$$
    $$\bar\mu_c \leftarrow (1 - m)\, \bar\mu_c + m\, \mu_c$$

    with m = momentum; the running variance likewise, from the minibatch's unbiased one.

    Reference: Ioffe & Szegedy 2015, arXiv:1502.03167; lectures 002, 004.
    """

    def __init__(self, eps: float, affine: bool, momentum: float) -> None:
        self.options: dict[str, Any] = {"eps": eps, "affine": affine, "momentum": momentum}

    def layer(self, channels: int, axes: int) -> nn.Module:
        norm = [nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d][axes](channels, **self.options)
        norm.num_batches_tracked = None  # the running averages are exponential; nothing reads the count
        return norm


class LayerNorm(Normalization):
    r"""Mean and variance per sample n over channels and space, scale and shift per channel c.

    $$\hat x_{nc} = (x_{nc} - \mu_n) / \sqrt{\sigma_n^2 + \epsilon}, \quad
    y_{nc} = \gamma_c \hat x_{nc} + \beta_c$$

    Reference: Ba et al. 2016, arXiv:1607.06450; lecture 004.
    """

    def __init__(self, eps: float, affine: bool) -> None:
        self.options: dict[str, Any] = {"eps": eps, "affine": affine}

    def layer(self, channels: int, axes: int) -> nn.Module:
        return nn.GroupNorm(1, channels, **self.options)


class InstanceNorm(Normalization):
    r"""Mean and variance per sample n and channel c over space, in convolutions alone: heads have no spatial axes.

    $$\hat x_{nc} = (x_{nc} - \mu_{nc}) / \sqrt{\sigma_{nc}^2 + \epsilon}, \quad
    y_{nc} = \gamma_c \hat x_{nc} + \beta_c$$

    Raises ConfigError for a network without spatial axes.

    Reference: Ulyanov et al. 2016, arXiv:1607.08022; lecture 004.
    """

    def __init__(self, eps: float, affine: bool) -> None:
        self.options: dict[str, Any] = {"eps": eps, "affine": affine}

    def layer(self, channels: int, axes: int) -> nn.Module:
        if axes == 0:
            raise ConfigError(
                "normalization=instance averages over space, and this network's activations have no spatial axes: "
                "choose normalization=layer, or a convolutional architecture (architecture=cnn)"
            )
        return nn.GroupNorm(channels, channels, **self.options)

    def head(self) -> Normalization:
        return NoNormalization()


class GroupNorm(Normalization):
    r"""Mean and variance per sample n and group g of channels over space, scale and shift per channel c.

    $$\hat x_{nc} = (x_{nc} - \mu_{ng}) / \sqrt{\sigma_{ng}^2 + \epsilon}, \quad
    y_{nc} = \gamma_c \hat x_{nc} + \beta_c, \quad c \in g$$

    Raises ConfigError where the groups do not divide a layer's channels, or hold a single number each.

    Reference: Wu & He 2018, arXiv:1803.08494; lecture 004.
    """

    def __init__(self, groups: int, eps: float, affine: bool) -> None:
        self.groups = groups
        self.options: dict[str, Any] = {"eps": eps, "affine": affine}

    def layer(self, channels: int, axes: int) -> nn.Module:
        if channels % self.groups:
            raise ConfigError(
                f"normalization.groups={self.groups} does not divide a layer's {channels} channels: "
                "choose a common divisor of all hidden layers' widths"
            )
        if axes == 0 and channels == self.groups:
            raise ConfigError(
                f"normalization.groups={self.groups} makes groups of one in a layer of {channels} units, "
                "and a single number has no variance: choose fewer groups"
            )
        return nn.GroupNorm(self.groups, channels, **self.options)


def running_averages(model: nn.Module) -> set[str]:
    """The names of the buffers that batch normalization changes at every training step."""
    return {
        f"{name}.{buffer}" if name else buffer
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for buffer, _ in module.named_buffers()
    }
