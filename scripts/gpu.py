"""What a GPU does to dlrun, correctness first, then speed: python scripts/gpu.py [--only WHAT,...] [--device cuda]
[--minutes 8] [--output FOLDER].

For a machine that is at hand for minutes: it needs this repository, PyTorch, and what dlrun imports, and no network. It
prints every result as it comes, and after each writes all of them to gpu.json and gpu.md, with the device's name, so
that a script which is cut short still tells. What does not fit into the minutes is left out, and told. On a machine
without network, take along what it lacks: `pip wheel -w wheels -c constraints.txt hydra-core omegaconf pooch rich`.

contract      tests/test_contract.py and tests/test_stack_equals_solo.py on the device: every choice of conf/
double        CPU against device in float64, three epochs of an MLP, a network with batch norm, an LSTM
resume        killed after its checkpoint, and resumed: the bytes of a run that nobody disturbed
same          the same command twice: the same bytes, or which columns differ
sweep         dlrun -m in worker processes on the device
memory        what a stack takes at its peak, beside what the width's measurement foresaw
speed         run-steps per second of N = 1, 16, 64, 256, 1024 runs in a stack, beside loops written by hand
rivals        N = 256 of the digits' MLP by torch.func's vmap and by JAX's jit(vmap(scan))
resnet18      images per second of ResNet-18 (k = 64) on 3 x 32 x 32 at batch 128 and 512, beside a loop by hand
headline      1,000 networks on MNIST, each with its own rate, seed and CSV, by one command
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from steps import by_hand, by_vmap, configs_of, stack_of, steps_per_second, write_cifar

ROOT = Path(__file__).resolve().parent.parent
JAX = ROOT / "scripts" / "bench_jax.py"
MLP = "dataset=digits architecture=mlp optimizer=adam lr=0.001 batch_size=64"
NETWORKS = {
    "MLP": MLP,
    "CNN with batch norm": "dataset=digits architecture=cnn normalization=batch optimizer=momentum batch_size=64",
    "LSTM": "dataset=sequences dataset.samples=400 dataset.length=12 architecture=lstm architecture.hidden=16",
}
JOBS = {  #: of the table of speeds
    "XOR 2-4-1": "dataset=xor architecture.hidden=[4] architecture.activation=sigmoid optimizer=adam batch_size=full",
    "digits MLP 64-128-128-10": MLP,
    "MNIST LeNet": "dataset=mnist architecture=cnn optimizer=adam lr=0.001 batch_size=128",
}
WIDTHS = (1, 32, 256, 1024)
STEPS = {"XOR 2-4-1": 400, "digits MLP 64-128-128-10": 200, "MNIST LeNet": 60}
QUICK = ["plots=none", "name=gpu"]
Found = dict[str, Any]
PATHS = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
ENVIRONMENT = {**os.environ, "PYTHONPATH": PATHS, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
sys.path.insert(0, str(ROOT))


class Machine:
    """What the checks share: the device, a folder, and the time that is left."""

    def __init__(self, device: str, folder: Path, minutes: float) -> None:
        self.device, self.folder, self.end = device, folder, time.monotonic() + 60 * minutes

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "dlrun", *words, f"device={self.device}", *QUICK]

    def dlrun(self, *words: str, limit: float = 120) -> subprocess.CompletedProcess[str]:
        """A command of dlrun's, from the repository's own code."""
        return run(self.command(*words), min(limit, max(5, self.left)))


def run(command: Sequence[str], limit: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=limit, env=ENVIRONMENT, check=False
        )
    except subprocess.TimeoutExpired as late:
        told = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
        return subprocess.CompletedProcess(command, 124, told, f"not ended after {limit:.0f} s")


def contract(machine: Machine) -> Found:
    """Every choice, solo, stacked, saved and loaded, by the project's own tests."""
    files = [
        "tests/test_contract.py::test_a_choice_trains_repeats_itself_resumes_and_stacks",  # the slow ones too
        "tests/test_stack_equals_solo.py::test_a_stacks_rows_are_the_runs_alone",
        "tests/test_graphs.py",
    ]
    parallel = ["-n", "12"] if importlib.util.find_spec("xdist") else ["-p", "no:xdist", "-o", "addopts="]
    ENVIRONMENT["DLRUN_TEST_DEVICE"] = machine.device
    done = run([sys.executable, "-m", "pytest", "-q", *parallel, "--tb=line", *files], min(240, machine.left))
    lines = done.stdout.strip().splitlines()
    failed = [line for line in lines if line.startswith("FAILED")]
    return {"summary": lines[-1] if lines else done.stderr[-300:], "failed": failed}


