"""dlrun beside the fastest that users could write: bench.py's `rivals`, of steps in one process, of whole commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from steps import by_hand, stack_of, steps_per_second, write_cifar
from torch import Tensor, nn

JAX = Path(__file__).with_name("bench_jax.py")
#: an environment with jax, which need not be dlrun's
JAX_PYTHON = os.environ.get("DLRUN_JAX_PYTHON", sys.executable)
RUNS, EPOCHS, XOR_RUNS, XOR_STEPS = 64, 50, 1000, 1000


class Layered(nn.Module):
    """PyTorch's own recurrent layer, and a linear map of its last output."""

    def __init__(self, layer: nn.Module, units: int) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(units, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])


@dataclass
class Job:
    """A training whose steps are timed."""

    words: str
    steps: int  #: of each contestant in a round
    threads: int = 1
    network: Callable[[], nn.Module] | None = None  #: that the loop by hand trains, where it is not dlrun's


CIFAR = "dataset=cifar10 architecture=resnet optimizer=adam batch_size=128"
ADDING = "dataset=sequences optimizer=adam batch_size=64"
JOBS = {
    "digits MLP 128-128": Job("dataset=digits architecture=mlp architecture.hidden=[128,128] batch_size=64", 2000),
    "MNIST MLP 256-128, batch norm": Job(
        "dataset=mnist architecture=mlp architecture.hidden=[256,128] normalization=batch batch_size=64", 600
    ),
    "MNIST LeNet": Job("dataset=mnist architecture=cnn batch_size=64", 200),
    "ResNet-20, batch 128": Job(CIFAR, 6),
    "ResNet-20, batch 128, 2 threads": Job(CIFAR, 8, threads=2),
    "LSTM 64, 50 steps": Job(
        f"{ADDING} architecture=lstm", 60, network=lambda: Layered(nn.LSTM(2, 64, batch_first=True), 64)
    ),
    "GRU 64, 50 steps": Job(
        f"{ADDING} architecture=gru", 60, network=lambda: Layered(nn.GRU(2, 64, batch_first=True), 64)
    ),
    "RNN 64, 50 steps": Job(
        f"{ADDING} architecture=rnn architecture.hidden=64",
        60,
        network=lambda: Layered(nn.RNN(2, 64, batch_first=True), 64),
    ),
}


def steps(name: str, rounds: int, folder: Path) -> tuple[list[dict[str, float]], list[str]]:
    """Of a job, steps per second of each contestant, in turns, and what is left out; evaluations are in none."""
    job, left_out = JOBS[name], []
    before = torch.get_num_threads()
    torch.set_num_threads(job.threads)
    try:
        words = job.words
        if "cifar10" in words:  # random pixels will do
            cifar = folder / "cifar-10-batches-bin"
            if not cifar.exists():
                write_cifar(cifar)
            words += f" dataset.path={cifar}"
        stack = stack_of(words, 1, "cpu")
        ways: dict[str, Callable[[], float]] = {
            "by hand": lambda: by_hand(stack, job.steps, "cpu", network=job.network and job.network()),
            "dlrun": lambda: steps_per_second(stack, job.steps, "cpu"),
        }
        if name == "digits MLP 128-128":
            compiled = stack_of(f"{words} compile=true", 1, "cpu")
            ways["dlrun, compiled"] = partial(steps_per_second, compiled, job.steps, "cpu")
            if (command := jax("steps", "highest", "1", str(job.steps))) is None:
                left_out.append(f"JAX is not in {JAX_PYTHON} (DLRUN_JAX_PYTHON) and left out.")
            else:
                ways["JAX, jit(scan)"] = lambda: printed(command)["run_steps_per_second"]
        return [{way: measure() for way, measure in ways.items()} for _ in range(rounds)], left_out
    finally:
        torch.set_num_threads(before)


