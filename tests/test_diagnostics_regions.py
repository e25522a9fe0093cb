"""Linear regions against plain loops, dense points, and the counts of Zaslavsky and of Montúfar's lower bound."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import comb, nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_diagnostics_seeing import SEEDS, folder_with, seen, table
from torch import nn
from twins import breakpoints, module_of, patterns, samples_of

from dlrun.diagnostics.linear_regions import count_on_line, plane
from dlrun.diagnostics.regions import in_plane, on_line
from dlrun.diagnostics.switches import Switches
from dlrun.errors import ConfigError
from dlrun.plots.diagnostics import linear_regions
from dlrun.plots.page import png
from dlrun.training.stack import Stack

Make = Callable[..., Stack]


def line_of(stack: Stack, run: int) -> tuple[torch.Tensor, torch.Tensor]:
    x, _ = stack.dataset.part("train")
    return x[run].double(), x[20 + run].double()


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("hidden", ["[20]", "[7,5]", "[16,16,16]"])
def test_regions_on_a_line_are_those_of_a_plain_loop(stack_of: Make, hidden: str, activation: str) -> None:
    words = [
        "dataset=iris",
        "precision=float64",
        f"architecture.hidden={hidden}",
        f"architecture.activation={activation}",
    ]
    stack = stack_of(*words, "initializer.bias=0.1", rows=SEEDS)
    for run in range(3):
        network, (start, end) = Switches(stack, run), line_of(stack, run)
        start, end = start * 4, end * 4 - 3  # long enough for some regions
        places = len(network.places(start[None]))
        found = on_line(lambda t, place: network.values(start + torch.tensor(t) * (end - start), place).numpy(), places)  # noqa: B023
        model = module_of(stack, run)
        assert isinstance(model, nn.Sequential)
        with torch.no_grad():
            wanted = breakpoints(model, start, end)
        np.testing.assert_allclose(found[1:-1], wanted, rtol=1e-9)
        assert count_on_line(network, places, start, end) == len(wanted) + 1 > 3


DEEP = {
    "cnn": ["dataset=digits", "architecture=cnn", "architecture.channels=[2,3]", "architecture.hidden=[6]"],
    "skip": ["dataset=digits", "architecture=mlp", "architecture.hidden=[9,9,9]", "architecture.skip=true"],
    "prelu": ["dataset=digits", "architecture=mlp", "architecture.hidden=[9,9]", "architecture.activation=prelu"],
    "autoencoder": ["dataset=iris", "architecture=autoencoder", "architecture.widths=[9,5]", "architecture.tied=true"],
    "rnn": [
        "dataset=digits",
        "architecture=rnn",
        "architecture.rows=true",
        "architecture.hidden=6",
        "architecture.activation=relu",
    ],
    "resnet": [
        "dataset=digits",
        "architecture=resnet",
        "architecture.depth=8",
        "architecture.width=1",
        "normalization=batch",
    ],
}


@pytest.mark.parametrize("name", DEEP)
def test_regions_on_a_line_are_those_that_dense_points_see(stack_of: Make, name: str) -> None:
    """Whatever changes on the way is among what is found, and at the middle of each piece found nothing else is."""
    stack = stack_of(*DEEP[name], "precision=float64", "initializer.bias=0.1")
    network, (start, end) = Switches(stack, 0), line_of(stack, 0)
    places = len(network.places(start[None]))

    def inputs(t: np.ndarray) -> torch.Tensor:
        return start + torch.from_numpy(t.reshape(-1, *[1] * start.ndim)) * (end - start)

    found = on_line(lambda t, place: network.values(inputs(t), place).numpy(), places)
    model = module_of(stack, 0, "running")
    middles = patterns(model, inputs((found[1:] + found[:-1]) / 2))
    assert all(one != other for one, other in pairwise(middles)) and len(middles) > 3
    dense = np.linspace(0, 1, 4001)
    wanted = patterns(model, inputs(dense))
    assert wanted == [middles[i] for i in np.clip(np.searchsorted(found, dense) - 1, 0, len(middles) - 1)]


def test_a_network_that_folds_has_as_many_regions_as_the_lower_bound_says(stack_of: Make) -> None:
    r"""Montúfar et al. 2014, theorem 4: (n/n_0)^{n_0 (L - 1)} \sum_j C(n, j) regions; of folds, in [0, 1]^{n_0}."""
    fold = torch.tensor([[2.0, -4.0]])  # 2 max(0, x) - 4 max(0, x - 1/2)

    # one input, 5 layers of two units: 2^5 pieces of a sawtooth
    stack = stack_of("dataset=sine", "precision=float64", "architecture.hidden=[2,2,2,2,2]")
    views = stack.layout.views(stack.theta)
    for i, name in enumerate(name for name in views if name.endswith("weight")):
        rows = torch.ones(2, 1) if name != list(views)[-2] else torch.ones(1, 1)
        views[name][0] = rows if i == 0 else rows @ fold
    for name in [name for name in views if name.endswith("bias")][:-1]:
        views[name][0] = torch.tensor([0.0, -0.5])
    network = Switches(stack, 0)
    assert count_on_line(network, 5, torch.tensor([0.0]).double(), torch.tensor([1.0]).double()) == 2**5

    # two inputs, a layer of 4 that folds both, and one of 4 lines in general position: 2^2 (1 + 4 + 6)
    stack = stack_of("dataset=moons", "precision=float64", "architecture.hidden=[4,4]")
    views = stack.layout.views(stack.theta)
    first, folded, second, shifts, *_ = views.values()
    first[0], folded[0] = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]]), torch.tensor([0, -0.5, 0, -0.5])
    lines = torch.tensor([[1.0, 0.1], [0.1, 1.0], [1.0, 1.05], [1.0, -1.0]])
    second[0] = lines @ torch.block_diag(fold, fold)
    shifts[0] = -(lines @ torch.tensor([0.5, 0.5])) + torch.tensor([0.0, 0.05, 0.1, 0.15])
    network = Switches(stack, 0)
    window = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    found = in_plane(lambda points, place: network.values(torch.from_numpy(points), place).numpy(), 2, window, 999)
    assert found is not None and len(found) == 4 * sum(comb(4, j) for j in range(3))


def area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


@pytest.mark.parametrize("name", ["moons", *(name for name in DEEP if name != "resnet")])  # of which there are too many
def test_regions_of_a_plane_tile_it_and_each_is_another(stack_of: Make, name: str) -> None:
    words = DEEP.get(name, ["dataset=moons", "architecture.hidden=[8,8]"])
    stack = stack_of(*words, "precision=float64", "initializer.bias=0.1")
    network, (x, _) = Switches(stack, 0), stack.dataset.part("train")
    origin, axes, window = plane(x.double(), torch.Generator().manual_seed(0))

    def inputs(points: np.ndarray) -> torch.Tensor:
        return origin + torch.tensordot(torch.from_numpy(points), axes, dims=1)

    places = len(network.places(x[:1].double()))
    found = in_plane(lambda points, place: network.values(inputs(points), place).numpy(), places, window, 10_000)
    assert found is not None and len(found) > 10
    assert sum(map(area, found)) == pytest.approx(area(window), rel=1e-9)
    model = module_of(stack, 0, "running")
    inside = patterns(model, inputs(np.array([polygon.mean(0) for polygon in found])))
    assert len(set(inside)) == len(found)
    low, high = window.min(0), window.max(0)
    points = low + (high - low) * np.random.default_rng(0).random((3000, 2))
    assert set(patterns(model, inputs(points))) <= set(inside)
    if name != "moons":
        flat = axes.flatten(1)
        torch.testing.assert_close(flat @ flat.T, torch.eye(2).double())


def test_lines_in_general_position_cut_a_plane_as_zaslavsky_says(stack_of: Make) -> None:
    stack = stack_of("dataset=moons", "precision=float64", "architecture.hidden=[12]", "initializer.bias=0.1")
    stack.layout.views(stack.theta)["1.bias"][0] = torch.linspace(-1, 1, 12)
    network = Switches(stack, 0)
    window = 1e4 * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    values = lambda points, place: network.values(torch.from_numpy(points), place).numpy()  # noqa: E731
    found = in_plane(values, 1, window, 1000)
    assert found is not None and len(found) == 1 + 12 + comb(12, 2)
    assert in_plane(values, 1, window, 50) is None


def test_linear_regions_tell_lines_and_corners(stack_of: Make, tmp_path: Path) -> None:
    keys = ["diagnostics.linear_regions.lines=5", "diagnostics.linear_regions.samples=20"]
    words = ["dataset=moons", "precision=float64", "architecture.hidden=[8,8]", "diagnostics=linear_regions", *keys]
    stack = stack_of(*words, rows=SEEDS)
    every = seen(stack, "linear_regions")
    for run, found in enumerate(every):
        frame = table(found)
        lines, corners = frame[frame["quantity"] == "line"], frame[frame["quantity"] == "corner"]
        assert len(lines) == 5 and found.summary["units"] == 16
        assert found.summary["regions_on_lines"] == lines["regions"].mean()
        assert found.summary["regions_in_plane"] == corners["number"].nunique() == corners["number"].max() + 1
        x = torch.stack([each for each in samples_of(stack, run, "train", 20)[0]])
        lengths = torch.cdist(x, x).flatten()
        assert all((lengths - length).abs().min() < 1e-12 for length in lines["length"])
    [alone] = seen(stack.select([1]), "linear_regions")
    pd.testing.assert_frame_equal(table(alone), table(every[1]))
    page = linear_regions.figure(folder_with(tmp_path, "linear_regions", found.rows))
    drawn, histogram = page.axes
    paths = drawn.collections[0].get_paths()
    assert len(paths) == found.summary["regions_in_plane"]
    np.testing.assert_array_equal(paths[0].vertices[:-1], corners.loc[corners["number"] == 0, ["x", "y"]])
    assert sum(bar.get_height() for bar in histogram.patches) == 5
    assert png(page)
    assert all(tick == round(tick) for tick in histogram.get_yticks())  # lines are counted


def test_a_network_that_is_no_number_has_no_regions_and_still_a_picture(stack_of: Make, tmp_path: Path) -> None:
    words = [
        "dataset=moons",
        "architecture.hidden=[8,8]",
        "diagnostics=linear_regions",
        "diagnostics.linear_regions.lines=3",
    ]
    stack = stack_of(*words, rows=SEEDS)
    stack.theta[1] = nan
    good, bad, _ = seen(stack, "linear_regions")
    assert np.isnan(bad.summary["regions_on_lines"]) and np.isnan(bad.summary["regions_in_plane"])
    assert good.summary["regions_on_lines"] >= 1
    page = linear_regions.figure(folder_with(tmp_path, "linear_regions", bad.rows))
    assert len(page.axes) == 1 and png(page)


class Curved(Switches):
    """A network whose outputs are not what its modules say."""

    def outputs(self, x: torch.Tensor) -> torch.Tensor:
        return super().outputs(x).square()


def test_what_bends_between_its_units_is_told(stack_of: Make) -> None:
    stack = stack_of("dataset=iris", "architecture.hidden=[8]")
    with pytest.raises(ConfigError, match="bends where none of its units switches"):
        count_on_line(Curved(stack, 0), 1, *line_of(stack, 0))


@pytest.mark.parametrize(
    "words, told",
    [
        (["architecture.activation=tanh"], "Tanh is curved: choose architecture.activation=relu"),
        (["normalization=layer"], "this normalization is curved"),
        (["architecture.hidden=[]"], "linear: it has a single region"),
        (["architecture.activation=identity"], "linear: it has a single region"),
        (["architecture=rbf"], "Kernels is curved"),
        (["dataset=sequences", "architecture=lstm"], "LSTMLayer is curved"),
        (["architecture.hidden=[20000]"], "20,000 units of this network switch, and at most 16,384"),
        (["diagnostics.linear_regions.samples=1"], "a line needs two samples"),
    ],
)
def test_networks_without_linear_regions_are_refused(stack_of: Make, words: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=f"diagnostics=linear_regions: .*{told}"):
        stack_of("dataset=iris", "diagnostics=linear_regions", *words)
