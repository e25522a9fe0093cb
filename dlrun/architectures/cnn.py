"""Plain convolutional networks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dlrun.architectures.blocks import Blocks
from dlrun.architectures.images import need_images
from dlrun.errors import ConfigError


class CNN(nn.Sequential):
    r"""Convolution blocks (convolution, normalization, activation, max pooling), then fully connected layers.

    $$h_l = \text{pool}(f(K_l * h_{l-1} + b_l)), \quad h_0 = x$$

    Convolutions keep the image's size; pooling by 2 halves it. Dropout is used in the fully connected part only.

    Args:
        channels: output channels of each convolution block.
        kernel: side of the square kernels, odd.
        hidden: units of the fully connected layers.

    Raises ConfigError for inputs that are no images or too small to be halved, and for an even kernel.

    Reference: LeCun et al. 1998, "Gradient-based learning applied to document recognition", doi:10.1109/5.726791;
    lecture 003.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        blocks: Blocks,
        channels: Sequence[int],
        kernel: int,
        hidden: Sequence[int],
    ) -> None:
        need_images("cnn", shape)
        depth, height, width = shape
        if min(height, width) < 2 ** len(channels):
            raise ConfigError(
                f"architecture.channels={list(channels)} halves the image {len(channels)} times, "
                f"and {height}x{width} pixels are too few for that: give fewer channels"
            )
        if kernel % 2 == 0:
            raise ConfigError(f"architecture.kernel={kernel}: give an odd number, so that the image keeps its size")
        layers = blocks.input()
        for units in channels:
            layers += [nn.Conv2d(depth, units, kernel, padding=kernel // 2), *blocks.hidden(units, axes=2)]
            layers.append(nn.MaxPool2d(2))
            depth, height, width = units, height // 2, width // 2
        layers.append(nn.Flatten())
        head = blocks.head()
        fan_in = depth * height * width
        for units in hidden:
            layers += [nn.Linear(fan_in, units), *head.hidden(units, axes=0)]
            fan_in = units
        super().__init__(*layers, nn.Linear(fan_in, outputs))
