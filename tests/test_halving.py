"""Budgets and pruning: what pauses goes on to the same bytes in any stack, and the runs that go on are the paper's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_checkpoint import SMALL, results
from test_sweep import rows, without_time

from dlrun.config.moments import Moment
from dlrun.errors import ConfigError
from dlrun.folder import checkpoint
from dlrun.folder.reading import read_summary
from dlrun.folder.resume import has_more_time, standing
from dlrun.job import run
from dlrun.job.folders import continuing
from dlrun.sweep import workers
from dlrun.sweep.halving import Halving
from dlrun.sweep.workers import Task
from dlrun.training import state, train
from dlrun.training.build import plain


# Runs pause, each by itself, and go on in other stacks.
def test_what_pauses_goes_on_in_other_stacks_to_the_bytes_of_one_that_did_not(tmp_path: Path) -> None:
    """With all that a run may remember: moments, averages, noise, a schedule's and a stopping's patience."""
    words = ["regularizer=[dropout,ema,early_stopping]", "regularizer.early_stopping.min_delta=0.01", "epochs=8"]
    words += ["schedule=plateau", "schedule.patience=0", "schedule.threshold=0.05", "train_metrics=running"]
    nodes = [plain(config(*SMALL, *words, f"seed={i}", f"lr={0.3 / 4**i}")) for i in range(4)]

    def trained(where: str, numbers: Sequence[int], until: Moment | None = None) -> None:
        assert workers.train([Task(i, nodes[i], tmp_path / where / str(i), {}, until=until) for i in numbers]) == 0

    trained("whole", [0, 1, 2, 3])
    trained("parts", [0, 1], Moment(2))
    trained("parts", [2, 3], Moment(2))
    assert {read_summary(tmp_path / "parts" / str(i))["status"] for i in range(4)} == {"interrupted"}
    trained("parts", [0, 3], Moment(30, in_steps=True))
    trained("parts", [3])
    for i, epochs in enumerate([5, 2, 2, 8]):
        here, there = (results(tmp_path / each / str(i)) for each in ("parts", "whole"))
        assert len(here["metrics.csv"].splitlines()) == 2 + epochs
        assert here.keys() == there.keys() and there["metrics.csv"].startswith(here["metrics.csv"])
        assert i < 3 or here == there
    assert sorted(path.parent.name for path in (tmp_path / "parts").glob("*/checkpoint")) == ["0", "1", "2"]


def test_checkpoints_that_do_not_go_together_are_passed_over(tmp_path: Path) -> None:
    """Those of another step, or whose records are a stranger's: the runs begin again, and the log says why."""
    nodes = [plain(config(*SMALL, "epochs=3", f"seed={i}")) for i in range(2)]
    tasks = [Task(i, node, tmp_path / str(i), {}, until=Moment(1)) for i, node in enumerate(nodes)]
    for each in tasks:
        assert workers.train([each]) == 0
    folders = [each.folder for each in tasks]
    found, _ = continuing(folders)
    assert found and found.record["step"] == 7 and found.record["runs"] == [".", "../1"]
    part, _ = checkpoint.read(folders[1] / "checkpoint")
    assert part
    for changed, why in (({"step": 8}, ""), ({"rows": []}, "do not go together"), ({"initialized": []}, "together")):
        checkpoint.write(folders[1] / "checkpoint", part.tensors, {**part.record, **changed}, kept=1)
        found, problems = continuing(folders)
        assert found is None and why in " ".join(problems)


# The time of a run is over.
def test_a_run_whose_time_is_over_goes_on_with_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*SMALL, "epochs=8", "diagnostics=[trajectory,confusion]", "diagnostics.trajectory.points=4"]
    assert run.run(config(*words), tmp_path / "whole") == "finished"
    seconds = 0

    def clock() -> float:
        nonlocal seconds
        seconds += 1
        return float(seconds)

    for module in (train, state):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=clock))
    folder, node = tmp_path / "run", config(*words, "max_time=8s")
    assert run.run(node, folder) == "finished"
    summary = read_summary(folder)
    assert (summary["epochs"], summary["budget"]) == (3, 8)
    assert summary["reason"] == "max_time=8s is over, at epoch 3 of 8"
    assert summary["reason"] in (folder / "dlrun.log").read_text()
    assert standing(folder, plain(node)) == "finished" and run.run(node, folder) == "finished"
    assert read_summary(folder) == summary and not has_more_time(folder, "0.1min") and has_more_time(folder, "1h")
    longer = config(*words, "max_time=16")
    assert standing(folder, plain(longer)) == "begun" and run.run(longer, folder) == "finished"
    assert summary["epochs"] < read_summary(folder)["epochs"] < 8
    assert run.run(config(*words), folder) == "finished"
    assert results(folder) == results(tmp_path / "whole")
    assert "budget" not in read_summary(folder) and not (folder / "checkpoint").exists()