def double(machine: Machine) -> Found:
    """The largest difference of any number in metrics.csv, relative to its size."""
    found: Found = {}
    for place, (name, words) in enumerate(NETWORKS.items()):
        tables = []
        for device in ("cpu", machine.device):
            folder = machine.folder / f"double-{place}-{device}"
            own = [*words.split(), "precision=float64", "epochs=3", f"hydra.run.dir={folder}"]
            done = run([sys.executable, "-m", "dlrun", *own, f"device={device}", *QUICK], 90)
            if done.returncode:
                return {**found, name: done.stderr[-300:]}
            tables.append(rows(folder))
        found[name] = max(
            abs(float(a) - float(b)) / max(1.0, abs(float(a)))
            for ours, theirs in zip(*tables, strict=True)
            for a, b in zip(ours, theirs, strict=True)
        )
    return found


def rows(folder: Path) -> list[list[str]]:
    """metrics.csv without its header and seconds."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [row[:-1] for row in list(csv.reader(file))[1:]]


def resume(machine: Machine) -> Found:
    words = [*NETWORKS["MLP"].split(), "epochs=40", "checkpoint_every=1"]
    whole, killed = machine.folder / "whole", machine.folder / "killed"
    machine.dlrun(*words, f"hydra.run.dir={whole}")
    process = subprocess.Popen(
        machine.command(*words, f"hydra.run.dir={killed}"), cwd=ROOT, env=ENVIRONMENT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    begun = time.monotonic()
    while process.poll() is None and not list((killed / "checkpoint").glob("*")) and time.monotonic() < begun + 90:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = run([sys.executable, "-m", "dlrun", "resume", str(killed)], 120)
    found: Found = {"rows are the same bytes": rows(whole) == rows(killed), "exit code": done.returncode}
    return found | versus(whole, killed)


def versus(one: Path, other: Path) -> Found:
    """Where two runs' tables differ."""
    with (one / "metrics.csv").open(newline="") as file:
        header = next(csv.reader(file))
    pairs = list(zip(rows(one), rows(other), strict=False))
    differ = [name for i, name in enumerate(header[:-1]) if any(a[i] != b[i] for a, b in pairs)]
    weights = [(folder / "last.safetensors").read_bytes() for folder in (one, other)]
    return {"columns that differ": differ, "weights are the same bytes": weights[0] == weights[1]}


def same(machine: Machine) -> Found:
    found: Found = {}
    noisy = {**NETWORKS, "MLP with dropout": f"{MLP} regularizer=[dropout]"}
    for place, (name, words) in enumerate(noisy.items()):
        folders = [machine.folder / f"same-{place}-{turn}" for turn in "ab"]
        for folder in folders:
            machine.dlrun(*words.split(), "epochs=3", f"hydra.run.dir={folder}")
        found[name] = versus(*folders)
    return found


def sweep(machine: Machine) -> Found:
    folder, begun = machine.folder / "sweep", time.monotonic()
    words = ["-m", *MLP.split(), "epochs=5", "optimizer=sgd,adam", "seed=range(128)", f"hydra.sweep.dir={folder}"]
    done = machine.dlrun(*words, limit=180)
    with (folder / "sweep.csv").open(newline="") as file:
        statuses = [row["status"] for row in csv.DictReader(file)]
    counts = {status: statuses.count(status) for status in dict.fromkeys(statuses)}
    return {"exit code": done.returncode, "runs": counts, "seconds": time.monotonic() - begun}


