"""Metrics as means over samples, so that they add up over chunks of data and over the rows of a stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dlrun.datasets.data import Dataset

BINS = 15  #: of the expected calibration error, as in Guo et al. 2017


@dataclass(frozen=True)
class Metric:
    """A number that follows from the mean of some statistics of each sample.

    statistics: outputs (batch, outputs), targets -> (batch, statistics), in double precision.
    value: mean statistics (..., statistics) -> (...).
    width: outputs -> how many statistics.
    better: "higher" or "lower".
    """

    name: str
    statistics: Callable[[Tensor, Tensor], Tensor]
    value: Callable[[Tensor], Tensor]
    width: Callable[[int], int] = lambda outputs: 1
    better: str = "lower"


def _correct(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(1) == targets).double()[:, None]


def _correct_sign(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs.squeeze(1) > 0) == (targets > 0.5)).double()[:, None]


def _among_five(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.topk(5).indices == targets[:, None]).any(1, keepdim=True).double()


def _calibration(outputs: Tensor, targets: Tensor) -> Tensor:
    confidence = outputs.double().softmax(1).amax(1, keepdim=True)
    return _by_bin(confidence, _correct(outputs, targets))


def _calibration_of_sign(outputs: Tensor, targets: Tensor) -> Tensor:
    return _by_bin(outputs.double().abs().sigmoid(), _correct_sign(outputs, targets))


def _by_bin(confidence: Tensor, correct: Tensor) -> Tensor:
    """(batch, bins): confidence - correct in the column of the sample's bin, 0 elsewhere."""
    bins = torch.arange(1, BINS + 1, device=confidence.device)
    return ((confidence * BINS).ceil() == bins) * (confidence - correct)  # what is not a number stays so


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.double() - targets).square().mean(1, keepdim=True)


def _absolute_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.double() - targets).abs().mean(1, keepdim=True)


def _moments(outputs: Tensor, targets: Tensor, center: Tensor) -> Tensor:
    y = targets.double()
    return torch.cat([(outputs - y).square(), y - center, (y - center).square()], 1)


def _from_nearest(outputs: Tensor, targets: Tensor, minima: Tensor) -> Tensor:
    return torch.cdist(outputs.double(), minima.to(outputs.device)).amin(1, keepdim=True)


def _only(mean: Tensor) -> Tensor:
    return mean[..., 0]


def _rest(mean: Tensor) -> Tensor:
    return 1 - mean[..., 0]


def _distance(mean: Tensor) -> Tensor:
    return mean.abs().sum(-1)


def _root(mean: Tensor) -> Tensor:
    return mean[..., 0].sqrt()


def _determination(mean: Tensor) -> Tensor:
    error, y, y_squared = mean.chunk(3, dim=-1)
    variance = y_squared - y.square()
    constant = variance <= 1e-14 * y_squared  # but for rounding; the value is then scikit-learn's convention
    return torch.where(constant, (error == 0).to(error), 1 - error / variance).mean(-1)


def metrics_for(dataset: Dataset, probabilistic: bool = True) -> list[Metric]:
    r"""The metrics of the dataset's task, the main one first; in double precision whatever the training's.

    accuracy: share of samples whose most probable class (or sign) is right; zero_one: the share of the others.
    top5: share whose class is among the five most probable, from 11 classes on.
    ece: expected calibration error $\sum_b \frac{n_b}{n} |\text{confidence}_b - \text{accuracy}_b|$ over 15 bins
    $(\frac{b-1}{15}, \frac{b}{15}]$ of the most probable class's probability, unless the outputs mean no
    probabilities (`probabilistic`).
    rmse: $\sqrt{E (f-y)^2}$, mae: $E |f-y|$, r2: $1 - E (f-y)^2 / Var\, y$, mean over outputs, 0 (1 without error) for
    one whose targets are all equal; all in the units of the targets as scaled.
    distance: of the parameters from a test function's nearest minimum, if it has any.

    Reference: Guo et al. 2017, arXiv:1706.04599 (ece).
    """
    if dataset.task == "regression":
        # a variance does not depend on where zero is, but E y^2 - (E y)^2 loses its digits far from it
        center = dataset.part("train")[1].double().mean(0)
        return [
            Metric("r2", partial(_moments, center=center), _determination, lambda outputs: 3 * outputs, "higher"),
            Metric("rmse", _squared_error, _root),
            Metric("mae", _absolute_error, _only),
        ]
    if dataset.surface:
        minima = torch.tensor(dataset.surface.minima, dtype=torch.float64)
        return [Metric("distance", partial(_from_nearest, minima=minima), _only)] if len(minima) else []
    binary = dataset.task == "binary"
    correct = _correct_sign if binary else _correct
    metrics = [Metric("accuracy", correct, _only, better="higher"), Metric("zero_one", correct, _rest)]
    if not binary and dataset.outputs > 10:
        metrics.append(Metric("top5", _among_five, _only, better="higher"))
    if probabilistic:
        calibration = _calibration_of_sign if binary else _calibration
        metrics.append(Metric("ece", calibration, _distance, width=lambda outputs: BINS))
    return metrics
