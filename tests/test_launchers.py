"""Hydra's other launchers and sweepers leave what dlrun's own leave: the same folders, tables, report and exit code."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from deadly import DEADLY
from numpy.testing import assert_allclose

from dlrun.folder.reading import read_metrics
from dlrun.sweep.other_launchers import Jobs, _spans
from dlrun.sweep.plan import Plan
from dlrun.sweep.workers import Task

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "dlrun"]
SMALL = ["dataset=diabetes", "architecture.hidden=[4]", "optimizer=sgd", "epochs=2", "plots=none"]
GRID = ["lr=0.01,1e30", "seed=0,1"]  # the great rate diverges
LAUNCHERS = {
    "basic": [],
    "joblib": ["hydra.launcher.n_jobs=2"],
    "ray": ["+hydra.launcher.ray.init.num_cpus=1", "+hydra.launcher.ray.init.include_dashboard=false"],
}


def skip_without(launcher: str) -> None:
    if launcher != "basic" and not find_spec(launcher if launcher == "ray" else "hydra_plugins.hydra_joblib_launcher"):
        pytest.skip(f"hydra/launcher={launcher} is not installed: pip install -c constraints.txt -e '.[{launcher}]'")


def train(*overrides: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "-m", *SMALL, "hydra.sweep.dir=sweep", *overrides]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open() as lines:
        return list(csv.DictReader(lines))


def names(folder: Path) -> set[str]:
    """Of all files but logs, which tell how a run was launched, too."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix != ".log"}
    return found - {"multirun.yaml", "sensitivity.png"}


@pytest.fixture(scope="module")
def by_stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stack")
    assert train(*GRID, folder=folder).returncode == 1
    return folder / "sweep"


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_sweep_leaves_the_same_folder(launcher: str, by_stack: Path, tmp_path: Path) -> None:
    skip_without(launcher)
    ended = train(*GRID, f"hydra/launcher={launcher}", *LAUNCHERS[launcher], folder=tmp_path)
    there = tmp_path / "sweep"
    assert ended.returncode == 1, ended.stderr
    assert "4 runs: 2 finished, 2 diverged" in ended.stdout and "\x1b[2K" not in ended.stdout
    assert names(there) == names(by_stack)
    for ours, expected in zip(rows(there), rows(by_stack), strict=True):
        assert ours.keys() == expected.keys()
        same = ("run", "lr", "seed", "status", "last_step", "error")
        assert [ours[key] for key in same] == [expected[key] for key in same]
        one, other = (read_metrics(sweep / ours["run"]).drop(columns="seconds") for sweep in (there, by_stack))
        assert_allclose(one, other, rtol=1e-5)  # a row of a stack is the run alone, to rounding


