"""Sweeps on a real Slurm, as scripts/slurm/up.sh starts it: the runs of one machine, whatever befalls the jobs."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dlrun.sweep.jobs import submissions

# Nodes and cores are few, and one test takes a node down.
pytestmark = pytest.mark.xdist_group("slurm")

IRIS = ["dataset=iris", "architecture.hidden=[8]", "plots=none", "compile=false"]
LONG = [*IRIS, "steps=25000", "eval_every=50", "seed=range(4)", "hydra.launcher.width=2"]  # half a minute
SLURM = ["hydra/launcher=stack_slurm", "hydra.launcher.tasks=2", "hydra.launcher.timeout_min=20"]


def dlrun(*arguments: str, code: int = 0) -> str:
    """What the command prints; its last part, if it ended otherwise than expected, is the error."""
    done = subprocess.run([sys.executable, "-m", "dlrun", *arguments], capture_output=True, text=True, timeout=250)
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout + done.stderr


def ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def wait_for(what: Callable[[], object], seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, f"this never came; Slurm has {ask('squeue')}"
        time.sleep(0.3)


def metrics(sweep: Path) -> dict[str, list[list[str]]]:
    """Every run's metrics.csv, as texts, without the seconds, which stand last."""
    files = sorted(sweep.glob("*/metrics.csv"))
    return {file.parent.name: [line.split(",")[:-1] for line in file.read_text().splitlines()] for file in files}


def table(sweep: Path) -> list[dict[str, str]]:
    with (sweep / "sweep.csv").open() as file:
        return [{key: value for key, value in row.items() if "second" not in key} for row in csv.DictReader(file)]


@pytest.fixture(scope="module", autouse=True)
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    pytest.importorskip("submitit")
    if not shutil.which("sinfo") or subprocess.run(["sinfo"], capture_output=True, timeout=60).returncode:
        pytest.skip("no Slurm answers here: start one with NODES=2 CPUS=2 scripts/slurm/up.sh")
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("slurm"))
    yield
    os.chdir(before)


def queue(job: str) -> list[str]:
    """The states of the job's tasks that have not ended."""
    return ask("squeue", "--noheader", "--array", "--format=%T", "--jobs", job).split()


def assert_same(sweep: Path, undisturbed: Path) -> None:
    assert metrics(sweep) == metrics(undisturbed)
    weights = [sorted(each.glob("*/model.safetensors")) for each in (sweep, undisturbed)]
    for ours, theirs in zip(*weights, strict=True):
        assert ours.read_bytes() == theirs.read_bytes()


def test_a_sweep_equals_that_of_one_machine(tmp_path: Path) -> None:
    runs = [*IRIS, "epochs=3", "optimizer=sgd,adam", "lr=0.1,0.01", "seed=range(3)", "hydra.launcher.width=3"]
    told = dlrun("-m", *runs, *SLURM, f"hydra.sweep.dir={tmp_path}/slurm")
    assert "12 runs in 2 tasks" in told and "12 runs: 12 finished" in told
    dlrun("-m", *runs, f"hydra.sweep.dir={tmp_path}/here")
    assert_same(tmp_path / "slurm", tmp_path / "here")
    assert len(metrics(tmp_path / "here")) == 12
    assert table(tmp_path / "slurm") == table(tmp_path / "here")
    assert (tmp_path / "slurm" / "report.html").exists()
    told = dlrun("-m", *runs, *SLURM, f"hydra.sweep.dir={tmp_path}/slurm")
    assert "12 of 12 runs are there already" in told and len(submissions(tmp_path / "slurm")) == 1
    told = dlrun("status", f"{tmp_path}/slurm")
    assert told.startswith("12 runs: 12 finished\n") and "2 COMPLETED" in told


def test_a_sweep_that_prunes_submits_what_goes_on_and_equals_that_of_one_machine(tmp_path: Path) -> None:
    rates = ["lr=0.3,0.1,0.01,0.001", "seed=0,1", "epochs=4", "optimizer=sgd"]
    runs = [*IRIS, *rates, "hydra.sweeper.prune=halving", "hydra.sweeper.first_rung=2"]
    told = dlrun("-m", *runs, *SLURM, f"hydra.sweep.dir={tmp_path}/slurm")
    assert "epoch 2: the best 1 of 4 settings goes on" in told and "8 runs: 6 pruned, 2 finished" in told
    assert [sum(map(len, each.parts)) for each in submissions(tmp_path / "slurm")] == [8, 2]
    dlrun("-m", *runs, f"hydra.sweep.dir={tmp_path}/here")
    assert_same(tmp_path / "slurm", tmp_path / "here")
    reasons = [[row["reason"] for row in table(tmp_path / each)] for each in ("slurm", "here")]
    assert reasons[0] == reasons[1] and len(set(reasons[0])) == 4


