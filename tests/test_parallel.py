"""One run on two processes, started as users start it: the results of one process, one folder, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from dlrun.errors import ConfigError
from dlrun.folder.checkpoint import Checkpoint
from dlrun.matrix.trace import Recording
from dlrun.processes.parallel import refuse
from dlrun.processes.team import Team
from dlrun.terminal.signals import Deferred
from dlrun.training.machine import usable_device
from dlrun.training.stack import Stack
from dlrun.training.team import Alone

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
NOISY = "architecture.hidden=[16] regularizer=[dropout] train_metrics=running eval_every=0.9 epochs=30 plots=none"
NOISY += " compile=false"


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [*TORCHRUN, *arguments, f"hydra.run.dir={folder}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder.parent)


def done(process: subprocess.Popen[str]) -> str:
    told, _ = process.communicate(timeout=200)
    assert process.returncode == 0, told[-3000:]
    return told


def member(rank: int, size: int) -> Alone:
    team = Alone()
    team.rank, team.size = rank, size
    return team


@given(st.integers(0, 50), st.integers(1, 9))
def test_every_sample_is_in_one_share(samples: int, size: int) -> None:
    shares = [range(samples)[member(rank, size).share(samples)] for rank in range(size)]
    assert [i for share in shares for i in share] == list(range(samples))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_shares_gradients_add_up(stack_of: Callable[..., Stack]) -> None:
    """Three processes, a minibatch of 7, and a penalty, which each adds to the sum by itself."""
    overrides = ["precision=float64", "architecture.hidden=[5]", "dataset=iris"]
    stack = stack_of(*overrides)
    batch = torch.arange(7)[None]
    _, whole, loss, *_ = stack.gradient(stack.theta, batch)
    whole, parts, losses = whole.clone(), torch.zeros_like(whole), torch.zeros_like(loss)
    for rank in range(3):
        stack.team = member(rank, 3)
        _, g, part, *_ = stack.gradient(stack.theta, batch)
        parts, losses = parts + g, losses + part
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(losses, loss, rtol=1e-12, atol=0)


DRIVER = """
import os, torch
import dlrun.job.folders, dlrun.training.train
from dlrun.command.cli import main
fit = dlrun.training.train.fit
def kept(stack, *rest):
    outcome = fit(stack, *rest)
    torch.save(stack.theta, f"theta{os.environ['RANK']}.pt")
    return outcome
dlrun.job.folders.fit = dlrun.training.train.fit = kept
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [["architecture.hidden=[200,90]"], ["architecture=cnn", "architecture.channels=[3]", "normalization=batch"]],
    ids=["mlp", "batch normalization"],
)
def test_two_processes_train_as_one_does(
    tmp_path: Path, stack_of: Callable[..., Stack], train: Any, network: list[str]
) -> None:
    """With results of a step of more than 64 KiB, an odd minibatch, smaller ones, and running training columns."""
    (tmp_path / "driver.py").write_text(DRIVER)
    overrides = [*network, "precision=float64", "batch_size=301", "epochs=3", "plots=none"]
    overrides += ["eval_every=0.7", "train_metrics=running", "clip_norm=1", "regularizer=[l2]", "compile=false"]
    process = start(tmp_path / "two", str(tmp_path / "driver.py"), *overrides)
    stack = stack_of(*overrides)
    _, [rows] = train(stack)
    told = done(process)
    assert told.count("epoch 3/3") == 1
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [
        ".hydra", "config.yaml", "dlrun-packages.txt", "dlrun.log", "encoding.json", "last.safetensors", "metrics.csv",
        "model.safetensors", "summary.json",
    ]  # fmt: skip
    assert json.loads((tmp_path / "two" / "summary.json").read_text())["processes"] == 2
    one, two = pd.DataFrame(rows), pd.read_csv(tmp_path / "two" / "metrics.csv")
    pd.testing.assert_frame_equal(two.drop(columns="seconds"), one[[*two][:-1]], rtol=1e-9, atol=1e-12)
    theta, other = (torch.load(tmp_path / f"theta{rank}.pt") for rank in (0, 1))
    assert torch.equal(theta, other)
    torch.testing.assert_close(theta, stack.theta, rtol=1e-7, atol=1e-10)


