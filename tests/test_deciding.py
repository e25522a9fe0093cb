"""Seeds until decided: what is run at each look, where it stops and why, after a kill too, and how often it errs."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from forked import forked
from hydra.core.utils import JobReturn
from rich.console import Console
from test_report import write_run

from dlrun.errors import ConfigError
from dlrun.folder.wellformed import plan
from dlrun.report import tables
from dlrun.report.judging import Looks
from dlrun.report.report import report
from dlrun.sweep.deciding import until_decided

LOOKS = Looks((5, 10, 20))


class Launcher:
    """Writes runs, each setting's accuracies drawn around its mean, and keeps what it was asked for."""

    def __init__(self, folder: Path, means: dict[str, float], spread: float = 0.02, **others: Any) -> None:
        self.folder, self.means, self.spread, self.others = folder, means, spread, others
        self.batches: list[list[str]] = []

    def __call__(self, jobs: list[list[str]]) -> list[JobReturn]:
        self.batches.append([" ".join(job) for job in jobs])
        return [self.run(setting, seed) for setting, seed in jobs]

    def run(self, setting: str, seed: str) -> JobReturn:
        number = int(seed.removeprefix("seed="))
        value = self.means[setting] + self.spread * np.random.default_rng([number, len(setting)]).normal()
        folder = self.folder / f"{setting}-{number}"
        write_run(folder, setting, seed, accuracy=self.means[setting], test=value, **self.others.get(setting, {}))
        return JobReturn(working_dir=str(folder))


def of(launcher: Launcher, looks: Looks = LOOKS) -> list[list[str]]:
    until_decided([[setting] for setting in launcher.means], looks, launcher.folder, launcher)
    return launcher.batches


def noted(folder: Path, looks: Looks = LOOKS, **options: Any) -> str:
    (folder / "plan.json").write_text(json.dumps({"looks": {"seeds": looks.seeds, "margin": looks.margin}}))
    console = Console(file=io.StringIO(), width=300)
    report([folder], console=console, **options)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_what_is_decided_gets_no_further_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """lr=1 is the best, lr=333 as good but for chance, lr=22 far below."""
    batches = of(Launcher(tmp_path, {"lr=1": 0.9, "lr=22": 0.1, "lr=333": 0.899}))
    assert batches[0] == [f"lr={lr} seed={seed}" for lr in (1, 22, 333) for seed in range(5)]
    assert batches[1:] == [
        [f"lr={lr} seed={seed}" for lr in (1, 333) for seed in range(*ends)] for ends in ((5, 10), (10, 20))
    ]
    assert capsys.readouterr().out.splitlines() == [
        "5 seeds: 1 of 2 comparisons are undecided; on to 10 seeds",
        "10 seeds: 1 of 2 comparisons are undecided; on to 20 seeds",
    ]
    text = noted(tmp_path)
    assert "seed=until_decided: the cap of 20 seeds is reached; undecided: lr=333 (about " in text
    assert "lr=1 is better than lr=22" in text and "undecided: about " in text


def test_it_stops_where_all_is_decided(tmp_path: Path) -> None:
    assert len(of(Launcher(tmp_path, {"lr=1": 0.9, "lr=22": 0.1}))) == 1
    assert "seed=until_decided: decided at 5 seeds, of 20 at most" in noted(tmp_path)
    assert "decided at" not in noted(tmp_path, margin=0.9)  # which is another question than was asked


def test_a_margin_decides_that_settings_are_equivalent(tmp_path: Path) -> None:
    looks = Looks((5, 10, 20), 0.1)
    assert len(of(Launcher(tmp_path, {"lr=1": 0.9, "lr=22": 0.899}, 0.01), looks)) == 1
    assert "equivalent: lr=22 and lr=1 differ by 0.1 at most" in noted(tmp_path, looks)


def test_a_setting_that_diverges_as_a_whole_takes_no_seeds(tmp_path: Path) -> None:
    launcher = Launcher(tmp_path, {"lr=1": 0.9, "lr=22": 0.1}, **{"lr=22": {"status": "diverged"}})
    assert len(of(launcher)) == 1
    assert "no finished seed in common (5 of 5 diverged)" in noted(tmp_path)


