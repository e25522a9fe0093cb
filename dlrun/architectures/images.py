"""What convolutional networks ask of their inputs."""

from __future__ import annotations

from collections.abc import Sequence

from dlrun.architectures.blocks import Blocks
from dlrun.errors import ConfigError
from dlrun.normalizations import InstanceNorm


def need_images(name: str, shape: Sequence[int]) -> None:
    """ConfigError unless inputs of this shape are images (channels, height, width)."""
    if len(shape) != 3:
        raise ConfigError(
            f"architecture={name} needs images, and this dataset's inputs have shape {tuple(shape)}: "
            "choose architecture=mlp, or a dataset of images"
        )


def need_pixels(name: str, shape: Sequence[int], blocks: Blocks, halvings: int) -> None:
    """ConfigError unless inputs of this shape are images that the architecture can halve this many times."""
    need_images(name, shape)
    _, height, width = shape
    pixels = f"architecture={name} halves the image {halvings} times, and of {height}x{width} pixels"
    if min(height, width) < 2**halvings:
        raise ConfigError(f"{pixels} nothing is left: choose architecture=cnn or larger images")
    if max(height, width) <= 2**halvings and isinstance(blocks.normalization, InstanceNorm):
        raise ConfigError(
            f"{pixels} a single one is left, which has no variance for normalization=instance: "
            "choose normalization=layer or larger images"
        )
