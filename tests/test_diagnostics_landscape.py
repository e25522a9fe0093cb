"""Surfaces, lines and paths in parameter space, against closed forms, plain loops, NumPy and a run's own metrics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Rows, config
from fakes import composed, files, typed  # noqa: F401
from safetensors.torch import save_file
from torch import Tensor
from twins import filter_normalised as twin_direction
from twins import measured_at, module_of, samples_of

from dlrun.config.catalogue import choices
from dlrun.diagnostics import points as points_module
from dlrun.diagnostics.diagnostic import Found, View
from dlrun.diagnostics.directions import filter_normalised, principal_axes
from dlrun.diagnostics.during import During
from dlrun.diagnostics.finished import look
from dlrun.diagnostics.interpolation import Interpolation, _shape
from dlrun.diagnostics.keeping import LARGEST, packed, unpacked
from dlrun.diagnostics.landscape import Landscape, negative_curvature, total_variation
from dlrun.diagnostics.paths import Paths
from dlrun.diagnostics.points import Points
from dlrun.diagnostics.trajectory import Trajectory
from dlrun.errors import ConfigError
from dlrun.matrix.seeds import DIRECTIONS, generator
from dlrun.training.build import build
from dlrun.training.stack import Stack
from dlrun.training.train import fit

RUN = 1  #: of the three of a stack, the one compared
NETWORKS = {
    "mlp": ["architecture.hidden=[7,5]", "regularizer=[l2,dropout]"],
    "batch norm": ["architecture.hidden=[7,5]", "normalization=batch", "regularizer=l2"],
    "cnn": ["dataset=digits", "architecture=cnn", "architecture.channels=[3]", "architecture.hidden=[6]"],
    "lstm": ["dataset=sequences", "dataset.length=6", "architecture=lstm", "architecture.hidden=5"],
}


def stack_of(*words: str, runs: int = 3) -> Stack:
    return build([config("dataset=iris", "precision=float64", *words, f"seed={seed}") for seed in range(runs)])


def column(found: Found, name: str, surface: bool = False) -> np.ndarray:
    return np.array([row[name] for row in (found.surface if surface else found.rows)], float)


def trained(stack: Stack, keeps: Trajectory | None = None) -> tuple[list[dict[str, Any]], dict[int, list[Any]]]:
    """The rows of the best parameters of each run, which the stack is left with; what was kept on the way, by run."""
    stack.diagnostics, kept = {"trajectory": keeps} if keeps else {}, dict[int, list[Any]]()

    def tell(run: int, name: str, found: Found) -> None:
        assert found.kept
        kept.setdefault(run, []).append((found.kept[0], found.kept[1].clone()))

    looks = During(stack.diagnostics, stack, tell)
    outcome = fit(stack, Rows(stack.runs), looks=looks)
    outcome.best.restore()
    return outcome.best.rows, kept


# Points


@pytest.mark.parametrize("words", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("mode", ["batch", "running"])
@pytest.mark.parametrize("parts", [1, 3])
def test_points_are_networks_of_their_own(
    words: list[str], mode: Any, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few at a time, the last of them fewer, with all samples; or one at a time, with some of the samples."""
    if parts == 3:
        for name, limit in (("BATCH", 8), ("NUMBERS", 0), ("LANES", 8)):
            monkeypatch.setattr(points_module, name, limit)
    monkeypatch.setattr(points_module, "PARAMETERS", 3 * stack_of(*words, runs=1).layout.params)
    stack, samples = stack_of(*words), 20  # in batches of 7, 7 and 6
    before = stack.theta.clone()
    places = before[RUN] + torch.randn(7, stack.layout.params, generator=generator(0)).double() / 10
    done: list[int] = []
    found = Points(stack, RUN, "val", samples, mode)(lambda i: {"theta": places[i]}, len(places), done.append)
    apart = parts == 3 or stack.one_by_one()
    assert done == ([1, 2, 3, 4, 5, 6, 7] if apart else [3, 6, 7])
    assert torch.equal(stack.theta, before)

    x, y = samples_of(stack, RUN, "val", samples)
    batches = list(zip(x.chunk(parts), y.chunk(parts), strict=True))
    losses = torch.stack([measured_at(stack, RUN, place, batches, mode) for place in places])
    torch.testing.assert_close(found["loss"], losses, rtol=1e-10, atol=1e-12)
    penalty = torch.zeros(len(places))
    if any("l2" in word for word in words):
        alpha, weights = stack.penalties[0]["alpha"][RUN], stack.layout.mask("weight").double()
        penalty = alpha / 2 * (places.square() * weights).sum(1)
        assert penalty.min() > 0
    torch.testing.assert_close(found["objective"], losses + penalty, rtol=1e-10, atol=1e-12)
    if "accuracy" in found:
        model = module_of(stack, RUN, mode)
        torch.nn.utils.vector_to_parameters(places[-1], model.parameters())
        right = torch.cat([model(x_i).argmax(1) == y_i for x_i, y_i in batches]).double().mean()
        assert found["accuracy"][-1].item() == pytest.approx(right.item())