def memory(machine: Machine) -> Found:
    """GiB at the peak of some steps of 64 runs, beside 64 times what the measurement of a width says of one."""
    if machine.device == "cpu":
        return {"left out": "the peak is told by CUDA alone"}
    from dlrun.sweep.width import _measurements

    found: Found = {}
    for name in ("digits MLP 64-128-128-10", "MNIST LeNet"):
        stack = stack_of(JOBS[name], 64, machine.device)
        torch.cuda.reset_peak_memory_stats()
        steps_per_second(stack, 20, machine.device)
        peak = torch.cuda.max_memory_allocated() / 2**30
        needs = next(_measurements(configs_of(JOBS[name], 64, machine.device), [64], "spawn"), None)
        found[name] = {"peak": peak, "foreseen": needs and 64 * needs.memory / 2**30}
        del stack
    return found


def speed(machine: Machine) -> Found:
    found: Found = {}
    for name, words in JOBS.items():
        rates = found[name] = {}
        for runs in WIDTHS[: 3 if "cnn" in words else None]:
            if machine.left < 60:
                rates["left out"] = f"N = {runs} and above: no time"
                break
            stack = stack_of(words, runs, machine.device)
            steps = STEPS[name]
            if runs == 1:
                rates["by hand"] = tried(partial(by_hand, stack, steps, machine.device, False))
                if machine.device != "cpu":
                    rates["by hand, CUDA graph"] = tried(partial(by_hand, stack, steps, machine.device, True))
            one = tried(partial(steps_per_second, stack, steps, machine.device))
            rates[f"N = {runs}"] = runs * one if isinstance(one, float) else one
            if stack.remarks:
                rates[f"of N = {runs}"] = stack.remarks
            if runs == 1 and words == MLP and machine.device != "cpu":
                compiled = partial(steps_per_second, stack_of(f"{words} compile=true", runs, machine.device), steps)
                one = tried(partial(compiled, machine.device))
                rates[f"N = {runs}, compiled"] = runs * one if isinstance(one, float) else one
            print(f"  {name}: {told(rates)}", flush=True)
    return found


def resnet18(machine: Machine) -> Found:
    """Images per second on random pixels in CIFAR's format: dlrun, and the same network by hand."""
    found: Found = {}
    cifar = machine.folder / "cifar-10-batches-bin"
    write_cifar(cifar)
    steps = 3 if machine.device == "cpu" else 30
    for size in (16,) if machine.device == "cpu" else (128, 512):
        words = f"dataset=cifar10 dataset.path={cifar} architecture=resnet18 optimizer=adam batch_size={size}"
        names = ("float32", "tf32", "bf16") if machine.device == "cuda" else ("float32", "bf16")
        kinds = [*names[:-1], "bfloat16, channels_last"]
        stacks = {name: stack_of(f"{words} precision={name}", 1, machine.device) for name in names}
        ways: dict[str, Callable[[], float]] = {
            **{f"dlrun, {name}": partial(own_rate, stacks[name], name, steps, machine.device) for name in names},
            **{
                f"by hand, {kind}": partial(by_hand, stacks["float32"], steps, machine.device, False, kind)
                for kind in kinds
            },
        }
        if machine.device == "cuda":
            ways["by hand, bfloat16, CUDA graph"] = partial(by_hand, stacks["float32"], steps, "cuda", True, kinds[-1])
        for way, measure in ways.items():
            rate = tried(measure)
            found[f"batch {size}, {way}"] = size * rate if isinstance(rate, float) else rate
            print(f"  batch {size}, {way}: {told(found[f'batch {size}, {way}'])}", flush=True)
    return found


def own_rate(stack: Any, precision: str, steps: int, device: str) -> float:
    """Steps per second in a precision, which is the process's, not the stack's."""
    from dlrun.training.machine import compute_as

    compute_as(precision, torch.device(device))
    try:
        return steps_per_second(stack, steps, device)
    finally:
        compute_as("float32", torch.device(device))


