"""Diagnostics of what finished networks predict, look for and cost: against scikit-learn, closed forms, plain loops."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fakes import composed, files, typed  # noqa: F401
from sklearn.metrics import confusion_matrix
from twins import module_of, reliability, samples_of

from dlrun.config.catalogue import choices
from dlrun.datasets.scale import scaling
from dlrun.diagnostics.diagnostic import Found, View
from dlrun.diagnostics.jacobian import forward, reverse
from dlrun.errors import ConfigError
from dlrun.folder.records import write_rows
from dlrun.plots.diagnostics import calibration, confusion, decision_boundary, filters, fit, jacobian
from dlrun.plots.page import png
from dlrun.training import evaluation
from dlrun.training.build import build
from dlrun.training.evaluation import Evaluation
from dlrun.training.stack import Stack

Make = Callable[..., Stack]
OURS = ["confusion", "calibration", "decision_boundary", "fit", "filters", "linear_regions", "jacobian"]
QUICK = ["precision=float64", "architecture.hidden=[6,5]", "compile=false"]
SEEDS = [["seed=0"], ["seed=1"], ["seed=2"]]


def seen(stack: Stack, name: str) -> list[Found]:
    with torch.no_grad():
        return stack.diagnostics[name].look(View(stack, stack.steps))


def table(found: Found) -> pd.DataFrame:
    return pd.DataFrame(found.rows)


def folder_with(folder: Path, name: str, rows: Any, **told: Any) -> Path:
    """A run's folder with this table, as a picture reads it."""
    write_rows(folder / f"{name}.csv", rows)
    summary = {"name": "run", "status": "finished", "diagnostics": {name: told}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


@pytest.mark.parametrize("words", [["dataset=iris"], ["dataset=moons"], ["dataset=iris", "loss=mse"]])
@pytest.mark.parametrize("part, samples", [("test", None), ("train", 17)])
def test_confusion_counts_as_scikit_learn_does(
    stack_of: Make, words: list[str], part: str, samples: int | None
) -> None:
    keys = [f"diagnostics.confusion.part={part}", f"diagnostics.confusion.samples={samples or 'null'}"]
    rows = [["seed=0"], ["seed=1", "dataset.split_seed=1"], ["seed=2"]]  # some see other samples
    stack = stack_of(*words, *QUICK, "diagnostics=confusion", *keys, rows=rows)
    for run, found in enumerate(seen(stack, "confusion")):
        count = samples or stack.dataset.sizes[part]
        x, y = samples_of(stack, run, part, count)
        outputs = module_of(stack, run)(x)
        said = outputs.argmax(1) if outputs.shape[1] > 1 else (torch.sigmoid(outputs[:, 0]) > 0.5).long()
        classes = range(max(2, outputs.shape[1]))
        wanted = confusion_matrix(y, said, labels=classes)
        frame = table(found)
        np.testing.assert_array_equal(frame["count"].to_numpy().reshape(wanted.shape), wanted)
        np.testing.assert_allclose(
            frame["rate"].to_numpy().reshape(wanted.shape), wanted / wanted.sum(1, keepdims=True), rtol=1e-12
        )
        names = stack.dataset.classes
        assert frame["true"].tolist() == [name for name in names for _ in names]
        assert frame["predicted"].tolist() == names * len(names)
    if words == ["dataset=iris"]:
        assert names == ["setosa", "versicolor", "virginica"]


def test_a_class_that_is_not_there_has_no_rates(stack_of: Make, tmp_path: Path) -> None:
    stack = stack_of("dataset=iris", *QUICK, "diagnostics=confusion", "diagnostics.confusion.samples=1")
    [found] = seen(stack, "confusion")
    frame = table(found)
    assert frame["count"].sum() == 1 and frame["rate"].isna().sum() == 6
    page = confusion.figure(folder_with(tmp_path, "confusion", found.rows))
    assert np.ma.getmaskarray(page.axes[0].images[0].get_array()).sum() == 6
    assert png(page)


@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_batch_normalization_goes_by_the_statistics_asked_for(stack_of: Make, statistics: str) -> None:
    keys = [f"diagnostics.{name}.statistics={statistics}" for name in ("confusion", "calibration")]
    words = ["dataset=iris", *QUICK, "normalization=batch", "diagnostics=[confusion,calibration]", *keys]
    stack = stack_of(*words, rows=SEEDS)
    for name, buffer in stack.buffers.items():  # that they matter
        buffer.copy_(torch.full_like(buffer, 0.3 if "mean" in name else 2.0))
    before = {name: buffer.clone() for name, buffer in stack.buffers.items()}
    for run, (confused, calibrated) in enumerate(
        zip(seen(stack, "confusion"), seen(stack, "calibration"), strict=True)
    ):
        x, y = stack.dataset.part("test")
        outputs = module_of(stack, run, statistics)(x).detach()
        wanted = confusion_matrix(y, outputs.argmax(1), labels=range(3))
        assert table(confused)["count"].tolist() == wanted.flatten().tolist()
        loop = reliability(outputs.softmax(1).numpy(), y.numpy(), 15)
        assert table(calibrated)["samples"].tolist() == [count for count, *_ in loop]
    assert all(torch.equal(stack.buffers[name], buffer) for name, buffer in before.items())


@pytest.mark.parametrize("words", [["dataset=digits"], ["dataset=moons"], ["dataset=moons", "loss=mse"]])
def test_calibration_is_that_of_a_plain_loop_and_its_error_the_metric(
    stack_of: Make, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "CHUNK", 3 * 32 * 64)  # several chunks
    stack = stack_of(*words, *QUICK, "diagnostics=calibration", rows=[*SEEDS[:2], ["seed=2", "dataset.split_seed=1"]])
    stack.theta.mul_(3)  # more than a few bins
    measured = Evaluation(stack)("test")["ece"]
    for run, found in enumerate(seen(stack, "calibration")):
        x, y = stack.variants[stack.variant[run]].part("test")
        outputs = module_of(stack, run)(x).detach()
        if outputs.shape[1] == 1:
            probability = outputs[:, 0].sigmoid()
            probabilities = torch.stack([1 - probability, probability], 1)
        else:
            probabilities = outputs.softmax(1)
        loop = reliability(probabilities.numpy(), y.long().numpy(), 15)
        frame = table(found)
        assert frame["samples"].tolist() == [count for count, *_ in loop] and frame["samples"].gt(0).sum() > 3
        np.testing.assert_allclose(frame["confidence"], [mean for _, mean, _ in loop], rtol=1e-8)
        np.testing.assert_allclose(frame["accuracy"], [right for *_, right in loop], rtol=1e-12)
        np.testing.assert_allclose(frame["share"], [count / len(y) for count, *_ in loop], rtol=1e-12)
        np.testing.assert_allclose(frame["low"], np.arange(15) / 15)
        assert frame["high"].tolist()[:-1] == frame["low"].tolist()[1:]
        error = (frame["share"] * (frame["confidence"] - frame["accuracy"]).abs()).sum()
        assert error == pytest.approx(measured[run].item(), rel=1e-12) == found.summary["ece"]


def test_the_reliability_picture_holds_the_table(tmp_path: Path) -> None:
    rows = [
        {"low": b / 15, "high": (b + 1) / 15, "samples": 0, "share": 0.0, "confidence": nan, "accuracy": nan}
        for b in range(15)
    ]
    rows[7] |= {"samples": 3, "share": 0.75, "confidence": 0.5, "accuracy": 1 / 3}
    rows[14] |= {"samples": 1, "share": 0.25, "confidence": 0.95, "accuracy": 1.0}
    page = calibration.figure(folder_with(tmp_path, "calibration", rows))
    above, below = page.axes
    assert [bar.get_height() for bar in above.patches] == [1 / 3, 1.0]
    assert [bar.get_x() for bar in above.patches] == pytest.approx([7 / 15, 14 / 15])
    assert [bar.get_height() for bar in below.patches] == [75, 25]
    assert page.get_suptitle() == "run\ncalibration: error 0.1375, of 4 samples"
    rows[0] |= {"samples": 1, "share": 0.2, "confidence": nan, "accuracy": 0.0}  # of a network that is no number
    assert "error nan" in calibration.figure(folder_with(tmp_path, "calibration", rows)).get_suptitle()


def test_the_confusion_picture_holds_the_counts(tmp_path: Path) -> None:
    names = ["a, b", "$x$", "c" * 40]
    counts = np.array([[5, 0, 1], [2, 8, 0], [0, 0, 4]])
    rows = [
        {"true": true, "predicted": said, "count": int(counts[i, j]), "rate": counts[i, j] / counts[i].sum()}
        for i, true in enumerate(names)
        for j, said in enumerate(names)
    ]
    page = confusion.figure(folder_with(tmp_path, "confusion", rows))
    axes = page.axes[0]
    texts = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axes.texts}
    assert texts == {(i, j): str(n) for (i, j), n in np.ndenumerate(counts) if n}
    np.testing.assert_allclose(axes.images[0].get_array(), counts / counts.sum(1, keepdims=True) * 100)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a, b", "$x$", "c" * 17 + "…"]
    assert page.get_suptitle() == "run\nconfusion: 85.00% of 20 right"
    many = [{"true": str(i), "predicted": str(j), "count": i + j, "rate": 0.5} for i in range(100) for j in range(100)]
    axes = confusion.figure(folder_with(tmp_path, "confusion", many)).axes[0]
    assert not axes.texts and len(axes.get_yticklabels()) == 20


