"""`--plan`: what it says is what the sweep then is, nothing is left of it, and its sums are those of a plain loop."""

from __future__ import annotations

import math
import re
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import config
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dlrun.command.cli import main
from dlrun.sweep import beginning, estimate, foreseen, rehearsal
from dlrun.sweep.cluster import Slurm
from dlrun.sweep.estimate import AFTER, AFTER_ROW, AFTER_RUN, FILES, STARTING, estimated, makespan, remarks, told_of
from dlrun.sweep.rehearsal import Takes, Unrehearsed, takes
from dlrun.sweep.workers import Task, train
from dlrun.terminal.console import amount, duration
from dlrun.training.build import plain

ONE = Takes(
    begin=1,
    step=0.01,
    evaluation=0.1,
    looks=0.5,
    end=2,
    steps=100,
    evaluations=11,
    columns=9,
    memory=10**6,
    files=10,
    size=5000,
    uncounted=(),
    stops=False,
    limit=math.inf,
)
TWO = replace(ONE, begin=3, memory=3 * 10**6, files=12)


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where plans are kept, in place of the user's cache."""
    file = tmp_path_factory.mktemp("cache") / "plans.json"
    monkeypatch.setattr(foreseen, "in_cache", lambda name: file)
    return file


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.integers(1, 4))
def test_stacks_begin_where_a_place_is_free(seconds: list[int], places: int) -> None:
    waiting, at_work, clock = list(seconds), list[int](), 0
    while waiting or at_work:  # second by second
        while waiting and len(at_work) < places:
            at_work.append(waiting.pop(0))
        clock += 1
        at_work = [each - 1 for each in at_work if each > 1]
    assert makespan(seconds, places) == clock


def test_what_stacks_take_is_added_up() -> None:
    assert ONE.seconds == 1 + 100 * 0.01 + 11 * 0.1 + 0.5 + 2 and replace(ONE, limit=2).seconds == 1 + 2 + 2
    found = estimated([[(8, ONE), (8, TWO), (4, ONE)], [(2, TWO)]], places=2)
    assert found.parts == pytest.approx((2 * ONE.seconds + 2 * STARTING, TWO.seconds + STARTING))
    assert found.after == AFTER + 22 * AFTER_RUN + 22 * 11 * AFTER_ROW
    assert found.memory == 4 * 10**6 and found.files == FILES + 12 * 10 + 10 * 12
    packed = estimated([[(8, ONE), (8, TWO), (600, ONE)], [(2, TWO)]], places=2, packed=True)
    assert packed.files == FILES + 3 * (1 + 1 + 2 + 1) and packed.at_work == 600 * 10 + 8 * 12 + 2 * 12
    narrow = estimated([[(60, ONE)] * 19 + [(65, ONE), (4, TWO)]], places=2, packed=True)
    assert narrow.files == FILES + 3 * (2 + 3 + 1 + 1)  # eight stacks in each of two packs, and three left
    assert remarks([ONE, replace(TWO, stops=True, uncounted=("landscape",))], {"prune": "halving"}) == [
        "hydra.sweeper.prune may leave off some of it",
        "runs may stop early, and take less",
        "not counted: diagnostics of the finished networks, landscape",
    ]


def test_the_parts_of_a_stacks_line_add_up() -> None:
    assert told_of(ONE) == (
        "1 s to begin + 100 steps of 10 ms (1 s) + 11 evaluations of 100 ms (1.1 s) + 500 ms of diagnostics + "
        "2 s to end = 5.6 s"
    )
    limited = told_of(replace(ONE, looks=0, limit=2))
    assert limited.endswith("(1.1 s) + 2 s to end = 5 s, training for max_time=2 s alone")