def test_losses_are_reported_in_the_targets_own_unit() -> None:
    stack = stack_of("dataset=diabetes", "architecture=linear", "dataset.scale_target=true")
    found = Points(stack, RUN, "train", None, "batch")(lambda i: {"theta": stack.theta[[RUN]]}, 1)
    std = stack.dataset.target_std
    assert std is not None
    assert found["loss"].item() == pytest.approx(found["objective"].item() * std.item() ** 2)
    assert "r2" in found


def test_a_run_of_a_stack_is_measured_as_alone_to_the_bit() -> None:
    words = ["architecture.hidden=[5]", "normalization=batch", "precision=float32"]
    look = Landscape(2, 5, 1.0, True, "train", None, "batch").look
    together = look(View(stack_of(*words), 0))
    for seed in range(3):
        alone = build([config("dataset=iris", *words, f"seed={seed}")])
        assert look(View(alone, 0))[0].rows == together[seed].rows
    assert together[0].rows != together[1].rows


# Directions


@pytest.mark.parametrize("words", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("biases", [False, True])
def test_each_filter_of_a_direction_is_as_long_as_the_networks_own(words: list[str], biases: bool) -> None:
    stack = stack_of(*words)
    stack.theta += 0.1  # biases begin at 0
    got = filter_normalised(stack.layout, stack.theta[RUN], generator(3), biases)
    wanted = twin_direction(module_of(stack, RUN), generator(3), biases)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=0)
    assert bool((got == 0).any()) != biases
    name = next(slot.name for slot in stack.layout.slots if slot.kind == "weight")
    own, its = stack.layout.views(stack.theta)[name][RUN], stack.layout.views(got[None])[name][0]
    torch.testing.assert_close(its.flatten(1).norm(dim=1), own.flatten(1).norm(dim=1))


def test_principal_axes_are_those_of_the_singular_value_decomposition() -> None:
    rng = np.random.default_rng(0)
    path = np.cumsum(rng.normal(size=(12, 40)) * rng.uniform(0.1, 2, 40), 0)
    axes, shares = principal_axes(torch.from_numpy(path), generator(0))
    _, values, vectors = np.linalg.svd(path - path.mean(0), full_matrices=False)
    np.testing.assert_allclose(shares, values[:2] ** 2 / (values**2).sum(), rtol=1e-10)
    np.testing.assert_allclose(np.abs(np.sum(axes.numpy() * vectors[:2], 1)), 1, rtol=1e-10)
    assert bool((axes @ torch.from_numpy(path[0] - path[-1]) >= 0).all())


@pytest.mark.parametrize("moments, shares", [([0.0, 1.0, 3.0], [1.0, 0.0]), ([2.0], [np.nan] * 2)])
def test_a_path_that_is_straight_or_still_has_two_axes_too(moments: list[float], shares: list[float]) -> None:
    way = torch.randn(30, generator=generator(1), dtype=torch.float64)
    axes, got = principal_axes(torch.stack([moment * way for moment in moments]), generator(0))
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(got, shares, atol=1e-12)
    if len(moments) > 1:
        np.testing.assert_allclose(axes[0], -way / way.norm(), atol=1e-12)


