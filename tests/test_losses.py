"""Losses and metrics against torch.nn.functional, scikit-learn and their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from scipy.stats import norm
from sklearn import metrics as sklearn_metrics

from dlrun.datasets.data import Surface
from dlrun.datasets.dataset import Dataset
from dlrun.errors import ConfigError
from dlrun.losses import (
    MSE,
    BinaryCrossEntropy,
    ByTask,
    CrossEntropy,
    GaussianNLL,
    Hinge,
    Huber,
    Square,
    SquaredHinge,
)
from dlrun.metrics import metrics_for

_random = torch.Generator().manual_seed(0)
LOGITS = 4 * torch.randn(57, 5, generator=_random)
CLASSES = torch.randint(5, (57,), generator=_random)
SOFT = torch.softmax(torch.randn(57, 5, generator=_random), 1)
SCORES = 4 * torch.randn(57, 1, generator=_random)
LABELS = torch.randint(2, (57,), generator=_random).float()
TARGETS = torch.randn(57, 3, generator=_random) * torch.tensor([1.0, 5.0, 0.2]) + 2
NUMBERS = TARGETS + torch.randn(57, 3, generator=_random)
LOG_VARIANCES = torch.randn(57, 3, generator=_random)
MANY = 4 * torch.randn(57, 12, generator=_random)
SIGNS, PROBABILITIES = (2 * LABELS - 1).numpy(), SCORES[:, 0].sigmoid()
ONE_HOT = F.one_hot(CLASSES, 5).float()


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
        (MSE("binary"), SCORES, LABELS, sklearn_metrics.brier_score_loss(LABELS, PROBABILITIES)),
        (MSE("multiclass"), LOGITS, CLASSES, F.mse_loss(LOGITS.softmax(1), ONE_HOT)),
        (MSE("multiclass"), LOGITS, SOFT, F.mse_loss(LOGITS.softmax(1), SOFT)),
        (Huber(1), NUMBERS, TARGETS, F.huber_loss(NUMBERS, TARGETS)),
        (Huber(0.3), NUMBERS, TARGETS, F.huber_loss(NUMBERS, TARGETS, delta=0.3)),
        (
            GaussianNLL(),
            torch.cat([NUMBERS, LOG_VARIANCES], 1),
            TARGETS,
            -norm.logpdf(TARGETS.numpy(), NUMBERS.numpy(), np.exp(LOG_VARIANCES.numpy() / 2)).mean(),
        ),
        (
            GaussianNLL(),
            torch.cat([NUMBERS, LOG_VARIANCES], 1),
            TARGETS,
            F.gaussian_nll_loss(NUMBERS, TARGETS, LOG_VARIANCES.exp(), full=True),
        ),
        (Hinge(), SCORES, LABELS, sklearn_metrics.hinge_loss(LABELS, SCORES[:, 0])),
        (SquaredHinge(), SCORES, LABELS, np.maximum(0, 1 - SIGNS * SCORES[:, 0].numpy()) ** 2),
        (Square(), SCORES, LABELS, F.mse_loss(SCORES[:, 0], torch.tensor(SIGNS))),  # t^2 = 1
    ],
)
def test_loss(loss, outputs, targets, expected):
    losses = loss(outputs, targets)
    assert losses.shape == (57,)  # one per sample
    assert losses.mean().item() == pytest.approx(float(np.mean(np.asarray(expected))), rel=1e-5)
    assert loss(outputs[3:4], targets[3:4]).item() == pytest.approx(losses[3].item(), rel=1e-6)


def test_surrogates_by_hand():
    scores, labels = torch.tensor([[2.0], [0.5], [-0.5], [-2.0], [0.5]]), torch.tensor([1.0, 1, 1, 0, 0])
    assert Hinge()(scores, labels).tolist() == [0, 0.5, 1.5, 0, 1.5]
    assert SquaredHinge()(scores, labels).tolist() == [0, 0.25, 2.25, 0, 2.25]
    assert Square()(scores, labels).tolist() == [1, 0.25, 2.25, 1, 2.25]


def test_a_saturated_sigmoid_with_squared_error_sits_on_a_plateau():
    """Wrong by far, cross-entropy pulls with slope 1 and squared error with 2 p^2 (1 - p) (lecture 004)."""
    for loss, slope in [(MSE("binary"), 2 * expit(20) ** 2 * expit(-20)), (BinaryCrossEntropy(), 1.0)]:
        f = torch.tensor([[20.0]], dtype=torch.float64, requires_grad=True)
        loss(f, torch.zeros(1, dtype=torch.float64)).sum().backward()
        assert f.grad.item() == pytest.approx(slope, rel=1e-6)


def test_gaussian_nll_is_least_at_the_truth():
    """Mean and variance of the targets are where the likelihood has its maximum."""
    y = TARGETS[:, :1].double()
    f = torch.stack([y.mean(), y.var(correction=0).log()]).requires_grad_()
    GaussianNLL()(f.expand(57, 2), y).mean().backward()
    assert f.grad.abs().max() < 1e-12
    assert GaussianNLL().outputs(3) == 6 and MSE().outputs(3) == 3
    assert GaussianNLL().prediction(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).tolist() == [[1, 2]]
    assert MSE().prediction(NUMBERS) is NUMBERS


@pytest.mark.parametrize("running", ["measured", "running"])
def test_gaussian_nll_in_a_run(stack_of, train, running):
    """The network puts out twice the targets' numbers; r2 and the others are of the means."""
    stack = stack_of(
        "dataset=linear", "architecture=linear", "loss=gaussian_nll", "batch_size=full", "steps=1", "lr=1e-9",
        f"train_metrics={running}", "precision=float64", rows=[["seed=0"], ["seed=1"]],
    )  # fmt: skip
    x, y = stack.dataset.part("train")
    _, rows = train(stack)
    for run, row in enumerate(rows):
        views = {name.rsplit(".")[-1]: view[run] for name, view in stack.layout.views(stack.theta).items()}
        assert views["weight"].shape == (2, 1)
        mean, log_variance = (x @ views["weight"].T + views["bias"]).split(1, 1)
        expected = F.gaussian_nll_loss(mean, y, log_variance.exp(), full=True)
        assert row[-1]["train_loss"] == pytest.approx(expected.item(), rel=1e-6)
        assert row[-1]["train_r2"] == pytest.approx(sklearn_metrics.r2_score(y, mean), rel=1e-6)


