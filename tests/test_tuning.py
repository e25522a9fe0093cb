"""Fair tuning: the same trials for every setting, the choice by validation, the jobs on seeds that no trial had."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn

from dlrun.errors import ConfigError
from dlrun.sweep.tuning import tuned

DEFAULT = {"a": 0.1, "b": 1e-3}


def default_lr(job: list[str]) -> float:
    return DEFAULT[dict(override.split("=") for override in job)["optimizer"]]


def trained(folder: Path, outcomes: dict[tuple[str, float], list[tuple[str, float]]]):
    """A launcher whose runs end as the table says: by optimizer and rate, status and loss of each seed in turn."""
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
            (where / "summary.json").write_text(json.dumps({"status": status, "best_val_loss": loss}))
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


def test_a_rate_of_ones_own_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lr is what hydra\.sweeper\.trials finds"):
        tuned([["optimizer=a", "lr=0.1"]], default_lr, 3, 1, 2, lambda *_: [])


def test_the_experiment_of_the_registry(tmp_path: Path) -> None:
    small = ["dataset=iris", "architecture.hidden=[4]", "epochs=2", "plots=none", "hydra.sweeper.trials=2"]
    grid = ["optimizer=sgd,adam", "seed=0,1", "hydra.sweeper.trial_seeds=1", f"hydra.sweep.dir={tmp_path}"]
    command = [sys.executable, "-m", "dlrun", "experiment=compare_optimizers", *small, *grid]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    with (tmp_path / "tuning" / "sweep.csv").open() as trials, (tmp_path / "final" / "sweep.csv").open() as final:
        tried, chosen = list(csv.DictReader(trials)), list(csv.DictReader(final))
    assert len(tried) == 4 and len(chosen) == 4
    for name in ("sgd", "adam"):
        best = min((row for row in tried if row["optimizer"] == name), key=lambda row: float(row["best_val_loss"]))
        assert {row["lr"] for row in chosen if row["optimizer"] == name} == {best["lr"]}
    assert (tmp_path / "final" / "report.html").exists()