# Landscapes


def axes_of(stack: Stack, run: int, biases: bool) -> np.ndarray:
    random = generator(stack.seeds[run], DIRECTIONS)
    return np.stack([twin_direction(module_of(stack, run), random, biases).numpy() for _ in range(2)])


def test_the_landscape_of_a_quadratic_function_is_its_closed_form() -> None:
    words = ["dataset=quadratic", "dataset.condition=10", "architecture=point"]
    stack = stack_of(*words, "dataset.dimensions=3", runs=2)
    stack.theta.copy_(torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]]))
    found = Landscape(2, 7, 0.5, True, "train", None, "running").look(View(stack, 0))[RUN]
    alpha, beta = column(found, "alpha"), column(found, "beta")
    assert sorted(set(alpha)) == pytest.approx(np.linspace(-0.5, 0.5, 7)) and len(alpha) == 49
    x = stack.theta[RUN].numpy() + np.stack([alpha, beta], 1) @ axes_of(stack, RUN, True)
    closed = (np.geomspace(1, 10, 3) * x**2).sum(1) / 2
    np.testing.assert_allclose(column(found, "objective"), closed, rtol=1e-12)
    np.testing.assert_allclose(column(found, "distance"), np.linalg.norm(x, axis=1), rtol=1e-12)
    assert found.summary["negative_curvature"] == 0


