"""Densely connected networks for small images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlrun.architectures.blocks import Blocks
from dlrun.architectures.images import need_pixels
from dlrun.errors import ConfigError

IMAGENET = {121: (6, 12, 24, 16)}  #: layers per block, the paper's table 1


class DenseNet(nn.Sequential):
    r"""Dense blocks, in which every layer sees the channels of all layers before it, with transitions between them.

    $x_l = H_l([x_0, \dots, x_{l-1}])$, H being normalization, activation and a 3x3 convolution onto `growth` channels,
    preceded with a bottleneck by the same with a 1x1 convolution onto 4 growth channels. A transition (normalization,
    activation, 1x1 convolution, mean pooling) halves the image, and with a bottleneck the channels too.

    Depth 121 has ImageNet's four blocks after a single 3x3 convolution, which suits small images, in place of
    ImageNet's 7x7 one and pooling: 6.96 M parameters for 10 classes with normalization=batch. Any other depth is
    CIFAR's network of three equal blocks: 1.0 M for depth 40, growth 12 without bottleneck, 0.8 M for depth 100,
    growth 12 with it. Convolutions have a bias only where no normalization follows.

    Args:
        depth: layers with weights: 121, or 3n + 4, with bottleneck 6n + 4.
        growth: channels that a layer adds; None takes the paper's, 32 for depth 121 and 12 otherwise.
        bottleneck: the paper's -BC, on which depth 121 insists.

    Raises ConfigError for another depth, and for inputs that are no images or too small to be halved.

    Reference: Huang et al. 2017, arXiv:1608.06993; lecture 003.
    """

    def __init__(
        self, shape: Sequence[int], outputs: int, blocks: Blocks, depth: int, growth: int | None, bottleneck: bool
    ) -> None:
        sizes = _sizes(depth, bottleneck)
        need_pixels("densenet", shape, blocks, halvings=len(sizes) - 1)
        growth = growth or (32 if depth in IMAGENET else 12)
        channels = 2 * growth if bottleneck else 16
        layers = [*blocks.input(), nn.Conv2d(shape[0], channels, 3, padding=1, bias=blocks.bias)]
        for i, size in enumerate(sizes):
            if i > 0:
                units = channels // 2 if bottleneck else channels
                layers += [*_map(channels, units, 1, blocks), nn.AvgPool2d(2)]
                channels = units
            for _ in range(size):
                layers.append(DenseLayer(channels, growth, blocks, bottleneck))
                channels += growth
        layers += [*blocks.hidden(channels, axes=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        super().__init__(*layers, nn.Linear(channels, outputs))


class DenseLayer(nn.Module):
    """[x, H(x)], joined along the channels."""

    def __init__(self, channels: int, growth: int, blocks: Blocks, bottleneck: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if bottleneck:
            layers, channels = _map(channels, 4 * growth, 1, blocks), 4 * growth
        self.body = nn.Sequential(*layers, *_map(channels, growth, 3, blocks))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


def _map(channels: int, units: int, kernel: int, blocks: Blocks) -> list[nn.Module]:
    conv = nn.Conv2d(channels, units, kernel, padding=kernel // 2, bias=blocks.bias)
    return [*blocks.hidden(channels, axes=2), conv]


def _sizes(depth: int, bottleneck: bool) -> tuple[int, ...]:
    """Layers in each dense block."""
    if depth in IMAGENET and bottleneck:
        return IMAGENET[depth]
    maps = 6 if bottleneck else 3
    if depth < maps + 4 or (depth - 4) % maps or depth in IMAGENET:
        form = "121, or 6n + 4, for example 100," if bottleneck else "3n + 4, for example 40,"
        raise ConfigError(
            f"architecture.depth={depth}: must be {form} with architecture.bottleneck={str(bottleneck).lower()}"
        )
    return ((depth - 4) // maps,) * 3
