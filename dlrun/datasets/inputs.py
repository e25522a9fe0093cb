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
def joined(inputs: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]: ...
@overload
def joined(inputs: Sequence[Inputs]) -> tuple[Inputs, Sequence[Inputs]]: ...
def joined(inputs: Sequence[Inputs]) -> tuple[Inputs, Sequence[Inputs]]:
    """Inputs of one shape, one set after the other; and each of them as a part of that, which takes no more memory."""
    if len(inputs) == 1:
        return inputs[0], list(inputs)
    size = len(inputs[0])
    bounds = [slice(i * size, (i + 1) * size) for i in range(len(inputs))]
    numbers = [each for each in inputs if isinstance(each, Numbers)]
    if len({each.stored.data_ptr() for each in numbers}) == 1 and len(numbers) == len(inputs):
        return Numbers.joined(numbers), numbers
    pixels = [each for each in inputs if isinstance(each, Pixels)]
    if len(pixels) < len(inputs):
        whole = torch.cat([each[:] for each in inputs])
        return whole, [whole[part] for part in bounds]
    stored = {each.stored.data_ptr(): each.stored for each in pixels}
    starts = dict(zip(stored, np.cumsum([0, *map(len, stored.values())]).tolist(), strict=False))
    images = torch.cat(list(stored.values())) if len(stored) > 1 else pixels[0].stored
    order = torch.cat([each.order + starts[each.stored.data_ptr()] for each in pixels])
    levels = torch.cat([each.levels for each in pixels])
    file = pixels[0].file if len(stored) == 1 else None
    views = [Pixels(images, order[part], each.levels, file) for part, each in zip(bounds, pixels, strict=True)]
    return Pixels(images, order, levels, file), list(views)