GUARDED = {
    "digits MLP 128-128": JOBS["digits MLP 128-128"],
    "digits CNN": Job("dataset=digits architecture=cnn batch_size=64", 200),
    "LSTM 64, 50 steps": JOBS["LSTM 64, 50 steps"],
}  #: of data that are at hand everywhere
LEAST = 0.6  #: of the steps by hand that dlrun has to take: far below what it does, so that a busy machine is no alarm
SHARE = 10  #: the part of a job's steps that the guard takes at a time


def guard(rounds: int) -> list[dict[str, float]]:
    """dlrun's steps over those by hand, uncompiled, in turns in this process: a ratio for each job and round."""
    torch.set_num_threads(1)
    stacks = {name: stack_of(job.words, 1, "cpu") for name, job in GUARDED.items()}

    def ratio(name: str) -> float:
        job, stack = GUARDED[name], stacks[name]
        ours = steps_per_second(stack, job.steps // SHARE, "cpu")
        return ours / by_hand(stack, job.steps // SHARE, "cpu", network=job.network and job.network())

    return [{name: ratio(name) for name in GUARDED} for _ in range(rounds)]


def whole(dlrun: Sequence[str], sweep: Sequence[str], xor: Sequence[str], folder: Path, cores: int) -> dict[str, float]:
    """Seconds of whole commands: sweeps with their folders and report, beside JAX's processes, one for each core."""
    grid = [f"seed=range({RUNS // 4})", "lr=1e-4,3e-4,1e-3,3e-3", f"epochs={EPOCHS}", "train_metrics=running"]
    times = {
        f"{RUNS} digits runs of {EPOCHS} epochs, dlrun -m": seconds(
            [[*dlrun, "-m", *sweep, *grid, f"hydra.sweep.dir={folder / 'digits'}"]]
        ),
        f"{XOR_RUNS} XOR runs of {XOR_STEPS} steps, dlrun -m": seconds(
            [
                [
                    *[*dlrun, "-m", *xor, f"seed=range({XOR_RUNS})", f"steps={XOR_STEPS}", f"eval_every={XOR_STEPS}"],
                    f"hydra.sweep.dir={folder / 'xor'}",
                ]
            ]
        ),
    }
    digits, alike = jax("digits", str(RUNS // cores), str(EPOCHS)), jax("xor", str(XOR_RUNS), str(XOR_STEPS))
    if digits and alike:
        times[f"{RUNS} digits runs of {EPOCHS} epochs, {cores} processes of JAX"] = seconds([digits] * cores)
        times[f"{XOR_RUNS} XOR runs of {XOR_STEPS} steps, JAX, no folders"] = seconds([alike])
    return times


def starts(dlrun: Sequence[str], words: Sequence[str], folder: Path, rounds: int) -> list[dict[str, float]]:
    """Seconds of whole commands of one epoch: not compiled, and compiled once the step's library is there."""
    ways = {"not compiled": "compile=false", "compiled before": "compile=true"}
    commands = {way: [*dlrun, *words, "epochs=1", word] for way, word in ways.items()}
    seconds([[*commands["compiled before"], f"hydra.run.dir={folder / 'first'}"]])
    return [
        {way: seconds([[*command, f"hydra.run.dir={folder / f'{turn}-{way}'}"]]) for way, command in commands.items()}
        for turn in range(rounds)
    ]


def jax(*job: str) -> list[str] | None:
    """The command of one of bench_jax's jobs; None where its Python has no jax."""
    lacking = subprocess.run([JAX_PYTHON, "-c", "import jax"], capture_output=True, check=False).returncode
    return None if lacking else [JAX_PYTHON, str(JAX), *job]


def printed(command: Sequence[str]) -> dict[str, Any]:
    """What the command, on one core, prints as JSON: XLA would take all."""
    core = min(os.sched_getaffinity(0))
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    return json.loads(done.stdout.splitlines()[-1])


def seconds(commands: Sequence[Sequence[str]]) -> float:
    """Until all of these commands, begun together, have ended well."""
    start = time.perf_counter()
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    if any([process.wait() for process in processes]):
        raise SystemExit(f"{' '.join(commands[0])} failed")
    return time.perf_counter() - start
