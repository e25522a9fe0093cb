"""Sweeps as users give them: every run as it would be alone, nothing trained twice, and whatever dies is told."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from deadly import DEADLY
from forked import forked
from safetensors.torch import load_file
from torch import equal

SMALL = ["dataset=iris", "architecture.hidden=[8]", "epochs=3", "plots=none"]
COMMAND = [sys.executable, "-m", "dlrun"]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command dlrun -m in a process of its own, into the folder `sweep`."""
    monkeypatch.chdir(tmp_path)

    def run(*overrides: str, small: bool = True) -> subprocess.CompletedProcess[str]:
        return forked("-m", *(SMALL if small else []), *overrides, "hydra.sweep.dir=sweep", folder=tmp_path)

    return run


def rows(file: Path) -> list[dict[str, str]]:
    with file.open() as lines:
        return list(csv.DictReader(lines))


def without_time(table: list[dict[str, str]]) -> list[dict[str, str]]:
    """Nor the width of the stack, which has the runs that were missing."""
    return [{k: v for k, v in row.items() if "second" not in k and k != "width"} for row in table]


def written(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("summary.json")}


@pytest.mark.slow
def test_a_sweeps_runs_are_those_that_single_commands_give(sweep, tmp_path: Path) -> None:
    ended = sweep("optimizer=sgd,adam", "lr=0.1,0.01", "seed=0,1")
    assert ended.returncode == 0, ended.stderr
    table = rows(tmp_path / "sweep" / "sweep.csv")
    assert [row["run"] for row in table] == [str(i) for i in range(8)]
    assert [(row["optimizer"], row["lr"], row["seed"]) for row in table] == [
        (optimizer, lr, seed) for optimizer in ("sgd", "adam") for lr in ("0.1", "0.01") for seed in ("0", "1")
    ]
    for number in (0, 5):
        row, folder = table[number], tmp_path / "alone" / str(number)
        overrides = [f"{key}={row[key]}" for key in ("optimizer", "lr", "seed")]
        assert forked(*SMALL, *overrides, f"hydra.run.dir={folder}", folder=tmp_path).returncode == 0
        there = tmp_path / "sweep" / str(number)
        names = {str(path.relative_to(folder)) for path in folder.rglob("*")}
        own = {
            name for name in names if not name.startswith(("dlrun-packages", "dlrun-changes"))
        }  # a sweep has them once
        assert {str(path.relative_to(there)) for path in there.rglob("*")} == own
        for got, wanted in zip(rows(there / "metrics.csv"), rows(folder / "metrics.csv"), strict=True):
            for name, value in wanted.items():
                if name != "seconds":
                    assert float(got[name]) == pytest.approx(float(value), rel=1e-5, abs=1e-6), name
        weights = load_file(folder / "last.safetensors")
        for name, tensor in load_file(there / "last.safetensors").items():
            assert (tensor - weights[name]).abs().max() < 1e-4
        summary = json.loads((folder / "summary.json").read_text())
        assert row["status"] == summary["status"] and float(row["test_accuracy"]) == summary["test_accuracy"]
        again = tmp_path / "again" / str(number)
        repeat = ["--config-dir", str(there), "--config-name", "config", f"hydra.run.dir={again}"]
        assert forked(*repeat, folder=tmp_path).returncode == 0
        for name, tensor in load_file(again / "last.safetensors").items():
            assert equal(tensor, weights[name])
    read = "iris: 106 train, 22 val, 22 test (dataset.split_seed=0)"
    assert ended.stdout.startswith(f"{read}\n4 features, ") and ended.stdout.count(read) == 1
    for run in range(8):
        assert json.loads((tmp_path / "sweep" / str(run) / "summary.json").read_text())["dataset"]["rows"]["val"] == 22
        assert read in (tmp_path / "sweep" / str(run) / "dlrun.log").read_text()
    assert (tmp_path / "sweep" / "report.html").read_text().count(f"<p>{read}; 4 features, ") == 1
    assert (tmp_path / "sweep" / "report.html").exists() and (tmp_path / "sweep" / "comparison.png").exists()


