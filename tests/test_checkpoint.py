"""Nothing is lost: a training that ends anywhere goes on to the bytes of one that nobody disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Rows, config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlrun.diagnostics.confusion import Confusion
from dlrun.errors import ConfigError
from dlrun.folder import checkpoint, clearing, names, reading, records
from dlrun.folder.checkpoint import Checkpoint, Interval
from dlrun.folder.lock import locked
from dlrun.folder.resume import differences
from dlrun.job import run
from dlrun.sweep import workers
from dlrun.sweep.workers import Task
from dlrun.terminal.signals import Ended
from dlrun.training.build import build, plain
from dlrun.training.train import fit
from dlrun.training.watching import NOBODY

SMALL = ["dataset=iris", "architecture.hidden=[4]", "batch_size=16", "plots=none", "compile=false"]
TENSORS = {"theta": torch.arange(6.0).reshape(2, 3), "count": torch.tensor([1, 2]), "noise": torch.get_rng_state()}
RECORD = {"step": 7, "rows": [{"epoch": 0.1, "val_loss": float("inf")}, {}], "status": ["running"], "none": None}


def test_what_is_written_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    path = checkpoint.write(tmp_path, TENSORS, RECORD | {"seconds": 0.1 + 0.2, "lowest": 5e-324})
    found, problems = checkpoint.read(tmp_path)
    assert found and not problems and path.name.startswith("7-")
    assert found.record == RECORD | {"seconds": 0.1 + 0.2, "lowest": 5e-324} == checkpoint.newest(tmp_path)
    assert found.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in TENSORS.items())
    assert all(found.tensors[name].dtype == tensor.dtype for name, tensor in TENSORS.items())
    checkpoint.write(tmp_path, TENSORS, {"step": 8, "loss": float("nan")})
    loss = checkpoint.newest(tmp_path)["loss"]
    assert loss != loss


def test_two_generations_are_kept(tmp_path: Path) -> None:
    for step in (9, 10, 11):
        checkpoint.write(tmp_path, TENSORS, {"step": step})
    (tmp_path / ".12-ab.safetensors.part").write_bytes(b"killed")
    assert [path.name.split("-")[0] for path in checkpoint.generations(tmp_path)] == ["11", "10"]
    checkpoint.write(tmp_path, TENSORS, {"step": 12})
    assert len(list(tmp_path.iterdir())) == 2 and checkpoint.latest(tmp_path) == 12


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path_factory: Any, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("checkpoint")
    old, new = (checkpoint.write(folder, TENSORS, {"step": step}) for step in (1, 2))
    content = bytearray(new.read_bytes())
    if data.draw(st.booleans()):
        new.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        new.write_bytes(content)
    found, problems = checkpoint.read(folder)
    assert found and found.record == {"step": 1} and problems == [f"the checkpoint {new.name} is damaged"]
    # the training goes on from step 1: what is damaged is in nobody's way
    again = checkpoint.write(folder, TENSORS, {"step": 2, "again": True})
    assert checkpoint.generations(folder) == [again, old]
    old.write_bytes(b"")
    again.unlink()
    assert checkpoint.read(folder)[0] is None and checkpoint.newest(folder) == {}


def test_when_checkpoints_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [step for step in range(1, 21) if Interval(0.5, 10).due(step)] == [5, 10, 15, 20]
    assert [step for step in range(1, 4) if Interval(0.01, 10).due(step)] == [1, 2, 3]
    assert not any(Interval(None, 10).due(step) for step in range(100))
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    interval = Interval("1.5min", 10)
    now = 189.9
    assert not interval.due(10)
    now = 190.0
    assert interval.due(11)
    interval.written()
    assert not interval.due(12)


CASES = {
    "dropout": ["regularizer=dropout", "epochs=8"],
    "running means": ["train_metrics=running", "epochs=9", "eval_every=3", "optimizer=momentum"],
    "batch norm": ["normalization=batch", "epochs=8", "schedule=cosine", "schedule.warmup=0.3"],
    "early stopping": ["regularizer=early_stopping", "lr=0.1", "epochs=200", "regularizer.early_stopping.patience=2"],
    "plateau": ["schedule=plateau", "schedule.patience=0", "epochs=10"],
    "averages": ["regularizer=[ema,swa]", "lr=0.01", "epochs=8", "regularizer.swa.start=0.3"],
    "range test": ["schedule=lr_range", "optimizer=sgd", "epochs=12", "eval_every=2"],
    "pretraining": ["initializer=autoencoder_pretraining", "initializer.epochs=2", "epochs=6"],
    "torch": ["optimizer=torch", "optimizer.name=NAdam", "epochs=8"],
    "finished networks": [
        "diagnostics=[landscape,interpolation,trajectory]",
        "diagnostics.trajectory.every=2steps",
        "epochs=8",
        "diagnostics.landscape.points=5",
        "diagnostics.trajectory.points=4",
        "normalization=batch",
    ],
    "diagnostics": ["diagnostics=[activations,updates,gradient_norm]", "diagnostics.updates.every=3steps", "epochs=8"],
}


def results(folder: Path) -> dict[str, bytes]:
    """The weights, and the tables without the time."""
    found = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    for path in folder.glob("*.csv"):
        timed = path.name == names.METRICS
        lines = path.read_text().splitlines()
        found[path.name] = "\n".join(line.rpartition(",")[0] if timed else line for line in lines).encode()
    return found


class Crash(Exception):
    """In the middle of a training."""


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """After so many steps of any training from now on there is a Crash; None: not any more."""
    left: int | None = None

    def due(self: object) -> bool:
        nonlocal left
        if left is not None:
            left -= 1
            if left == 0:
                raise Crash
        return False

    monkeypatch.setattr(run.Progress, "due", due)
    monkeypatch.setattr(workers.Telling, "due", due)

    def set_left(steps: int | None) -> None:
        nonlocal left
        left = steps

    return set_left


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_crashes_anywhere_ends_as_if_it_had_not(
    case: str, tmp_path: Path, crashing: Callable[[int | None], None]
) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "run"
    node = config(*SMALL, *CASES[case], "checkpoint_every=0.43")  # in the middle of an epoch, too
    status = run.run(node, whole)
    text = (whole / "config.yaml").read_text()
    for steps in (2, 11, 14):  # before the first checkpoint; after that of step 9; after 21, where an evaluation is due
        crashing(steps)
        with pytest.raises(Crash):
            run.run(node, folder)
        assert reading.read_summary(folder)["status"] == "failed"
    with (folder / "metrics.csv").open("a") as file:
        file.write("1.5,7,0.0")  # half a line
    crashing(None)
    assert run.run(node, folder) == status
    assert results(folder) == results(whole)
    assert (folder / "config.yaml").read_text() == text.replace(str(whole), str(folder))
    assert "continuing after step" in (folder / "dlrun.log").read_text()
    assert not {"checkpoint", ".lock"} & set(os.listdir(folder))
    one, other = (reading.read_summary(each) for each in (whole, folder))
    timed = {"started", "seconds", "steps_per_second"}
    assert {key for key in one if one[key] != other[key]} <= timed


def test_a_run_that_is_ended_while_it_is_looked_at_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is trained again: there is a checkpoint of the last step."""
    node = config(*SMALL, "epochs=3", "checkpoint_every=null", "diagnostics=[calibration,confusion,trajectory]")
    assert run.run(node, tmp_path / "whole") == "finished"
    look = Confusion.look
    monkeypatch.setattr(Confusion, "look", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run.run(node, tmp_path / "run")
    assert not (tmp_path / "run" / "summary.json").exists()
    monkeypatch.setattr(Confusion, "look", look)
    assert run.run(node, tmp_path / "run") == "finished"
    assert results(tmp_path / "run") == results(tmp_path / "whole")
    one, other = (reading.read_summary(tmp_path / each)["diagnostics"] for each in ("run", "whole"))
    assert one == other
    assert not {"checkpoint", "trajectory.kept"} & set(os.listdir(tmp_path / "run"))


def test_seconds_go_on_from_the_checkpoint(tmp_path: Path, crashing: Callable[[int | None], None]) -> None:
    node = config(*SMALL, "epochs=4", "checkpoint_every=1")
    crashing(16)
    with pytest.raises(Crash):
        run.run(node, tmp_path / "run")
    [path, _] = checkpoint.generations(tmp_path / "run" / "checkpoint")
    found, _ = checkpoint.read(path.parent)
    assert found
    path.unlink()
    versions = {**found.record["versions"], "torch": "0.1"}
    checkpoint.write(path.parent, found.tensors, {**found.record, "seconds": 1000.0, "versions": versions})
    crashing(None)
    assert run.run(node, tmp_path / "run") == "finished"
    assert reading.read_summary(tmp_path / "run")["seconds"] > 1000
    assert reading.read_metrics(tmp_path / "run")["seconds"].is_monotonic_increasing
    assert "was written with torch 0.1, now" in (tmp_path / "run" / "dlrun.log").read_text()


def test_a_stack_goes_on_together_or_begins_again(tmp_path: Path, crashing: Callable[[int | None], None]) -> None:
    def tasks(where: str, count: int) -> list[Task]:
        each = ["regularizer=dropout", "epochs=8", "checkpoint_every=0.43", "optimizer=sgd"]
        nodes = [plain(config(*SMALL, *each, f"lr={0.1 / (1 + i)}")) for i in range(count)]
        return [Task(i, node, tmp_path / where / str(i), {".hydra/x.yaml": "x: 1"}) for i, node in enumerate(nodes)]

    def found(where: str) -> list[dict[str, bytes]]:
        return [results(tmp_path / where / str(i)) for i in range(2)]

    assert workers.train(tasks("whole", 2)) == 0
    for steps in (17, 13):
        crashing(steps)
        assert workers.train(tasks("crashed", 2)) == 1
        assert reading.read_summary(tmp_path / "crashed" / "1")["status"] == "failed"
    crashing(None)
    assert workers.train(tasks("crashed", 2)) == 0
    assert found("crashed") == found("whole")
    assert "continuing" in (tmp_path / "crashed" / "1" / "dlrun.log").read_text()
    assert not (tmp_path / "crashed" / "0" / "checkpoint").exists()

    crashing(17)
    assert workers.train(tasks("other", 3)) == 1
    crashing(None)
    assert workers.train(tasks("other", 2)) == 0  # the third is gone, with its dropout noise
    assert found("other") == found("whole")


def test_what_is_left_of_a_stack_goes_on_where_it_was(tmp_path: Path, crashing: Callable[[int | None], None]) -> None:
    """Runs that have ended leave the stack: 4 are 2 after step 7, and 1 after step 28."""
    overrides = ["regularizer=[dropout,ema,early_stopping]", "regularizer.early_stopping.min_delta=10", "epochs=9"]
    overrides += ["checkpoint_every=0.43", "optimizer=adam", "train_metrics=running"]

    def tasks(where: str) -> list[Task]:
        each = [f"regularizer.early_stopping.patience={p}" for p in (1, 99, 1, 4)]
        nodes = [plain(config(*SMALL, *overrides, f"seed={i}", own)) for i, own in enumerate(each)]
        return [Task(i, node, tmp_path / where / str(i), {}) for i, node in enumerate(nodes)]

    def found(where: str) -> list[dict[str, bytes]]:
        return [results(tmp_path / where / str(i)) for i in range(4)]

    assert workers.train(tasks("whole")) == 0
    steps = [reading.read_summary(tmp_path / "whole" / str(i))["steps"] for i in range(4)]
    assert steps == [7, 63, 7, 28]
    for crash in (5, 8, 12, 20, 9):  # after step 5, 11, 21, 38 and 45
        crashing(crash)
        assert workers.train(tasks("crashed")) == 1
    crashing(None)
    assert workers.train(tasks("crashed")) == 0
    assert found("crashed") == found("whole")


class Kept(Rows):
    """Rows of one run, a signal after some step, and the steps at which there was a checkpoint."""

    begun: Checkpoint | None = None
    at_the_end = False
    over = NOBODY.over

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(1)
        self.signum, self.at, self.kept = signum, step, list[int]()

    def due(self, step: int | None = None) -> bool:  # type: ignore[override]
        if step == self.at:
            os.kill(os.getpid(), self.signum)
        return False

    def keep(self, tensors: dict[str, torch.Tensor], record: checkpoint.Record) -> None:
        self.kept.append(record["step"])
        self.begun = Checkpoint({name: tensor.clone() for name, tensor in tensors.items()}, dict(record))


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_leaves_a_checkpoint_and_does_what_it_would_have_done(signum: int, stack_of: Any) -> None:
    keeper = Kept(signum, 10)
    with pytest.raises(Ended) as ended:
        fit(stack_of(*SMALL, "epochs=3"), keeper, keeper)
    assert ended.value.signum == signum and keeper.kept == [10]
    assert signal.getsignal(signum) is signal.SIG_DFL

    came: list[int] = []
    before = signal.signal(signum, lambda number, frame: came.append(number))
    try:
        keeper = Kept(signum, 10)
        outcome = fit(stack_of(*SMALL, "epochs=3"), keeper, keeper)  # a handler that returns lets the training go on
    finally:
        signal.signal(signum, before)
    assert came == [signum] and keeper.kept == [10] and outcome.status == ["finished"]


@pytest.mark.parametrize("more", [False, True])
def test_ctrl_c_keeps_what_was_before_its_closing_evaluation(more: bool) -> None:
    """Also where there is more to do than to train, for which the end is kept, too."""
    overrides = ["epochs=5", "schedule=plateau", "schedule.patience=0", "regularizer=dropout"]
    node, whole, keeper = config(*SMALL, *overrides), Rows(1), Kept(signal.SIGINT, 10)
    expected = fit(build([node]), whole)
    keeper.at_the_end = more
    assert fit(build([node]), keeper, keeper).status == ["interrupted"]
    assert [row["step"] for row in keeper.rows[0]] == [0, 7, 10] and keeper.kept == [10]
    keeper.rows = [keeper.rows[0][:-1]]
    assert keeper.begun and keeper.begun.record["status"] == ["running"]
    if more:  # a fault of dlrun 0.1 left the word that such a run's summary has, and it stood still
        keeper.begun.record["status"] = ["interrupted"]
    outcome = fit(build([node], initialize=False), keeper, keeper)
    assert outcome.status == ["finished"]
    for row in (*keeper.rows[0], *whole.rows[0]):
        row["seconds"] = 0
    assert keeper.rows == whole.rows
    assert torch.equal(outcome.last.kept["theta"], expected.last.kept["theta"])


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_process_that_is_told_to_end_does_by_that_signal(signum: signal.Signals, tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom dlrun.job import run\nfrom dlrun.command.cli import main\n"
        "left = 12\n"
        f"def due(self):\n    global left\n    left -= 1\n    left or os.kill(os.getpid(), {int(signum)})\n"
        "run.Progress.due = due\nmain()\n"
    )
    folder = tmp_path / "run"
    command = [sys.executable, "-c", code, *SMALL, "epochs=9", "name=test", f"hydra.run.dir={folder}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == -signum, ended.stderr
    assert ended.stderr == f"dlrun: ended by {signum.name}; `dlrun resume {folder}` goes on\n"
    assert checkpoint.latest(folder / "checkpoint") == 12
    assert reading.read_summary(folder)["status"] == "interrupted"
    node = config(*SMALL, "epochs=9")
    assert run.run(node, folder) == run.run(node, tmp_path / "whole")
    assert results(folder) == results(tmp_path / "whole")


def test_one_process_in_a_folder(tmp_path: Path) -> None:
    code = "import sys, time\nfrom pathlib import Path\nfrom dlrun.folder.lock import locked\n"
    code += f"with locked(Path({str(tmp_path)!r})):\n    print('held', flush=True)\n    time.sleep(60)\n"
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="another process is at work"), locked(tmp_path):
            pass
        clearing.discard(tmp_path)
        assert tmp_path.exists()
    finally:
        holder.kill()
        holder.communicate()
    with locked(tmp_path):  # which a dead process does not hold
        assert (tmp_path / ".lock").exists()
    assert not list(tmp_path.iterdir())


def test_what_differs_between_a_run_and_a_command() -> None:
    there = {
        "lr": 0.1,
        "seed": 0,
        "train_metrics": "measured",
        "optimizer": {"lr": 0.1, "beta": [1, 2]},
        "plots": "all",
    }
    asked = {**there, "lr": None, "train_metrics": "auto", "plots": "none", "checkpoint_every": 3}
    assert differences(there, asked) == []
    asked = {"lr": 0.2, "train_metrics": "running", "optimizer": {"lr": 0.1, "beta": [1, 3]}, "new": 1, "seed": 0}
    assert differences(there, asked) == [
        "lr: 0.1 there, 0.2 in this command",
        "train_metrics: measured there, running in this command",
        "optimizer.beta: [1, 2] there, [1, 3] in this command",
        "new: no such key there, 1 in this command",
    ]


#: what Python tells of files that are about to change, by sys.addaudithook
WRITES = {"os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir", "shutil.rmtree", "line"}
faults: list[Any] = []  #: the folder, the number of writes until the fault, and the fault


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not faults:
        return
    writing = event in WRITES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE)
    if writing and str(arguments[0]).startswith(str(faults[0])) and not str(arguments[0]).endswith(".lock"):
        faults[1] -= 1
        if faults[1] == 0:
            fault = faults[2]
            faults.clear()
            fault()


