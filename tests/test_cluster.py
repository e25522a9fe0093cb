"""What a sweep on a cluster does that needs no Slurm: packing, what tasks read, signals, and `dlrun status`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import zeros

from dlrun.config.moments import Moment
from dlrun.errors import ConfigError
from dlrun.folder import checkpoint
from dlrun.sweep import cluster
from dlrun.sweep.cluster import Slurm, packed
from dlrun.sweep.jobs import Submission, held, submissions
from dlrun.sweep.part import noticed, read_part, unfinished, write_part
from dlrun.sweep.status import show, standings
from dlrun.sweep.workers import Task


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 8))
def test_stacks_are_packed_evenly(sizes: list[int], count: int) -> None:
    parts = packed([[None] * size for size in sizes], count)  # type: ignore[list-item]
    loads = [sum(map(len, part)) for part in parts]
    assert sorted(len(stack) for part in parts for stack in part) == sorted(sizes) and len(parts) == count
    assert max(loads) - min(loads) <= max(sizes)
    if max(sizes) == 1:
        assert max(loads) - min(loads) <= 1


def test_a_task_reads_what_was_written_for_it(tmp_path: Path) -> None:
    node = {"lr": 1e-5, "name": "1e-3", "rates": {0: 0.1, 7: 1e-3}, "on": "yes", "none": None, "list": [1, 2.0, "é"]}
    until = Moment(200, in_steps=True)
    stack = [Task(3, node, tmp_path / "3", {".hydra/config.yaml": "lr: 1e-5\n"}, until=until, pruned=True)]
    write_part(tmp_path, 0, [stack, stack])
    read = read_part(tmp_path, 0)
    assert [[(task.number, task.folder, task.files) for task in each] for each in read] == 2 * [
        [(3, tmp_path / "3", {".hydra/config.yaml": "lr: 1e-5\n"})]
    ]
    assert repr(read[0][0].node) == repr(node)  # 2.0 is not 2
    assert read[0][0].until == until and read[0][0].pruned


def test_what_a_requeued_task_has_left(tmp_path: Path) -> None:
    stack = [Task(i, {}, tmp_path / str(i), {}) for i in range(6)]
    for i, status in {0: "finished", 1: "interrupted", 2: "finished", 3: "finished", 4: "failed"}.items():
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "summary.json").write_text(json.dumps({"status": status}))
    for first, runs in ((0, [".", "../1"]), (2, [".", "../3"])):
        checkpoint.write(tmp_path / str(first) / "checkpoint", {"a": zeros(1)}, {"step": 1, "runs": runs})
    assert [[task.number for task in part] for part in unfinished(stack)] == [[0, 1], [5]]
    assert unfinished(stack[2:5]) == []


def test_what_waits_for_the_others_of_a_sweep_that_prunes_is_not_left(tmp_path: Path) -> None:
    stack = [Task(i, {}, tmp_path / str(i), {}, until=Moment(2), pruned=True) for i in range(2)]
    for i, epochs in enumerate((2, 1)):
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / "summary.json").write_text(json.dumps({"status": "interrupted"}))
        rows = "".join(f"{epoch},{10 * epoch},0.5\n" for epoch in range(epochs + 1))
        (folder / "metrics.csv").write_text(f"epoch,step,val_loss\n{rows}")
        checkpoint.write(folder / "checkpoint", {"a": zeros(1)}, {"step": 10 * epochs, "runs": ["."]})
    assert [[task.number for task in part] for part in unfinished(stack)] == [[1]]


def test_signals_reach_neither_the_task_nor_what_it_starts() -> None:
    before = signal.getsignal(signal.SIGUSR2)
    with noticed(signal.SIGUSR2, signal.SIGTERM) as came:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(2); print('there')"], stdout=-1)
        time.sleep(0.5)
        child.terminate()
        assert came() == set()
        os.kill(os.getpid(), signal.SIGUSR2)
        assert came() == {signal.SIGUSR2}
        assert child.communicate(timeout=100) == (b"there\n", None) and child.returncode == 0
    assert signal.getsignal(signal.SIGUSR2) == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []).isdisjoint({signal.SIGUSR2, signal.SIGTERM})


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep of six runs, the last two of which two tasks of job 12 hold, by a stand-in for Slurm's squeue."""
    sweep = tmp_path / "sweep"
    for i in range(6):
        (sweep / str(i)).mkdir(parents=True)
    runs = {str(i): {"number": i, "config": str(i)} for i in range(6)}
    (sweep / "plan.json").write_text(json.dumps({"commands": [["seed=range(6)"]], "runs": runs}))
    (sweep / "0" / "summary.json").write_text('{"status": "finished"}')
    (sweep / "1" / "summary.json").write_text('{"status": "failed", "error": "no such device\\nat all"}')
    for i in (2, 3, 4):
        (sweep / str(i) / "metrics.csv").write_text("epoch,step,val_loss,seconds\n0,0,2.5,0.1\n1,9,1.25,0.2\n2,1")
    os.utime(sweep / "3" / "metrics.csv", (0, 0))
    for i in (1, 2, 3):
        (sweep / str(i) / ".hydra").mkdir()
        (sweep / str(i) / ".hydra" / "overrides.yaml").write_text(f"- dataset=iris\n- lr={i}\n")
    (sweep / ".slurm" / "1").mkdir(parents=True)
    Submission(sweep / ".slurm" / "1", "12", [["4"], ["5"], ["0"]]).save()
    (tmp_path / "squeue").write_text('#!/bin/sh\nprintf "0 RUNNING None\\n1 PENDING Resources\\n2 COMPLETED None\\n"\n')
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return sweep