def test_losses_of_logits_that_overflow_a_softmax():
    far = torch.tensor([[1000.0, 0.0], [0.0, 1000.0]])
    assert CrossEntropy()(far, torch.tensor([0, 0])).tolist() == [0, 1000]
    assert BinaryCrossEntropy()(far[:, :1] - far[:, 1:], torch.tensor([1.0, 1.0])).tolist() == [0, 1000]


FITTING = {
    "multiclass": [CrossEntropy, MSE],
    "binary": [BinaryCrossEntropy, Hinge, SquaredHinge, Square, MSE],
    "regression": [MSE, Huber, GaussianNLL],
}
MADE = {Huber: lambda: Huber(1.0)}


def of_task(task, surface=None):
    return Dataset(torch.zeros(3, 2), torch.zeros(3), task, {"train": 1, "val": 1, "test": 1}, 2, [], [], surface)


@pytest.mark.parametrize("task", FITTING)
def test_losses_of_a_task(task):
    first, *others = FITTING[task]
    assert type(ByTask().for_dataset(of_task(task))) is first
    for cls in {cls for fitting in FITTING.values() for cls in fitting}:
        loss = MADE.get(cls, cls)()
        if cls in (first, *others):
            assert type(loss.for_dataset(of_task(task))) is cls
        else:
            fitting = ", ".join(fit.name for fit in FITTING[task])
            message = f"loss={cls.name} is for .*, and this dataset's are {task}: choose one of {fitting}.* loss=auto"
            with pytest.raises(ConfigError, match=message):
                loss.for_dataset(of_task(task))


def test_a_test_functions_loss_is_its_value():
    surface = Surface(lambda theta: theta.square().sum(-1), ((0.0, 0.0),))
    dataset, points = of_task("none", surface), torch.tensor([[3.0, 4.0], [1.0, -1.0]])
    loss = ByTask().for_dataset(dataset)
    assert loss(points, torch.zeros(2)).tolist() == [25, 2]
    with pytest.raises(ConfigError, match="loss=mse compares outputs with targets, and a test function has none"):
        MSE().for_dataset(dataset)
    [distance] = metrics_for(dataset)
    assert distance.name == "distance"
    assert distance.sums(points[:, None], torch.zeros(2, 1)).tolist() == [[5], [2**0.5]]
    assert metrics_for(of_task("none", Surface(lambda theta: theta.prod(-1)))) == []