@pytest.mark.parametrize("scale", ["none", "minmax", "symmetric", "standard", "zca"])
def test_scaling_is_undone(scale: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 3)) * [1, 100, 0.01] + [5, -1000, 0]
    scaled = scaling(scale, values, np.arange(30))
    np.testing.assert_allclose(scaled.undone(scaled(values)), values, rtol=1e-9)
    flat = np.column_stack(
        [values[:, 0], 2 * values[:, 0], np.full(40, 7.0)]
    )  # a line in space, which zca makes one number
    scaled = scaling(scale, flat, np.arange(30))
    np.testing.assert_allclose(scaled.undone(scaled(flat)), flat, rtol=1e-7)


@pytest.mark.parametrize("scale", ["none", "minmax", "standard", "zca"])
def test_the_boundary_of_a_logistic_regression_is_its_line(stack_of: Make, scale: str) -> None:
    words = ["dataset=moons", "architecture=linear", "precision=float64", f"dataset.scale={scale}"]
    rows = [["seed=0"], ["seed=1", "dataset.split_seed=1"], ["seed=2"]]
    stack = stack_of(*words, "diagnostics=decision_boundary", rows=rows)
    stack.theta.copy_(torch.tensor([[1.0, -2.0, 0.3], [0.5, 1.5, -0.2], [-1.0, 0.4, 0.1]]))
    for run, found in enumerate(seen(stack, "decision_boundary")):
        data = stack.variants[stack.variant[run]]
        # the line a · x + c = 0 in the inputs' own units, from what scaled inputs are at three points
        three = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        z = data.encoding.inputs(three)  # type: ignore[union-attr]
        w, b = stack.theta[run, :2].numpy(), stack.theta[run, 2].item()
        c, *others = z @ w + b
        a = np.array(others) - c
        frame = table(found)
        grid = frame[frame["quantity"] == "grid"]
        assert len(grid) == 101**2
        f = grid[["x", "y"]].to_numpy() @ a + c
        np.testing.assert_allclose(grid["probability"], 1 / (1 + np.exp(-np.abs(f))), rtol=1e-9)
        assert grid["predicted"].tolist() == [("0", "1")[int(value > 0)] for value in f]
        samples = frame[frame["quantity"] == "train"]
        own = data.encoding.inputs.undone(data.part("train")[0].numpy())  # type: ignore[union-attr]
        np.testing.assert_allclose(samples[["x", "y"]], own, rtol=1e-12)
        assert samples["true"].tolist() == [str(int(y)) for y in data.part("train")[1]]
        f = samples[["x", "y"]].to_numpy() @ a + c
        np.testing.assert_allclose(samples["probability"], 1 / (1 + np.exp(-np.abs(f))), rtol=1e-9)
        assert found.summary == {"x": "x1", "y": "x2"}
        everything = data.encoding.inputs.undone(data.inputs.numpy())  # type: ignore[union-attr]
        for i, axis in enumerate("xy"):
            low, high = everything[:, i].min(), everything[:, i].max()
            np.testing.assert_allclose(
                [grid[axis].min(), grid[axis].max()], [low - 0.05 * (high - low), high + 0.05 * (high - low)]
            )


