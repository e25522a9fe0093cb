"""The samples on which diagnostics look at networks, and the networks in the mode in which they are looked at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dlrun.diagnostics.diagnostic import Part, Statistics
from dlrun.training.stack import Stack


@dataclass
class Probe:
    """Samples of a part, the same at every look: all of them, or some that lie evenly in it.

    x, y: (samples, ...) where the runs share them, else (runs, samples, ...).
    """

    x: Tensor
    y: Tensor
    shared: bool

    @classmethod
    def of(cls, stack: Stack, part: Part, samples: int | None) -> Probe:
        """`samples` of the part, or as many as it has."""
        size = stack.dataset.sizes[part]
        count = size if samples is None else min(samples, size)
        places = (
            torch.linspace(0, size - 1, count, dtype=torch.float64).round().long()
            if count > 1
            else torch.zeros(1).long()
        )
        places = (places + stack.dataset.rows(part).start).to(stack.theta.device)
        if not stack.separate:
            return cls(stack.dataset.inputs.index_select(0, places), stack.dataset.targets[places], True)
        found = [(data.inputs.index_select(0, places), data.targets[places]) for data in stack.variants]
        x, y = (torch.stack([found[v][i] for v in stack.variant]) for i in (0, 1))
        return cls(x, y, False)

    @property
    def samples(self) -> int:
        """How many there are."""
        return self.y.shape[0 if self.shared else 1]

    def targets(self, runs: int) -> Tensor:
        """(runs, samples, ...)."""
        return self.y.expand(runs, *self.y.shape) if self.shared else self.y


def set_mode(model: nn.Module, statistics: Statistics) -> None:
    """The model as diagnostics see it: dropout off, and batch normalization by the probe's own statistics, `batch`,
    as in training, or by the running averages, as in evaluation."""
    model.eval()
    for module in model.modules() if statistics == "batch" else ():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
