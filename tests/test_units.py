"""Losses and metrics of regressions are in the targets' own unit, whatever they are scaled to for the training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Rows, config
from sklearn import metrics as sklearn_metrics
from torch import Tensor

from dlrun.datasets import bundled
from dlrun.datasets.prepare import far_from_unit
from dlrun.datasets.split import split
from dlrun.job.folders import members_of, weights
from dlrun.matrix.theta import applied
from dlrun.training.build import build
from dlrun.training.evaluation import Row
from dlrun.training.stack import Stack
from dlrun.training.train import fit

SMALL = ["dataset=diabetes", "architecture.hidden=[8]", "precision=float64", "batch_size=full", "steps=4", "lr=0.03"]
SEEDS = [["dataset.split_seed=1"], ["dataset.split_seed=2", "seed=3"]]  # runs of one stack with targets of their own
LOSSES = ["mse", "huber", "gaussian_nll"]


class Watch(Rows):
    """Also the steps that a schedule watches, and what a terminal is shown."""

    def __init__(self, runs: int) -> None:
        super().__init__(runs)
        self.traced: list[list[Row]] = [[] for _ in range(runs)]
        self.shown: list[float] = []

    def trace(self, run: int, steps: list[Row]) -> None:
        self.traced[run] += steps

    def due(self) -> bool:
        return True

    def step(self, done: int, loss: float, lr: float) -> None:
        self.shown.append(loss)


def raw(seed: int) -> dict[str, np.ndarray]:
    """The targets of each part as the file has them."""
    parts = split(bundled.diabetes(), {"test": 0.15, "val": 0.15}, seed)
    return {name: bundled.diabetes().targets[rows] for name, rows in parts.items()}


def expected(stack: Stack, run: int, seed: int, part: str, tensors: dict[str, Tensor], loss: str) -> dict[str, float]:
    """Loss and metrics by scikit-learn and torch, of predictions in the unit of the targets, by NumPy's moments."""
    y, train = raw(seed)[part], raw(seed)["train"]
    x = stack.variants[stack.variant[run]].part(part)[0]
    outputs = applied(stack.model.eval(), tensors, x).detach().numpy()
    f = outputs[:, 0] * train.std() + train.mean()
    if loss == "gaussian_nll":
        variance = torch.from_numpy(np.exp(outputs[:, 1]) * train.var())
        value = F.gaussian_nll_loss(torch.from_numpy(f), torch.from_numpy(y), variance, full=True).item()
    elif loss == "huber":
        value = F.huber_loss(torch.from_numpy(f), torch.from_numpy(y), delta=train.std()).item()
    else:
        value = sklearn_metrics.mean_squared_error(y, f)
    rmse, mae = sklearn_metrics.root_mean_squared_error(y, f), sklearn_metrics.mean_absolute_error(y, f)
    return {"loss": value, "rmse": rmse, "mae": mae, "r2": sklearn_metrics.r2_score(y, f)}


@pytest.mark.parametrize("loss", LOSSES)
def test_all_that_is_reported_is_in_the_targets_own_unit(loss: str) -> None:
    words = [*SMALL, f"loss={loss}", "regularizer=[ema,swa]", "regularizer.swa.start=0.5", "eval_every=4"]
    stack = build([config(*words, *row) for row in SEEDS])
    watch = Watch(2)
    outcome = fit(stack, watch)
    assert len(watch.shown) == 4 and watch.shown[-1] < watch.shown[0]
    for run, seed in enumerate((1, 2)):
        last = watch.rows[run][-1]
        for part in ("train", "val", "test"):
            for name, value in expected(stack, run, seed, part, weights(stack, outcome.last, run), loss).items():
                got = outcome.measured[0].last_test[name][run].item() if part == "test" else last[f"{part}_{name}"]
                assert got == pytest.approx(value, rel=1e-9), (part, name)
        for label, measured in zip(("ema", "swa"), outcome.measured[1:], strict=True):
            [(_, tensors)] = members_of(stack, measured.last, run)
            for name, value in expected(stack, run, seed, "val", tensors, loss).items():
                assert last[f"val_{label}_{name}"] == pytest.approx(value, rel=1e-9)
    first = [rows[0]["train_loss"] for rows in watch.rows]
    assert watch.shown[0] == pytest.approx(np.mean(first), rel=1e-9)  # of the first step, at the untrained networks