@pytest.mark.slow
def test_nothing_is_trained_twice(sweep, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    assert sweep("lr=0.1,0.01").returncode == 0
    first, table = written(folder), rows(folder / "sweep.csv")
    ended = sweep("lr=0.1,0.01")
    assert ended.returncode == 0 and "2 of 2 runs are there already" in ended.stdout
    assert written(folder) == first and rows(folder / "sweep.csv") == table
    ended = sweep("seed=1,0", "lr=0.01,0.1", "note=more", "tags=[a]", "objective=[best_val_loss,seconds]", "plots=all")
    assert ended.returncode == 0 and "2 of 4 runs are there already" in ended.stdout  # two of them in another order
    assert "4 runs of 2 settings" in ended.stdout
    assert first.items() <= written(folder).items() and len(written(folder)) == 4
    settings = {(row["lr"], row["seed"]) for row in rows(folder / "sweep.csv")}
    assert settings == {(lr, seed) for lr in ("0.1", "0.01") for seed in ("0", "1")}


@pytest.mark.slow
def test_resume_trains_what_is_missing_and_ends_with_the_same_table(sweep, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    assert sweep("lr=0.1,0.01", "seed=0,1").returncode == 0
    table, before = without_time(rows(folder / "sweep.csv")), written(folder)
    (folder / "1" / "summary.json").unlink()
    (folder / "sweep.csv").unlink()
    subprocess.run(["rm", "-r", folder / "3"], check=True)
    ended = forked("resume", "sweep", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    for row, expected in zip(without_time(rows(folder / "sweep.csv")), table, strict=True):
        numbers = [key for key, value in expected.items() if re.fullmatch(r"-?\d+\.\d+", value)]
        assert row | dict.fromkeys(numbers) == expected | dict.fromkeys(numbers)
        assert [float(row[n]) for n in numbers] == pytest.approx([float(expected[n]) for n in numbers], rel=1e-5)
    after = written(folder)
    assert after.keys() == before.keys()  # and what the other stack had trained is as it was
    assert {name for name in after if after[name] != before[name]} <= {n for n in before if n.startswith(("1/", "3/"))}
    ended = forked("resume", ".", folder=Path.cwd())
    assert ended.returncode == 2 and ". is no sweep's folder" in ended.stderr


@pytest.mark.slow
def test_a_sweeps_folder_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "über, 1 (it's mine)"
    typed = name.replace("'", "\\'")
    for command in (["-m", *SMALL, "seed=0,1", f"hydra.sweep.dir='{typed}'"], ["resume", name]):
        ended = forked(*command, folder=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert len(rows(tmp_path / name / "sweep.csv")) == 2 and [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.slow
def test_every_job_is_checked_before_the_first_begins(sweep, tmp_path: Path) -> None:
    for overrides, message in {
        ("lr=0.1,-1",): "lr=-1: must be null or > 0",
        ("normalization=none,instance",): "normalization=instance averages over space",
        ("optimizer=adam,adm",): "did you mean adam?",
        ("dataset=diabetes", "dataset.label_noise=0,0.5"): "only classes can be replaced",
        ("regularizer=augmentation", "regularizer.augmentation.shift=0,2"): "is for images",
        ("initializer=he_normal,rbm_pretraining",): "this network's activation is ReLU",
    }.items():
        ended = sweep(*overrides)
        assert ended.returncode == 2 and message in ended.stderr, ended.stderr
        assert "Traceback" not in ended.stderr and not (tmp_path / "sweep").exists()


def test_a_run_that_diverges_is_told_and_the_others_finish(sweep, tmp_path: Path) -> None:
    ended = sweep("optimizer=sgd", "lr=0.1,1e30", "dataset=diabetes", "eval_every=0.1")
    assert ended.returncode == 1
    status = [row["status"] for row in rows(tmp_path / "sweep" / "sweep.csv")]
    assert status == ["finished", "diverged"] and "1 finished, 1 diverged" in ended.stdout


@pytest.mark.slow
def test_a_worker_that_dies_takes_its_own_run_alone(sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(DEADLY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    rule = ["optimizer=sgd", "optimizer._target_=mine.Deadly", "+optimizer.kills=0,1,2", "allow_targets=[mine]"]
    ended = sweep(*rule, "seed=0,1", "hydra.launcher.width=6", "hydra.launcher.workers=1")
    assert ended.returncode == 1, ended.stderr
    table = rows(tmp_path / "sweep" / "sweep.csv")
    assert [row["status"] for row in table] == ["finished"] * 2 + ["failed"] * 4
    assert "signal 9" in table[2]["error"] and "out of memory" in table[4]["error"]
    told = [line for line in ended.stdout.splitlines() if "go on in two halves" in line]
    assert told[0] == "6 runs that trained together go on in two halves: the process was ended by signal 9"
    assert "2 runs that trained together go on in two halves: there is too little memory (out of memory)" in told
    again = sweep(*rule, "seed=0,1")
    assert "6 of 6 runs are there already" in again.stdout and again.returncode == 1


@pytest.mark.slow
def test_ctrl_c_leaves_what_is_finished_and_resume_does_the_rest(sweep, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    overrides = ["lr=0.1,0.01", "epochs=2,3000", "hydra.launcher.workers=1", "hydra.sweep.dir=sweep"]
    process = subprocess.Popen([*COMMAND, "-m", *SMALL, *overrides], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    begun = time.monotonic()
    while not any(len(rows(path)) > 20 for path in folder.glob("*/metrics.csv")):
        assert time.monotonic() < begun + 200 and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=200)
    assert process.returncode == 130
    status = {row["run"]: row["status"] for row in rows(folder / "sweep.csv")}
    assert "interrupted" in status.values()
    for run in status:
        for line in (folder / run / "metrics.csv").read_text().splitlines():
            assert line.count(",") == 12
    assert not list(folder.glob("**/*.part"))


@pytest.mark.slow
def test_a_launcher_that_is_killed_loses_nothing_that_was_done(sweep, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    grid = ["seed=range(4)", "epochs=300", "hydra.launcher.width=1", "hydra.launcher.workers=1"]
    assert sweep(*grid).returncode == 0
    expected = without_time(rows(folder / "sweep.csv"))
    weights = [load_file(folder / str(i) / "last.safetensors") for i in range(4)]
    folder.rename(tmp_path / "undisturbed")
    process = subprocess.Popen([*COMMAND, "-m", *SMALL, *grid, "hydra.sweep.dir=sweep"], stdout=subprocess.DEVNULL)
    begun = time.monotonic()
    while not (folder / "1" / "metrics.csv").exists():
        assert time.monotonic() < begun + 200 and process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    time.sleep(1)  # for the worker to notice
    first = written(folder)
    assert first.keys() <= {"0/summary.json", "1/summary.json"} and "0/summary.json" in first
    ended = forked("resume", "sweep", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert written(folder)["0/summary.json"] == first["0/summary.json"]
    assert without_time(rows(folder / "sweep.csv")) == expected
    for i, tensors in enumerate(weights):
        again = load_file(folder / str(i) / "last.safetensors")
        assert all(equal(again[name], tensor) for name, tensor in tensors.items())
