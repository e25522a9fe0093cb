"""What only claims of optimizers measure, on folders that are made up, against closed forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isnan, log
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.stats import entropy

from dlrun.claims.own import curvature, descent, gradients, likelihood, line, surrogate


def write(folder: Path, name: str, columns: Mapping[str, Sequence[object]]) -> None:
    rows = zip(*columns.values(), strict=True)
    (folder / name).write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")


def write_path(folder: Path, path: Sequence[Sequence[float]], every: int = 1) -> None:
    a, b = zip(*path, strict=True)
    steps = [every * i for i in range(len(a))]
    write(folder, "trajectory.csv", {"epoch": steps, "step": steps, "theta_0": a, "theta_1": b})


def write_metrics(folder: Path, loss: Sequence[float], mistakes: Sequence[float]) -> None:
    steps, none = range(len(loss)), [0.0] * len(loss)
    ours = {"train_loss": loss, "val_loss": none, "train_zero_one": mistakes, "val_zero_one": none}
    write(folder, "metrics.csv", {"epoch": steps, "step": steps, "lr": none, **ours, "seconds": none})


def write_fit(folder: Path) -> None:
    """Of y = 2x + 1 + (1, -2, 1) / 10 at x = 0, 1, 2: what is added has neither mean nor slope there."""
    x, y = [0, 1, 2, 9], [1.1, 2.8, 5.1, 7]
    write(folder, "fit.csv", {"quantity": ["train"] * 3 + ["grid"], "x": x, "target": y})


def test_distance_from_the_least_squares_line_in_its_standard_errors(tmp_path: Path) -> None:
    write_fit(tmp_path)
    # of slope and intercept with a deviation of 0.3 / sqrt(3): s / sqrt(Sxx), s sqrt(1/n + mean^2 / Sxx), Sxx = 2
    s = 0.3 / 3**0.5
    slope, intercept = s / 2**0.5, s * (1 / 3 + 1 / 2) ** 0.5
    write_path(tmp_path, [(9, 9), (2 + 0.5 * slope, 1 - 1.5 * intercept)])
    assert line.away(tmp_path, 0.3) == pytest.approx(1.5)
    write_path(tmp_path, [(9, 9), (2 - 2.5 * slope, 1 - 1.5 * intercept)])
    assert line.away(tmp_path, 0.3) == pytest.approx(2.5)


def test_steps_until_both_parameters_are_near(tmp_path: Path) -> None:
    write_fit(tmp_path)
    write_path(tmp_path, [(9, 9), (2, 3), (2.05, 1.05), (2, 1), (3, 1)], every=20)
    assert line.steps_within(tmp_path, 0.1) == 40 and line.steps_within(tmp_path, 0.01) == 60
    assert line.steps_within(tmp_path, 1e-9) in (60, inf)
    write_path(tmp_path, [(9, 9), (2, 3)])
    assert line.steps_within(tmp_path, 0.1) == inf


def test_excess_is_over_the_residuals_of_the_line(tmp_path: Path) -> None:
    write_fit(tmp_path)
    write_metrics(tmp_path, [5.0, 0.5], [0.0, 0.0])
    assert line.excess(tmp_path) == pytest.approx(0.5 - (0.01 + 0.04 + 0.01) / 3)


def test_a_bowl_is_the_mean_squared_error(tmp_path: Path) -> None:
    write_fit(tmp_path)
    grid = [(a, b) for a in (1.0, 2.0, 4.0) for b in (-1.0, 1.0, 2.0)]
    write_path(tmp_path, [(9, 9), (2, 1)])
    heights = [sum((a * x + b - y) ** 2 for x, y in zip((0, 1, 2), (1.1, 2.8, 5.1), strict=True)) / 3 for a, b in grid]
    columns = {"theta_0": [a for a, _ in grid], "theta_1": [b for _, b in grid]}
    write(tmp_path, "trajectory_surface.csv", {**columns, "objective": heights})
    assert line.bowl(tmp_path) < 1e-14
    heights[4] += 0.01 * (max(heights) - min(heights))
    write(tmp_path, "trajectory_surface.csv", {**columns, "objective": heights})
    assert line.bowl(tmp_path) == pytest.approx(0.01, rel=0.02)


def test_turning_is_1_straight_on_0_at_right_angles_and_minus_1_back_and_forth(tmp_path: Path) -> None:
    for path, cosine in [
        ([(0, 0), (1, 1), (3, 3), (4, 4)], 1),
        ([(0, 0), (1, 0), (1, 2), (0, 2)], 0),
        ([(0, 0), (1, 0), (0, 0), (1, 0)], -1),
    ]:
        write_path(tmp_path, path)
        assert descent.turning(tmp_path) == pytest.approx(cosine)
    write_path(tmp_path, [(0, 0), (1, 0), (0, 0), (0, 1), (0, 2)])
    assert descent.turning(tmp_path) == pytest.approx(0)
    assert descent.turning(tmp_path, last=2) == pytest.approx(1)
    write_path(tmp_path, [(0, 0), (1, 0), (1, 0), (2, 0), (3, 0)])  # a step of length 0 has no direction
    assert descent.turning(tmp_path) == pytest.approx(1)


def test_detour_steps_near_and_furthest(tmp_path: Path) -> None:
    write_path(tmp_path, [(0, 0), (3, 0), (3, 4), (-8, 0), (3, 4)], every=10)
    assert descent.detour(tmp_path, [3, 4], 0.1) == pytest.approx(7 / 5)
    assert descent.detour(tmp_path, [9, 9], 0.1) == inf and descent.steps_near(tmp_path, [9, 9], 0.1) == inf
    assert descent.steps_near(tmp_path, [3, 4], 0.1) == 20 and descent.steps_near(tmp_path, [3, 4], 4) == 10
    assert (descent.furthest(tmp_path, 0), descent.furthest(tmp_path, 1)) == (8, 4)


def test_momentums_steps_are_the_weighted_sum(tmp_path: Path) -> None:
    theta, v, path = np.array([1.0, 1.0]), np.zeros(2), [(1.0, 1.0)]
    for _ in range(20):
        v = 0.7 * v - 0.05 * np.array([1, 9]) * theta
        theta = theta + v
        path.append(tuple(theta))
    write_path(tmp_path, path)
    assert descent.momentum_error(tmp_path, 0.7, 0.05, 9) < 1e-12
    assert descent.momentum_error(tmp_path, 0.6, 0.05, 9) > 0.01
    assert descent.momentum_error(tmp_path, 0.7, 0.05, 8) > 0.01


def test_a_derivative_is_a_step_over_the_rate(tmp_path: Path) -> None:
    path = np.array([[[1.0, 2.0]], [[1.5, 1.0]], [[9.0, 9.0]]])
    save_file({"1.weight": path}, tmp_path / "trajectory.safetensors")
    assert gradients.derivative(tmp_path, "1.weight", [0, 0], 0.1) == pytest.approx(-5)
    assert gradients.derivative(tmp_path, "1.weight", [0, 1], 0.1) == pytest.approx(10)


def test_slack_and_what_is_left_after_the_last_mistake(tmp_path: Path) -> None:
    losses = [0.9, 0.5, 0.4, 0.1]
    write_metrics(tmp_path, losses, [0.5, 0.2, 0.0, 0.0])
    assert surrogate.slack(tmp_path) == pytest.approx(0.1) and surrogate.left(tmp_path) == pytest.approx(0.25)
    assert surrogate.slack(tmp_path, unit=2) == pytest.approx(-0.05)
    write_metrics(tmp_path, losses, [0.1] * 4)
    assert isnan(surrogate.left(tmp_path))


def test_entropy_and_divergence_are_scipys(tmp_path: Path) -> None:
    rows = {"true": ["a", "a", "b", "b"], "predicted": ["a", "b", "a", "b"], "count": [1, 2, 0, 5], "rate": [0.5] * 4}
    write(tmp_path, "confusion.csv", rows)
    q = [1 / 5, 4 / 5]
    told = likelihood.entropy_and_divergence(tmp_path, [0, log(4)])
    assert told == pytest.approx(entropy([3 / 8, 5 / 8]) + entropy([3 / 8, 5 / 8], q))
    assert told == pytest.approx(-(3 * log(q[0]) + 5 * log(q[1])) / 8)  # the mean of minus the logarithms


def test_the_share_of_negative_eigenvalues_is_that_of_the_last_look(tmp_path: Path) -> None:
    quantities = ["eigenvalue_1", "residual_1", "eigenvalue_2", "smallest", "eigenvalue_3", "trace"]
    values = [-4, -1, -3, -9, -2, -9, 3, -1, -1, -1, -1e-12, -9]
    columns = {"step": [0] * 6 + [10] * 6, "layer": ["all"] * 12, "quantity": quantities * 2, "value": values}
    write(tmp_path, "hessian.csv", columns)
    assert curvature.negative_share(tmp_path) == pytest.approx(1 / 3)