@pytest.mark.parametrize("loss", LOSSES)
def test_running_columns_and_single_steps_are_in_that_unit_too(loss: str) -> None:
    words = [*SMALL, f"loss={loss}", "schedule=lr_range", "schedule.max_factor=1", "train_metrics=running"]
    watch = Watch(1)
    stack = build([config(*words, "dataset.split_seed=1")])
    start = {name: view[0].clone() for name, view in stack.layout.views(stack.theta).items()}
    value = expected(stack, 0, 1, "train", start, loss)
    fit(stack, watch)
    for name, number in value.items():  # row 0: the first batch, here all of the training part
        assert watch.rows[0][0][f"train_{name}"] == pytest.approx(number, rel=1e-9)
    assert watch.traced[0][0]["loss"] == pytest.approx(value["loss"], rel=1e-9)


def test_another_unit_changes_the_numbers_by_its_size_and_nothing_else(tmp_path: Path) -> None:
    """Prices in dollars or in thousands, and temperatures from another zero."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    y = 360 + 40 * (x[:, 0] - x[:, 1] ** 2)
    rows = {}
    for name, targets in {"own": y, "thousandths": 1000 * y - 5e5}.items():
        np.savetxt(tmp_path / f"{name}.csv", np.c_[x, targets], delimiter=",", header="a,b,y", comments="", fmt="%.17g")
        words = ["dataset=table", f"dataset.path={tmp_path / name}.csv", "precision=float64", "epochs=20", "lr=0.03"]
        watch = Watch(1)
        fit(build([config(*words)]), watch)
        rows[name] = watch.rows[0][-1]
    assert rows["own"]["val_r2"] > 0.7
    for part in ("train", "val"):
        for name, size in {"loss": 1e6, "rmse": 1e3, "mae": 1e3, "r2": 1}.items():
            key = f"{part}_{name}"
            assert rows["thousandths"][key] == pytest.approx(size * rows["own"][key], rel=1e-6)


@pytest.mark.parametrize(
    ("mean", "std", "far"),
    [(0, 1, False), (5, 1, False), (0, 9, False), (3, 0.2, False), (0, 11, True), (50, 1, True), (0.5, 0.05, True)],
)
def test_targets_are_standardised_where_they_are_far_from_unit_scale(mean: float, std: float, far: bool) -> None:
    targets = mean + std * np.array([[-1.0], [1.0]] * 10)
    assert far_from_unit(targets) is far
    assert far_from_unit(np.hstack([np.array([[-1.0], [1.0]] * 10), targets])) is far  # any of several outputs


@pytest.mark.parametrize("dataset", ["linear", "sine", "sawtooth", "sequences"])
def test_the_registrys_regressions_near_unit_scale_stay_as_they_are(
    dataset: str, stack_of: Callable[..., Stack]
) -> None:
    network = ["architecture=rnn", "architecture.hidden=2"] if dataset == "sequences" else ["architecture=linear"]
    assert stack_of(f"dataset={dataset}", *network).dataset.target_std is None


def test_an_autoencoders_targets_are_its_inputs_as_they_are_scaled(stack_of: Callable[..., Stack]) -> None:
    stack = stack_of("dataset=diabetes", "architecture=autoencoder", "architecture.widths=[4]")
    assert stack.measures.unit is None and stack.dataset.target_mean is None
    assert torch.equal(stack.targets, stack.inputs.flatten(1))
