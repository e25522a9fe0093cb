"""What every regularizer may do at a step of the trainer and at an evaluation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dlrun.datasets.dataset import Dataset
from dlrun.matrix.theta import Layout
from dlrun.optimizers.rule import State

#: in the order of a training
HOOKS = ("fits", "transform", "penalty", "perturb", "decay", "project", "follow", "moments", "observe")


class Regularizer:
    """Hooks of the trainer; each does nothing unless a regularizer says otherwise.

    Keyword-only arguments of a hook are numbers that may differ by row, as (runs, 1) tensors.
    `mask`, (params,), is 1 for the parameters that penalties apply to: weights alone, or all with include_bias.
    """

    include_bias = False
    random = False  #: the same parameters and minibatch do not give the same gradient twice

    def fits(self, dataset: Dataset, *_: Any, **rows: Any) -> None:
        """ConfigError where the regularizer makes no sense for the data."""

    def init(self, network: State) -> State:
        """The memory before the first step; every tensor has one row per run.

        network: `theta`, (runs, params), and the layers' running averages by name, (runs, ...).
        """
        return {}

    def transform(self, x: Tensor, targets: Tensor, outputs: int, *_: Any, **rows: Any) -> tuple[Tensor, Tensor]:
        """Other minibatches to train on: inputs (runs, batch, ...) and targets (runs, batch, ...)."""
        return x, targets

    def penalty(self, theta: Tensor, mask: Tensor, *_: Any, **rows: Any) -> Tensor | None:
        """What the training adds to each row's loss, (runs,), by differentiable operations; None for nothing."""
        return None

    def perturb(self, g: Tensor, memory: State, *_: Any, **rows: Any) -> Tensor:
        """Another gradient in place of the clipped one, (runs, params); changes the memory in place."""
        return g

    def decay(self, theta: Tensor, mask: Tensor, lr: Tensor, *_: Any, **rows: Any) -> None:
        """Change theta in place before the update, apart from the gradient."""

    def project(self, theta: Tensor, layout: Layout, *_: Any, **rows: Any) -> None:
        """Bring theta, in place, back to where it is allowed to be after an update."""

    def follow(self, memory: State, network: State, *_: Any, **rows: Any) -> None:
        """Change the memory in place after every update of the network."""

    def observe(self, memory: State, val_loss: Tensor, *_: Any, **rows: Any) -> Tensor:
        """Which rows should stop, (runs,), after an evaluation's validation loss (runs,); all on the CPU."""
        return torch.zeros_like(val_loss, dtype=torch.bool)


def per_run(number: Tensor, samples: Tensor) -> Tensor:
    """(runs, 1) as (runs, 1, ..., 1), with as many axes as the samples (runs, batch, ...)."""
    return number.view(-1, *[1] * (samples.ndim - 1))
