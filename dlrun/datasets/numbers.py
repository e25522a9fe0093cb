"""A large table's numbers, left in their file: filled and scaled as samples are taken."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from dlrun.datasets.mapped import Mapped
from dlrun.datasets.scale import Scaling

TOGETHER = 2**22  #: numbers that are in the memory as doubles at a time


@dataclass(frozen=True)
class Map:
    """From doubles (rows, features) to what a dataset makes of them.

    filling: (features,) what stands for a missing number; None where none is missing. scaling: of tensors.
    """

    filling: Tensor | None
    scaling: Scaling

    @classmethod
    def of(cls, filling: np.ndarray | None, scaling: Scaling) -> Map:
        """The same of arrays."""
        return cls(None if filling is None else torch.from_numpy(filling), _each(scaling, torch.from_numpy))

    def __call__(self, doubles: Tensor) -> Tensor:
        if self.filling is not None:
            doubles = torch.where(doubles.isnan(), self.filling, doubles)
        scaled: Any = self.scaling(cast(Any, doubles))
        return cast(Tensor, scaled)

    def to(self, device: torch.device) -> Map:
        """The same on a device."""
        there = None if self.filling is None else self.filling.to(device)
        return Map(there, _each(self.scaling, lambda tensor: tensor.to(device)))


def _each(scaling: Scaling, change: Callable[[Any], Any]) -> Scaling:
    if scaling.offset is None:
        return scaling
    return replace(scaling, offset=change(scaling.offset), divisor=change(scaling.divisor))


class Numbers:
    """Rows of a table, (samples, features), to be read as the tensor of scaled numbers that they stand for.

    Every number is filled and scaled as a double, as that of any other dataset is, and the same to the last bit.

    Args:
        stored: (rows, features) float32 or float64, in whatever order; it may be mapped from a file.
        order: (samples,) int64, the row that each sample is.
        maps: from a row's doubles to what they stand for. Where there are several, so many sets of samples of one size
            lie one after the other, each with its own.
        dtype: of what is read.
    """

    def __init__(self, stored: Tensor, order: Tensor, maps: Sequence[Map], dtype: torch.dtype) -> None:
        self.stored, self.order, self.maps, self.dtype = stored, order, list(maps), dtype
        self.shape, self.ndim, self.device = torch.Size([len(order), stored.shape[1]]), 2, stored.device

    @classmethod
    def of(cls, values: Mapped, rows: np.ndarray, scaled: Scaling, dtype: torch.dtype) -> Numbers:
        """These rows of the values, scaled."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nobody writes
            stored = torch.from_numpy(values.stored)
        return cls(stored, torch.from_numpy(rows.astype(np.int64)), [Map.of(values.filling, scaled)], dtype)

    @classmethod
    def joined(cls, several: Sequence[Numbers]) -> Numbers:
        """Samples of one table, one set after the other."""
        order = torch.cat([each.order for each in several])
        return cls(several[0].stored, order, [each.maps[0] for each in several], several[0].dtype)

    def part(self, variant: int) -> Numbers:
        """One of the sets of samples that lie one after the other."""
        size = len(self) // len(self.maps)
        order = self.order[variant * size : (variant + 1) * size]
        return Numbers(self.stored, order, [self.maps[variant]], self.dtype)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, rows: slice) -> Tensor:
        return self.index_select(0, torch.arange(*rows.indices(len(self)), device=self.device))

    def index_select(self, dim: int, rows: Tensor) -> Tensor:
        """The numbers of these samples, (rows, features); dim is 0, as a tensor would have it."""
        together = max(1, TOGETHER // self.shape[1])
        if len(rows) <= together:
            return self._scaled(rows)
        return torch.cat([self._scaled(some) for some in rows.split(together)])

    def _scaled(self, rows: Tensor) -> Tensor:
        doubles = self.stored.index_select(0, self.order.index_select(0, rows)).double()
        if len(self.maps) == 1:
            return self.maps[0](doubles).to(self.dtype)
        found = torch.empty_like(doubles, dtype=self.dtype)
        own = rows.div(len(self) // len(self.maps), rounding_mode="floor")
        for variant in own.unique().tolist():
            places = (own == variant).nonzero()[:, 0]
            found[places] = self.maps[variant](doubles[places]).to(self.dtype)
        return found

    def to(self, device: torch.device) -> Numbers:
        """The same on a device."""
        maps = [each.to(device) for each in self.maps]
        return Numbers(self.stored.to(device), self.order.to(device), maps, self.dtype)

    def cpu(self) -> Numbers:
        """The same on the CPU."""
        return self.to(torch.device("cpu"))
