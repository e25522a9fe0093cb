"""What every regularizer may do at a step of the trainer and at an evaluation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dlrun.datasets.data import Dataset
from dlrun.optimizers.rule import State
from dlrun.theta import Layout

HOOKS = ("fits", "transform", "penalize", "perturb", "decay", "project", "observe")  #: in the order of a training


class Regularizer:
    """Hooks of the trainer; each does nothing unless a regularizer says otherwise.

    Keyword-only arguments of a hook are numbers that may differ by row, as (runs, 1) tensors.
    `mask`, (params,), is 1 for the parameters that penalties apply to: weights alone, or all with include_bias.
    """

    include_bias = False

    def fits(self, dataset: Dataset, *_: Any, **rows: Any) -> None:
        """ConfigError where the regularizer makes no sense for the data."""

    def init(self, theta: Tensor) -> State:
        """The memory before the first step; every tensor has one row per run."""
        return {}

    def transform(self, x: Tensor, targets: Tensor, outputs: int, *_: Any, **rows: Any) -> tuple[Tensor, Tensor]:
        """Other minibatches to train on: inputs (runs, batch, ...) and targets (runs, batch, ...)."""
        return x, targets

    def penalize(self, g: Tensor, theta: Tensor, mask: Tensor, *_: Any, **rows: Any) -> Tensor:
        """The gradient g of the loss, (runs, params), plus the penalty's."""
        return g

    def perturb(self, g: Tensor, memory: State, *_: Any, **rows: Any) -> Tensor:
        """Another gradient in place of the clipped one, (runs, params); changes the memory in place."""
        return g

    def decay(self, theta: Tensor, mask: Tensor, lr: Tensor, *_: Any, **rows: Any) -> None:
        """Change theta in place before the update, apart from the gradient."""

    def project(self, theta: Tensor, layout: Layout, *_: Any, **rows: Any) -> None:
        """Bring theta, in place, back to where it is allowed to be after an update."""

    def observe(self, memory: State, val_loss: Tensor, *_: Any, **rows: Any) -> Tensor:
        """Which rows should stop, (runs,), after an evaluation's validation loss (runs,); all on the CPU."""
        return torch.zeros_like(val_loss, dtype=torch.bool)


def per_run(number: Tensor, samples: Tensor) -> Tensor:
    """(runs, 1) as (runs, 1, ..., 1), with as many axes as the samples (runs, batch, ...)."""
    return number.view(-1, *[1] * (samples.ndim - 1))
