"""Losses and metrics against torch.nn.functional, scikit-learn and their definitions."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn import metrics as sklearn_metrics

from dlrun.datasets.data import Task
from dlrun.errors import ConfigError
from dlrun.losses import MSE, BinaryCrossEntropy, ByTask, CrossEntropy, Hinge
from dlrun.metrics import BY_TASK

_random = torch.Generator().manual_seed(0)
LOGITS = 4 * torch.randn(57, 5, generator=_random)
CLASSES = torch.randint(5, (57,), generator=_random)
SOFT = torch.softmax(torch.randn(57, 5, generator=_random), 1)
SCORES = 4 * torch.randn(57, 1, generator=_random)
LABELS = torch.randint(2, (57,), generator=_random).float()
TARGETS = torch.randn(57, 3, generator=_random) * torch.tensor([1.0, 5.0, 0.2]) + 2
NUMBERS = TARGETS + torch.randn(57, 3, generator=_random)


@pytest.mark.parametrize(
    ("loss", "outputs", "targets", "expected"),
    [
        (CrossEntropy(), LOGITS, CLASSES, F.cross_entropy(LOGITS, CLASSES)),
        (CrossEntropy(), LOGITS, CLASSES, sklearn_metrics.log_loss(CLASSES, softmax(LOGITS.double().numpy(), 1))),
        (CrossEntropy(), LOGITS, SOFT, -(SOFT * LOGITS.log_softmax(1)).sum(1).mean()),
        (BinaryCrossEntropy(), SCORES, LABELS, F.binary_cross_entropy(SCORES[:, 0].sigmoid(), LABELS)),
        (BinaryCrossEntropy(), SCORES, LABELS, sklearn_metrics.log_loss(LABELS, expit(SCORES[:, 0].double().numpy()))),
        (MSE(), NUMBERS, TARGETS, F.mse_loss(NUMBERS, TARGETS)),
        (MSE(), NUMBERS, TARGETS, sklearn_metrics.mean_squared_error(TARGETS, NUMBERS)),
        (Hinge(), SCORES, LABELS, sklearn_metrics.hinge_loss(LABELS, SCORES[:, 0])),
    ],
)
def test_loss(loss, outputs, targets, expected):
    losses = loss(outputs, targets)
    assert losses.shape == (57,)  # one per sample
    assert losses.mean().item() == pytest.approx(float(expected), rel=1e-5)
    assert loss(outputs[3:4], targets[3:4]).item() == pytest.approx(losses[3].item(), rel=1e-6)


def test_hinge_by_hand():
    scores, labels = torch.tensor([[2.0], [0.5], [-0.5], [-2.0], [0.5]]), torch.tensor([1.0, 1, 1, 0, 0])
    assert Hinge()(scores, labels).tolist() == [0, 0.5, 1.5, 0, 1.5]


def test_losses_of_logits_that_overflow_a_softmax():
    far = torch.tensor([[1000.0, 0.0], [0.0, 1000.0]])
    assert CrossEntropy()(far, torch.tensor([0, 0])).tolist() == [0, 1000]
    assert BinaryCrossEntropy()(far[:, :1] - far[:, 1:], torch.tensor([1.0, 1.0])).tolist() == [0, 1000]


FITTING = {
    "multiclass": [CrossEntropy],
    "binary": [BinaryCrossEntropy, Hinge],
    "regression": [MSE],
}


@pytest.mark.parametrize("task", get_args(Task))
def test_losses_of_a_task(task):
    first, *others = FITTING[task]
    assert type(ByTask().for_task(task)) is first
    for cls in {CrossEntropy, BinaryCrossEntropy, Hinge, MSE}:
        if cls in (first, *others):
            assert type(cls().for_task(task)) is cls
        else:
            fitting = ", ".join(fit.name for fit in FITTING[task])
            message = f"loss={cls.name} is for .*, and this dataset's are {task}: choose one of {fitting}.* loss=auto"
            with pytest.raises(ConfigError, match=message):
                cls().for_task(task)


REFERENCES = {
    "multiclass": {"accuracy": lambda f, y: sklearn_metrics.accuracy_score(y, f.argmax(1))},
    "binary": {"accuracy": lambda f, y: sklearn_metrics.accuracy_score(y, f[:, 0] > 0)},
    "regression": {
        "r2": lambda f, y: sklearn_metrics.r2_score(y, f),
        "rmse": lambda f, y: np.sqrt(sklearn_metrics.mean_squared_error(y, f)),
        "mae": lambda f, y: sklearn_metrics.mean_absolute_error(y, f),
    },
}
EXAMPLES = {"multiclass": (LOGITS, CLASSES), "binary": (SCORES, LABELS), "regression": (NUMBERS, TARGETS)}
METRICS = [pytest.param(task, metric, id=f"{task} {metric.name}") for task in BY_TASK for metric in BY_TASK[task]]


def by_chunks(metric, outputs, targets, size):
    """The metric from its statistics' sums over chunks, as the trainer takes it."""
    chunks = zip(outputs.split(size), targets.split(size), strict=True)
    sums = torch.stack([metric.statistics(f, y).sum(0) for f, y in chunks]).sum(0)
    assert sums.shape == (metric.width(outputs.shape[1]),) and sums.dtype == torch.float64
    return metric.value(sums / len(outputs))


