"""What a network's inputs lie in, and several sets of them as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
import torch
from torch import Tensor

from dlrun.datasets.numbers import Numbers
from dlrun.datasets.pixels import Pixels

Inputs = Tensor | Pixels | Numbers


@overload
def joined(inputs: Sequence[Tensor], device: torch.device) -> tuple[Tensor, list[Tensor]]: ...
@overload
def joined(inputs: Sequence[Inputs], device: torch.device) -> tuple[Inputs, Sequence[Inputs]]: ...
def joined(inputs: Sequence[Inputs], device: torch.device) -> tuple[Inputs, Sequence[Inputs]]:
    """Inputs of one shape, one set after the other, on a device; and each of them as a part of that, which takes no
    more memory."""
    if device.type == "mps":  # which knows no doubles
        inputs = [each[:] if isinstance(each, Numbers) else each for each in inputs]
    if len(inputs) == 1:
        whole = inputs[0].to(device)
        return whole, [whole]
    size = len(inputs[0])
    bounds = [slice(i * size, (i + 1) * size) for i in range(len(inputs))]
    numbers = [each for each in inputs if isinstance(each, Numbers)]
    if len(numbers) == len(inputs) and len({each.stored.data_ptr() for each in numbers}) == 1:
        table = Numbers.joined(numbers).to(device)
        return table, [table.part(i) for i in range(len(inputs))]
    pixels = [each for each in inputs if isinstance(each, Pixels)]
    if len(pixels) < len(inputs):
        tensor = torch.cat([each[:] for each in inputs]).to(device)
        return tensor, [tensor[part] for part in bounds]
    stored = {each.stored.data_ptr(): each.stored for each in pixels}
    starts = dict(zip(stored, np.cumsum([0, *map(len, stored.values())]).tolist(), strict=False))
    images = torch.cat(list(stored.values())) if len(stored) > 1 else pixels[0].stored
    order = torch.cat([each.order + starts[each.stored.data_ptr()] for each in pixels])
    levels = torch.cat([each.levels for each in pixels])
    all_images = Pixels(images, order, levels, pixels[0].file if len(stored) == 1 else None).to(device)
    views = [
        Pixels(all_images.stored, all_images.order[part], all_images.levels[i : i + 1], all_images.file)
        for i, part in enumerate(bounds)
    ]
    return all_images, list(views)