def test_a_time_that_is_over_at_once_leaves_the_untrained_network(tmp_path: Path) -> None:
    assert run.run(config(*SMALL, "epochs=3", "max_time=1e-9"), tmp_path) == "finished"
    assert read_summary(tmp_path)["steps"] == 0 and len((tmp_path / "metrics.csv").read_text().splitlines()) == 2


# The runs that go on are those of the paper's loop.
def papers_loop(losses: Sequence[Sequence[float]], r: int, eta: int) -> list[int]:
    """Li et al. 2020, Algorithm 1, as it stands there: the epochs that each configuration trains."""
    n, total = len(losses), len(losses[0]) - 1
    going, trained, i = list(range(n)), [0] * n, 0
    while True:
        n_i, r_i = max(1, n // eta**i), r * eta**i
        if n_i == 1 or r_i >= total:
            for t in going:
                trained[t] = total
            return trained
        value = {t: min(losses[t][: r_i + 1]) for t in going}  # the best so far
        for t in going:
            trained[t] = r_i
        going = sorted(sorted(going, key=lambda t: (value[t], t))[: max(1, n_i // eta)])
        i += 1


def job(folder: Path, number: int, *overrides: str, **keys: Any) -> Any:
    node = {"epochs": 10, "steps": None, "max_time": None, "eval_every": 1, "dataset": {}, "loss": {}} | keys
    words = list(overrides) or [f"lr={number}"]
    return SimpleNamespace(number=number, overrides=words, folder=folder / str(number), config=node)


def train_to(job: Any, losses: Sequence[float], epoch: float, status: str = "interrupted") -> None:
    """What a run leaves that has trained to this epoch, as one of 10 steps."""
    job.folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{e},{10 * e},0.1,{loss},{loss},1.0" for e, loss in enumerate(losses) if e <= epoch]
    header = "epoch,step,lr,train_loss,val_loss,seconds"
    (job.folder / "metrics.csv").write_text("\n".join([header, *lines]) + "\n")
    (job.folder / "summary.json").write_text(json.dumps({"status": status, "epochs": epoch}))
    (job.folder / "checkpoint").mkdir(exist_ok=True)
    if status == "interrupted":
        (job.folder / "checkpoint" / f"{len(lines) * 10 - 10}-ab.safetensors").touch()


def status(job: Any) -> str:
    return str(read_summary(job.folder)["status"])


numbers = st.one_of(st.floats(0, 3), st.sampled_from([1.0, 2.0, inf]))


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), n=st.integers(2, 12), r=st.integers(1, 3), eta=st.integers(2, 4))
def test_the_runs_that_go_on_are_those_of_the_papers_loop(
    tmp_path_factory: Any, data: st.DataObject, n: int, r: int, eta: int
) -> None:
    folder = tmp_path_factory.mktemp("sweep")
    losses = [data.draw(st.lists(numbers, min_size=11, max_size=11)) for _ in range(n)]
    jobs = [job(folder, i) for i in range(n)]
    halving = Halving.of(r, eta, jobs)
    for place, rung in enumerate(halving.rungs):
        going = [each for each in jobs if place == 0 or status(each) == "interrupted"]
        for each in data.draw(st.permutations(going)):
            assert place == 0 or halving.decide(jobs, place) is None  # before all are there
            train_to(each, losses[each.number], rung.number)
        found = halving.decide(jobs, place)
        assert found and found[0] == len(going)
    for each in jobs:
        if status(each) == "interrupted":
            train_to(each, losses[each.number], 10, "finished")
    expected = papers_loop(losses, r, eta)
    assert [read_summary(each.folder)["epochs"] for each in jobs] == expected
    assert [status(each) == "pruned" for each in jobs] == [epochs < 10 for epochs in expected]
    for place in range(len(halving.rungs)):  # whoever asks again is told the same, whatever came after
        again = halving.decide(jobs, place)
        assert again and again[2] == []
    shutil.rmtree(folder)


def test_a_setting_goes_with_all_of_its_seeds(tmp_path: Path) -> None:
    """By the mean over them; one of which a run diverged comes after any of which none did."""
    curves = {("a", 0): 1.0, ("a", 1): 2.0, ("b", 0): 0.1, ("b", 1): 3.1, ("c", 0): 0.0, ("c", 1): 0.0}
    jobs = [job(tmp_path, i, f"optimizer={o}", f"seed={seed}") for i, (o, seed) in enumerate(curves)]
    for each, loss in zip(jobs, curves.values(), strict=True):
        train_to(each, [9.0, loss], 1, "diverged" if each.number == 5 else "interrupted")
    halving = Halving.of(1, 2, jobs)
    assert halving.decide(jobs, 0) == (3, 1, [jobs[2], jobs[3], jobs[4]])
    assert [status(each) for each in jobs] == ["interrupted"] * 2 + ["pruned"] * 3 + ["diverged"]
    summary = read_summary(jobs[2].folder)
    assert (summary["reason"], summary["epochs"]) == (
        "pruned at epoch 1: 2 of 3 by validation loss, the best 1 went on",
        1,
    )
    assert checkpoint.latest(jobs[0].folder / "checkpoint") == 10 and not (jobs[2].folder / "checkpoint").exists()


def test_what_was_killed_between_a_summary_and_its_checkpoint_is_made_good(tmp_path: Path) -> None:
    jobs = [job(tmp_path, i) for i in range(4)]
    for each in jobs:
        train_to(each, [9.0, each.number], 1)
    halving = Halving.of(1, 2, jobs)
    halving.decide(jobs, 0)
    (jobs[3].folder / "checkpoint").mkdir()
    assert halving.decide(jobs, 0) == (4, 2, [])
    assert [each.number for each in jobs if (each.folder / "checkpoint").exists()] == [0, 1]


REFUSED = {
    "one setting": ([["seed=0"], ["seed=1"]], {}, 1, "it compares settings, and there is one"),
    "steps": ([["a=0"], ["a=1"]], {"steps": 100}, 1, "first_rung=1: epochs, and these trainings have steps=100: write"),
    "epochs": (
        [["a=0"], ["a=1"]],
        {},
        "20steps",
        "first_rung=20steps: steps, and these trainings have epochs=10: write",
    ),
    "late": ([["a=0"], ["a=1"]], {}, 10, "first_rung=10: the trainings end at 10"),
    "seldom": ([["a=0"], ["a=1"]], {"eval_every": 3}, 1, "measured every 3 epochs: give that many or more"),
    "word": ([["a=0"], ["a=1"]], {}, "soon", "first_rung=soon: write epochs, such as 1 or 0.5, or steps, such as"),
    "time": ([["a=0"], ["a=1"]], {"max_time": 3}, 1, "would hang on how fast each is"),
}


def test_the_first_rung_is_an_eighth_unless_it_is_given(tmp_path: Path) -> None:
    def rungs(first: float | str | None, **keys: Any) -> list[str]:
        return [str(rung) for rung in Halving.of(first, 4, [job(tmp_path, i, **keys) for i in range(64)]).rungs]

    assert rungs(None, epochs=30) == ["epoch 4", "epoch 16"] == rungs(4, epochs=30)
    assert rungs(None, epochs=3) == ["epoch 1"] and rungs(None, epochs=30, eval_every=5) == ["epoch 5", "epoch 20"]
    assert rungs(None, steps=1000) == ["step 125", "step 500"] == rungs("125steps", steps=1000)
    assert rungs(0.5, epochs=30, eval_every=0.5) == ["epoch 0.5", "epoch 2", "epoch 8"]  # of 64 settings one is left


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_refused(case: str, tmp_path: Path) -> None:
    overrides, keys, first, told = REFUSED[case]
    with pytest.raises(ConfigError, match=told):
        Halving.of(first, 4, [job(tmp_path, i, *words, **keys) for i, words in enumerate(overrides)])


def test_runs_whose_losses_say_nothing_of_each_other_are_refused(tmp_path: Path) -> None:
    def of(**keys: Any) -> Halving:
        return Halving.of(1, 4, [job(tmp_path, 0, dataset={"_target_": "a", "fold": 0}), job(tmp_path, 1, **keys)])

    with pytest.raises(ConfigError, match="differ in epochs or steps"):
        of(epochs=20)
    with pytest.raises(ConfigError, match="more than one dataset, whose losses say nothing"):
        of(dataset={"_target_": "b"})
    with pytest.raises(ConfigError, match="more than one loss"):
        of(dataset={"_target_": "a"}, loss={"_target_": "c"})
    assert of(dataset={"_target_": "a", "fold": 1, "scale": "none"}).eta == 4


# Whole commands.
SMALLEST = ["dataset=iris", "architecture.hidden=[8]", "epochs=20", "plots=none", "compile=false", "checkpoint_every=2"]
RATES, SEEDS = ["0.1", "0.03", "0.01", "0.003", "0.001", "1e30"], range(2)
SWEEP = ["-m", *SMALLEST, f"lr={','.join(RATES)}", "seed=0,1"]
PRUNED = [*SWEEP, "optimizer=sgd", "hydra.sweeper.prune=halving", "hydra.sweeper.eta=2", "hydra.sweeper.first_rung=1"]


@pytest.fixture
def dlrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)

    def begun(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "dlrun", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return begun


@pytest.mark.slow
def test_a_pruned_sweep_ends_the_same_killed_or_not_whatever_the_workers(dlrun: Any, tmp_path: Path) -> None:
    """And its rows are those of runs that were not pruned, to the last byte."""
    first = dlrun(*PRUNED, "hydra.sweep.dir=one", "hydra.launcher.workers=1")
    out, err = first.communicate(timeout=200)
    assert "epoch 1: the best 3 of 6 settings go on" in out and first.returncode == 1, err  # lr=1e30 diverges
    killed = dlrun(*PRUNED, "hydra.sweep.dir=two", "hydra.launcher.workers=3")
    begun = time.monotonic()
    while not list((tmp_path / "two").glob("*/checkpoint/4-*")):  # of the second rung: two steps are an epoch
        assert time.monotonic() < begun + 200 and killed.poll() is None
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    dlrun("resume", "two").communicate(timeout=200)
    tables = [without_time(rows(tmp_path / where / "sweep.csv")) for where in ("one", "two")]
    assert tables[0] == tables[1] and [row["run"] for row in tables[0]] == [str(i) for i in range(12)]
    ended = [row["status"] for row in tables[0]]
    assert (ended.count("pruned"), ended.count("finished"), ended.count("diverged")) == (8, 2, 2)
    words = [[*SMALLEST, "optimizer=sgd", f"lr={rate}", f"seed={seed}"] for rate in RATES for seed in SEEDS]
    tasks = [Task(i, plain(config(*each)), tmp_path / "whole" / str(i), {}) for i, each in enumerate(words)]
    assert workers.train(tasks) == 0
    for row in tables[0]:
        one, two, whole = (results(tmp_path / where / row["run"]) for where in ("one", "two", "whole"))
        assert one == two and whole["metrics.csv"].startswith(one["metrics.csv"])
        assert one == whole or row["status"] == "pruned"
    assert not list((tmp_path / "one").glob("*/checkpoint"))


@pytest.mark.slow
def test_a_sweep_whose_time_is_over_goes_on(dlrun: Any, tmp_path: Path) -> None:
    ended = dlrun(*SWEEP, "lr=0.1", "hydra.sweep.dir=sweep", "hydra.sweeper.max_time=0.01s")
    out, err = ended.communicate(timeout=200)
    assert "hydra.sweeper.max_time is over: 0 of 2 runs are done" in out and "`dlrun resume " in out, err
    assert ended.returncode == 0
    out, err = dlrun("resume", "sweep").communicate(timeout=200)
    assert [row["status"] for row in rows(tmp_path / "sweep" / "sweep.csv")] == ["finished"] * 2, err