def test_on_a_cluster_it_tells_tasks_and_node_hours() -> None:
    slurm = Slurm.__new__(Slurm)  # of which no commands are asked
    slurm.options, slurm.workers = {"tasks": 3, "timeout_min": 60, "gpus_per_node": None}, 2
    stacks: list[Any] = [[i] * runs for i, runs in enumerate((5, 5, 4, 4, 3, 3, 2))]
    parts, places = slurm.parts(stacks)
    assert places == 2 and [sum(map(len, part)) for part in parts] == [10, 8, 8]
    assert sorted(len(stack) for part in parts for stack in part) == sorted(map(len, stacks))
    told = slurm.foreseen([5000.0, 3600.0, 1000.0], around=50)
    assert told.startswith("3 tasks, about 1 h 23 min the longest, 2 times hydra.launcher.timeout_min, 2.7 node-hours")
    slurm.options["gpus_per_node"] = 1
    assert "this machine does not know" in slurm.foreseen([5000.0], around=50)


def test_times_and_sizes_are_readable() -> None:
    times = (0, 0.00021, 0.0123, 0.234, 0.9999, 12.3, 99.9, 200, 18600, 200000)
    assert " | ".join(map(duration, times)) == (
        "0 ms | 0.21 ms | 12 ms | 234 ms | 1 s | 12 s | 1 min 40 s | 3 min 20 s | 5 h 10 min | 2 d 7 h"
    )
    assert [amount(each) for each in (12, 3456, 27e6, 1.23e9, 123e9)] == ["12 B", "3.5 kB", "27 MB", "1.2 GB", "123 GB"]


