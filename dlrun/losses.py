"""Losses per sample, and which task each fits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dlrun.datasets.data import Task
from dlrun.errors import ConfigError


class Loss:
    """A function of outputs (batch, outputs) and targets that returns one number per sample, (batch,)."""

    name: str
    tasks: tuple[Task, ...]

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        raise NotImplementedError

    def for_task(self, task: Task) -> Loss:
        """The loss to use for a dataset's task; ConfigError where it does not fit."""
        if task not in self.tasks:
            fitting = ", ".join(cls.name for cls in BY_TASK[task])
            raise ConfigError(
                f"loss={self.name} is for {' or '.join(self.tasks)} targets, and this dataset's are {task}: "
                f"choose one of {fitting}, or leave loss=auto"
            )
        return self


class CrossEntropy(Loss):
    r"""$L = -\log \text{softmax}(f)_y$; with targets (batch, classes), $L = -\sum_k t_k \log \text{softmax}(f)_k$.

    Reference: lectures 002, 003.
    """

    name = "cross_entropy"
    tasks = ("multiclass",)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, reduction="none")


class BinaryCrossEntropy(Loss):
    r"""$L = -y \log \sigma(f) - (1-y) \log(1 - \sigma(f))$ for one output f and y in [0, 1].

    Reference: lecture 002.
    """

    name = "binary_cross_entropy"
    tasks = ("binary",)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs.squeeze(1), targets, reduction="none")


class MSE(Loss):
    r"""$L = \frac{1}{m} \sum_{j=1}^m (f_j - y_j)^2$ over m outputs.

    Reference: lectures 002, 003.
    """

    name = "mse"
    tasks = ("regression",)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean(1)


class Hinge(Loss):
    r"""$L = \max(0, 1 - t f)$ with t = 2y - 1 in {-1, 1}.

    Reference: lecture 004 (surrogate losses).
    """

    name = "hinge"
    tasks = ("binary",)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.relu(1 - (2 * targets - 1) * outputs.squeeze(1))


class ByTask(Loss):
    """The usual loss of the task: cross-entropy for classes, squared error for a regression."""

    name = "auto"
    tasks = ("regression", "binary", "multiclass")

    def for_task(self, task: Task) -> Loss:
        return BY_TASK[task][0]()


#: The losses that fit a task; the first is the usual one.
BY_TASK: dict[Task, list[type[Loss]]] = {
    "multiclass": [CrossEntropy],
    "binary": [BinaryCrossEntropy, Hinge],
    "regression": [MSE],
}
