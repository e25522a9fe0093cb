"""What only the claims of initialization, normalization and regularization measure, on tables made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from dlrun.claims.own.confidence import mean_confidence
from dlrun.claims.own.signals import decay, drift, growth
from dlrun.claims.own.symmetry import spread
from dlrun.errors import ConfigError

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