def rivals(machine: Machine) -> Found:
    """Run-steps per second of 256 networks, without evaluations."""
    stack = stack_of(MLP, 256, machine.device)
    found: Found = {"torch.func.vmap": tried(lambda: 256 * by_vmap(stack, 100, machine.device))}
    for precision in ("float32", "tf32") if machine.device != "cpu" else ("float32",):
        stack = stack_of(f"{MLP} compile=true precision={precision}", 256, machine.device)
        rate = tried(partial(steps_per_second, stack, 300, machine.device))
        found[f"dlrun, {precision}"] = 256 * rate if isinstance(rate, float) else rate
        print(f"  {told(found)}", flush=True)
    if importlib.util.find_spec("jax"):
        for precision in ("highest", "default"):  # float32 and, on a GPU that has it, TF32
            done = run([sys.executable, str(JAX), "steps", precision, "256", "400"], min(100, machine.left))
            found[f"JAX, {precision}"] = (
                json.loads(done.stdout)["run_steps_per_second"] if done.returncode == 0 else done.stderr[-300:]
            )
            print(f"  {told(found)}", flush=True)
    return found


def headline(machine: Machine) -> Found:
    """Seconds from the command to its end, and how many networks reached 98 % of the validation images."""
    folder, begun = machine.folder / "headline", time.monotonic()
    words = "dataset=mnist architecture=mlp architecture.hidden=[512] optimizer=adam batch_size=128 epochs=8"
    words += " schedule=cosine hydra.launcher.width=1000"
    rates = ",".join(f"{rate:.4g}" for rate in np.geomspace(1e-3, 4e-3, 10))
    seeds = 100 if machine.device == "cuda" else 1
    runs = [f"lr={rates}", f"seed=range({seeds})", f"hydra.sweep.dir={folder}"]
    done = machine.dlrun("-m", *words.split(), *runs, limit=240)
    if done.returncode:
        return {"exit code": done.returncode, "error": done.stderr[-600:] + done.stdout[-600:]}
    seconds = time.monotonic() - begun
    with (folder / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    best = sorted(float(row["best_val_accuracy"]) for row in rows)
    found = {"networks": len(rows), "seconds": seconds, "at 98 %": sum(each >= 0.98 for each in best)}
    return found | {"median": best[len(best) // 2], "seconds of training": float(rows[0]["seconds"])}


def tried(measure: Callable[[], float]) -> float | str:
    """The number, or in words why there is none."""
    try:
        return measure()
    except Exception as problem:  # a table with a hole says more than no table
        return f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"


def told(value: Any) -> str:
    """A result as the table shows it."""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {told(each)}" for key, each in value.items())
    return ", ".join(map(told, value)) or "none" if isinstance(value, list) else str(value)


CHECKS: dict[str, Callable[[Machine], Found]] = {
    "double": double, "same": same, "resume": resume, "sweep": sweep, "memory": memory, "speed": speed,
    "rivals": rivals, "resnet18": resnet18, "headline": headline, "contract": contract,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CHECKS), help="checks, by commas")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--output", type=Path, default=Path(os.environ.get("OUT", ".")))
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - CHECKS.keys():
        parser.error(f"--only {','.join(sorted(unknown))}: there are {', '.join(CHECKS)}")
    name = torch.cuda.get_device_name() if options.device != "cpu" else platform.processor() or platform.machine()
    found: Found = {"device": name, "torch": torch.__version__, "python": platform.python_version(), "results": {}}
    torch.set_num_threads(1)  # of a CPU, whose threads on small tensors wait for each other
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(options.device, Path(folder), options.minutes)
        for check in [check for check in CHECKS if check in options.only.split(",")]:
            begun = time.monotonic()
            if machine.left < 20:
                result: Found = {"left out": "no time"}
            else:
                try:
                    result = CHECKS[check](machine)
                except Exception as problem:  # the others are to be tried all the same
                    result = {"error": f"{type(problem).__name__}: {problem}"}
            found["results"][check] = {**result, "seconds taken": round(time.monotonic() - begun, 1)}
            print(f"{check}: {told(found['results'][check])}", flush=True)
            (options.output / "gpu.json").write_text(json.dumps(found, indent=1))
            rows = [f"| {what} | {told(value)} |" for what, value in found["results"].items()]
            head = (
                f"{name}, torch {torch.__version__}, Python {platform.python_version()}\n\n| check | found |\n|---|---|"
            )
            (options.output / "gpu.md").write_text("\n".join([head, *rows, ""]))


if __name__ == "__main__":
    main()