MEMBERS = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(7)).double()  # runs, members, batch, outputs
WEIGHT = torch.tensor([[1.0, 1.0, 0.0], [2.0, 1.0, 1.0]]).double()


@pytest.mark.parametrize(
    ("loss", "predict"),
    [
        (CrossEntropy(), lambda f: softmax(f, -1)),
        (MSE("multiclass"), lambda f: softmax(f, -1)),
        (BinaryCrossEntropy(), expit),
        (MSE("binary"), expit),
        (MSE(), lambda f: f),
        (Hinge(), lambda f: f),
        (Huber(1.0), lambda f: f),
    ],
)
def test_several_networks_predict_the_mean_of_their_predictions(loss, predict):
    combined = predict(loss.combine(MEMBERS, WEIGHT).numpy())
    expected = np.average(
        predict(MEMBERS.numpy()), axis=1, weights=np.broadcast_to(WEIGHT[:, :, None, None], (2, 3, 5, 4))
    )
    np.testing.assert_allclose(combined, expected, rtol=1e-12)


def test_squared_error_is_that_of_the_datasets_task() -> None:
    loss = MSE().for_dataset(of_task("binary"))
    assert loss(SCORES, LABELS).mean().item() == pytest.approx(sklearn_metrics.brier_score_loss(LABELS, PROBABILITIES))
    loss = MSE().for_dataset(of_task("multiclass"))
    torch.testing.assert_close(loss(LOGITS, CLASSES).mean(), F.mse_loss(LOGITS.softmax(1), ONE_HOT))


def test_several_gaussians_are_combined_by_their_moments():
    mean, variance = MEMBERS[..., :2].numpy(), MEMBERS[..., 2:].exp().numpy()
    weights = np.broadcast_to(WEIGHT[:, :, None, None], mean.shape)
    center = np.average(mean, axis=1, weights=weights)
    spread = np.average(variance + mean**2, axis=1, weights=weights) - center**2
    combined = GaussianNLL().combine(MEMBERS, WEIGHT).numpy()
    np.testing.assert_allclose(combined, np.concatenate([center, np.log(spread)], -1), rtol=1e-10)


def calibration_error(p, y):
    """Guo et al. 2017, section 3, bin by bin; p (samples, classes) are probabilities."""
    confidence, predicted = p.max(1), p.argmax(1)
    total = 0.0
    for b in range(1, 16):
        rows = [i for i in range(len(p)) if (b - 1) / 15 < confidence[i] <= b / 15]
        if rows:
            accuracy = np.mean([predicted[i] == y[i] for i in rows])
            total += len(rows) / len(p) * abs(accuracy - np.mean([confidence[i] for i in rows]))
    return total


def two_classes(f):
    return np.hstack([expit(-f), expit(f)])


TOP5 = {"labels": range(12), "k": 5}
REFERENCES = {
    "multiclass": {
        "accuracy": lambda f, y: sklearn_metrics.accuracy_score(y, f.argmax(1)),
        "zero_one": lambda f, y: sklearn_metrics.zero_one_loss(y, f.argmax(1)),
        "top5": lambda f, y: sklearn_metrics.top_k_accuracy_score(y, f, **TOP5),
        "ece": lambda f, y: calibration_error(softmax(f, 1), y),
    },
    "binary": {
        "accuracy": lambda f, y: sklearn_metrics.accuracy_score(y, f[:, 0] > 0),
        "zero_one": lambda f, y: sklearn_metrics.zero_one_loss(y, f[:, 0] > 0),
        "ece": lambda f, y: calibration_error(two_classes(f), y),
    },
    "regression": {
        "r2": lambda f, y: sklearn_metrics.r2_score(y, f, multioutput="variance_weighted"),
        "rmse": lambda f, y: np.sqrt(sklearn_metrics.mean_squared_error(y, f)),
        "mae": lambda f, y: sklearn_metrics.mean_absolute_error(y, f),
    },
}
EXAMPLES = {"multiclass": (MANY, 2 * CLASSES), "binary": (SCORES, LABELS), "regression": (NUMBERS, TARGETS)}


