"""What the trainer gets of the data: its samples by part, as tensors."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from dlrun.datasets.data import Surface, Task
from dlrun.datasets.encoding import Encoding
from dlrun.datasets.inputs import Inputs
from dlrun.terminal.description import Description
from dlrun.terminal.printable import in_line


@dataclass
class Dataset:
    """Split and scaled tensors, held once: the rows of `train`, then `val`, then `test`.

    inputs: (samples, features...) floats; many images are kept as bytes, and become floats as they are taken.
    targets: (samples,) int64 classes, float 0/1 for a binary task, or (samples, outputs) floats. `sizes` counts the
    rows of the three parts.
    """

    inputs: Inputs
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

    @property
    def classes(self) -> list[str]:
        """The classes' names, each in one line, or their numbers where they have none; empty without classes."""
        if self.task not in ("binary", "multiclass"):
            return []
        count = 2 if self.task == "binary" else self.outputs
        return [in_line(name) for name in self.class_names] or [str(number) for number in range(count)]

    def reconstruction(self) -> Dataset:
        """The regression whose targets are the inputs, (samples, features), and no bytes any more."""
        flat = self.inputs[:].flatten(1)
        targets: dict[str, Any] = {"targets": flat, "target_mean": None, "target_std": None, "class_names": []}
        return replace(self, inputs=flat.view(self.inputs.shape), task="regression", outputs=flat.shape[1], **targets)

    def rows(self, part: str) -> slice:
        """Where "train", "val" or "test" stands among the samples."""
        names = list(self.sizes)
        start = sum(self.sizes[name] for name in names[: names.index(part)])
        return slice(start, start + self.sizes[part])

    def part(self, name: str) -> tuple[Tensor, Tensor]:
        """Inputs and targets of "train", "val" or "test"."""
        rows = self.rows(name)
        return self.inputs[rows], self.targets[rows]