def test_a_plan_is_compared_with_the_sweep_of_as_many_runs_that_it_told_of(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def typed(task: list[str], hydra: list[str], **sweeper: Any) -> Any:
        return OmegaConf.create({"hydra": {"overrides": {"task": task, "hydra": hydra}, "sweeper": sweeper}})

    def took(config: Any, runs: int) -> str | None:
        monkeypatch.setattr(beginning, "parts", [beginning.Part(runs)])
        return foreseen.compared(config, time.perf_counter() - 41)

    planned = typed(["lr=1,2", "seed=0"], ["hydra.sweep.dir=a"])
    monkeypatch.setattr(beginning, "parts", [beginning.Part(2, 30.0), beginning.Part(4, 7.0)])
    foreseen.remember(planned)
    assert took(typed(["seed=0", "lr=1,2"], ["hydra.sweep.dir=b"]), 6) == "41 s in all; its plan foresaw 37 s"
    assert took(planned, 5) is None  # some were there
    assert took(typed(["lr=1,2", "seed=0"], ["hydra.launcher.workers=1"]), 6) is None
    monkeypatch.setattr(beginning, "parts", [beginning.Part(1, 1.0)])
    for i in range(2 * foreseen.KEPT):
        foreseen.remember(typed([f"lr={i}"], []))
        foreseen.remember(typed([f"seed={i}"], [], prune="halving"))
    assert took(planned, 6) is None and took(typed([f"lr={i}"], []), 1) and not took(typed([f"seed={i}"], []), 1)
    assert len(foreseen.read_kept(kept)) == foreseen.KEPT
    kept.write_text("[1")
    assert took(typed([f"lr={i}"], []), 1) is None


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["dlrun", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


SWEEP = ["-m", "dataset=iris", "epochs=3", "plots=none", "optimizer=sgd,adam", "lr=0.1,0.01,0.001", "seed=range(2)"]


def test_a_plan_trains_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[tuple[int, int]] = []

    def rehearsed(tasks: list[Task], together: int, method: str) -> Takes:
        asked.append((len(tasks), together))
        return ONE

    monkeypatch.setattr(estimate, "rehearsed", rehearsed)
    assert command(monkeypatch, *SWEEP, "hydra.launcher.workers=2", "--plan") == 0
    told = " ".join(capfd.readouterr().out.split())
    assert "12 runs of 6 settings and 2 structures, in 4 stacks of 3 runs" in told and asked == [(3, 2), (3, 2)]
    assert f"{duration(2 * (ONE.seconds + STARTING))} of training" in told and "128 files" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_cannot_be_planned_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ([*SWEEP, "lr=0.1,-1"], [*SWEEP, "hydra/launcher=basic"], ["--summary"], ["lr=-2"]):
        assert command(monkeypatch, *words, "--plan") == 2
    told = " ".join(capfd.readouterr().err.split())
    assert (
        "lr=-1: must be" in told and "--plan: hydra/launcher=basic decides itself" in told
    )  # it checks as a sweep does
    assert "--plan --summary: give one of them" in told and "lr=-2: must be" in told

    def broken(*_: Any, **__: Any) -> Takes:
        raise Unrehearsed("no more memory")

    monkeypatch.setattr(estimate, "rehearsed", broken)
    assert command(monkeypatch, *SWEEP, "--plan") == 0 and command(monkeypatch, "--plan") == 0
    assert capfd.readouterr().out.count("its rehearsal failed: no more memory") == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_sweep_is_the_one_that_was_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "temporary").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "work")
    words = [*SWEEP, "hydra.launcher.workers=2", "hydra.sweep.dir=sweep"]
    assert command(monkeypatch, *words, "--plan") == 0
    told = " ".join(capfd.readouterr().out.split())
    assert not list(tmp_path.glob("*/*"))
    assert command(monkeypatch, *words) == 0
    assert re.search(r"s in all; its plan foresaw \d+", capfd.readouterr().out)
    written = [file for file in Path("sweep").rglob("*") if file.is_file()]
    [files, size, unit] = re.findall(r"([\d,]+) files of ([\d.]+) (kB|MB)", told)[0]
    assert abs(int(files.replace(",", "")) - len(written)) <= 4  # pictures of the sweep's hang on what there is to see
    assert float(size) * {"kB": 1e3, "MB": 1e6}[unit] == pytest.approx(sum(f.stat().st_size for f in written), rel=0.3)
    assert "12 runs of 6 settings and 2 structures, in 4 stacks of 3 runs" in told
    table = Path("sweep/sweep.csv").read_text().splitlines()
    place = table[0].split(",").index("width")
    assert len(table) == 13 and {row.split(",")[place] for row in table[1:]} == {"3"}
    assert "6 steps of" in told and "4 evaluations of" in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (200, ["dataset=xor", "architecture.hidden=[2]", "batch_size=full", "steps=20000", "eval_every=1000"]),
        (8, ["dataset=digits", "architecture.hidden=[16]", "epochs=150", "compile=false"]),
    ],
)
def test_a_stack_takes_what_its_rehearsal_said(
    runs: int, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every call of a function takes 10 microseconds and nothing else takes any, so that no machine is timed."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    monkeypatch.setattr(time, "perf_counter", lambda: calls * 1e-5)
    node = plain(config(*words, "plots=none"))

    def tasks(name: str) -> list[Task]:
        files = {f".hydra/{each}.yaml": "a: 1\n" for each in ("config", "hydra", "overrides")}
        return [Task(i, {**node, "seed": i}, tmp_path / name / str(i), files) for i in range(runs)]

    takes(tasks("warm")[:2], tmp_path / "warm")
    sys.setprofile(count)
    try:
        found, start = takes(tasks("rehearsed"), tmp_path / "rehearsed"), time.perf_counter()
        assert train(tasks("trained")) == 0
        spent = time.perf_counter() - start
    finally:
        sys.setprofile(None)
    assert 0.8 < found.seconds / spent < 1.02, (found, spent)  # the loop around the steps is not rehearsed
    written = [file for file in (tmp_path / "trained" / "0").rglob("*") if file.is_file() and file.name != ".lock"]
    assert found.files == len(written)
    assert found.size == pytest.approx(sum(file.stat().st_size for file in written), rel=0.05)
    assert len((tmp_path / "trained" / "0" / "metrics.csv").read_text().splitlines()) == 1 + found.evaluations
    assert rehearsal.FILED < 200 and len(list((tmp_path / "rehearsed").iterdir())) == min(runs, rehearsal.FILED)