def test_status_tells_how_every_run_stands(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["finished", "failed", "running", "interrupted", "running", "pending"]
    found = standings(sweep)
    assert [run.status for run in found] == words and [run.task for run in found] == ["", "", "", "", "12_0", "12_1"]
    assert [run.setting for run in found] == ["", "lr=1", "lr=2", "lr=3", "", ""]  # what all runs share is no setting
    assert found[2].row == {"epoch": "1", "step": "9", "val_loss": "1.25", "seconds": "0.2"}
    show(sweep)
    told = capsys.readouterr().out.replace("\n", " ")
    assert told.startswith("6 runs: 2 running, 1 finished, 1 failed, 1 interrupted, 1 pending ")
    assert "no such device" in told and "1.250" in told and "lr=2" in told and "dataset=iris" not in told
    assert f"Slurm's job 12: 1 RUNNING, 1 PENDING (Resources), 1 COMPLETED; logs in {sweep}/.slurm/1" in told


def test_status_of_a_run_is_its_own(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run, status in (("0", "finished"), ("1", "failed"), ("2", "running"), ("3", "interrupted")):
        show(sweep / run)
        assert capsys.readouterr().out.startswith(f"1 run: 1 {status}\n")


def test_what_slurm_holds_is_neither_submitted_nor_trained_again(sweep: Path, tmp_path: Path) -> None:
    assert [made.id for made in submissions(sweep)] == ["12"] and held(sweep) == {"4": "12", "5": "12"}
    (tmp_path / "squeue").write_text("#!/bin/sh\necho 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1\n")
    assert held(sweep) == {}  # over long ago
    (tmp_path / "squeue").write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2; exit 1\n")
    with pytest.raises(ConfigError, match="Slurm does not answer: Unable to contact"):
        held(sweep)


def test_what_follows_a_sweep_tells_why_its_tasks_wait(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run 5 waits, begins, and is requeued; each is told once, whatever Slurm does not answer between."""
    waits, begins = "1 PENDING Priority", "1 RUNNING None"
    answers = [waits, "", waits, begins, "1 PENDING BeginTime", "1 COMPLETED None"]
    (tmp_path / "answers").write_text("".join(f"{answer}\n" for answer in answers))
    (tmp_path / "squeue").write_text(
        f'#!/bin/sh\ncd {tmp_path}\nsed -n 1p answers\n[ -n "$(sed -n 1p answers)" ]; code=$?\n'
        "[ $(wc -l < answers) = 1 ] || sed -i 1d answers\nexit $code\n"
    )
    monkeypatch.setattr(cluster, "ASK", 0)
    monkeypatch.setattr(cluster, "POLL", 0)
    cluster.follow(sweep, {"5"})
    told = [line for line in capsys.readouterr().out.splitlines() if "PENDING" in line]
    assert told == ["Slurm's job 12: PENDING (Priority)", "Slurm's job 12: PENDING (BeginTime)"]


def test_without_slurm_the_launcher_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "/nowhere")
    options = {"tasks": 1, "cpus_per_task": 1, "timeout_min": 1, "array_parallelism": 1}
    with pytest.raises(ConfigError, match="needs Slurm, and sbatch is not found"):
        Slurm(options)
