"""What a data source returns, and what the trainer gets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from torch import Tensor

from dlrun.datasets.mapped import Values

HASHED = 2**14  #: samples at a time

Task = Literal["regression", "binary", "multiclass", "none"]  # "none": a test function, with nothing to learn


@dataclass(frozen=True)
class Surface:
    """A test function of optimization, whose variables are the parameters that are trained.

    value: points (..., dimensions) -> (...), by differentiable tensor operations.
    minima: the points with the smallest value, (minima, dimensions); none where it has no smallest value, or too many.
    """

    value: Callable[[Tensor], Tensor]
    minima: tuple[tuple[float, ...], ...] = ()


@dataclass
class Samples:
    """What a source returns: every sample it has, unscaled and in no particular order.

    inputs: (samples, features), images (samples, channels, height, width) or sequences (samples, time, features), any
        number type. Those of a large table are mapped from a file.
    targets: (samples,) class numbers from 0, or (samples,) / (samples, outputs) floats for a regression.
    parts: rows of a split that the source itself fixes, by name ("train", "val", "test"); what it does not
        name is drawn by the split's seed. Rows may be shared (xor's four points are all there is).
    surface: where there is nothing to learn (task "none"): the function to descend. The only input, (1, dimensions), is
        the point to start from; the target is 0.
    notes: what was read, guessed, skipped, encoded or left out, in a sentence each for the user; a guess that can be
        wrong names the key that overrules it.
    encoding: what encodes new rows as these were (columns in order, categories, medians, ...), as JSON can hold it.
    """

    inputs: Values
    targets: np.ndarray
    task: Task
    feature_names: list[str] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)
    surface: Surface | None = None
    notes: list[str] = field(default_factory=list)
    encoding: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """A hash of inputs and targets, by which a run knows its data again."""
        found = hashlib.blake2b(digest_size=16)
        for array in (self.inputs, self.targets):
            found.update(f"{array.dtype} {array.shape}".encode())
            for start in range(0, len(array), HASHED):
                found.update(np.ascontiguousarray(array[start : start + HASHED]).data)
        return found.hexdigest()