@pytest.fixture(scope="module")
def watched() -> Iterator[None]:
    """Every line of a CSV file is written in halves, with an event between them; so are files opened, renamed, ..."""
    sys.addaudithook(_watch)
    whole = records.Run._write_line

    def in_halves(self: records.Run, cells: list[str]) -> None:
        line = ",".join(cells) + "\n"
        for half in (line[: len(line) // 2], line[len(line) // 2 :]):
            self._csv.write(half)
            self._csv.flush()
            sys.audit("line", str(self.folder / names.METRICS))

    records.Run._write_line = in_halves  # type: ignore[method-assign]
    yield
    records.Run._write_line = whole  # type: ignore[method-assign]
    faults.clear()


FAULTY = [*SMALL, "steps=2", "eval_every=0.3", "checkpoint_every=0.1", "regularizer=dropout", "optimizer=sgd"]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def full_disk() -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.slow
@pytest.mark.parametrize("fault", [die, full_disk])
def test_whichever_write_fails_resuming_repairs_it(fault: Callable[[], None], tmp_path: Path, watched: None) -> None:
    node, whole, writes = config(*FAULTY), tmp_path / "whole", 0
    assert run.run(node, whole) == "finished"
    ended = False
    while not ended:
        writes += 1 if fault is die else 3
        folder = tmp_path / str(writes)
        folder.mkdir()  # as Hydra does
        child = os.fork()
        if child == 0:
            faults[:] = [folder, writes, fault]
            try:
                run.run(node, folder)
                os._exit(0 if faults else 1)  # there were not so many writes; or the run did not mind
            except BaseException:
                os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        ended = status == 0
        assert status in ((0, -signal.SIGKILL) if fault is die else (0, 1))
        assert run.run(node, folder) == "finished"
        assert results(folder) == results(whole), f"after {writes} writes"
    assert writes > 25
