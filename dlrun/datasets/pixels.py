"""Many images, kept as the bytes that they are: what a byte means is looked up as samples are taken."""

from __future__ import annotations

import mmap
import warnings
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from dlrun.datasets.scale import Scaling

LARGE = 2**28  #: bytes of the numbers beyond which images stay pixels; MNIST's are 2.2e8, and are gathered a bit sooner
BYTES = 256  #: values of a byte


class Pixels:
    r"""Images, (samples, channels, height, width), to be read as the tensor of numbers that they stand for.

    Sample i is $\text{levels}_{c, \text{stored}[\text{order}_i]}$ in each channel c: every number is the scaled value
    of its byte, computed as that of any other dataset is, and the same to the last bit.

    Args:
        stored: (images, channels, height, width) uint8, in whatever order; it may be mapped from a file.
        order: (samples,) int64, the image that each sample is.
        levels: (variants, channels, 256) floats. Where there are several, so many sets of samples of one size lie one
            after the other, each with its own.
        file: what they are mapped from, at its end; None where they lie in memory.
    """

    def __init__(self, stored: Tensor, order: Tensor, levels: Tensor, file: mmap.mmap | None = None) -> None:
        self.stored, self.order, self.levels, self.file = stored, order, levels, file
        self.shape = torch.Size([len(order), *stored.shape[1:]])
        self.ndim, self.dtype, self.device = stored.ndim, levels.dtype, levels.device
        self._table = levels.flatten()
        self._first = BYTES * torch.arange(stored.shape[1], dtype=torch.int32, device=self.device)[:, None, None]

    @classmethod
    def of(cls, values: np.ndarray, rows: np.ndarray, scaled: Scaling, dtype: torch.dtype) -> Pixels:
        """These rows of the images, scaled."""
        channels = values.shape[1]
        every = np.broadcast_to(np.arange(BYTES, dtype=np.uint8)[:, None, None, None], (BYTES, channels, 1, 1))
        levels = torch.from_numpy(np.array(scaled(every))).to(dtype)[..., 0, 0].T.contiguous()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nobody writes
            stored = torch.from_numpy(values)
        file = values.base if isinstance(values.base, mmap.mmap) else None
        return cls(stored, torch.from_numpy(rows.astype(np.int64)), levels[None], file)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, rows: slice) -> Tensor:
        return self.index_select(0, torch.arange(*rows.indices(len(self)), device=self.device))

    def index_select(self, dim: int, rows: Tensor) -> Tensor:
        """The numbers of these samples, (rows, channels, height, width); dim is 0, as a tensor would have it."""
        self.ask_for(rows)
        pixels = self.stored.index_select(dim, self.order.index_select(0, rows)).int()
        variants, channels = self.levels.shape[:2]
        if channels > 1:
            pixels = pixels + self._first
        if variants > 1:
            variant = rows.div(len(self) // variants, rounding_mode="floor").int()
            pixels = pixels + variant[:, None, None, None] * (channels * BYTES)
        return self._table.index_select(0, pixels.flatten()).view(pixels.shape)

    def ask_for(self, rows: Tensor) -> None:
        """Have the system read the images of these samples from their file, all at once, so that they are there when
        they are taken; else they come page by page, each with megabytes around it that nobody needs."""
        if self.file is None or not hasattr(mmap, "MADV_WILLNEED"):
            return
        size = self.stored[0].numel()
        begin = len(self.file) - size * len(self.stored)
        for image in self.order.index_select(0, rows.flatten()).tolist():
            start = begin + image * size
            page = start - start % mmap.PAGESIZE
            self.file.madvise(mmap.MADV_WILLNEED, page, start + size - page)

    def foreseen(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """The batches of samples, each once the images of the next are asked for, so that they are read meanwhile."""
        for batch, following in pairwise([*batches, None]):
            assert batch is not None
            if following is not None:
                self.ask_for(following)
            yield batch

    def to(self, device: torch.device) -> Pixels:
        """The same on a device."""
        here = self.stored.device == device
        return Pixels(
            self.stored.to(device), self.order.to(device), self.levels.to(device), self.file if here else None
        )

    def cpu(self) -> Pixels:
        """The same on the CPU."""
        return self.to(torch.device("cpu"))


def stay_pixels(values: np.ndarray, scaled: Scaling, dtype: torch.dtype) -> bool:
    """Whether these inputs are kept as bytes: many images of which each byte is scaled by itself."""
    return (
        values.dtype == np.uint8 and values.ndim == 4 and scaled.matrix is None and values.size * dtype.itemsize > LARGE
    )