@pytest.mark.slow
def test_a_signal_to_torchrun_leaves_a_run_that_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    """Each process has its own noise and its own share of the running columns, which the checkpoint has to hold."""
    whole = start(tmp_path / "whole", "-m", "dlrun", *NOISY.split())
    done(whole)
    cut = start(tmp_path / "cut", "-m", "dlrun", *NOISY.split())
    metrics, until = tmp_path / "cut" / "metrics.csv", time.monotonic() + 200
    while not metrics.exists() or metrics.read_text().count("\n") < 4:
        assert time.monotonic() < until and cut.poll() is None
        time.sleep(0.02)
    cut.send_signal(signal.SIGTERM)
    cut.communicate(timeout=200)
    assert cut.returncode and json.loads((tmp_path / "cut" / "summary.json").read_text())["status"] == "interrupted"
    shutil.copytree(tmp_path / "cut", tmp_path / "alone")
    assert "continuing after step" in done(start(tmp_path / "cut", "-m", "dlrun", *NOISY.split()))
    for name in ("model.safetensors", "last.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    tables = [pd.read_csv(tmp_path / name / "metrics.csv").drop(columns="seconds") for name in ("whole", "cut")]
    pd.testing.assert_frame_equal(tables[0], tables[1], check_exact=True)
    told = "the checkpoint was written with processes 2, now 1: the last digits differ, and so does noise"
    assert "processes" not in (tmp_path / "cut" / "dlrun.log").read_text()
    command = [sys.executable, "-m", "dlrun", "resume", str(tmp_path / "alone")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=200)
    assert told in (tmp_path / "alone" / "dlrun.log").read_text()
    assert len(pd.read_csv(tmp_path / "alone" / "metrics.csv")) == len(tables[0])


def test_a_recorded_sum_is_waited_for() -> None:
    """What comes after the sum depends on the wait, so that no compiler may take it first."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        team = object.__new__(Team)
        team.group = dist.group.WORLD.group_name  # type: ignore[union-attr]
        program: Any = Recording(lambda x: team.total(x, x[:, 0]), [torch.rand(1, 20_000)]).program()
        x = torch.rand(1, 20_000)
        g, loss = program(x)
        assert torch.equal(g, x) and torch.equal(loss, x[:, 0])
        [reduced] = [node for node in program.func.__self__.graph.nodes if "all_reduce" in node.name]
        assert [user.name for user in reduced.users] == ["wait_tensor_default"]
    finally:
        dist.destroy_process_group()


def checkpoint() -> Checkpoint:
    """By two processes, which took 2 and 1 samples of one step, then 1 and 1 of another."""
    tensors = {
        "network/theta": torch.ones(1, 3),
        "taken/losses": torch.zeros(2, 1),
        "taken/0": torch.tensor([[1.0, 2.0, 3.0]]),
        "process.1/taken/0": torch.tensor([[4.0, 5.0]]),
    }
    return Checkpoint(tensors, {"taken": [2, 1], "shares": [[2, 1], [1, 1]]})


@pytest.mark.parametrize(
    ("rank", "size", "measured", "taken"),
    [
        (0, 2, [1, 2, 3], [2, 1]),
        (1, 2, [4, 5], [1, 1]),
        (0, 1, [1, 2, 3, 4, 5], [3, 2]),
        (0, 3, [1, 2, 3, 4, 5], [3, 2]),
        (1, 3, [], [0, 0]),
        (2, 3, [], [0, 0]),
    ],
)
def test_a_checkpoint_is_gone_on_with_by_any_number_of_processes(
    rank: int, size: int, measured: list[float], taken: list[int]
) -> None:
    tensors, record = member(rank, size).own(checkpoint())
    assert tensors["taken/0"].tolist() == [measured]
    assert record["taken"] == taken
    assert tensors.keys() == {"network/theta", "taken/losses", "taken/0"}


def test_the_processes_agree_when_to_keep_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred steps a second: they ask at the first step, then about every second, and forget nothing between."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    team = object.__new__(Team)
    team.wanted, team.last, team.next = False, None, 0
    asked: list[int] = []

    def greatest(*numbers: float) -> list[float]:  # the other process knows of no more, but got SIGTERM at step 150
        asked.append(step)
        return [max(numbers[0], signal.SIGTERM if step > 150 else 0), *numbers[1:]]

    team._greatest = greatest  # type: ignore[method-assign]
    signals, kept = Deferred(), []
    for step in range(1, 250):
        now += 0.01
        if team.due(step, lambda step: step == 50, signals):
            kept.append(step)
        if signals.came:
            break
    assert asked[0] == 1 and len(asked) <= 6
    assert len(kept) == 2 and 50 <= kept[0] <= 150 < kept[1] <= 250
    assert signals.came == signal.SIGTERM and not signals.interrupted


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["batch_size=149", "dataset.val_fraction=0.01", "dataset.test_fraction=0.01"], None),
        (["normalization=batch", "regularizer=[ema]"], None),
        (["normalization=batch", "regularizer=[swa]"], r"regularizer=\[swa\] measures the averages of norm"),
        (["optimizer=newton", "batch_size=full", "architecture.hidden=[3]"], "the optimizer Newton keeps a matrix"),
        (["regularizer=[gradient_noise]"], "the regularizer GradientNoise draws noise for the gradient"),
        (["dataset.train_size=65"], "65 training samples in batches of 64 leave a batch of 1, which 2 processes"),
        (["optimizer=lbfgs", "batch_size=full"], None),
        (["diagnostics=[weights]"], r"diagnostics=\[weights\] look at networks in one process"),
    ],
)
def test_what_needs_whole_minibatches_is_refused(
    stack_of: Callable[..., Stack], overrides: list[str], message: str | None
) -> None:
    stack = stack_of("dataset=iris" if "train_size" not in overrides[0] else "dataset=digits", *overrides)
    if message is None:
        return refuse(stack, 2)
    with pytest.raises(ConfigError, match=message):
        refuse(stack, 2)


def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "97"}.items():
        monkeypatch.setitem(os.environ, name, value)
    with pytest.raises(ConfigError, match="device=cuda:97: not usable on this machine"):
        usable_device("cuda")
    with pytest.raises(ConfigError, match="device=cuda:1: each of several processes takes a device of its own"):
        usable_device("cuda:1")
    assert usable_device("cpu").type == "cpu"


def test_torchrun_is_for_single_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from dlrun.command.guard import Guard

    for name, value in {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setitem(os.environ, name, value)
    with pytest.raises(SystemExit, match="2"):
        Guard().on_multirun_start(None)  # type: ignore[arg-type]
    assert "start dlrun -m, without torchrun" in "".join(capsys.readouterr())
