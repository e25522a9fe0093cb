"""How fast, how soon, how large: python scripts/bench.py WHAT... [--rounds N] [--output FILE].

speed   steps per second of one job (scripts/bench_loops.py says which), by hand, with Lightning and with dlrun
sweep   wall time of a sweep, folders and tables included, beside a plain Hydra app around the bare loop
runs    what a sweep costs beside its training: time of one more run and of the tables, peak memory of a worker
start   wall time of `dlrun --cfg job`, and from the command to the first training step
memory  peak resident memory of `dlrun dataset=mnist epochs=1` (set DLRUN_DATA to where MNIST lies or may be put)
diagnostics  each diagnostic beside a training, and products of second derivatives with vectors, over a gradient
        (scripts/bench_looks.py, scripts/bench_diagnostics.py); wants MNIST; some ten minutes, so one round by default
rivals  steps of networks of all kinds beside loops by hand and JAX, whole sweeps beside JAX, and what a compiled start
        costs (scripts/bench_rivals.py); DLRUN_JAX_PYTHON names the Python of an environment with jax, if another
guard   fails where dlrun takes far fewer steps than a loop by hand, in one process and in turns: for the gate
growth  how time grows with runs, epochs, rows and parameters: slopes, and growth.png in the working directory
page    the report of 1,000 runs of 50 evaluations: its size, the time until it can be used, and that of a brush
        (scripts/bench_page.py); wants Debian's chromium and chromium-driver
tables  what the first start with a large table takes, and every other one (scripts/bench_tables.py); 2 GB on disk
checkpoint  seconds that one takes, and its share of the training at the default interval

Every contestant runs in a process of its own, and the contestants take turns within a round, so that a machine which
slows down or is shared slows all of them; ratios are taken within a round. For Linux, after
`pip install -c constraints.txt -e '.[bench]'`; without lightning its row is left out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import bench_diagnostics
import bench_growth
import bench_looks
import bench_page
import bench_rivals
import bench_tables

from dlrun import __version__

LOOPS = Path(__file__).with_name("bench_loops.py")
DLRUN = str(Path(sys.executable).with_name("dlrun"))
EPOCHS = 200
CORES = len(os.sched_getaffinity(0))
# 1437 training samples, as in bench_loops; dlrun wants a test part too, and one sample takes no time.
JOB = (
    "dataset=digits dataset.val_fraction=0.2 dataset.test_fraction=0.0006"
    " architecture=mlp architecture.hidden=[128,128] architecture.activation=relu optimizer=adam lr=0.001"
    f" batch_size=64 epochs={EPOCHS} eval_every=1 threads=1 device=cpu plots=none"
).split()

XOR = (
    "dataset=xor architecture.hidden=[4] architecture.activation=sigmoid initializer=uniform initializer.a=10"
    " optimizer=momentum optimizer.momentum=0.99 lr=0.1 batch_size=full plots=none"
).split()

Rounds = list[dict[str, float]]  #: per round, one number for each contestant


def speed(rounds: int, folder: Path) -> str:
    contestants: dict[str, Callable[[Path], dict[str, Any]]] = {
        "bare DataLoader loop": lambda _: loop("bare"),
        "indexed loop, fused Adam": lambda _: loop("indexed"),
        "Lightning": lambda _: loop("lightning"),
        "dlrun compile=false": lambda run: dlrun(run, *JOB, "train_metrics=running", "compile=false"),
        "dlrun compile=true": lambda run: dlrun(run, *JOB, "train_metrics=running", "compile=true"),
        "dlrun compile=true train_metrics=measured": lambda run: dlrun(
            run, *JOB, "train_metrics=measured", "compile=true"
        ),
    }
    notes = []
    if importlib.util.find_spec("lightning") is None:
        del contestants["Lightning"]
        notes.append("Lightning is not installed and left out: pip install -e '.[bench]'.")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")  # the first compilation is a cold one
    results = [
        {name: contest(folder / f"{turn}-{number}") for number, (name, contest) in enumerate(contestants.items())}
        for turn in range(rounds)
    ]
    speeds = [{name: result["steps_per_second"] for name, result in turn.items()} for turn in results]
    pairs = [
        ("dlrun compile=false", "bare DataLoader loop"),
        ("dlrun compile=false", "indexed loop, fused Adam"),
        ("dlrun compile=true", "indexed loop, fused Adam"),
    ]
    compile_seconds = [turn["dlrun compile=true"]["compile_seconds"] for turn in results]
    later = f", with its cache {median(compile_seconds[1:]):.1f} s" if rounds > 1 else ""
    accuracies = [f"{name} {result['last_val_accuracy']:.3f}" for name, result in results[0].items()]
    notes.append(f"Validation accuracy after {EPOCHS} epochs: {', '.join(accuracies)}.")
    notes.append(
        f"Compiling is not in the steps per second: it took {compile_seconds[0]:.1f} s{later}. "
        "The training loss is the running mean of the epoch's batches, but in the indexed loop, which has none, and in "
        "the last row, where the training part is evaluated after every epoch (dlrun's default for small data)."
    )
    return "\n\n".join([table("steps/s", speeds, ".0f"), ratio_table(speeds, pairs), *notes])


def sweep(rounds: int, folder: Path) -> str:
    """64 runs (16 seeds, 4 rates) of 50 epochs each, and 1,000 seeds of XOR."""
    grid = ["seed=range(16)", "lr=1e-4,3e-4,1e-3,3e-3"]
    job = [override for override in JOB if not override.startswith(("epochs", "lr", "threads"))]
    app = [sys.executable, str(LOOPS.with_name("bench_hydra.py")), "-m", *grid]
    seeds, steps = 1000, 1000
    contestants: dict[str, Callable[[str], float]] = {
        "Hydra, basic launcher": lambda run: wall_seconds([*app, f"hydra.sweep.dir={run}"]),
        "Hydra, joblib, all cores": lambda run: wall_seconds(
            [*app, "hydra/launcher=joblib", f"hydra.launcher.n_jobs={CORES}", f"hydra.sweep.dir={run}"]
        ),
        "dlrun -m": lambda run: wall_seconds(
            [DLRUN, "-m", *job, *grid, "epochs=50", "train_metrics=running", f"hydra.sweep.dir={run}"]
        ),
        "XOR by hand": lambda _: seeds * loop("xor", 20, steps)["seconds_per_seed"],
        "XOR, Hydra's cost of its jobs": lambda run: (
            seeds / 20 * wall_seconds([*app[:3], "seed=range(20)", "epochs=0", f"hydra.sweep.dir={run}"])
        ),
        "XOR, dlrun -m": lambda run: wall_seconds(
            [
                DLRUN,
                "-m",
                *XOR,
                f"seed=range({seeds})",
                f"steps={steps}",
                f"eval_every={steps}",
                f"hydra.sweep.dir={run}",
            ]
        ),
    }
    if importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher") is None:
        del contestants["Hydra, joblib, all cores"]
    times = [
        {name: contest(str(folder / f"{turn}-{number}")) for number, (name, contest) in enumerate(contestants.items())}
        for turn in range(rounds)
    ]
    for turn in times:
        turn["XOR by hand in a Hydra app"] = turn["XOR by hand"] + turn.pop("XOR, Hydra's cost of its jobs")
    pairs = [(name, "dlrun -m") for name in contestants if name.startswith("Hydra,")]
    pairs.append(("XOR by hand in a Hydra app", "XOR, dlrun -m"))
    notes = (
        "The app's jobs keep the running mean of the training loss, as dlrun does with train_metrics=running. XOR by "
        "hand is timed on 20 seeds, Hydra's cost on 20 jobs that do nothing, and both are scaled to 1,000."
    )
    return "\n\n".join([table("seconds", times, ".1f"), ratio_table(times, pairs), notes])


def runs(rounds: int, folder: Path) -> str:
    """The difference between sweeps of few and of many runs that hardly train; sweeps of one worker for its memory."""
    few, many, steps = 200, 1000, ["steps=10", "eval_every=10"]
    tables = "import sys, time; from dlrun.report.collect import write_tables as write; begin = time.perf_counter(); "
    tables += "write([sys.argv[1]], sys.argv[1]); print(time.perf_counter() - begin)"
    digits = ["dataset=digits", "architecture.hidden=[128,128]", "batch_size=64", "plots=none"]
    sizes = {
        "128-128 network, 64 runs, width 8": [*digits, "seed=range(64)", "hydra.launcher.width=8"],
        "128-128 network, 64 runs, width 64": [*digits, "seed=range(64)", "hydra.launcher.width=64"],
        "XOR, 256 runs, width 64": [*XOR, "seed=range(256)", "hydra.launcher.width=64"],
        "XOR, 1024 runs, width 64": [*XOR, "seed=range(1024)", "hydra.launcher.width=64"],
    }
    times, peaks = list[dict[str, float]](), list[dict[str, float]]()
    for turn in range(rounds):
        walls = {}
        for count in (few, many):
            sweep = [f"seed=range({count})", f"hydra.sweep.dir={folder / f'{turn}-{count}'}"]
            walls[count] = wall_seconds([DLRUN, "-m", *XOR, *steps, *sweep])
        command = [sys.executable, "-c", tables, str(folder / f"{turn}-{many}")]
        written = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        times.append(
            {f"one more run, from {few} to {many}": 1000 * (walls[many] - walls[few]) / (many - few)}
            | {f"sweep.csv and curves.csv of {many} runs": 1000 * float(written)}
        )
        peaks.append({})
        for number, (name, overrides) in enumerate(sizes.items()):
            sweep = [
                *overrides,
                *steps,
                "hydra.launcher.workers=1",
                f"hydra.sweep.dir={folder / f'{turn}-size-{number}'}",
            ]
            peaks[-1][name] = worker_peak([DLRUN, "-m", *sweep])
    return "\n\n".join([table("ms", times, ".1f"), table("peak MiB of a worker", peaks, ".0f")])


def worker_peak(command: list[str]) -> float:
    """Most resident memory of any process that the command starts, MiB, seen every hundredth of a second."""
    process, peak = subprocess.Popen(command, stdout=subprocess.DEVNULL), 0
    while process.poll() is None:
        time.sleep(0.01)
        try:
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                told = Path(f"/proc/{child}/status").read_text().partition("VmHWM:")[2]
                peak = max(peak, int(told.split()[0]) if told else 0)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return peak / 1024


def start(rounds: int, folder: Path) -> str:
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import hydra'": [sys.executable, "-c", "import hydra"],
        "dlrun --cfg job": [DLRUN, "--cfg", "job"],
        "python -c 'import torch'": [sys.executable, "-c", "import torch"],
    }
    first_step = "dlrun, until training starts"
    dlrun(folder / "warm", "epochs=1")  # writes the byte code, so that every round finds the same
    times = []
    for turn in range(rounds):
        times.append({name: wall_seconds(command) for name, command in commands.items()})
        begin = datetime.now(UTC)
        started = dlrun(folder / str(turn), "epochs=1")["started"]
        times[-1][first_step] = (datetime.fromisoformat(started) - begin).total_seconds()
    pairs = [("dlrun --cfg job", "python -c 'import hydra'"), (first_step, "python -c 'import torch'")]
    return "\n\n".join([table("seconds", times, ".3f"), ratio_table(times, pairs)])


def memory(rounds: int, folder: Path) -> str:
    overrides = ["dataset=mnist", "epochs=1"]
    peaks = []
    for turn in range(rounds):
        process = subprocess.Popen(
            [DLRUN, *overrides, f"hydra.run.dir={folder / str(turn)}"], stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit("the run failed")
        peaks.append({f"dlrun {' '.join(overrides)}": usage.ru_maxrss / 2**20})  # ru_maxrss counts KiB
    return table("peak GiB", peaks, ".2f")


def checkpoint(rounds: int, folder: Path) -> str:
    """The difference between trainings with a checkpoint after every epoch and without any."""
    sizes = {"26,122 parameters": ("[128,128]", 200), "9.2 million parameters": ("[3000,3000]", 5)}
    times: Rounds = []
    for turn in range(rounds):
        times.append({})
        for name, (hidden, epochs) in sizes.items():
            job = [f"architecture.hidden={hidden}", f"epochs={epochs}", "compile=false", "plots=none"]
            some, none = (
                dlrun(folder / f"{turn}-{epochs}-{every}", *job, f"checkpoint_every={every}")["seconds"]
                for every in ("1", "null")
            )
            times[-1][name] = (some - none) / epochs
    shares = [{name: 100 * seconds / 300 for name, seconds in turn.items()} for turn in times]
    return "\n\n".join([table("seconds", times, ".3f"), table("% of 5 min", shares, ".2f")])


def diagnostics(rounds: int, _: Path) -> str:
    """Three at once, looking often; each by itself, in one round; and a table for each case of products."""
    parts = [
        "### activations, gradients and gradient_noise, at 128 samples\n\n"
        + table("epoch over one without", [bench_looks.together() for _ in range(rounds)], ".2f")
    ]
    for case, found in bench_looks.alone().items():
        lines = ["| | epoch over one without | once, seconds | MiB | |", "|---|---:|---:|---:|---|"]
        for name, told in found.items():
            ratio, less = f"{told['ratio']:.3f}" if "ratio" in told else "", ", ".join(bench_looks.LESS.get(name, []))
            lines.append(f"| {name} | {ratio} | {told['once']:.2f} | {told['MiB']:.0f} | {less} |")
        parts.append(f"### {case}, an evaluation an epoch\n\n" + "\n".join(lines))
    results = bench_diagnostics.products(rounds)
    unit = "gradient in ms, others over it"
    for case in bench_diagnostics.CASES:
        parts.append(f"### Products, {case}\n\n{table(unit, [turn[case] for turn in results], '.2f')}")
    return "\n\n".join(parts)


def page(rounds: int, folder: Path) -> str:
    parts = []
    for number, (name, (settings, seeds)) in enumerate(bench_page.CASES.items()):
        bench_page.write(folder / str(number), settings, seeds)
        found = [bench_page.measured(folder / str(number)) for _ in range(rounds)]
        parts.append(f"### {name}\n\n" + table("", found, ".2f"))
    return "\n\n".join(parts)


def tables(rounds: int, folder: Path) -> str:
    file, found = folder / "table.parquet", []
    bench_tables.write(file)
    for turn in range(rounds):
        found.append(bench_tables.measured(DLRUN, file, folder / str(turn)))
        shutil.rmtree(folder / str(turn))
    forms = {
        "s": ("s of CPU time, a run of one step", ".1f"),
        "MiB": ("MiB at most", ".0f"),
        "steps/s": ("steps/s", ".0f"),
    }
    told = [f"{bench_tables.ROWS:,} rows of {bench_tables.COLUMNS} numbers, float32 in Parquet"]
    for key, (unit, form) in forms.items():
        told.append(table(unit, [{way: n[key] for way, n in turn.items() if key in n} for turn in found], form))
    return "\n\n".join(told)


def rivals(rounds: int, folder: Path) -> str:
    parts, notes = list[str](), dict[str, None]()
    for name in bench_rivals.JOBS:
        found, left_out = bench_rivals.steps(name, rounds, folder)
        notes |= dict.fromkeys(left_out)
        pairs = [(way, other) for way in found[0] for other in found[0] if "dlrun" in way and "dlrun" not in other]
        parts.append(f"### {name}\n\n{table('steps/s', found, '.1f')}\n\n{ratio_table(found, pairs)}")
    whole = [bench_rivals.whole([DLRUN], JOB, XOR, folder / f"whole-{turn}", CORES) for turn in range(rounds)]
    sweeps = [name for name in whole[0] if "dlrun" in name]
    pairs = [(name, own) for own in sweeps for name in whole[0] if "JAX" in name and name.split(",")[0][:9] == own[:9]]
    parts.append(f"### Whole commands\n\n{table('seconds', whole, '.1f')}\n\n{ratio_table(whole, pairs)}")
    starts = bench_rivals.starts([DLRUN], JOB, folder, rounds)
    added = [{"compiled before, minus not compiled": each["compiled before"] - each["not compiled"]} for each in starts]
    parts.append(f"### Start\n\n{table('seconds', starts, '.2f')}\n\n{table('seconds', added, '.2f')}")
    return "\n\n".join([*parts, *notes])


def guard(rounds: int, _: Path) -> str:
    """Raises SystemExit where the median ratio of a job is below `LEAST`."""
    found = bench_rivals.guard(rounds)
    told = table("steps of dlrun over those by hand", found, ".2f")
    if slow := [name for name in found[0] if median(turn[name] for turn in found) < bench_rivals.LEAST]:
        raise SystemExit(f"{told}\n\nbelow {bench_rivals.LEAST}: {', '.join(slow)}")
    return told


def growth(rounds: int, folder: Path) -> str:
    """Medians by size, and slopes; the picture lies in the working directory."""
    found = bench_growth.measured(DLRUN, dlrun, XOR, folder, rounds)
    bench_growth.draw(found, Path("growth.png"))
    lines = ["| | seconds by size, medians | slope |", "|---|---|---:|"]
    for name, series in found.items():
        told = ", ".join(f"{n:,}: {median(seconds):.3g}" for n, seconds in series.items())
        lines.append(f"| {name} | {told} | {bench_growth.slope(series):.2f} |")
    return "\n".join([*lines, "", f"Slopes are of the {bench_growth.UPPER} largest sizes, on logarithmic scales."])


MEASUREMENTS = {
    each.__name__: each
    for each in (speed, sweep, runs, start, memory, checkpoint, diagnostics, rivals, guard, growth, page, tables)
}


def loop(name: str, *arguments: int) -> dict[str, Any]:
    """What one of bench_loops' loops prints."""
    command = [sys.executable, str(LOOPS), name, *map(str, arguments or [EPOCHS])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def dlrun(folder: Path, *overrides: str) -> dict[str, Any]:
    """The summary that the command dlrun leaves in the folder."""
    subprocess.run([DLRUN, *overrides, f"hydra.run.dir={folder}"], check=True, stdout=subprocess.DEVNULL)
    return json.loads((folder / "summary.json").read_text())


def wall_seconds(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def table(unit: str, rounds: Rounds, form: str) -> str:
    """A markdown table: each contestant's median, least and greatest number over the rounds."""
    lines = [f"| | {unit}, median of {len(rounds)} | least – greatest |", "|---|---:|---:|"]
    for name in rounds[0]:
        values = [turn[name] for turn in rounds]
        lines.append(f"| {name} | {median(values):{form}} | {min(values):{form}} – {max(values):{form}} |")
    return "\n".join(lines)


def ratio_table(rounds: Rounds, pairs: list[tuple[str, str]]) -> str:
    """The same for ratios, each taken between two contestants of one round."""
    ratios = [{f"{a} / {b}": turn[a] / turn[b] for a, b in pairs} for turn in rounds]
    return table("ratio", ratios, ".2f")


def machine(load_before: float) -> str:
    models = [line.split(": ")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    versions = [f"{name} {version(name)}" for name in ("torch", "lightning")] + [f"dlrun {__version__}"]
    return (
        f"{models[0] if models else platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"load {load_before:.2f} before and {os.getloadavg()[0]:.2f} after; "
        f"{platform.system()}, Python {platform.python_version()}, {', '.join(versions)}"
    )


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=MEASUREMENTS)
    parser.add_argument("--rounds", type=int, help="5 by default, of diagnostics 1")
    parser.add_argument("--output", type=Path, help="a markdown file to write the tables to as well")
    args = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # users' machines keep byte code
    reports = []
    for what in args.what:
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as temporary:
            found = MEASUREMENTS[what](args.rounds or (1 if what == "diagnostics" else 5), Path(temporary))
        reports.append(f"## {what}\n\n{found}\n\n{machine(load)}\n")
        print(reports[-1], flush=True)
        if args.output:
            args.output.write_text("\n".join(reports), encoding="utf-8")
