"""What a data source returns, and what the trainer gets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from dlrun.datasets.description import Description
    from dlrun.datasets.encoding import Encoding

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
        number type.
    targets: (samples,) class numbers from 0, or (samples,) / (samples, outputs) floats for a regression.
    parts: rows of a split that the source itself fixes, by name ("train", "val", "test"); what it does not
        name is drawn by the split's seed. Rows may be shared (xor's four points are all there is).
    surface: where there is nothing to learn (task "none"): the function to descend. The only input, (1, dimensions), is
        the point to start from; the target is 0.
    notes: what was read, guessed, skipped, encoded or left out, in a sentence each for the user; a guess that can be
        wrong names the key that overrules it.
    encoding: what encodes new rows as these were (columns in order, categories, medians, ...), as JSON can hold it.
    """

    inputs: np.ndarray
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
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()


@dataclass
class Dataset:
    """Split and scaled tensors, held once: the rows of `train`, then `val`, then `test`.

    inputs: (samples, features...) floats. targets: (samples,) int64 classes, float 0/1 for a binary task, or
    (samples, outputs) floats. `sizes` counts the rows of the three parts.
    """

    inputs: Tensor
    targets: Tensor
    task: Task
    sizes: dict[str, int]
    outputs: int  #: classes, or numbers predicted
    feature_names: list[str]
    class_names: list[str]
    surface: Surface | None = None
    digest: str = ""  #: of the samples that it was made of
    description: Description = field(default_factory=dict)  #: what was read, and what was made of it
    encoding: Encoding | None = None
    #: (outputs,) doubles, of a regression's targets in the training part, where these are standardised by them
    target_mean: Tensor | None = None
    target_std: Tensor | None = None

    def reconstruction(self) -> Dataset:
        """The regression whose targets are the inputs, (samples, features); views, not copies."""
        flat = self.inputs.flatten(1)
        targets: dict[str, Any] = {"targets": flat, "target_mean": None, "target_std": None, "class_names": []}
        return replace(self, task="regression", outputs=flat.shape[1], **targets)

    def part(self, name: str) -> tuple[Tensor, Tensor]:
        """Inputs and targets of "train", "val" or "test", as views."""
        start = 0
        for part, size in self.sizes.items():
            if part == name:
                return self.inputs[start : start + size], self.targets[start : start + size]
            start += size
        raise KeyError(name)