def test_nothing_that_has_finished_is_the_end(tmp_path: Path) -> None:
    failed = {"status": "failed"}
    assert len(of(Launcher(tmp_path, {"lr=1": 0.9, "lr=22": 0.1}, **{"lr=1": failed, "lr=22": failed}))) == 1
    assert "seed=until_decided: stopped at 5 seeds, since there is nothing to compare" in noted(tmp_path)


def test_equal_runs_are_told_as_such_at_the_cap(tmp_path: Path) -> None:
    launcher = Launcher(tmp_path, {"lr=1": 0.9, "lr=22": 0.9}, spread=0)
    assert [len(batch) for batch in of(launcher)] == [10, 10, 20]
    assert "the cap of 20 seeds is reached; undecided: lr=22 (the same for each of 20 seeds)" in noted(tmp_path)


def test_a_sweep_that_was_ended_before_tells_how_far_it_is(tmp_path: Path) -> None:
    launcher = Launcher(tmp_path, {"lr=1": 0.9, "lr=22": 0.9})
    launcher([["lr=1", f"seed={seed}"] for seed in range(5)] + [["lr=22", f"seed={seed}"] for seed in range(3)])
    assert "seed=until_decided: 5 of 20 seeds at most, and 1 of 1 comparisons are open" in noted(tmp_path)


@pytest.mark.slow
def test_of_four_equal_settings_over_all_looks_in_5_of_100_sweeps_something_is_better() -> None:
    """The best by the very values that are compared, which is the worst case. At 95 % for each it would be 40."""
    random = np.random.default_rng(0)
    rows = [(f"lr={lr}", lr, seed, "finished") for lr in range(4) for seed in range(20)]
    table = pd.DataFrame(rows, columns=["run", "lr", "seed", "status"])
    errs, sweeps = 0, 150
    for values in random.normal(size=(sweeps, len(rows))):
        own = table.assign(test_loss=values)
        for look in LOOKS.seeds:
            seen = own[own["seed"] < look]
            best = tables.select(seen, ["lr"], by="test_loss")
            found = tables.comparisons(seen, ["lr"], "test_loss", best, larger_is_better=False, looks=LOOKS)
            if (found["kind"] == "better").any():
                errs += 1
                break
    assert errs / sweeps <= 0.05 + 2 * (0.05 * 0.95 / sweeps) ** 0.5


# Seeds added by hand


def commanded(folder: Path, *commands: list[str]) -> str:
    for lr in (1, 22):
        for seed in range(2):
            if not (folder / f"{lr}-{seed}").exists():
                write_run(folder / f"{lr}-{seed}", f"lr={lr}", f"seed={seed}", test=0.5 + seed / 10 + lr / 100)
    (folder / "plan.json").write_text(json.dumps({"commands": commands}))
    console = Console(file=io.StringIO(), width=300)
    report([folder], console=console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_report_says_once_what_peeking_costs(tmp_path: Path) -> None:
    added = "seeds were added to this sweep"
    assert added not in commanded(tmp_path, ["lr=1,22", "seed=0,1"])
    assert added not in commanded(tmp_path, ["lr=1", "seed=0,1"], ["lr=22", "seed=0,1"])  # settings were
    assert added not in commanded(tmp_path, ["seed=0,1"], ["seed=0,1", "hydra.launcher.workers=1"])
    twice = commanded(tmp_path, ["lr=1,22", "seed=0"], ["lr=1,22", "seed=0,1", "hydra.launcher.workers=1"])
    assert twice.count(added) == 1 and "looked at 2 times" in twice and "is up to 10 %" in twice
    thrice = commanded(tmp_path, ["seed=0"], ["seed=1"], ["seed=until_decided"])
    assert "looked at 3 times" in thrice and "is up to 15 %" in thrice


def test_what_peeking_costs_is_no_more_than_it_says() -> None:
    from scipy import stats

    x = np.random.default_rng(0).normal(size=(4000, 40))
    found = [stats.ttest_1samp(x[:, :n], 0, axis=1).pvalue < 0.05 for n in (10, 20, 40)]
    assert 0.1 < np.any(found, 0).mean() <= 0.15


@pytest.mark.parametrize(
    "looks",
    [3, [5], {"seeds": [5]}, {"seeds": [], "margin": 0}, {"seeds": [5, 5], "margin": 0}, {"seeds": [1], "margin": 0},
     {"seeds": [5, "9"], "margin": 0}, {"seeds": [5], "margin": -1}, {"seeds": [5], "margin": "x"},
     {"seeds": [5], "margin": float("nan")}, {"seeds": [5], "margin": True}],
)  # fmt: skip
def test_looks_in_a_file_are_well_formed(looks: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"looks|plan"):
        plan(json.dumps({"looks": looks}), "plan.json")
    for lr in (1, 22):
        write_run(tmp_path / str(lr), f"lr={lr}")
    (tmp_path / "plan.json").write_text(json.dumps({"looks": looks}))
    console = Console(file=io.StringIO(), width=300)
    report([tmp_path], console=console)
    assert "how often this sweep was looked at is not known" in console.file.getvalue()  # type: ignore[attr-defined]


# The command

SMALL = ["dataset=iris", "architecture.hidden=[4]", "plots=none", "optimizer=sgd,adam", "lr=0.01"]


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "dlrun", *words]


