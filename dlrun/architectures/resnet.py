"""Residual networks for small images: the CIFAR family, and the pre-activation ResNet-18 of any width."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.architectures.blocks import Blocks
from dlrun.architectures.images import need_pixels
from dlrun.errors import ConfigError


class ResNet(nn.Sequential):
    r"""CIFAR's residual network of 6n + 2 layers: a convolution, three stages of n blocks, a mean over space, a map.

    $$y = f(x + F(x))$$

    in every block, F being two 3x3 convolutions. Stages have width, 2 width and 4 width channels; the second and the
    third start by halving the image. Shortcuts have no parameters (the paper's option A), so skip=false has the very
    same ones. Convolutions have no bias where a normalization follows, so that normalization=batch gives the paper's
    counts: 0.27 M, 0.85 M and 1.7 M parameters for depth 20, 56 and 110. Without a normalization they have one.

    Args:
        depth: layers with weights, 6n + 2.
        width: channels of the first stage.
        skip: false leaves the shortcuts out: the paper's plain network.

    Raises ConfigError for another depth, and for inputs that are no images or too small to be halved twice.

    Reference: He et al. 2016, arXiv:1512.03385, section 4.2; lecture 003 (Li et al. 2018, arXiv:1712.09913).
    """

    def __init__(self, shape: Sequence[int], outputs: int, blocks: Blocks, depth: int, width: int, skip: bool) -> None:
        need_pixels("resnet", shape, blocks, halvings=2)
        if depth % 6 != 2:
            raise ConfigError(f"architecture.depth={depth}: must be 6n + 2, for example 20, 56 or 110")
        fan_in = shape[0]
        layers = [*blocks.input(), _conv(fan_in, width, 1, blocks), *blocks.hidden(width, axes=2)]
        fan_in = width
        for stage in range(3):
            for block in range((depth - 2) // 6):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(BasicBlock(fan_in, width * 2**stage, stride, blocks, skip))
                fan_in = width * 2**stage
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(fan_in, outputs))


class BasicBlock(nn.Module):
    r"""$f(s(x) + F(x))$, with F two 3x3 convolutions and s the identity, subsampled and padded with zero channels.

    With the normalization before the activation f, it ends F; after it, it follows f.
    """

    def __init__(self, fan_in: int, units: int, stride: int, blocks: Blocks, skip: bool) -> None:
        super().__init__()
        first = [_conv(fan_in, units, stride, blocks), *blocks.hidden(units, axes=2)]
        before, after = blocks.around_sum(units, axes=2)
        self.body = nn.Sequential(*first, _conv(units, units, 1, blocks), *before)
        self.after = nn.Sequential(*after)
        self.skip, self.stride, self.new = skip, stride, units - fan_in

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if self.skip:
            y = y + F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new))
        return self.after(y)


class ResNet18(nn.Sequential):
    r"""Pre-activation ResNet-18: stages of two blocks with k, 2k, 4k and 8k channels, for small images.

    $$y = x + F(f(x))$$

    in every block, F being two 3x3 convolutions, and f the normalization and the activation. As in the study of double
    descent, whose code has no normalization after the last block: 11.2 M parameters for k = 64 and
    normalization=batch. Convolutions have a bias only where no normalization follows.

    Args:
        width: k: channels of the first of the four stages, doubled in the next ones.

    Raises ConfigError for inputs that are no images, or too small to be halved three times.

    Reference: He et al. 2016, arXiv:1603.05027; Nakkiran et al. 2019, arXiv:1912.02292; lecture 003.
    """

    def __init__(self, shape: Sequence[int], outputs: int, blocks: Blocks, width: int) -> None:
        need_pixels("resnet18", shape, blocks, halvings=3)
        layers, fan_in = [*blocks.input(), _conv(shape[0], width, 1, blocks)], width
        for stage in range(4):
            for block in range(2):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(PreActivationBlock(fan_in, width * 2**stage, stride, blocks))
                fan_in = width * 2**stage
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(fan_in, outputs))


class PreActivationBlock(nn.Module):
    r"""$x + F(f(x))$, or $W f(x) + F(f(x))$ with a 1x1 convolution W where the size changes."""

    def __init__(self, fan_in: int, units: int, stride: int, blocks: Blocks) -> None:
        super().__init__()
        self.first = nn.Sequential(*blocks.hidden(fan_in, axes=2))
        self.body = nn.Sequential(
            _conv(fan_in, units, stride, blocks), *blocks.hidden(units, axes=2), _conv(units, units, 1, blocks)
        )
        changes = stride > 1 or fan_in != units
        self.shortcut = nn.Conv2d(fan_in, units, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.body(y) + (x if self.shortcut is None else self.shortcut(y))


def _conv(fan_in: int, units: int, stride: int, blocks: Blocks) -> nn.Conv2d:
    return nn.Conv2d(fan_in, units, 3, stride, padding=1, bias=blocks.bias)
