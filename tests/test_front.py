"""The front of a sweep with several objectives: which settings are on it, what is told of it, and for which sweeps."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import Ended, dlrun, environment  # noqa: F401 - a fixture

from dlrun.plots.front import Shown, figure
from dlrun.report.front import undominated

POINTS = st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=30)


@settings(max_examples=30, deadline=None)
@given(POINTS)
def test_nothing_beats_what_is_on_the_front_and_something_all_else(points: list[list[int]]) -> None:
    def beats(a: list[int], b: list[int]) -> bool:
        return all(x <= y for x, y in zip(a, b, strict=True)) and a != b

    expected = [not any(beats(a, b) for a in points) for b in points]
    assert undominated(np.array(points, float)).tolist() == expected


def test_it_is_the_front_that_optuna_finds() -> None:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["maximize", "minimize"])
    values = np.random.default_rng(0).integers(0, 12, (60, 2)).astype(float)
    study.add_trials([optuna.trial.create_trial(values=row) for row in values.tolist()])
    found = np.flatnonzero(undominated(values * [-1, 1])).tolist()
    assert found == sorted(trial.number for trial in study.best_trials)


def test_intervals_of_few_runs_are_not_drawn_and_long_ones_are_cut() -> None:
    def shown(runs: int) -> Shown:
        values = {"loss_mean": [1.0, 2.0], "loss_low": [0.5, -50.0], "loss_high": [1.5, 50.0]}
        sizes = {"parameters_mean": [200.0, 10.0], "parameters_low": [nan, nan], "parameters_high": [nan, nan]}
        table = pd.DataFrame({"label": ["a=1", "a=2"], "runs": runs, **values, **sizes, "front": True})
        return Shown(table, ["loss", "parameters"], [False, False], 0, "seeds")

    few, many = figure({"": shown(2)}, "few"), figure({"": shown(3)}, "many")
    heights = [page.axes[0].get_ylim() for page in (few, many)]
    assert 0.8 < heights[0][0] < 1 and heights[0][1] < 2.2  # of the means alone
    assert 0.2 < heights[1][0] < 0.5 and heights[1][1] < 3
    assert [text.get_text() for text in few.legends[0].get_texts()] == ["a=1", "a=2"]
    assert "fewer is better" in few.axes[0].get_xlabel() and few.axes[0].get_xscale() == "linear"


@pytest.mark.slow
def test_any_sweep_of_several_objectives_has_a_front(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
) -> None:
    sweep = ["dataset=iris", "epochs=2", "optimizer=sgd", "architecture.hidden=[4],[8]", "plots=none"]
    asked = ["lr=0.1,0.001,1e30", "seed=0,1", "objective=[best_val_loss,parameters]", "hydra.sweep.dir=sweep"]
    ended = dlrun("-m", *sweep, *asked)
    assert ended.code == 1 and "Front: less best_val_loss, fewer parameters" in ended.out  # 1e30 diverges
    assert "2 settings are left out" in " ".join(ended.out.split())
    with (tmp_path / "sweep" / "front.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    runs = [json.loads((tmp_path / "sweep" / str(i) / "summary.json").read_text()) for i in range(12)]
    points = {(float(row["best_val_loss_mean"]), float(row["parameters_mean"])): row["front"] for row in rows}
    done = [run for run in runs if run["status"] == "finished"]
    losses = [np.mean([run["best_val_loss"] for run in done[i : i + 2]]) for i in range(0, 8, 2)]
    expected = zip(losses, [run["parameters"] for run in done[::2]], strict=True)
    np.testing.assert_allclose(sorted(points), sorted(expected))
    for (x, y), told in points.items():
        assert told == str(not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)).lower()
    assert 'alt="front"' in (tmp_path / "sweep" / "report.html").read_text()

    (tmp_path / "sweep" / "front.png").unlink()
    assert dlrun("plot", "sweep").code == 0 and (tmp_path / "sweep" / "front.png").exists()
    ended = dlrun("report", "sweep", "--objectives", "test_accuracy,best_epoch")
    assert ended.code == 0 and "Front: more test_accuracy, less best_epoch" in ended.out
    for names, message in (
        ("test_acuracy,seconds", "did you mean test_accuracy?"),
        ("seconds", "--objectives seconds: name two or more"),
    ):
        ended = dlrun("report", "sweep", "--objectives", names)
        assert ended.code == 2 and message in " ".join(ended.err.split())