def metrics_of(task, targets, outputs, **options):
    """By name, for a dataset that holds these targets."""
    sizes = {"train": len(targets), "val": 0, "test": 0}
    return {m.name: m for m in metrics_for(Dataset(targets, targets, task, sizes, outputs, [], []), **options)}


METRICS = [(task, name) for task, references in REFERENCES.items() for name in references]


def test_which_metrics():
    assert list(metrics_of("multiclass", CLASSES, 11)) == ["accuracy", "zero_one", "top5", "ece"]
    assert list(metrics_of("multiclass", CLASSES, 10)) == ["accuracy", "zero_one", "ece"]
    assert list(metrics_of("binary", LABELS, 1)) == ["accuracy", "zero_one", "ece"]
    assert list(metrics_of("regression", TARGETS, 3)) == ["r2", "rmse", "mae"]
    for loss in (Hinge(), SquaredHinge(), Square()):  # their outputs are no log odds
        assert list(metrics_of("binary", LABELS, 1, probabilistic=loss.probabilistic)) == ["accuracy", "zero_one"]


def by_chunks(metric, outputs, targets, size):
    """The metric from its statistics' sums over chunks, as the trainer takes it."""
    chunks = zip(outputs.split(size), targets.split(size), strict=True)
    [sums] = torch.stack([metric.sums(f[None], y[None]) for f, y in chunks]).sum(0)
    assert sums.shape == (metric.width(outputs.shape[1]),) and sums.dtype == torch.float64
    return metric.value(sums / len(outputs))


@pytest.mark.parametrize(("task", "name"), METRICS)
@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 57), outputs=st.integers(1, 3), size=st.integers(1, 60))
def test_metric(task, name, n, outputs, size):
    f, y = EXAMPLES[task]
    f, y = f[:n], y[:n]
    if task == "regression":
        f, y = f[:, :outputs], y[:, :outputs]
    metric = metrics_of(task, y, f.shape[1])[name]
    expected = float(REFERENCES[task][name](f.double().numpy(), y.double().numpy()))
    assert by_chunks(metric, f, y, size).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("task", "name"), METRICS)
def test_metric_of_rows(task, name):
    """Several runs: means (runs, statistics) give one value per run, that of the run alone."""
    f, y = EXAMPLES[task]
    metric = metrics_of(task, y, f.shape[1])[name]
    runs = torch.stack([f, f * 0.5, -f])
    means = metric.sums(runs, y.expand(3, *y.shape)) / len(y)
    assert metric.value(means).tolist() == pytest.approx([by_chunks(metric, run, y, 57).item() for run in runs])


CONSTANT = torch.cat([TARGETS[:, :1], torch.full((57, 1), 3.0)], 1)
UGLY = {  # of a validation part: outputs, targets
    "one class alone": ("multiclass", MANY, torch.full((57,), 3)),
    "a class that never comes": ("multiclass", MANY, torch.where(CLASSES == 2, 7, CLASSES)),
    "outputs that overflow": ("multiclass", 1e4 * MANY, 2 * CLASSES),
    "one sample": ("multiclass", MANY[:1], CLASSES[:1]),
    "ones alone": ("binary", SCORES, torch.ones(57)),
    "zeros alone": ("binary", SCORES, torch.zeros(57)),
    "sure outputs": ("binary", 1e4 * SCORES, LABELS),
    "outputs that are constant": ("regression", torch.full((57, 3), 2.0), TARGETS),
    "a target that is constant": ("regression", NUMBERS[:, :2], CONSTANT),
    "a constant target that is met": ("regression", torch.cat([NUMBERS[:, :1], CONSTANT[:, 1:]], 1), CONSTANT),
    "targets of other sizes": (
        "regression",
        NUMBERS * torch.tensor([1e-6, 1, 1e6]),
        TARGETS * torch.tensor([1e-6, 1, 1e6]),
    ),
}


@pytest.mark.parametrize("case", UGLY)
def test_metrics_of_parts_as_they_come(case):
    """As scikit-learn has them, where a part lacks classes, or targets or outputs do not vary."""
    task, f, y = UGLY[case]
    known = {"multiclass": 2 * CLASSES, "binary": LABELS, "regression": TARGETS[:, : f.shape[1]]}[task]  # to train on
    for name, metric in metrics_of(task, known, f.shape[1]).items():
        expected = float(REFERENCES[task][name](f.double().numpy(), y.double().numpy()))
        assert by_chunks(metric, f, y, 10).item() == pytest.approx(expected, rel=1e-9, abs=1e-12), name


