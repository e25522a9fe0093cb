"""Fair tuning: the same trials for every setting, the choice by validation, the jobs on seeds that no trial had."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import forked
from hydra.core.utils import JobReturn
from test_report import write_run

from dlrun.errors import ConfigError
from dlrun.sweep.status import standings
from dlrun.sweep.tuning import common_target, tuned

DEFAULT = {"a": 0.1, "b": 1e-3}


def default_lr(job: list[str]) -> float:
    return DEFAULT[dict(override.split("=") for override in job)["optimizer"]]


def trained(
    folder: Path,
    outcomes: dict[tuple[str, float], list[tuple[str, float]]],
    metric: Callable[[float], float] | None = None,
):
    """A launcher whose runs end as the table says: by optimizer and rate, status and loss of each seed in turn.

    metric: the accuracy of a run with this loss; None: the task has no metrics.
    """
    launched: dict[str, list[dict[str, str]]] = {}

    def launch(name: str, jobs: list[list[str]]) -> list[JobReturn]:
        launched[name] = [dict(override.split("=") for override in job) for job in jobs]
        returns, count = [], dict.fromkeys(outcomes, 0)
        for number, job in enumerate(launched[name]):
            where = folder / name / str(number)
            where.mkdir(parents=True)
            key = (job["optimizer"], float(job["lr"]))
            status, loss = outcomes[key][count[key] % len(outcomes[key])] if name == "tuning" else ("finished", 0.0)
            count[key] = count.get(key, 0) + 1
            accuracy = {} if metric is None else {"best_val_accuracy": metric(loss)}
            known = {"accuracy": "higher"} if accuracy else {}
            summary = {"status": status, "metrics": known, "best_val_loss": loss, **accuracy}
            (where / "summary.json").write_text(json.dumps(summary))
            returns.append(JobReturn(working_dir=str(where)))
        return returns

    return launch, launched


def test_every_setting_gets_its_best_rate_by_the_same_number_of_trials(tmp_path: Path) -> None:
    good, dead = ("finished", 0.5), ("diverged", 0.1)
    outcomes = {
        ("a", 0.01): [("finished", 0.9), good], ("a", 0.1): [("finished", 0.6), good], ("a", 1.0): [dead, dead],
        ("b", 1e-4): [good, good], ("b", 1e-3): [("finished", 0.1), dead], ("b", 1e-2): [("stopped_early", 0.4), good],
    }  # fmt: skip
    launch, launched = trained(tmp_path, outcomes)
    jobs = [[f"optimizer={name}", f"seed={seed}"] for name in "ab" for seed in (0, 7)]
    tuned(jobs, default_lr, trials=3, decades=1, seeds=2, launch=launch)
    assert [(job["optimizer"], float(job["lr"])) for job in launched["tuning"][::2]] == list(outcomes)
    assert {job["seed"] for job in launched["tuning"]} == {"8", "9"}  # none of the jobs'
    final = [(job["optimizer"], float(job["lr"]), job["seed"]) for job in launched["final"]]
    assert final == [("a", 0.1, "0"), ("a", 0.1, "7"), ("b", 0.01, "0"), ("b", 0.01, "7")]


@pytest.mark.parametrize(("metric", "chosen"), [(None, 0.01), (lambda loss: loss, 0.1), (lambda loss: 0.5, 0.01)])
def test_the_main_metric_decides_and_the_loss_where_that_is_equal(
    metric: Callable[[float], float] | None, chosen: float, tmp_path: Path
) -> None:
    outcomes = {("a", lr): [("finished", loss)] for lr, loss in ((0.01, 0.2), (0.1, 0.3), (1.0, 0.25))}
    launch, launched = trained(tmp_path, outcomes, metric)
    tuned([["optimizer=a", "seed=0"]], default_lr, trials=3, decades=1, seeds=1, launch=launch)
    assert [float(job["lr"]) for job in launched["final"]] == [chosen]


def test_a_rate_of_ones_own_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lr is what hydra\.sweeper\.trials finds"):
        tuned([["optimizer=a", "lr=0.1"]], default_lr, 3, 1, 2, lambda *_: [])


def test_a_rate_that_is_tried_may_diverge(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from dlrun.sweep.ending import complete
    from dlrun.terminal import exits

    runs = [tmp_path / str(number) for number in range(3)]
    for run, status in zip(runs, ("finished", "diverged", "failed"), strict=True):
        write_run(run, f"lr=0.{run.name}1", status=status)
    for trials, counted in ((True, ["finished", "failed"]), (False, ["finished", "diverged", "failed"])):
        exits.statuses.clear()
        complete(tmp_path, runs, time.perf_counter(), trials=trials)
        assert exits.statuses == counted
        assert ("rates that were tried and are too high" in capfd.readouterr().out) == trials
    exits.statuses.clear()


def test_the_status_of_a_tuned_sweep_is_that_of_its_parts(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({"commands": [["seed=0,1"]], "runs": {}}))
    for name, status in (("tuning/0", "diverged"), ("final/0", "finished")):
        write_run(tmp_path / name, status=status)
    assert [(run.name, run.status) for run in standings(tmp_path)] == [
        ("final/0", "finished"),
        ("tuning/0", "diverged"),
    ]


@pytest.mark.slow
def test_the_experiment_of_the_registry(tmp_path: Path) -> None:
    small = ["dataset=iris", "architecture.hidden=[4]", "epochs=2", "plots=none", "hydra.sweeper.trials=2"]
    grid = ["optimizer=sgd,adam", "seed=0,1", "hydra.sweeper.trial_seeds=1", f"hydra.sweep.dir={tmp_path}"]
    ended = forked("experiment=compare_optimizers", *small, *grid, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert_complete(tmp_path)
    page = (tmp_path / "final" / "report.html").read_text()
    assert "<h2>Time to val_accuracy = " in page and "is the least demanding of the settings" in page


def assert_complete(folder: Path) -> None:
    """Two rates were tried for two optimizers, and the better one of each taken for two seeds."""
    with (folder / "tuning" / "sweep.csv").open() as trials, (folder / "final" / "sweep.csv").open() as final:
        tried, chosen = list(csv.DictReader(trials)), list(csv.DictReader(final))
    assert len(tried) == 4 and len(chosen) == 4
    assert {row["status"] for row in tried + chosen} == {"finished"}
    for name in ("sgd", "adam"):
        own = [row for row in tried if row["optimizer"] == name]
        best = min(own, key=lambda row: (-float(row["best_val_accuracy"]), float(row["best_val_loss"])))
        assert {row["lr"] for row in chosen if row["optimizer"] == name} == {best["lr"]}


@pytest.mark.slow
def test_a_tuned_sweep_that_was_killed_is_resumed(tmp_path: Path) -> None:
    small = ["dataset=iris", "architecture.hidden=[4]", "epochs=200", "plots=none", "optimizer=sgd,adam", "seed=0,1"]
    trials = ["hydra.sweeper.trials=2", "hydra.sweeper.trial_seeds=1", "hydra.launcher.workers=1"]
    command = [sys.executable, "-m", "dlrun", "-m", *small, *trials, f"hydra.sweep.dir={tmp_path}/sweep"]
    process, begun = subprocess.Popen(command, stdout=subprocess.DEVNULL), time.monotonic()
    while len(ended := list(tmp_path.glob("sweep/tuning/*/summary.json"))) < 2:  # of the first of two stacks
        assert time.monotonic() < begun + 200 and process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    time.sleep(1)  # for the worker to notice
    before = {file: file.stat().st_mtime_ns for file in ended}
    done = forked("resume", "sweep", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_complete(tmp_path / "sweep")
    assert {file: file.stat().st_mtime_ns for file in ended} == before
    part = forked("resume", "sweep/tuning", folder=tmp_path)
    assert part.returncode == 2 and "is a part of a tuned sweep: dlrun resume sweep" in part.stderr


def test_the_target_is_one_that_every_setting_reaches_in_half_of_its_runs(tmp_path: Path) -> None:
    best = {"adam": [0.9, 0.95, 0.8], "sgd": [0.7, 0.6, None], "adadelta": [None, None, 0.99]}
    runs = []
    for name, values in best.items():
        for seed, value in enumerate(values):
            run = tmp_path / f"{name}{seed}"
            (run / ".hydra").mkdir(parents=True)
            (run / ".hydra" / "overrides.yaml").write_text(f"- optimizer={name}\n- seed={seed}\n")
            ended = {"status": "diverged"} if value is None else {"status": "finished", "best_val_accuracy": value}
            (run / "summary.json").write_text(json.dumps({**ended, "metrics": {"accuracy": "higher"}}))
            runs.append(run)
    assert common_target(runs) == ("val_accuracy", 0.6)  # adadelta, which mostly diverged, has no say
    assert common_target(runs[6:8]) is None