@pytest.mark.parametrize(("task", "metric"), METRICS)
@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 57), outputs=st.integers(1, 3), size=st.integers(1, 60))
def test_metric(task, metric, n, outputs, size):
    f, y = EXAMPLES[task]
    f, y = f[:n], y[:n]
    if task == "regression":
        f, y = f[:, :outputs], y[:, :outputs]
    expected = float(REFERENCES[task][metric.name](f.double().numpy(), y.double().numpy()))
    assert by_chunks(metric, f, y, size).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("task", "metric"), METRICS)
def test_metric_of_rows(task, metric):
    """Means of several runs, (runs, statistics), give one value per run."""
    f, y = EXAMPLES[task]
    rows = torch.stack([metric.statistics(f * factor, y).mean(0) for factor in (1.0, 0.5, -1.0)])
    assert metric.value(rows).tolist() == [metric.value(row).item() for row in rows]


def test_rmse_of_one_output():
    metric = next(m for m in BY_TASK["regression"] if m.name == "rmse")
    expected = sklearn_metrics.root_mean_squared_error(TARGETS[:, :1].double(), NUMBERS[:, :1].double())
    assert by_chunks(metric, NUMBERS[:, :1], TARGETS[:, :1], 10).item() == pytest.approx(expected)


@pytest.mark.parametrize("value", [3.0, 0.1, 1e5])
def test_r2_of_constant_targets(value):
    """As scikit-learn has it, whatever is left of the variance by rounding: 1 without error, else 0."""
    r2 = BY_TASK["regression"][0]
    y = torch.full((100, 1), value)
    assert sklearn_metrics.r2_score(np.full(100, 3.0), np.full(100, 2.0)) == 0
    assert by_chunks(r2, y, y, 7).item() == 1
    assert by_chunks(r2, y + 0.5, y, 7).item() == 0
    varied = torch.cat([TARGETS[:, :1], y[:57]], 1)
    expected = sklearn_metrics.r2_score(TARGETS[:, 0].double(), NUMBERS[:, 0].double()) / 2
    assert by_chunks(r2, torch.cat([NUMBERS[:, :1], y[:57] + 1], 1), varied, 57).item() == pytest.approx(expected)


def test_accuracy_at_a_tie():
    """The first class, as argmax and a probability of exactly one half have it."""
    (multiclass,), (binary,) = BY_TASK["multiclass"], BY_TASK["binary"]
    assert multiclass.statistics(torch.zeros(2, 3), torch.tensor([0, 1])).tolist() == [[1], [0]]
    assert binary.statistics(torch.zeros(2, 1), torch.tensor([0.0, 1.0])).tolist() == [[1], [0]]