def test_one_run_per_task_with_the_public_launcher(tmp_path: Path) -> None:
    options = ["hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=20", "hydra.launcher.cpus_per_task=1"]
    dlrun("-m", *IRIS, "epochs=3", "seed=0,1", *options, f"hydra.sweep.dir={tmp_path}/slurm")
    assert [(row["run"], row["seed"], row["status"]) for row in table(tmp_path / "slurm")] == [
        ("0", "0", "finished"),
        ("1", "1", "finished"),
    ]
    dlrun(*IRIS, "epochs=3", "seed=1", f"hydra.run.dir={tmp_path}/alone/1")
    assert metrics(tmp_path / "slurm")["1"] == metrics(tmp_path / "alone")["1"]


def test_whatever_ends_the_jobs_the_sweep_is_that_of_one_machine(tmp_path: Path) -> None:
    dlrun("-m", *LONG, f"hydra.sweep.dir={tmp_path}/undisturbed")
    sweep = tmp_path / "sweep"
    options = [*SLURM, "hydra.launcher.wait=false", "checkpoint_every=0.02min"]
    told = dlrun("-m", *LONG, *options, f"hydra.sweep.dir={sweep}")
    [made] = submissions(sweep)
    job = made.id
    assert f"Slurm's job {job}: 4 runs in 2 tasks" in told and f"`scancel {job}` ends them" in told

    begun = lengths(sweep)
    wait_for(lambda: grown(sweep, begun))
    told = dlrun("status", str(sweep))
    assert told.startswith("4 runs: 4 running") and re.search(rf"^3 +seed=3 +running +{job}_1 ", told, re.M)

    # a job of higher priority takes their place
    ask("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    wait_for(lambda: queue(job) == ["PENDING"] * 2)
    assert dlrun("status", str(sweep)).startswith("4 runs: 4 pending")
    told = dlrun("-m", *LONG, f"hydra.sweep.dir={sweep}", code=2)
    assert f"4 runs are queued or running in Slurm's job {job}: let it end, or end it with `scancel {job}`" in told
    begun = lengths(sweep)
    wait_for(lambda: grown(sweep, begun))

    ask("scancel", "--signal=USR2", job)  # what Slurm sends before the time is over
    wait_for(lambda: "PENDING" in queue(job))
    begun = lengths(sweep)
    wait_for(lambda: grown(sweep, begun))

    if kill_node(ask("squeue", "--noheader", "--array", "--format=%N", "--jobs", job).split()[0]):
        wait_for(lambda: "PENDING" in queue(job))
        begun = lengths(sweep)
        wait_for(lambda: grown(sweep, begun))

    assert len(submissions(sweep)) == 1
    ask("scancel", job)
    wait_for(lambda: not queue(job))
    told = dlrun("status", str(sweep))
    assert told.startswith("4 runs: 4 interrupted") and "2 CANCELLED" in told
    told = dlrun("resume", str(sweep))
    assert "4 runs: 4 finished" in told and len(submissions(sweep)) == 2
    assert_same(sweep, tmp_path / "undisturbed")
    for run in sweep.glob("[0-9]"):  # and none of them began again
        assert (run / "dlrun.log").read_text().count("continuing after step") >= 3
    assert [row["status"] for row in table(sweep)] == ["finished"] * 4


def lengths(sweep: Path) -> dict[str, int]:
    """How many rows each run has."""
    return {run: len(rows) for run, rows in metrics(sweep).items()}


def grown(sweep: Path, begun: dict[str, int]) -> bool:
    """Whether all four runs have more rows than before, and both stacks a checkpoint."""
    now = lengths(sweep)
    checkpoints = {file.parent.parent for file in sweep.glob("*/checkpoint/*.safetensors")}
    return len(now) == 4 and all(now[run] > begun.get(run, 1) for run in now) and len(checkpoints) == 2


def kill_node(node: str) -> bool:
    """Have a node die with all on it, and come back when Slurm has seen it; false for a Slurm that is not for tests."""
    configuration = dict(re.findall(r"^(\w+) += (.*)$", ask("scontrol", "show", "config"), re.MULTILINE))
    if configuration["ClusterName"].strip() != "dlrun" or os.getuid():
        return False
    slurmd = int(Path(configuration["SlurmdPidFile"].strip().replace("%n", node)).read_text())
    processes = [slurmd, *_of_node(node)]
    for number in (signal.SIGSTOP, signal.SIGKILL):  # none of them sees another's death
        for process in processes:
            os.kill(process, number)
    try:
        wait_for(lambda: "down" in ask("sinfo", "--noheader", "--Node", f"--nodes={node}", "--format=%T"))
    finally:
        ask("slurmd", "-N", node)
    return True


def _of_node(node: str) -> list[int]:
    """The processes of the jobs on a virtual node, and those of Slurm's that would tell of their end."""
    jobs = ask("squeue", "--noheader", "--array", "--format=%A", f"--nodelist={node}").split()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if f"SLURMD_NODENAME={node}".encode() in environment or re.search(
            rb"slurmstepd: \[(%s)\." % "|".join(jobs).encode(), command
        ):
            found.append(int(process.name))
    return found


def test_a_launcher_of_ones_own_as_the_documentation_shows_it(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text()
    [text] = re.findall(r"```yaml\n(# @package hydra\.launcher\n.*?)```", page, re.DOTALL)
    (tmp_path / "hydra" / "launcher").mkdir(parents=True)
    (tmp_path / "hydra" / "launcher" / "ours.yaml").write_text(text)
    sweep = tmp_path / "sweep"
    runs = [*IRIS, "epochs=2", "seed=range(3)", "hydra/launcher=ours", f"hydra.sweep.dir={sweep}"]
    dlrun("-m", "--config-dir", str(tmp_path), *runs, "hydra.launcher.wait=false")
    [made] = submissions(sweep)
    assert "CPUs/Task=2" in ask("scontrol", "show", "job", made.id)
    place = f"--config-dir={tmp_path}"
    for typed in ([], [place]):
        assert "hydra/launcher=ours may run any code" in dlrun("resume", str(sweep), *typed, code=2)
    told = dlrun("resume", str(sweep), "hydra/launcher=ours", code=2)
    assert "hydra/launcher=ours: there is no such choice" in told and "--config-dir=FOLDER is where to look" in told
    assert "3 runs: 3 finished" in dlrun("resume", str(sweep), place, "hydra/launcher=ours")
    assert len(submissions(sweep)) == 1


def test_what_slurm_refuses_leaves_nothing(tmp_path: Path) -> None:
    command = ["-m", *IRIS, "seed=0,1", *SLURM, f"hydra.sweep.dir={tmp_path}/sweep"]
    told = dlrun(*command, "hydra.launcher.partition=hgih", code=2)
    assert "Slurm refuses the job: sbatch: error: invalid partition specified: hgih" in told
    assert "Traceback" not in told and not (tmp_path / "sweep").exists()
    assert "hydra.launcher.tasks=0: must be int >= 1" in dlrun(*command, "hydra.launcher.tasks=0", code=2)


def test_packed_runs_of_tasks_are_the_runs_of_one_machine(tmp_path: Path) -> None:
    asked = ["-m", *IRIS, "steps=30", "seed=range(8)", "hydra.launcher.width=2", "hydra.sweeper.keep=packed"]
    dlrun(*asked, *SLURM, f"hydra.sweep.dir={tmp_path / 'there'}")
    dlrun(*asked, f"hydra.sweep.dir={tmp_path / 'here'}")
    assert 0 < len(list((tmp_path / "there" / "packed").iterdir())) <= 4  # the stacks, or what one process found
    assert not [path for path in (tmp_path / "there").iterdir() if path.name.isdecimal()]
    assert [row["run"] for row in table(tmp_path / "there")] == list("01234567")
    assert "8 finished" in dlrun("status", str(tmp_path / "there"))
    for place in ("there", "here"):
        dlrun("unpack", str(tmp_path / place))
    assert_same(tmp_path / "there", tmp_path / "here")