def test_other_inputs_are_at_their_mean(stack_of: Make) -> None:
    keys = ['diagnostics.decision_boundary.features=["petal width (cm)","sepal length (cm)"]']
    stack = stack_of(
        "dataset=iris", *QUICK, "diagnostics=decision_boundary", *keys, "diagnostics.decision_boundary.points=7"
    )
    [found] = seen(stack, "decision_boundary")
    frame, data = table(found), stack.dataset
    grid = frame[frame["quantity"] == "grid"]
    own = data.encoding.inputs.undone(data.inputs.numpy())  # type: ignore[union-attr]
    mean = own[: data.sizes["train"]].mean(0)
    rows = np.column_stack([grid["y"], np.full((49, 2), mean[1:3]), grid["x"]])
    outputs = module_of(stack, 0)(torch.from_numpy(data.encoding.inputs(rows)))  # type: ignore[union-attr]
    probability, k = outputs.softmax(1).max(1)
    np.testing.assert_allclose(grid["probability"], probability.detach(), rtol=1e-10)
    assert grid["predicted"].tolist() == [data.classes[i] for i in k]
    assert found.summary == {"x": "petal width (cm)", "y": "sepal length (cm)"}
    np.testing.assert_allclose(frame.loc[frame["quantity"] == "train", "x"], own[: data.sizes["train"], 3])


