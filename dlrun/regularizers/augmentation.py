"""Augmentation: every training sample is seen a little changed each time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dlrun.datasets.dataset import Dataset
from dlrun.errors import ConfigError
from dlrun.regularizers.regularizer import Regularizer, per_run


class Augmentation(Regularizer):
    """Images are mirrored, rotated, shifted and made noisy, by amounts drawn for each sample; vectors made noisy.

    A shift by whole pixels up to s in each direction is a crop out of the image padded by s. What comes in from
    outside is 0, in the units that dataset.scale leaves.

    Reference: Krizhevsky et al. 2012, doi:10.1145/3065386; He et al. 2016, arXiv:1512.03385 (section 4.2); noise:
    Bishop 1995, doi:10.1162/neco.1995.7.1.108.
    """

    random = True

    def fits(self, dataset: Dataset, *, shift: Tensor, flip: Tensor, rotate: Tensor) -> None:
        if dataset.inputs.ndim == 4:
            return
        for name, numbers in {"shift": shift, "flip": flip, "rotate": rotate}.items():
            if numbers.any():
                raise ConfigError(
                    f"regularizer.augmentation.{name}={numbers.max().item():g} is for images, and this dataset has "
                    f"none: set it to 0; regularizer.augmentation.noise works for every dataset"
                )

    def transform(
        self,
        x: Tensor,
        targets: Tensor,
        outputs: int,
        *,
        shift: Tensor,
        flip: Tensor,
        rotate: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, Tensor]:
        if x.ndim == 5:  # (runs, batch, channels, height, width)
            across, down, turn, chance = torch.rand(len(x), 4, x.shape[1], dtype=x.dtype, device=x.device).unbind(1)
            dx, dy = ((u * (2 * shift + 1)).floor() - shift for u in (across, down))
            angle = (2 * turn - 1) * rotate.deg2rad()
            amounts = torch.stack([dx, dy, angle, 1 - 2 * (chance < flip).to(x.dtype)])
            x = warp(x.flatten(0, 1), *amounts.flatten(1)).view_as(x)
        return x + per_run(noise, x) * torch.randn_like(x), targets


def warp(x: Tensor, dx: Tensor, dy: Tensor, angle: Tensor, mirror: Tensor) -> Tensor:
    """Images (n, channels, height, width), mirrored where mirror is -1, then rotated, then shifted; zero from outside.

    dx, dy: pixels to the right and down. angle: radians, counter-clockwise about the centre. mirror: 1 or -1. All (n,).
    Bilinear between pixels, so that a shift by whole pixels and a mirror image are exact.
    """
    height, width = x.shape[2:]
    dx, dy, angle, mirror = (amount[:, None, None] for amount in (dx, dy, angle, mirror))
    u = torch.arange(width, dtype=x.dtype, device=x.device) - (width - 1) / 2 - dx
    v = torch.arange(height, dtype=x.dtype, device=x.device)[:, None] - (height - 1) / 2 - dy
    # (n, height, width): where each pixel of the result comes from
    column = mirror * (u * angle.cos() - v * angle.sin()) + (width - 1) / 2
    row = u * angle.sin() + v * angle.cos() + (height - 1) / 2
    # grid_sample counts from -1 to 1. Between powers of two both scalings are exact, and so are whole pixels.
    rows, columns = (1 << (size - 1).bit_length() for size in (height, width))
    grid = torch.stack([(2 * column + 1) / columns - 1, (2 * row + 1) / rows - 1], 3)
    return F.grid_sample(F.pad(x, [0, columns - width, 0, rows - height]), grid, align_corners=False)