@pytest.mark.parametrize("dimensions", [1, 2])
def test_the_landscape_of_linear_regression_is_its_closed_form(dimensions: int) -> None:
    stack = stack_of("dataset=diabetes", "architecture=linear")
    found = Landscape(dimensions, 5, 2.0, False, "val", None, "batch").look(View(stack, 0))[RUN]
    assert ("beta" in found.rows[0]) == (dimensions == 2)
    x, y = (part.numpy() for part in stack.dataset.part("val"))
    places = np.stack([column(found, name) for name in ("alpha", "beta")[:dimensions]], 1)
    theta = stack.theta[RUN].numpy() + places @ axes_of(stack, RUN, False)[:dimensions]
    loss = [np.mean((x @ weights + bias - y[:, 0]) ** 2) for *weights, bias in theta]
    np.testing.assert_allclose(column(found, "objective"), loss, rtol=1e-12)
    middle = found.rows[len(found.rows) // 2]
    assert middle["alpha"] == 0 and middle["objective"] == pytest.approx(measured(stack, "val"), rel=1e-14)


def measured(stack: Stack, part: str) -> float:
    x, y = stack.dataset.part(part)
    return (module_of(stack, RUN)(x) - y).square().mean().item()


def test_roughness_of_known_surfaces() -> None:
    x = torch.linspace(-1, 1, 11, dtype=torch.float64)
    plane = [x[:, None].expand(11, 11), x[None].expand(11, 11)]
    for surface, share in (
        (plane[0] ** 2 - plane[1] ** 2, 1.0),
        (plane[0] ** 2 + plane[1] ** 2, 0.0),
        (plane[0] * plane[1], 1.0),  # by its mixed derivative alone
        (3 * plane[0] * plane[1] + 1.4 * (plane[0] ** 2 + plane[1] ** 2), 1.0),
        (3 * plane[0] * plane[1] + 1.6 * (plane[0] ** 2 + plane[1] ** 2), 0.0),
        (plane[0] ** 3 + plane[1] ** 2, 4 / 9),
        (5 + 2e-7 * torch.sin(900 * (plane[0] + plane[1])), 0.0),  # what rounding does
    ):
        assert negative_curvature(surface, 1.2e-7) == pytest.approx(share)
    assert negative_curvature(x**3, 1.2e-7) == pytest.approx(4 / 9)
    assert [negative_curvature(line, 1.2e-7) for line in (x**2 - 5, 5 - x**2)] == [0, 1]
    assert np.isnan(negative_curvature(torch.full((5, 5), torch.inf), 1.2e-7))
    holed = plane[0] ** 2 - plane[1] ** 2
    holed[5, 5] = torch.nan  # and the eight points around it cannot tell
    assert negative_curvature(holed, 1.2e-7) == 1

    assert total_variation(x) == pytest.approx(1)
    assert total_variation(x**2) == pytest.approx(2)
    assert total_variation(torch.tensor([0.0, 1, 0, 1, 0, 3])) == pytest.approx((4 + 3) / 3)
    assert total_variation(plane[0] ** 2 + 0 * plane[1]) == pytest.approx(2)  # its level lines are left out
    assert total_variation(plane[0] ** 2 + plane[1]) == pytest.approx(1.5)
    assert np.isnan(total_variation(torch.ones(4)))


def test_progress_counts_the_points_of_all_runs() -> None:
    stack, told = stack_of("architecture.hidden=[4]"), list[tuple[int, int]]()
    Landscape(1, 5, 1.0, False, "train", 30, "batch").look(
        View(stack, 0, progress=lambda text, done, total: told.append((done, total)))
    )
    assert {total for _, total in told} == {5 * stack.runs}
    done = [done for done, _ in told]
    assert done == sorted(set(done)) and done[-1] == 5 * stack.runs


def test_the_range_and_the_seed_decide_where_it_looks() -> None:
    stack = stack_of("architecture.hidden=[4]")
    one, other = (Landscape(1, 5, reach, False, "train", 30, "batch").look(View(stack, 0))[RUN] for reach in (1, 2))
    assert one.rows[4]["objective"] == pytest.approx(other.rows[3]["objective"], rel=1e-12)
    assert one.rows[0]["objective"] == pytest.approx(other.rows[1]["objective"], rel=1e-12)


# Interpolations


@pytest.mark.parametrize(
    "words, mode",
    [
        (["architecture.hidden=[6]"], "batch"),
        (["architecture.hidden=[6]", "normalization=batch"], "running"),
        (["dataset=diabetes", "architecture.hidden=[4]", "dataset.scale_target=true"], "batch"),
    ],
)
def test_the_ends_of_the_line_are_the_runs_own_metrics(words: list[str], mode: Any) -> None:
    stack = stack_of(*words, "epochs=4", "lr=0.02")
    rows = Rows(3)
    outcome = fit(stack, rows)
    outcome.best.restore()
    found = Interpolation(None, 5, None, mode).look(View(stack, 0))[RUN]
    alpha = column(found, "alpha")
    np.testing.assert_array_equal(alpha, np.arange(-1, 6) / 4)
    names = [name for name in found.rows[0] if name != "alpha"]
    main = next(iter(stack.measures.metrics)).name
    assert names == ["train_loss", f"train_{main}", "val_loss", f"val_{main}"]
    for at, wanted in ((0, rows.rows[RUN][0]), (1, outcome.best.rows[RUN])):
        got = found.rows[int(np.flatnonzero(alpha == at)[0])]
        assert {name: got[name] for name in names} == pytest.approx({name: wanted[name] for name in names}, rel=1e-9)
    begin = stack.starts[RUN]()["theta"]
    half = (begin + stack.theta[RUN]) / 2
    if mode == "batch":
        x, y = stack.variants[stack.variant[RUN]].part("train")
        std = stack.dataset.target_std
        unit = 1.0 if std is None else std.item() ** 2
        wanted_loss = measured_at(stack, RUN, half, [(x, y)], mode).item() * unit
        assert found.rows[3]["train_loss"] == pytest.approx(wanted_loss, rel=1e-9)
    loss = column(found, "train_loss")[1:6]
    straight = loss[0] + np.arange(5) / 4 * (loss[-1] - loss[0])
    assert found.summary["barrier_train"] == pytest.approx((loss - straight).max())
    assert found.summary["rise_train"] == max(loss[j] - loss[i] for i in range(5) for j in range(i, 5))


def test_running_averages_stay_beyond_the_ends_what_they_are_there() -> None:
    stack = stack_of("architecture.hidden=[6]", "normalization=batch", "epochs=2", "lr=0.02")
    trained(stack)
    rows = Interpolation(None, 5, None, "running").look(View(stack, 0))[RUN].rows
    begin = stack.starts[RUN]()["theta"]
    x, y = stack.variants[stack.variant[RUN]].part("val")
    beyond = measured_at(stack, RUN, begin + 1.25 * (stack.theta[RUN] - begin), [(x, y)], "running")
    assert rows[-1]["alpha"] == 1.25 and rows[-1]["val_loss"] == pytest.approx(beyond.item(), rel=1e-9)


def test_barriers_and_rises_by_hand() -> None:
    alpha = torch.linspace(0, 1, 5, dtype=torch.float64)
    assert _shape(alpha, torch.tensor([4.0, 1, 2.5, 0, 0.5])) == {"barrier": 0.25, "rise": 1.5}
    assert _shape(alpha, torch.tensor([4.0, 3, 2, 1, 0])) == {"barrier": 0, "rise": 0}
    assert _shape(alpha, torch.tensor([0.0, 3, 8, 1, 4])) == {"barrier": 6, "rise": 8}


@pytest.mark.parametrize("name", choices("initializer"))
def test_a_run_begins_where_its_line_begins(name: str, files: Path) -> None:  # noqa: F811
    normalization = "none" if "pretraining" in name or name == "given" else "batch"
    bias = [] if name == "given" else ["initializer.bias=0.1"]  # which are given, too
    words = [*typed(f"initializer={name}", f"normalization={normalization}"), *bias]
    configs = [composed([*words, f"seed={seed}"], files) for seed in range(2)]
    stack, later = build(configs), build(configs, initialize=False)
    wanted = stack.network
    for run in range(2):
        for begun in (stack.starts[run](), later.select([run]).starts[0]()):
            assert {"theta", *stack.averages} == begun.keys()
            for key, tensor in begun.items():
                assert torch.equal(tensor.to(stack.theta), wanted[key][run])


def test_the_line_to_another_run(tmp_path: Path) -> None:
    stack = stack_of("architecture.hidden=[4]", "normalization=batch", runs=2)
    stack.buffers = {name: buffer + run_of(buffer) for name, buffer in stack.buffers.items()}
    own = {name: view[1] for name, view in stack.layout.views(stack.theta).items()}
    save_file({**own, **{name: buffer[1].clone() for name, buffer in stack.buffers.items()}}, tmp_path / "other")
    (tmp_path / "other").rename(tmp_path / "model.safetensors")
    line = Interpolation(str(tmp_path), 3, None, "running")
    line.fits(stack)
    first, second = line.look(View(stack, 0))
    assert first.rows[1] != second.rows[1]
    ends = {key: value for key, value in first.rows[2].items() if key != "alpha"}
    assert first.rows[2]["alpha"] == 1 and ends == {k: v for k, v in second.rows[0].items() if k != "alpha"}
    assert second.summary["barrier_train"] == pytest.approx(0, abs=1e-12)

    other = stack_of("architecture.hidden=[5]", "normalization=batch", runs=1)
    with pytest.raises(ConfigError, match=r"no network of these shapes, which differ in 1\.weight"):
        line.fits(other)
    with pytest.raises(ConfigError, match="to=nowhere: there is no file nowhere"):
        Interpolation("nowhere", 3, None, "batch").fits(stack)


def test_the_way_back_to_an_initial_network_rises_to_its_end(tmp_path: Path) -> None:
    stack = stack_of("architecture.hidden=[6]", "epochs=10", "lr=0.02", runs=1)
    initial = {name: view[0].clone() for name, view in stack.layout.views(stack.theta).items()}
    save_file(initial, tmp_path / "initial.safetensors")
    trained(stack)
    found = Interpolation(str(tmp_path / "initial.safetensors"), 7, None, "batch").look(View(stack, 0))[0]
    np.testing.assert_allclose(column(found, "alpha"), np.arange(-1, 8) / 6)
    for part in ("train", "val"):
        inside = column(found, f"{part}_loss")[1:8]
        assert inside.argmax() == 6 and found.summary[f"rise_{part}"] == inside[6] - inside.min()


def run_of(buffer: Tensor) -> Tensor:
    """Another number for every run."""
    return torch.arange(1.0, len(buffer) + 1, dtype=buffer.dtype).view(-1, *[1] * (buffer.ndim - 1))


# Trajectories


def concluded(stack: Stack, keeps: Trajectory, kept: dict[int, list[Any]], run: int) -> Found:
    content = b"".join(packed(step, theta) for step, theta in kept[run])
    return keeps.conclude(View(stack, stack.steps), run, *unpacked(content, stack.theta[run]))


def trajectory(**keys: Any) -> Trajectory:
    default = {"every": None, "most": 1000, "points": 5, "part": "train", "samples": None, "statistics": "batch"}
    return Trajectory(**{**default, **keys})


def test_the_path_over_a_test_function() -> None:
    stack = stack_of("dataset=beale", "architecture=point", "optimizer=momentum", "steps=9", "lr=0.01")
    keeps = trajectory(every="2steps")
    _, kept = trained(stack, keeps)
    found = concluded(stack, keeps, kept, RUN)
    assert [row["step"] for row in found.rows] == [row["epoch"] for row in found.rows] == [0, 2, 4, 6, 8]

    def beale(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2

    at, v = np.array([1.0, 1.0]), np.zeros(2)
    for step in range(9):
        if step % 2 == 0:
            np.testing.assert_allclose([found.rows[step // 2][f"theta_{i}"] for i in (0, 1)], at, rtol=1e-9)
        h = 1e-6
        slope = [(beale(*(at + h * e)) - beale(*(at - h * e))) / (2 * h) for e in np.eye(2)]
        v = 0.9 * v - 0.01 * np.array(slope)
        at = at + v
    for surface in (False, True):
        x, y = (column(found, f"theta_{i}", surface) for i in (0, 1))
        np.testing.assert_allclose(column(found, "objective", surface), beale(x, y), rtol=1e-12)
        assert len(x) == (25 if surface else 5)
        if not surface:
            box = [(x.min(), x.max()), (y.min(), y.max())]
        else:
            assert x.min() < box[0][0] and x.max() > box[0][1] and y.min() < box[1][0] and y.max() > box[1][1]
    assert found.summary == {"moments": 5, "left_out": 0}
    np.testing.assert_array_equal(found.arrays["theta"][:, 0], column(found, "theta_0"))
    np.testing.assert_array_equal(found.arrays["step"], [0, 2, 4, 6, 8])


def test_the_path_of_a_network_on_its_principal_axes() -> None:
    stack = stack_of("architecture.hidden=[4]", "epochs=3", "lr=0.05")
    keeps = trajectory(every=0.5)
    _, kept = trained(stack, keeps)
    found = concluded(stack, keeps, kept, RUN)
    path = np.stack([theta.numpy() for _, theta in kept[RUN]])
    _, values, vectors = np.linalg.svd(path - path.mean(0), full_matrices=False)
    for i in (0, 1):
        coordinates = (path - path[-1]) @ vectors[i]
        got = column(found, f"pc_{i + 1}")
        np.testing.assert_allclose(got, coordinates * np.sign(coordinates @ got), atol=1e-9)
        assert found.summary[f"explained_{i + 1}"] == pytest.approx(values[i] ** 2 / (values**2).sum())
    x, y = stack.variants[stack.variant[RUN]].part("train")
    losses = [measured_at(stack, RUN, torch.from_numpy(theta), [(x, y)], "batch").item() for theta in path]
    np.testing.assert_allclose(column(found, "objective"), losses, rtol=1e-9)
    flipped = [np.sign((path[0] - path[-1]) @ vector) * vector for vector in vectors[:2]]
    corner = path[-1] + found.surface[0]["pc_1"] * flipped[0] + found.surface[0]["pc_2"] * flipped[1]  # type: ignore[operator]
    wanted = measured_at(stack, RUN, torch.from_numpy(corner), [(x, y)], "batch").item()
    assert found.surface[0]["objective"] == pytest.approx(wanted, rel=1e-9)
    assert sum(tensor[0].numel() for name, tensor in found.arrays.items() if name != "step") == stack.layout.params


def test_what_explodes_is_left_out_of_the_surface() -> None:
    stack = stack_of("dataset=quadratic", "architecture=point", "dataset.condition=1", runs=1)
    path = torch.tensor([[1.0, 1.0], [0.5, 0.5], [50.0, 0.0], [1e200, 0.0], [torch.nan, 0.0]], dtype=torch.float64)
    found = trajectory().conclude(View(stack, 0), 0, torch.arange(5), path)
    assert found.summary["left_out"] == 3
    assert column(found, "theta_0", surface=True).max() < 2
    assert found.rows[3]["theta_0"] == 1e200 and np.isnan(float(found.rows[4]["theta_0"]))
    with pytest.raises(ConfigError, match="finite nowhere"):
        trajectory().conclude(View(stack, 0), 0, torch.arange(1), path[4:])


@pytest.mark.parametrize("most, kept", [(1000, 31), (31, 31), (30, 16), (16, 16), (4, 4), (2, 2)])
def test_of_many_moments_every_so_many_is_kept(most: int, kept: int) -> None:
    stack = stack_of("architecture.hidden=[4]", "steps=30", runs=1)
    steps = trajectory(every="1step", most=most).steps(stack)
    assert len(range(0, 31, steps)) == kept


def test_what_would_not_fit_into_memory_is_refused() -> None:
    stack = stack_of("dataset=digits", "architecture.hidden=[300]", "steps=20000", runs=1)
    keeps = trajectory(every="1step", most=100_000)
    with pytest.raises(ConfigError, match="GiB, and it keeps 1 of a run") as problem:
        keeps.fits(stack)
    most = int(str(problem.value).split("most=")[1])
    trajectory(every="1step", most=most).fits(stack)
    assert most * stack.layout.params * 8 <= LARGEST


FITTING = {
    "landscape": ("dataset=beale", "architecture=point", "diagnostics.landscape.biases=true moves"),
    "trajectory": ("dataset=quadratic", "architecture=point", "one parameter"),
}


@pytest.mark.parametrize("name, words", FITTING.items())
def test_where_there_is_nothing_to_see(name: str, words: tuple[str, str, str]) -> None:
    more = ["dataset.dimensions=1"] if name == "trajectory" else []
    with pytest.raises(ConfigError, match=f"diagnostics={name}: .*{words[2]}"):
        stack_of(*words[:2], *more, f"diagnostics={name}")
    with pytest.raises(ConfigError, match="points=4: give an odd number"):
        stack_of("diagnostics=landscape", "diagnostics.landscape.points=4")


def records(count: int) -> Iterator[tuple[int, Tensor]]:
    for step in range(count):
        yield step * 2**40, torch.tensor([step, -1.5, torch.inf])


def test_records_are_read_back_as_they_were() -> None:
    content = b"".join(packed(step, theta) for step, theta in records(4))
    assert len(content) == 4 * (8 + 3 * 4)
    steps, thetas = unpacked(content, torch.zeros(3))
    for (step, theta), got_step, got in zip(records(4), steps, thetas, strict=True):
        assert got_step == step and torch.equal(got, theta)


# Paths of several runs


def walked(stack: Stack, folder: Path, path: Tensor) -> None:
    """What diagnostics=[trajectory] leaves of a run whose parameters took this path, (moments, params)."""
    folder.mkdir(parents=True)
    views = {name: view.contiguous() for name, view in stack.layout.views(path).items()}
    save_file({"step": 10 * torch.arange(len(path)), **views}, folder / "trajectory.safetensors")


def test_paths_of_several_runs_lie_on_one_surface(tmp_path: Path) -> None:
    """In a plane through the network distances are those in all dimensions, and losses are those of networks there."""
    stack = stack_of("architecture.hidden=[5]", "regularizer=l2", runs=2)
    centre = stack.theta[RUN]
    random = torch.Generator().manual_seed(0)
    u, v = torch.linalg.qr(torch.randn(stack.layout.params, 2, generator=random, dtype=torch.float64)).Q.T
    turns = torch.linspace(0, 3, 31, dtype=torch.float64)[:, None]
    path = {"0": centre + turns * u, "1": centre + turns * u + turns**2 / 3 * v, "10": centre + turns * (u - 2 * v)}
    for name, way in path.items():
        walked(stack, tmp_path / "sweep" / name, way)
    walked(stack, tmp_path / "sweep" / "2", centre + 1 + turns * u)
    other = stack_of("architecture.hidden=[4]", runs=1)
    walked(other, tmp_path / "sweep" / "3", other.theta.repeat(3, 1))
    (tmp_path / "sweep" / "0" / "config.yaml").write_text("lr: 0.1\noptimizer: {_target_: dlrun.optimizers.sgd.SGD}\n")

    diagnostic = Paths([str(tmp_path / "sweep")], 11, 5, "train", 40, "batch")
    diagnostic.fits(stack)
    found = diagnostic.look(View(stack, 0))[RUN]
    assert found.summary["left_out"] == "2: another beginning, 3: another network"
    shares = found.summary["explained_1"], found.summary["explained_2"]
    assert sum(map(float, shares)) == pytest.approx(1)
    names = ["0 (SGD, lr=0.1)", "1", "10"]
    assert [row["run"] for row in found.rows] == [name for name in names for _ in range(11)]
    assert [row["step"] for row in found.rows[:11]] == list(range(0, 301, 30))
    theta = torch.cat([way[::3] for way in path.values()])
    got = torch.from_numpy(np.stack([column(found, "pc_1"), column(found, "pc_2")], 1))
    np.testing.assert_allclose(torch.cdist(got, got), torch.cdist(theta, theta), atol=1e-6)
    np.testing.assert_allclose(got.norm(dim=1), (theta - centre).norm(dim=1), atol=1e-9)
    for place in (0, 7, 20, 32):
        assert found.rows[place]["objective"] == pytest.approx(objective_at(stack, theta[place], 40), rel=1e-9)
    # the point of the surface nearest to a moment is that moment's network, moved within the plane
    axes = torch.linalg.lstsq(got, theta - centre).solution
    at = torch.from_numpy(np.stack([column(found, "pc_1", True), column(found, "pc_2", True)], 1))
    for place in (0, 11, 24):
        wanted = objective_at(stack, centre + at[place] @ axes, 40)
        assert column(found, "objective", True)[place] == pytest.approx(wanted, rel=1e-6)
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    look(stack, {"paths": diagnostic}, folders, lambda *_: None, [(2.0, 7)] * 2, "best")
    for folder in folders:  # those of the moments, and not of the run's best parameters
        assert pd.read_csv(folder / "paths.csv")["step"].tolist() == [*range(0, 301, 30)] * 3


def objective_at(stack: Stack, theta: Tensor, samples: int) -> float:
    """What training minimises, by a module with these parameters."""
    model, (x, y) = module_of(stack, RUN), samples_of(stack, RUN, "train", samples)
    with torch.no_grad():
        for name, view in stack.layout.views(theta[None]).items():
            model.get_parameter(name).copy_(view[0])
        loss = stack.measures.loss(model(x), y).mean()
        penalty = stack.penalty(theta[None].expand(stack.runs, -1))
    assert penalty is not None
    return (loss + penalty[RUN]).item()


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "paths of two runs or more are wanted; left out: sweep: no trajectory.safetensors"),
        ({}, "is not what diagnostics=.trajectory. leaves"),
        ({"step": torch.arange(3), "1.weight": torch.zeros(2, 5)}, "is not what diagnostics=.trajectory. leaves"),
        ({"step": torch.arange(2), "1.weight": torch.zeros(2, dtype=torch.int64)}, "is not what"),
        (b"damaged", "cannot be read as safetensors"),
    ],
)
def test_paths_that_are_none_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "sweep" / "0").mkdir(parents=True)
        file = tmp_path / "sweep" / "0" / "trajectory.safetensors"
        file.write_bytes(content) if isinstance(content, bytes) else save_file(content, file)
    with pytest.raises(ConfigError, match=message):
        Paths([str(tmp_path / "sweep")], 11, 5, "train", None, "batch").fits(stack_of(runs=1))
    with pytest.raises(ConfigError, match=r"give diagnostics\.paths\.of="):
        Paths(None, 11, 5, "train", None, "batch").fits(stack_of(runs=1))
