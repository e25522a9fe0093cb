"""What only some claims measure, against closed forms: functions of tables that are made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isnan, log
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.stats import entropy

from dlrun.claims.own import batches, curvature, descent, fits, gradients, likelihood, line, surrogate
from dlrun.claims.own.confidence import mean_confidence
from dlrun.claims.own.signals import decay, drift, growth
from dlrun.claims.own.symmetry import spread
from dlrun.errors import ConfigError


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


LONG = "epoch,step,layer,quantity,value"


def written(folder: Path, name: str, header: str, rows: list[tuple[object, ...]]) -> Path:
    (folder / f"{name}.csv").write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return folder


def test_growth_is_the_factor_from_layer_to_layer_in_the_untrained_network(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [(0, 0, f"{3 * layer} Tanh", "std", 5 * 0.8**layer) for layer in range(6)]
    rows += [(0, 0, "output", "std", 100), (0, 0, "1.weight", "std", 3), (0, 0, "0 Tanh", "mean", 7)]
    rows += [(1, 20, f"{3 * layer} Tanh", "std", 2.0**layer) for layer in range(6)]
    folder = written(tmp_path, "activations", LONG, rows)
    assert growth(folder, "activations", "std") == pytest.approx(0.8)
    assert growth(folder, "activations", "std", power=2) == pytest.approx(0.64)
    written(tmp_path, "gradients", LONG, rows)
    assert growth(folder, "gradients", "std") == pytest.approx(1 / 0.8)  # backwards


def test_growth_leaves_out_layers_in_which_nothing_is_left(tmp_path: Path) -> None:
    values = [0.0, 1e-30, 1e-20, 1e-10]
    rows: list[tuple[object, ...]] = [(0, 0, f"{place} ReLU", "std", value) for place, value in enumerate(values)]
    assert growth(written(tmp_path, "gradients", LONG, rows), "gradients", "std") == pytest.approx(1e-10)
    with pytest.raises(ConfigError, match="two layers of hidden units"):
        growth(written(tmp_path, "gradients", LONG, rows[:2]), "gradients", "std")


def test_drift_is_the_way_of_the_percentiles_by_their_distance(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = []
    for step, middle in enumerate((0.0, 3.0, 1.0)):  # a distribution that moves as a whole, by 3 of a width of 2
        rows += [(0, step, "6 Sigmoid", f"input_p{p}", middle + at) for p, at in ((15, -1), (50, 0), (85, 1))]
        rows += [(0, step, "3 Sigmoid", f"input_p{p}", 100 * step) for p in (15, 50, 85)]
        rows += [(0, step, "output", f"p{p}", 100 * step) for p in (15, 50, 85)]
    # the last of the table's layers of units is the last one of the network
    rows = [row for row in rows if row[2] == "3 Sigmoid"] + [row for row in rows if row[2] != "3 Sigmoid"]
    assert drift(written(tmp_path, "activations", LONG, rows), "activations", "input_") == pytest.approx(1.5)


def test_decay_is_the_factor_from_time_to_time_before_training(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [(0, 0, lag, 3 * 0.7**lag) for lag in range(9)]
    rows += [(1, 20, lag, 2.0**lag) for lag in range(9)]
    assert decay(written(tmp_path, "lags", "epoch,step,lag,norm", rows)) == pytest.approx(0.7)


@pytest.mark.parametrize(("weights", "wanted"), [(np.zeros, 0.0), (np.ones, 0.0)])
def test_units_that_stay_alike_are_not_spread(tmp_path: Path, weights: type, wanted: float) -> None:
    save_file(
        {"1.weight": weights((3, 4, 2)), "3.weight": np.arange(24.0).reshape(3, 2, 4)},
        tmp_path / "trajectory.safetensors",
    )
    assert spread(tmp_path) == wanted


def test_units_are_spread_by_what_two_ever_differ_in_one_weight(tmp_path: Path) -> None:
    weight = np.zeros((3, 4, 2))
    weight[1, 2] = [-4, 1]  # at one moment, one unit
    weight[2] = 8
    save_file({"3.weight": weight * 0, "1.weight": weight}, tmp_path / "trajectory.safetensors")
    assert spread(tmp_path) == 0.5


def test_mean_confidence_is_that_of_all_samples(tmp_path: Path) -> None:
    rows = [(0.4, 0.5, 2, 0.2, 0.45, 0.5), (0.5, 0.6, 0, 0.0, "nan", "nan"), (0.9, 1.0, 8, 0.8, 0.95, 1.0)]
    folder = written(tmp_path, "calibration", "low,high,samples,share,confidence,accuracy", rows)  # type: ignore[arg-type]
    assert mean_confidence(folder) == pytest.approx((2 * 0.45 + 8 * 0.95) / 10)


FIT = """quantity,x,target,output,width,weight
grid,0.0,nan,9.0,nan,nan
train,0.0,1.0,0.5,nan,nan
train,1.0,2.0,2.25,nan,nan
test,0.0,1.0,0.75,nan,nan
test,1.0,2.0,2.5,nan,nan
kernel,0.0,nan,nan,0.1,-2.0
kernel,0.5,nan,nan,0.1,0.019
kernel,1.0,nan,nan,0.1,0.021
kernel,1.5,nan,nan,0.1,0.0
"""


def test_of_a_fitted_function(tmp_path: Path) -> None:
    (tmp_path / "fit.csv").write_text(FIT)
    assert fits.largest_error(tmp_path, part="test") == pytest.approx(0.5)
    assert fits.largest_error(tmp_path, part="train") == pytest.approx(0.5)
    assert fits.mean_error(tmp_path, part="train") == pytest.approx((0.5 - 0.25) / 2)
    assert fits.mean_error(tmp_path, part="test") == pytest.approx((0.25 - 0.5) / 2)
    assert fits.zero_kernels(tmp_path, limit=0.01) == pytest.approx(2 / 4)  # of 2 the hundredth part is 0.02


def test_noise_of_minibatches_is_their_mean_square_less_the_square_of_their_mean(tmp_path: Path) -> None:
    (tmp_path / "gradient_norm.csv").write_text("epoch,step,grad_norm\n0.1,1,3.0\n0.2,2,5.0\n")
    noise = ["epoch,step,layer,quantity,value"]
    for step, signal in ((0, 4.0), (2, 9.0)):
        noise += [f"0,{step},1.weight,signal,7.0", f"0,{step},all,noise,1.0", f"0,{step},all,signal,{signal}"]
    (tmp_path / "gradient_noise.csv").write_text("\n".join(noise) + "\n")
    assert batches.noise(tmp_path) == pytest.approx((9 + 25) / 2 - 4)
