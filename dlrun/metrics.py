"""Metrics as means over samples, so that they add up over chunks of data and over the rows of a stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dlrun.datasets.data import Task


@dataclass(frozen=True)
class Metric:
    """A number that follows from the mean of some statistics of each sample.

    statistics: outputs (batch, outputs), targets -> (batch, statistics), in double precision.
    value: mean statistics (..., statistics) -> (...).
    width: outputs -> how many statistics.
    """

    name: str
    statistics: Callable[[Tensor, Tensor], Tensor]
    value: Callable[[Tensor], Tensor]
    width: Callable[[int], int] = lambda outputs: 1


def _correct(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(1) == targets).double()[:, None]


def _correct_sign(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs.squeeze(1) > 0) == (targets > 0.5)).double()[:, None]


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.double() - targets).square().mean(1, keepdim=True)


def _absolute_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.double() - targets).abs().mean(1, keepdim=True)


def _moments(outputs: Tensor, targets: Tensor) -> Tensor:
    y = targets.double()
    return torch.cat([(outputs - y).square(), y, y.square()], 1)


def _only(mean: Tensor) -> Tensor:
    return mean[..., 0]


def _root(mean: Tensor) -> Tensor:
    return mean[..., 0].sqrt()


def _determination(mean: Tensor) -> Tensor:
    error, y, y_squared = mean.chunk(3, dim=-1)
    variance = y_squared - y.square()
    constant = variance <= 1e-14 * y_squared  # but for rounding; the value is then scikit-learn's convention
    return torch.where(constant, (error == 0).to(error), 1 - error / variance).mean(-1)


#: The metrics of each task; the first is the main one. In double precision whatever the training's.
#: accuracy: share of samples whose most probable class (or sign) is right. rmse: $\sqrt{E (f-y)^2}$, mae: $E |f-y|$,
#: r2: $1 - E (f-y)^2 / Var\, y$, mean over outputs, 0 (1 without error) for one whose targets are all equal; all in
#: the units of the targets as scaled.
BY_TASK: dict[Task, list[Metric]] = {
    "multiclass": [Metric("accuracy", _correct, _only)],
    "binary": [Metric("accuracy", _correct_sign, _only)],
    "regression": [
        Metric("r2", _moments, _determination, width=lambda outputs: 3 * outputs),
        Metric("rmse", _squared_error, _root),
        Metric("mae", _absolute_error, _only),
    ],
}