def test_rmse_of_one_output():
    metric = metrics_of("regression", TARGETS[:, :1], 1)["rmse"]
    expected = sklearn_metrics.root_mean_squared_error(TARGETS[:, :1].double(), NUMBERS[:, :1].double())
    assert by_chunks(metric, NUMBERS[:, :1], TARGETS[:, :1], 10).item() == pytest.approx(expected)


@pytest.mark.parametrize("value", [3.0, 0.1, 1e5, 1e8])
def test_r2_of_constant_targets(value):
    """As scikit-learn has it, whatever is left of the variance by rounding: 1 without error, else 0."""
    y = torch.full((100, 1), value)
    assert sklearn_metrics.r2_score(np.full(100, 3.0), np.full(100, 2.0)) == 0
    for known in (y, y + 0.1 * value):  # the training part's targets
        r2 = metrics_of("regression", known, 1)["r2"]
        assert by_chunks(r2, y, y, 7).item() == 1
        assert by_chunks(r2, y + 0.1 * value, y, 7).item() == 0
    varied = torch.cat([TARGETS[:, :1], y[:57]], 1)
    r2 = metrics_of("regression", varied, 2)["r2"]
    f = torch.cat([NUMBERS[:, :1], y[:57] * 1.1], 1)
    expected = sklearn_metrics.r2_score(TARGETS[:, 0].double(), NUMBERS[:, 0].double())
    assert by_chunks(r2, f, varied, 57).item() == pytest.approx(expected)  # what is constant has no variance to explain
    both = torch.cat([y, 2 * y], 1)
    assert by_chunks(metrics_of("regression", both, 2)["r2"], torch.cat([y, y], 1), both, 7).item() == 0.5


def r2_of_runs(f, y):
    metric = metrics_of("regression", y[0], 1)["r2"]
    return metric.value(metric.sums(f, y) / f.shape[1]).tolist()


def test_r2_of_a_run_is_its_own_whatever_the_unit():
    """Beside a run whose targets do not vary, which has no error, or some; in micrometres as in metres."""
    f, y = (torch.stack([each[:, :1]] * 2) for each in (NUMBERS, TARGETS))
    y[1] = 0.5
    expected = sklearn_metrics.r2_score(TARGETS[:, 0].double(), NUMBERS[:, 0].double())
    for unit in (1, 1e-6):
        assert r2_of_runs(f * unit, y * unit) == pytest.approx([expected, 0])
        assert r2_of_runs(y * unit, y * unit) == [1, 1]
    constant = torch.full((2, 4, 1), 0.5)
    assert r2_of_runs(constant + torch.tensor([0.0, 0.1])[:, None, None], constant) == [1, 0]


def test_metrics_that_are_better_the_higher_they_are():
    every = {task: metrics_of(task, y, 12 if task == "multiclass" else 1) for task, (_, y) in EXAMPLES.items()}
    higher = {name for metrics in every.values() for name, metric in metrics.items() if metric.better == "higher"}
    lower = {name for metrics in every.values() for name, metric in metrics.items() if metric.better == "lower"}
    assert higher == {"accuracy", "top5", "r2"} and lower == {"zero_one", "ece", "rmse", "mae"}


@settings(max_examples=20, deadline=None)
@given(mean=st.floats(-1e8, 1e8), size=st.integers(1, 60))
def test_r2_far_from_zero(mean, size):
    y = TARGETS[:, :1].double() + mean
    f = NUMBERS[:, :1].double() + mean
    r2 = metrics_of("regression", y[:30], 1)["r2"]  # val and test have another mean than train
    assert by_chunks(r2, f, y, size).item() == pytest.approx(sklearn_metrics.r2_score(y, f), abs=1e-6)