def test_the_boundary_picture_holds_the_grid_and_the_samples(stack_of: Make, tmp_path: Path) -> None:
    stack = stack_of("dataset=moons", *QUICK, "loss=hinge", "diagnostics=decision_boundary", rows=SEEDS)
    found = seen(stack, "decision_boundary")[1]
    frame = table(found)
    grid, samples = frame[frame["quantity"] == "grid"], frame[frame["quantity"] == "train"]
    assert frame["probability"].isna().all()  # a margin is none
    page = decision_boundary.figure(folder_with(tmp_path, "decision_boundary", found.rows, x="$a$", y="b"))
    axes = page.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("$a$", "b") and not axes.xaxis.label.get_parse_math()
    colours = axes.images[0].get_array()[..., :3].reshape(-1, 3)  # rows along y
    by_place = grid.sort_values(["y", "x"])["predicted"].to_numpy()
    assert len({tuple(c) for c in colours[by_place == "0"]}) == 1 and len({tuple(c) for c in colours}) == 2
    drawn = np.concatenate([dots.get_offsets() for dots in axes.collections if len(dots.get_offsets()) > 1])
    np.testing.assert_allclose(sorted(map(tuple, drawn)), sorted(map(tuple, samples[["x", "y"]].to_numpy())))
    assert png(page)


