"""Metrics as means over samples, so that they add up over chunks of data and over the rows of a stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dlrun.datasets.dataset import Dataset

BINS = 15  #: of the expected calibration error, as in Guo et al. 2017
UNIT = 2.0**-32  #: of a confidence: sums of a million are then exact, whatever their order


@dataclass(frozen=True)
class Metric:
    """A number that follows from the means over samples of some statistics of each.

    sums: outputs (runs, batch, outputs), targets (runs, batch, ...) -> (runs, statistics), the statistics' sums over
        each run's samples, in double precision.
    value: mean statistics (..., statistics) -> (...).
    width: outputs -> how many statistics.
    better: "higher" or "lower".
    """

    name: str
    sums: Callable[[Tensor, Tensor], Tensor]
    value: Callable[[Tensor], Tensor]
    width: Callable[[int], int] = lambda outputs: 1
    better: str = "lower"


def classes_of(outputs: Tensor, binary: bool) -> Tensor:
    """The most probable class by each sample's outputs, (..., batch): a number, or of two whether it is 1."""
    return outputs.squeeze(-1) > 0 if binary else outputs.argmax(-1)


def confidence_of(outputs: Tensor, binary: bool) -> Tensor:
    """The probability of `classes_of`, (..., batch) doubles, where softmax or sigmoid of the outputs means one."""
    logits = outputs.double()
    if binary:
        return logits.squeeze(-1).abs().sigmoid()
    # softmax's largest; softmax itself takes several times longer for a handful of classes
    return (logits - logits.amax(-1, keepdim=True)).exp().sum(-1).reciprocal()


def probabilities_of(outputs: Tensor, binary: bool) -> Tensor:
    """The probability of each class, (..., batch, classes) doubles, where softmax or sigmoid of the outputs means one;
    the largest is `confidence_of`."""
    if not binary:
        return outputs.double().softmax(-1)
    second = outputs.double().sigmoid()
    return torch.cat([1 - second, second], -1)


def right_of(outputs: Tensor, targets: Tensor, binary: bool) -> Tensor:
    """Whether `classes_of` is each sample's target, (..., batch)."""
    return classes_of(outputs, binary) == (targets > 0.5 if binary else targets)


def by_bin(confidence: Tensor, values: Tensor) -> Tensor:
    """The sums of values (runs, batch) over the samples of each bin of confidence, (runs, bins) doubles."""
    bins = (confidence * BINS).ceil().nan_to_num(1).long() - 1  # what is not a number stays so, in the first bin
    sums = torch.zeros(len(confidence), BINS, dtype=confidence.dtype, device=confidence.device)
    return sums.scatter_add(1, bins, values.double())


def in_units(confidence: Tensor) -> Tensor:
    """Confidences rounded to multiples of `UNIT`."""
    return (confidence / UNIT).round() * UNIT


def _correct(outputs: Tensor, targets: Tensor, binary: bool) -> Tensor:
    return _sum(right_of(outputs, targets, binary))


def _among_five(outputs: Tensor, targets: Tensor) -> Tensor:
    return _sum((outputs.topk(5).indices == targets[:, :, None]).any(2))


def _calibration(outputs: Tensor, targets: Tensor, binary: bool) -> Tensor:
    confidence = confidence_of(outputs, binary)
    return by_bin(confidence, in_units(confidence) - right_of(outputs, targets, binary).double())


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return _sum((outputs.double() - targets).square().mean(2))


def _absolute_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return _sum((outputs.double() - targets).abs().mean(2))


def _moments(outputs: Tensor, targets: Tensor, center: Tensor) -> Tensor:
    y = targets.double()
    return torch.cat([(outputs - y).square(), y - center, (y - center).square()], 2).sum(1)


def _from_nearest(outputs: Tensor, targets: Tensor, minima: Tensor) -> Tensor:
    return _sum(torch.cdist(outputs.double(), minima).amin(2))


def _sum(values: Tensor) -> Tensor:
    return values.sum(1, keepdim=True, dtype=torch.float64)


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
    constant = variance <= 1e-14 * y_squared  # but for rounding
    error_of_varying, variance = (torch.where(constant, 0, each).sum(-1) for each in (error, variance))
    only_constant = (error == 0).to(error).mean(-1)  # scikit-learn's convention
    return torch.where(constant.all(-1), only_constant, 1 - error_of_varying / variance)


def metrics_for(dataset: Dataset, probabilistic: bool = True) -> list[Metric]:
    r"""The metrics of the dataset's task, the main one first; in double precision whatever the training's.

    accuracy: share of samples whose most probable class (or sign) is right; zero_one: the share of the others.
    top5: share whose class is among the five most probable, from 11 classes on.
    ece: expected calibration error $\sum_b \frac{n_b}{n} |\text{confidence}_b - \text{accuracy}_b|$ over 15 bins
    $(\frac{b-1}{15}, \frac{b}{15}]$ of the most probable class's probability, unless the outputs mean no
    probabilities (`probabilistic`).
    rmse: $\sqrt{E (f-y)^2}$, mae: $E |f-y|$, means over outputs too, in the targets' own unit, whether or not
    dataset.scale_target standardises them for the training.
    r2: $1 - \sum_j E (f_j-y_j)^2 / \sum_j Var\, y_j$ over the outputs j whose targets vary in the part that is
    measured: the share of all variance that is explained. One that is constant there has none, however large its
    error, and is left out; where all are, it is the share of outputs without any error (0 or 1 for one output).
    distance: of the parameters from a test function's nearest minimum, if it has any.

    Reference: Guo et al. 2017, arXiv:1706.04599 (ece).
    """
    if dataset.task == "regression":
        # a variance does not depend on where zero is, but E y^2 - (E y)^2 loses its digits far from it
        center = dataset.targets[dataset.rows("train")].double().mean(0)
        return [
            Metric("r2", partial(_moments, center=center), _determination, lambda outputs: 3 * outputs, "higher"),
            Metric("rmse", _squared_error, _root),
            Metric("mae", _absolute_error, _only),
        ]
    if dataset.surface:
        minima = torch.tensor(dataset.surface.minima, dtype=torch.float64, device=dataset.targets.device)
        return [Metric("distance", partial(_from_nearest, minima=minima), _only)] if len(minima) else []
    binary = dataset.task == "binary"
    correct = partial(_correct, binary=binary)
    metrics = [Metric("accuracy", correct, _only, better="higher"), Metric("zero_one", correct, _rest)]
    if not binary and dataset.outputs > 10:
        metrics.append(Metric("top5", _among_five, _only, better="higher"))
    if probabilistic:
        calibration = partial(_calibration, binary=binary)
        metrics.append(Metric("ece", calibration, _distance, width=lambda outputs: BINS))
    return metrics