def test_accuracy_at_a_tie():
    """The first class, as argmax and a probability of exactly one half have it."""
    multiclass, binary = metrics_of("multiclass", CLASSES, 3), metrics_of("binary", LABELS, 1)
    assert multiclass["accuracy"].sums(torch.zeros(2, 1, 3), torch.tensor([[0], [1]])).tolist() == [[1], [0]]
    assert binary["accuracy"].sums(torch.zeros(2, 1, 1), torch.tensor([[0.0], [1.0]])).tolist() == [[1], [0]]
    # an untrained network that answers nothing has no five favourites that hold every class
    top5 = metrics_of("multiclass", CLASSES, 12)["top5"]
    assert top5.sums(torch.zeros(1, 12, 12), torch.arange(12)[None]).item() == 5


def test_calibration_by_hand():
    """Sure and right costs nothing, sure and wrong 1; a bin's errors cancel, those of two bins do not."""
    ece = metrics_of("binary", LABELS, 1)["ece"]
    logit = lambda p: float(np.log(p / (1 - p)))  # noqa: E731
    assert by_chunks(ece, torch.tensor([[99.0], [-99.0]]), torch.tensor([1.0, 0]), 1).item() == 0
    assert by_chunks(ece, torch.tensor([[99.0], [-99.0]]), torch.tensor([0.0, 1]), 1).item() == 1
    half = torch.full((4, 1), logit(0.75), dtype=torch.float64)
    assert by_chunks(ece, half, torch.tensor([1.0, 1, 1, 0]), 3).item() == pytest.approx(0, abs=1e-15)
    mixed = torch.tensor([[logit(0.75)], [logit(0.95)]], dtype=torch.float64)
    assert by_chunks(ece, mixed, torch.tensor([1.0, 0]), 2).item() == pytest.approx((0.25 + 0.95) / 2)
    top = torch.tensor([[99.0], [logit(0.95)]], dtype=torch.float64)  # 1 is the last bin's, with 0.95
    assert by_chunks(ece, top, torch.tensor([0.0, 1]), 2).item() == pytest.approx((1 - 0.05) / 2)
    assert by_chunks(ece, torch.tensor([[float("nan")], [1.0]]), torch.tensor([1.0, 0]), 2).isnan()


@pytest.mark.parametrize("std", [[1.0], [77.0], [1e-3], [1e6], [77.0, 1e-3, 5.0]])
def test_losses_in_the_targets_own_unit(std):
    """What a loss of standardised outputs and targets tells is that of the outputs and targets as they were."""
    std = torch.tensor(std, dtype=torch.float64)
    m, mean = len(std), 3 * std
    f, y, s = NUMBERS[:, :m].double(), TARGETS[:, :m].double(), LOG_VARIANCES[:, :m].double()
    own_f, own_y = f * std + mean, y * std + mean
    unit = std[None]

    mse = MSE().in_unit(f, y, unit).mean()
    assert mse.item() == pytest.approx(sklearn_metrics.mean_squared_error(own_y, own_f), rel=1e-9)
    huber = Huber(0.3).in_unit(f, y, unit).mean()
    own = [F.huber_loss(own_f[:, j], own_y[:, j], delta=0.3 * std[j].item()).item() for j in range(m)]
    assert huber.item() == pytest.approx(np.mean(own), rel=1e-9)
    nll = GaussianNLL().in_unit(torch.cat([f, s], 1), y, unit).mean()
    expected = -norm.logpdf(own_y, own_f, (s / 2).exp() * std).mean()
    assert nll.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("loss", [MSE(), Huber(0.3), GaussianNLL()], ids=lambda loss: loss.name)
def test_each_run_of_a_stack_has_its_own_unit(loss) -> None:
    outputs = torch.cat([NUMBERS, LOG_VARIANCES], 1) if loss.name == "gaussian_nll" else NUMBERS
    units = torch.tensor([[[77.0, 1e-3, 5.0]], [[2.0, 30.0, 1.0]]])
    together = loss.in_unit(torch.stack([outputs, -outputs]), torch.stack([TARGETS, TARGETS]), units)
    alone = [loss.in_unit(o, TARGETS, unit) for o, unit in zip((outputs, -outputs), units, strict=True)]
    assert together.shape == (2, len(TARGETS))
    torch.testing.assert_close(together, torch.stack(alone))


def test_a_gaussians_prediction_is_its_mean() -> None:
    torch.testing.assert_close(GaussianNLL().prediction(torch.cat([NUMBERS, LOG_VARIANCES], 1)), NUMBERS)