def test_a_fit_of_kernels_is_their_sum_in_own_units(stack_of: Make, tmp_path: Path) -> None:
    """Of two inputs in very different units, and a target that is standardised: from the table alone."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 1, 60), rng.uniform(-500, 300, 60)
    file = tmp_path / "data.csv"
    pd.DataFrame({"width of it": x, "y": y, "z": 1000 * np.sin(5 * x) + y}).to_csv(file, index=False)
    words = ["dataset=table", f"dataset.path={file}", "dataset.target=z", "architecture=rbf", "architecture.kernels=4"]
    rows = [["seed=0"], ["seed=1"], ["seed=2", "dataset.split_seed=1"]]
    stack = stack_of(*words, "precision=float64", "diagnostics=fit", "diagnostics.fit.points=9", rows=rows)
    for run, found in enumerate(seen(stack, "fit")):
        frame, data = table(found), stack.variants[stack.variant[run]]
        grid, samples, kernels = (frame[frame["quantity"] == what] for what in ("grid", "train", "kernel"))
        assert (len(grid), len(samples), len(kernels)) == (81, data.sizes["train"], 4)
        mean, std = data.target_mean.item(), data.target_std.item()  # type: ignore[union-attr]
        bias = stack.layout.views(stack.theta)["head.bias"][run].item() * std + mean
        for rows_ in (grid, samples):
            f = bias + sum(
                w * np.exp(-((rows_["x"] - mx) ** 2) / (2 * sx**2) - (rows_["y"] - my) ** 2 / (2 * sy**2))
                for mx, my, sx, sy, w in kernels[["x", "y", "width", "width_y", "weight"]].to_numpy()
            )
            np.testing.assert_allclose(rows_["output"], f, rtol=1e-8)
        np.testing.assert_allclose(samples["target"], data.part("train")[1][:, 0] * std + mean)
        assert {tuple(row) for row in samples[["x", "y"]].round(6).to_numpy()} <= set(
            zip(x.round(6), y.round(6), strict=True)
        )
        assert found.summary == {"x": "width of it", "y": "y"}
    page = fit.figure(folder_with(tmp_path, "fit", found.rows, **found.summary))
    assert len(page.axes[0].patches) == 4 and page.axes[0].get_xlabel() == "width of it"
    assert page.axes[0].patches[0].width == pytest.approx(2 * kernels["width"].iloc[0])
    np.testing.assert_allclose(
        page.axes[0].collections[0].get_array().reshape(9, 9), grid["output"].to_numpy().reshape(9, 9).T
    )
    assert png(page)


@pytest.mark.parametrize("scale", ["standard", "minmax", "zca", "none"])
def test_a_fit_of_one_input_is_the_network(stack_of: Make, tmp_path: Path, scale: str) -> None:
    words = ["dataset=sine", f"dataset.scale={scale}", "dataset.scale_target=true", *QUICK, "diagnostics=fit"]
    stack = stack_of(*words, rows=SEEDS)
    for run, found in enumerate(seen(stack, "fit")):
        frame, data = table(found), stack.dataset
        grid, samples = frame[frame["quantity"] == "grid"], frame[frame["quantity"] == "train"]
        scaled = torch.from_numpy(data.encoding.inputs(grid[["x"]].to_numpy().copy()))  # type: ignore[union-attr]
        wanted = module_of(stack, run)(scaled).detach() * data.target_std + data.target_mean
        np.testing.assert_allclose(grid["output"], wanted[:, 0], rtol=1e-9, atol=1e-12)
        assert len(grid) == 401 and list(frame) == ["quantity", "x", "target", "output"]
    page = fit.figure(folder_with(tmp_path, "fit", found.rows, **found.summary))
    dots, line = page.axes[0].lines
    np.testing.assert_array_equal(dots.get_ydata(), samples["target"])
    np.testing.assert_array_equal(line.get_ydata(), grid["output"])


@pytest.mark.parametrize(
    "words, layer",
    [
        (["architecture=cnn", "architecture.channels=[3]"], "0.weight"),
        (["architecture=mlp", "architecture.hidden=[5]"], "1.weight"),
        (["architecture=autoencoder", "architecture.widths=[4]"], "encoder.1.weight"),
        (["architecture=rbf", "architecture.kernels=4"], "centres"),
    ],
)
def test_filters_are_the_first_layers_weights(stack_of: Make, tmp_path: Path, words: list[str], layer: str) -> None:
    stack = stack_of("dataset=digits", *words, "diagnostics=filters", rows=SEEDS)
    for run, found in enumerate(seen(stack, "filters")):
        weights = stack.layout.views(stack.theta)[layer][run].double().numpy()
        weights = weights if weights.ndim == 4 else weights.reshape(-1, 1, 8, 8)
        frame = table(found)
        places = frame[["filter", "channel", "row", "column"]].to_numpy()
        assert len(frame) == weights.size
        assert all(weights[tuple(place)] == value for place, value in zip(places, frame["value"], strict=True))
    page = filters.figure(folder_with(tmp_path, "filters", found.rows))
    tiles = [axes.images[0].get_array() for axes in page.axes if axes.images]
    np.testing.assert_allclose(tiles, weights[:, 0] / np.abs(weights).max((1, 2, 3))[:, None, None])


def test_as_many_filters_as_are_asked_for(stack_of: Make) -> None:
    stack = stack_of("dataset=digits", *QUICK, "diagnostics=filters", "diagnostics.filters.filters=2")
    assert set(table(seen(stack, "filters")[0])["filter"]) == {0, 1}


def test_colours_and_many_channels_are_drawn(tmp_path: Path) -> None:
    for channels in (2, 3):
        weights = np.random.default_rng(0).normal(size=(2, channels, 3, 3))
        weights[1] = 0
        rows = [
            {"filter": i, "channel": c, "row": y, "column": x, "value": float(v)}
            for (i, c, y, x), v in np.ndenumerate(weights)
        ]
        first, second = filters.figure(folder_with(tmp_path, "filters", rows)).axes
        largest = np.abs(weights[0]).max() if channels == 3 else np.abs(weights[0].mean(0)).max()
        wanted = weights[0].transpose(1, 2, 0) / largest / 2 + 0.5 if channels == 3 else weights[0].mean(0) / largest
        np.testing.assert_allclose(first.images[0].get_array(), wanted)
        assert np.unique(second.images[0].get_array()).tolist() == [0.5 if channels == 3 else 0]


JACOBIANS = {
    "mlp": ["dataset=iris", "architecture.hidden=[6]", "architecture.activation=tanh"],
    "cnn": ["dataset=digits", "architecture=cnn", "architecture.channels=[2]", "normalization=batch"],
    "gru": ["dataset=sequences", "architecture=gru", "architecture.hidden=4", "dataset.length=6"],
    "rbf": ["dataset=iris", "architecture=rbf", "architecture.kernels=5"],
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "cnn" else name for name in JACOBIANS]
)
def test_jacobians_are_those_of_autograd_sample_by_sample(stack_of: Make, tmp_path: Path, name: str) -> None:
    keys = ["precision=float64", "diagnostics=jacobian", "diagnostics.jacobian.samples=3"]
    stack = stack_of(*JACOBIANS[name], *keys, rows=SEEDS)
    every = seen(stack, "jacobian")
    for run, found in enumerate(every):
        x, _ = samples_of(stack, run, "test", 3)
        model = module_of(stack, run, "running")
        wanted = [torch.autograd.functional.jacobian(model, each[None])[0, :, 0].flatten(1) for each in x]
        torch.testing.assert_close(found.arrays["jacobian"], torch.stack(wanted), rtol=1e-9, atol=1e-12)
        m, n = wanted[0].shape
        torch.testing.assert_close(forward(model, x, n), torch.stack(wanted), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(reverse(model, x, m), torch.stack(wanted), rtol=1e-9, atol=1e-12)
        frame = table(found)
        for mode, size in (("forward", n), ("reverse", m)):
            numbers = frame.loc[frame["quantity"] == mode, "number"].tolist()
            assert numbers == [*(2**i for i in range(20) if 2**i < size), size]
            assert found.summary[f"{mode}_seconds"] == frame[frame["quantity"] == mode]["seconds"].iloc[-1] > 0
        assert (found.summary["inputs"], found.summary["outputs"]) == (n, m)
    assert every[0].rows == every[2].rows
    page = jacobian.figure(folder_with(tmp_path, "jacobian", found.rows, **found.summary))
    line = page.axes[0].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), frame.loc[frame["quantity"] == "forward", "number"])
    np.testing.assert_allclose(line.get_ydata(), frame.loc[frame["quantity"] == "forward", "seconds"] * 1e3)
    assert png(page)


@pytest.mark.parametrize(
    "words, told",
    [
        (["diagnostics=confusion", "dataset=sine"], "it is for classes, and this dataset's task is a regression"),
        (["diagnostics=calibration", "dataset=moons", "loss=hinge"], "loss=hinge trained are no probabilities"),
        (["diagnostics=decision_boundary"], "two inputs, not 4: name two, as .*sepal length"),
        (["diagnostics=decision_boundary", "dataset=digits"], "rows of a table, and these are images"),
        (
            ["diagnostics=decision_boundary", "diagnostics.decision_boundary.features=[a,b]"],
            "no input a; there are sepal",
        ),
        (["diagnostics=decision_boundary", "diagnostics.decision_boundary.features=[a,a]"], "not features=.a,a."),
        (["diagnostics=fit"], "this dataset has classes: leave it out, or look at diagnostics=decision_boundary"),
        (["diagnostics=fit", "dataset=diabetes"], "these are 1 over 10"),
        (["diagnostics=filters"], "this dataset's inputs are none"),
        (
            ["diagnostics=filters", "dataset=digits", "architecture=gru", "architecture.rows=true"],
            "no two-dimensional part",
        ),
        (["diagnostics=jacobian", "dataset=digits", "architecture=stn"], "no forward mode of this network"),
    ],
)
def test_what_does_not_fit_is_refused(stack_of: Make, words: list[str], told: str) -> None:
    name = words[0].partition("=")[2]
    with pytest.raises(ConfigError, match=f"^diagnostics={name}: .*{told}"):
        stack_of("dataset=iris", *words)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", choices("dataset"))
def test_every_dataset_is_seen_or_refused(
    dataset: str,
    files: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dlrun.diagnostics.jacobian.LONGEST", 0.01)
    words = typed(f"dataset={dataset}")
    for name in OURS:
        config = composed(words, files)
        own = composed([f"diagnostics={name}", "dataset=iris", "architecture=mlp"], files).diagnostics
        config.diagnostics.update(own)
        short = {"decision_boundary": {"points": 3}, "fit": {"points": 3}, "linear_regions": {"lines": 2, "samples": 5}}
        config.diagnostics[name].update(short.get(name, {}))
        try:
            stack = build([config])
        except ConfigError as problem:
            assert str(problem).startswith(f"diagnostics={name}: ") and "leave it out" in str(
                problem
            ) + "leave it out" * (name in ("decision_boundary", "linear_regions"))
            continue
        [found] = seen(stack, name)
        assert found.rows and all(list(row) == list(found.rows[0]) for row in found.rows)