def test_resume_through_joblib_trains_only_what_is_missing(tmp_path: Path) -> None:
    skip_without("joblib")
    assert train("seed=range(3)", "hydra/launcher=joblib", folder=tmp_path).returncode == 0
    sweep = tmp_path / "sweep"
    before = rows(sweep)
    subprocess.run(["rm", "-r", sweep / "0", sweep / "2"], check=True)
    untouched = (sweep / "1" / "summary.json").stat().st_mtime_ns
    ended = subprocess.run([*COMMAND, "resume", "sweep"], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "1 of 3 runs are there already" in ended.stdout
    assert (sweep / "1" / "summary.json").stat().st_mtime_ns == untouched
    for one, other in zip(rows(sweep), before, strict=True):
        assert {k: v for k, v in one.items() if "second" not in k} == {
            k: v for k, v in other.items() if "second" not in k
        }


def test_after_ctrl_c_resume_completes_an_undisturbed_sweep(tmp_path: Path) -> None:
    skip_without("joblib")
    long = ["epochs=1,800", "seed=0,1", "train_metrics=running", "hydra/launcher=joblib", *LAUNCHERS["joblib"]]
    command = [*COMMAND, "-m", *SMALL, *long, "hydra.sweep.dir=sweep"]
    with (tmp_path / "told.txt").open("w") as told:  # a pipe would stay open for as long as any process that is left
        process = subprocess.Popen(command, cwd=tmp_path, stdout=told, stderr=told, start_new_session=True)
    sweep, until = tmp_path / "sweep", time.monotonic() + 200

    def ended() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in sweep.glob("*/summary.json")}

    def is_long(file: Path) -> bool:
        return len(file.read_text().splitlines()) > 10

    while not (ended() and any(map(is_long, sweep.glob("*/metrics.csv")))):
        assert process.poll() is None and time.monotonic() < until, (tmp_path / "told.txt").read_text()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does
    assert process.wait(timeout=200) == 130
    said = (tmp_path / "told.txt").read_text()
    assert "dlrun: interrupted" in said and "Traceback" not in said
    assert {row["status"] for row in rows(sweep)} == {"finished", "interrupted"}
    before = {file: written for file, written in ended().items() if '"interrupted"' not in file.read_text()}

    again = subprocess.run([*COMMAND, "resume", "sweep"], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert before and {file: ended()[file] for file in before} == before
    assert train(*long[:3], "hydra/launcher=basic", "hydra.sweep.dir=undisturbed", folder=tmp_path).returncode == 0
    for run in map(str, range(4)):
        one, other = (read_metrics(each / run).drop(columns="seconds") for each in (sweep, tmp_path / "undisturbed"))
        assert one.equals(other)


def test_a_process_that_dies_is_told_and_failed_runs_can_be_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_without("joblib")
    (tmp_path / "mine.py").write_text(DEADLY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    trust = "allow_targets=[mine]"
    rule = ["optimizer._target_=mine.Deadly", "+optimizer.kills=2,1", trust]
    ended = train(*rule, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", folder=tmp_path)
    assert ended.returncode == 1, ended.stderr
    table = rows(tmp_path / "sweep")
    assert [row["status"] for row in table] == ["failed"] * 2
    assert "TerminatedWorkerError" in table[1]["error"]
    (tmp_path / "mine.py").write_text(DEADLY.replace("== 1", "== 9").replace("== 2", "== 9"))
    again = [*COMMAND, "resume", "sweep", "--retry-failed", rule[0], trust]
    ended = subprocess.run(again, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert [row["status"] for row in rows(tmp_path / "sweep")] == ["finished"] * 2


def test_runs_that_a_launcher_never_began_are_told_by_their_overrides(tmp_path: Path) -> None:
    def launch(*_: Any, **__: Any) -> None:
        raise ConnectionError("no such cluster")

    typed = {seed: {".hydra/overrides.yaml": f"- seed={seed}\n"} for seed in (3, 5)}
    tasks = [Task(i, {"name": "mine"}, tmp_path / str(i), files) for i, files in enumerate(typed.values())]
    launcher: Any = SimpleNamespace(launch=launch)
    Jobs(launcher).train([tasks], Plan(tmp_path, retry_failed=False), "cpu")
    found = [(row["seed"], row["status"], row["error"]) for row in rows(tmp_path)]
    assert found == [(str(seed), "failed", "ConnectionError('no such cluster')") for seed in typed]


def test_choices_that_do_not_fit_are_refused_before_the_first_run(tmp_path: Path) -> None:
    ended = train("normalization=none,instance", "hydra/launcher=basic", folder=tmp_path)
    assert ended.returncode == 2 and "run 1: normalization=instance averages over space" in " ".join(
        ended.stderr.split()
    )
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("launcher", ["stack", "basic"])
def test_hydras_sweeper_with_all_its_ways_to_say_values(launcher: str, tmp_path: Path) -> None:
    grid = ["optimizer=glob(ada*,exclude=adam*)", "seed=range(2)", "lr=choice(0.1,0.01)"]
    (tmp_path / "plan").mkdir()
    params = "# @package _global_\nhydra: {sweeper: {params: {batch_size: '32,64'}}}\n"
    (tmp_path / "plan" / "sizes.yaml").write_text(params)
    plugins = ["hydra/sweeper=basic", f"hydra/launcher={launcher}"]
    ended = train(*grid, "epochs=1", *plugins, "+plan=sizes", "--config-dir", str(tmp_path), folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    found = [tuple(row[key] for key in ("batch_size", "optimizer", "seed", "lr")) for row in rows(tmp_path / "sweep")]
    assert found == [
        (size, name, seed, lr)
        for size in ("32", "64")
        for name in ("adadelta", "adagrad")
        for seed in ("0", "1")
        for lr in ("0.1", "0.01")
    ]
    assert "16 runs: 16 finished" in ended.stdout, ended.stdout
    assert (tmp_path / "sweep" / "report.html").exists()


@pytest.mark.parametrize("launcher", ["stack", "basic"])
def test_runs_of_different_choices_go_into_one_folder(launcher: str, tmp_path: Path) -> None:
    grid = ["optimizer=sgd,adam", "epochs=1", f"hydra/launcher={launcher}"]  # the optimizer is in the folder's name
    command = [*COMMAND, "-m", *SMALL, *grid]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    [sweep] = tmp_path.glob("outputs/multirun/*/*")
    assert [row["optimizer"] for row in rows(sweep)] == ["sgd", "adam"]


def test_jobs_are_launched_in_parts_with_consecutive_numbers() -> None:
    tasks = [Task(number, {}, Path(str(number)), {}) for number in (0, 1, 4, 6, 7, 8)]
    assert [[task.number for task in span] for span in _spans(tasks)] == [[0, 1], [4], [6, 7, 8]]
    assert not list(_spans([]))