@pytest.mark.slow
def test_it_is_resumed_after_a_kill_and_ends_where_it_would_have(tmp_path: Path) -> None:
    wanted = ["-m", *SMALL, "epochs=40", "seed=until_decided", "hydra.sweeper.looks=[2,4]", "hydra.launcher.workers=1"]
    process = subprocess.Popen(command(*wanted, f"hydra.sweep.dir={tmp_path}/sweep"), stdout=subprocess.DEVNULL)
    begun = time.monotonic()
    while not list(tmp_path.glob("sweep/*/metrics.csv")):
        assert time.monotonic() < begun + 200 and process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    time.sleep(1)  # for the worker to notice
    ends = [
        forked(*words, folder=tmp_path)
        for words in (["resume", "sweep"], [*wanted, "hydra.sweep.dir=whole"], [*wanted, "hydra.sweep.dir=sweep"])
    ]
    assert [end.returncode for end in ends] == [0, 0, 0], [end.stderr for end in ends]
    resumed, whole, again = (end.stdout.split("Settings: ")[1].replace("whole", "sweep") for end in ends)
    assert resumed == whole.replace(str(tmp_path / "whole"), str(tmp_path / "sweep")) == again
    assert "seed=until_decided: " in whole and json.loads((tmp_path / "sweep" / "plan.json").read_text())["looks"] == {
        "seeds": [2, 4], "margin": 0,
    }  # fmt: skip
    assert len(json.loads((tmp_path / "sweep" / "plan.json").read_text())["commands"]) == 1


EXPERIMENT = """# @package _global_
hydra:
  mode: MULTIRUN
  sweeper: {looks: [2], params: {optimizer: "sgd,adam", seed: until_decided}}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "runs"),
    [
        (
            [
                "-m",
                "optimizer=sgd,adam",
                "seed=until_decided",
                "hydra.sweeper.looks=[2]",
                "epochs=1",
                "hydra/launcher=basic",
            ],
            4,
        ),
        (["-m", "lr=0.1,1e-9", "seed=until_decided", "epochs=30", "hydra/sweeper=basic"], 10),
        (["--config-dir=.", "experiment=mine", "epochs=1"], 4),
        (["--config-dir=.", "experiment=mine", "epochs=1", "seed=0"], 2),  # what is typed overrules it
    ],
)
def test_other_launchers_sweepers_and_experiments_take_it_too(words: list[str], runs: int, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(EXPERIMENT)
    small = ["dataset=iris", "architecture.hidden=[4]", "plots=none", "hydra.sweep.dir=sweep", "compile=false"]
    end = forked(*words, *small, folder=tmp_path)
    assert end.returncode == 0, end.stderr
    found = json.loads((tmp_path / "sweep" / "plan.json").read_text())
    assert ("looks" in found) == ("seed=until_decided: " in end.stdout) == (runs > 2)
    looks = [runs] if runs < 10 else [10, 20, 40, 80]  # the default's, of which chance says how many it takes
    assert len(found["runs"]) in looks
