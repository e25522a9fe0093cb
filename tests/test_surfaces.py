"""The test functions against SciPy and their formulas, and every first-order rule on its way down Beale's."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, pi
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import get_object
from scipy.optimize import approx_fprime, minimize, rosen, rosen_der
from torch import nn

from dlrun.architectures.blocks import Blocks
from dlrun.architectures.point import Point
from dlrun.config.catalogue import choices, conf_dir
from dlrun.datasets.data import Samples
from dlrun.datasets.surfaces import beale
from dlrun.errors import ConfigError
from dlrun.matrix.theta import Layout
from dlrun.normalizations import NoNormalization

CURVATURES = np.logspace(0, 2, 2)
DRAWN = np.random.default_rng(0).normal(size=(2, 2))  # what random_quadratic makes symmetric


def beales_sum(p: np.ndarray) -> float:
    """As Beale wrote it, with c = 1.5, 2.25, 2.625."""
    return sum((c - p[0] * (1 - p[1] ** i)) ** 2 for i, c in enumerate((1.5, 2.25, 2.625), start=1))


def himmelblaus_polynomial(p: np.ndarray) -> float:
    """Multiplied out."""
    x, y = p
    return x**4 + y**4 + 2 * x**2 * y + 2 * x * y**2 - 21 * x**2 - 13 * y**2 - 14 * x - 22 * y + 170


def recurrent_net(p: np.ndarray) -> float:
    """Equation (8) of Pascanu et al., one number after the other."""
    w, b = map(float, p)
    h = 0.5
    for _ in range(50):
        h = w / (1 + exp(-h)) + b
    return (1 / (1 + exp(-h)) - 0.7) ** 2


FORMULAS: dict[str, Callable[[np.ndarray], float]] = {
    "beale": beales_sum,
    "saddle": lambda p: (p[0] + p[1]) * (p[0] - p[1]),
    "quadratic": lambda p: p @ np.diag(CURVATURES) @ p / 2,
    "rosenbrock": rosen,
    "himmelblau": himmelblaus_polynomial,
    "long_valley": lambda p: p[0] ** 2 / 2 + (np.hypot(1, p[1]) - 1) / 100,
    "cliff": recurrent_net,
    "random_quadratic": lambda p: p @ DRAWN @ p / 2**0.5,
    "slope": lambda p: p[0] + 2 * p[1],
}
LEAST = sorted(
    FORMULAS.keys() - {"saddle", "cliff", "random_quadratic", "slope"}
)  # those that state where they are least


def keys_of(group: str, name: str) -> dict[str, Any]:
    return yaml.safe_load((conf_dir() / group / f"{name}.yaml").read_text())


def surface(name: str, **changes: object) -> Samples:
    """As conf/dataset says, some keys changed."""
    node = {**keys_of("dataset", name), **changes}
    return get_object(node.pop("_target_"))(**{key: value for key, value in node.items() if key != "scale"})


def value_and_gradient(samples: Samples, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    assert samples.surface
    theta = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    values = samples.surface.value(theta)
    return values.detach().numpy(), torch.autograd.grad(values.sum(), theta)[0].numpy()


def minima(samples: Samples) -> np.ndarray:
    assert samples.surface
    return np.array(samples.surface.minima)


@pytest.mark.parametrize("name", FORMULAS)
def test_values_and_gradients_are_those_of_the_formula(name: str) -> None:
    samples, rng = surface(name), np.random.default_rng(0)
    beginning = np.array([4, -2]) + rng.uniform(-0.2, 0.2, (10, 2))  # of the cliff: 50 steps do not settle there
    points = np.stack([rng.uniform(-3, 3, (10, 2)), beginning])
    values, gradients = value_and_gradient(samples, points)
    assert values.shape == (2, 10) and len(samples.feature_names) == 2
    for index in np.ndindex(2, 10):
        assert values[index] == pytest.approx(FORMULAS[name](points[index]), rel=1e-10, abs=1e-12)
        slope = rosen_der(points[index]) if name == "rosenbrock" else approx_fprime(points[index], FORMULAS[name], 1e-7)
        np.testing.assert_allclose(gradients[index], slope, rtol=1e-4, atol=1e-4)


def test_every_surface_has_a_formula_here() -> None:
    targets = {name: keys_of("dataset", name)["_target_"] for name in choices("dataset")}
    assert {
        name for name, target in targets.items() if target.startswith("dlrun.datasets.surfaces.")
    } == FORMULAS.keys()


@pytest.mark.parametrize("name", LEAST)
def test_the_stated_minima_are_flat_and_nothing_on_a_grid_is_lower(name: str) -> None:
    samples = surface(name)
    values, gradients = value_and_gradient(samples, minima(samples))
    np.testing.assert_allclose(values, 0, atol=1e-25)
    np.testing.assert_allclose(gradients, 0, atol=1e-12)
    axis = np.linspace(-6, 6, 301)
    grid = np.stack(np.meshgrid(axis, axis), -1)
    heights, _ = value_and_gradient(samples, grid)
    distances = np.linalg.norm(grid[:, :, None] - minima(samples), axis=-1).min(-1)
    assert heights[distances > 1e-9].min() > 0


def descended(samples: Samples, start: np.ndarray) -> np.ndarray:
    def both(p: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = value_and_gradient(samples, p)
        return float(value), slope

    return minimize(both, start, jac=True, method="BFGS", options={"gtol": 1e-9}).x


@pytest.mark.parametrize("name", LEAST)
def test_scipy_descends_from_the_start_to_a_stated_minimum(name: str) -> None:
    samples = surface(name)
    end = descended(samples, samples.inputs[0])
    assert np.linalg.norm(end - minima(samples), axis=1).min() < 1e-5
    assert np.linalg.norm(samples.inputs[0] - minima(samples), axis=1).min() > 1


def test_scipy_finds_himmelblaus_four_minima_and_no_others() -> None:
    samples = surface("himmelblau")
    ends = [descended(samples, start) for start in np.random.default_rng(1).uniform(-5, 5, (40, 2))]
    distances = np.linalg.norm(np.array(ends)[:, None] - minima(samples), axis=-1)
    assert set(distances.argmin(1)) == {0, 1, 2, 3} and distances.min(1).max() < 1e-5


def hessian(samples: Samples, point: np.ndarray) -> np.ndarray:
    assert samples.surface
    return torch.autograd.functional.hessian(samples.surface.value, torch.tensor(point)).numpy()


@pytest.mark.parametrize(("condition", "dimensions"), [(1.0, 3), (50.0, 2), (1e4, 7)])
def test_the_quadratic_has_the_condition_number_asked_for(condition: float, dimensions: int) -> None:
    samples = surface("quadratic", condition=condition, dimensions=dimensions)
    curvatures = np.linalg.eigvalsh(hessian(samples, samples.inputs[0]))
    np.testing.assert_allclose(curvatures, np.logspace(0, np.log10(condition), dimensions), rtol=1e-12)
    assert np.array_equal(samples.inputs, np.ones((1, dimensions)))
    assert surface("quadratic", dimensions=1, start=[7]).inputs.tolist() == [[7.0]]


@pytest.mark.parametrize(
    ("dimensions", "positive"),
    [(1, 1 / 2), (2, (2 - 2**0.5) / 4), (3, (pi - 2 * 2**0.5) / (4 * pi))],  # of the Gaussian orthogonal ensemble
)
def test_a_random_quadratic_is_a_minimum_as_seldom_as_the_theory_says(dimensions: int, positive: float) -> None:
    draws, found = 1500, 0
    for seed in range(draws):
        samples = surface("random_quadratic", dimensions=dimensions, seed=seed)
        assert samples.surface
        axes = torch.eye(dimensions, dtype=torch.float64)
        f = samples.surface.value  # its matrix by polarisation
        matrix = f(axes[:, None] + axes) - f(axes)[:, None] - f(axes)
        found += bool((torch.linalg.eigvalsh(matrix) > 0).all())
    assert found / draws == pytest.approx(positive, abs=4 * (positive * (1 - positive) / draws) ** 0.5)


def test_a_slope_without_a_variable_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"dataset.gradient=\[\]: give a number for each variable"):
        surface("slope", gradient=[])


def test_the_long_valley_is_a_hundred_times_steeper_across_and_never_steeper_along() -> None:
    samples = surface("long_valley")
    assert np.linalg.cond(hessian(samples, np.zeros(2))) == pytest.approx(100)
    _, slopes = value_and_gradient(samples, np.array([[1.0, 10.0], [1.0, 1e6]]))
    np.testing.assert_allclose(slopes, [[1, 0.01], [1, 0.01]], rtol=0.006)


def test_the_saddles_start_is_close_to_the_ridge_and_not_on_it() -> None:
    samples = surface("saddle")
    assert np.array_equal(np.linalg.eigvalsh(hessian(samples, np.zeros(2))), [-2, 2])
    assert samples.surface and not samples.surface.minima and 0 < samples.inputs[0, 1] <= 1e-3


@pytest.mark.parametrize("name", FORMULAS)
def test_a_start_of_another_dimension_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"dataset.start=\[1, 2, 3\]: this function has 2 variables: give 2 numbers"):
        surface(name, start=[1, 2, 3])


@pytest.mark.parametrize("name", FORMULAS)
def test_a_run_begins_at_the_start_and_reports_height_and_distance(name: str, stack_of, train) -> None:
    start = [0.5, -1.25]
    stack = stack_of(f"dataset={name}", "architecture=point", f"dataset.start={start}", "lr=1e-3", "steps=1")
    assert stack.theta.tolist() == [start]
    _, [[before, after]] = train(stack)
    expected = {"loss": FORMULAS[name](np.array(start))}
    if name in LEAST:
        expected["distance"] = np.linalg.norm(start - minima(surface(name)), axis=1).min()
    for part in ("train", "val"):
        found = {key.removeprefix(f"{part}_"): number for key, number in before.items() if key.startswith(part)}
        assert found == pytest.approx(expected, rel=1e-5)
    assert after["train_loss"] < before["train_loss"]


CLOSED = {  # what gradient descent does to each coordinate of a sum of squares in each step
    "quadratic": ([], 1 - 0.005 * CURVATURES),
    "saddle": ([], 1 - 0.005 * np.array([2, -2])),
    "saddle, on the ridge": (["dataset.start=[1,0]"], 1 - 0.005 * np.array([2, -2])),
}


@pytest.mark.parametrize("case", CLOSED)
def test_gradient_descent_is_the_geometric_series(case: str, stack_of, train) -> None:
    overrides, factors = CLOSED[case]
    options = ["architecture=point", "precision=float64", "optimizer=sgd", "lr=0.005", "steps=300", "eval_every=300"]
    stack = stack_of(f"dataset={case.split(',')[0]}", *options, *overrides)
    start = stack.theta[0].numpy().copy()
    train(stack)
    np.testing.assert_allclose(stack.theta[0].numpy(), start * factors**300, rtol=1e-10)


def test_clipping_keeps_descent_from_being_thrown_off_the_cliff(stack_of, train) -> None:
    options = ["dataset=cliff", "architecture=point", "precision=float64", "optimizer=sgd", "lr=0.05", "steps=75"]
    thrown, clipped = (train(stack_of(*options, f"clip_norm={norm}")) for norm in ("null", 0.1))
    norms = [row["grad_norm"] for row in thrown[1][0]]
    assert max(norms) > 10 and norms[0] < 0.1  # the wall
    assert thrown[0].last.rows[0]["val_loss"] > thrown[1][0][0]["val_loss"]  # worse than at the start
    assert clipped[0].last.rows[0]["val_loss"] < 0.2 * clipped[1][0][0]["val_loss"]


def test_a_point_is_its_parameters_whatever_the_input() -> None:
    point = Point((2,), 2, Blocks("identity", NoNormalization()), torch.tensor([[3.0, -1.0]]))
    assert point(torch.rand(4, 2)).tolist() == [[3.0, -1.0]] * 4
    assert [name for name, _ in point.named_parameters()] == ["theta"] and Layout(point).mask("weight").sum() == 0


def test_a_point_refuses_dropout(stack_of) -> None:
    with pytest.raises(ConfigError, match=r"architecture=point has no units for regularizer=dropout to drop"):
        stack_of("dataset=beale", "architecture=point", "regularizer=dropout")


FALLING = "schedule=linear"  # to 0: steps whose size does not follow the gradient's end as small as the rate
REACHES = {  # how each first-order rule comes from (1, 1) to Beale's minimum, (3, 0.5)
    "sgd": ["lr=0.03", "steps=1000"],
    "momentum": ["lr=0.01", "steps=500"],
    "nesterov": ["lr=0.01", "steps=500"],
    "adagrad": ["lr=1", "steps=500", FALLING],
    "rmsprop": ["lr=0.01", "steps=500", FALLING],
    "adadelta": ["lr=3", "steps=500", FALLING],
    "adam": ["lr=0.1", "steps=500"],
    "adamw": ["lr=0.1", "steps=500", "optimizer.weight_decay=1e-5"],  # the decay pulls towards (0, 0)
    "amsgrad": ["lr=0.1", "steps=500"],
    "nadam": ["lr=0.1", "steps=500"],
    "lion": ["lr=0.01", "steps=1000", "schedule=cosine", "optimizer.beta2=0.9"],
    "yellowfin": ["lr=4", "steps=1500"],
}


@pytest.mark.parametrize("name", REACHES)
def test_every_first_order_rule_reaches_beales_minimum(name: str, stack_of, train) -> None:
    stack = stack_of("dataset=beale", "architecture=point", "eval_every=5000", f"optimizer={name}", *REACHES[name])
    outcome, _ = train(stack)
    assert outcome.status == ["finished"] and outcome.last.rows[0]["val_distance"] < 1e-3
    assert (stack.theta[0] - torch.tensor([3.0, 0.5])).norm() < 1e-3


def test_muon_reaches_beales_minimum_where_the_point_is_a_hidden_weight() -> None:
    layout = Layout(nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False)))
    node = keys_of("optimizer", "muon")
    rule, theta = get_object(node.pop("_target_"))(node.pop("steps")), torch.ones(1, layout.params)
    rows = {key: torch.full((1, 1), float(value)) for key, value in node.items()}
    rule.bind(layout, theta)
    state = rule.init(theta)
    for step in range(500):
        _, slope = value_and_gradient(beale([1, 1]), theta[:, :2].numpy())
        g = torch.cat([torch.tensor(slope, dtype=theta.dtype), torch.zeros(1, 2)], 1)
        rule.update(theta, g, state, **{**rows, "lr": rows["lr"] * (1 - step / 500)})
    assert (theta[0, :2] - torch.tensor([3.0, 0.5])).norm() < 1e-3


def test_muon_refuses_a_point(stack_of, train) -> None:
    with pytest.raises(ConfigError, match=r"optimizer=muon .* has none"):
        train(stack_of("dataset=beale", "architecture=point", "optimizer=muon"))


def test_the_table_has_every_first_order_rule() -> None:
    rules = {name: get_object(keys_of("optimizer", name)["_target_"]) for name in choices("optimizer")}
    first_order = {name for name, rule in rules.items() if not (rule.curvature or rule.searches)}
    assert first_order == REACHES.keys() | {"muon", "torch"}
