"""What pruning saves: a random search of 256 learning rates with and without, and Optuna's pruner on the same curves.

`python scripts/bench_pruning.py [REPETITIONS]` prints a line for each repetition and way, and the medians. What is
timed are whole commands, by the clock and by the processors. Optuna's SuccessiveHalvingPruner (the stopping of ASHA,
Li et al. 2020) is asked trial by trial, as in a search of one process, and told of by the epochs that it lets train;
chance, by as many rates as take the epochs of a pruned search, drawn 1,000 times. Half an hour on two quiet cores.
"""

from __future__ import annotations

import csv
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import dlrun

RATES, EPOCHS, ETA = 256, 30, 4
FIRST = (2, 4)  #: rungs tried


def command(folder: Path, rates: list[str], seed: int, *options: str) -> tuple[float, float]:
    """Seconds by the clock, and of all processors, of a sweep over these rates."""
    words = [f"lr={','.join(rates)}", f"seed={seed}", f"epochs={EPOCHS}", "plots=none", f"hydra.sweep.dir={folder}"]
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "dlrun", "-m", *words, *options], capture_output=True, text=True)
    if done.returncode not in (0, 1):  # 1: high rates diverge
        sys.exit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processors = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begun, processors


def losses(folder: Path) -> dict[str, list[float]]:
    """The validation losses of each run, epoch by epoch, the untrained network's first."""
    found: dict[str, list[float]] = {}
    with (folder / "curves.csv").open() as file:
        for row in csv.DictReader(file):
            if row["metric"] == "val_loss":
                found.setdefault(row["run"], []).append(float(row["value"]))
    return found


def optunas(curves: list[list[float]], first: int) -> tuple[int, float]:
    """Epochs that Optuna's pruner lets train, one trial after the other, and the best loss among these."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=ETA)
    study = optuna.create_study(pruner=pruner)
    epochs, best = 0, float("inf")
    for curve in curves:
        trial = study.ask()
        state = optuna.trial.TrialState.COMPLETE
        for epoch, loss in enumerate(curve[1:], 1):
            epochs, best = epochs + 1, min(best, loss)
            trial.report(loss, epoch)
            if trial.should_prune():
                state = optuna.trial.TrialState.PRUNED
                break
        study.tell(trial, curve[-1] if state == optuna.trial.TrialState.COMPLETE else None, state=state)
    return epochs, best


def chance(curves: list[list[float]], epochs: int) -> float:
    """The median best loss of as many unpruned runs, drawn from these, as take so many epochs."""
    draw, best = random.Random(0), [min(curve) for curve in curves]
    return median(min(draw.sample(best, max(1, epochs // EPOCHS))) for _ in range(1000))


def main() -> None:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # users' machines keep byte code
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    versions = [f"Python {platform.python_version()}", f"dlrun {dlrun.__version__}"]
    versions += [f"{name} {version(name)}" for name in ("torch", "optuna")]
    print(f"{platform.machine()}, {os.cpu_count()} cores, {', '.join(versions)}", flush=True)
    tables: dict[int, list[dict[str, float]]] = {first: [] for first in FIRST}
    for seed in range(repetitions):
        draw = random.Random(seed)
        rates = list(dict.fromkeys(f"{10 ** draw.uniform(-5, 0):.3g}" for _ in range(2 * RATES)))[:RATES]
        with tempfile.TemporaryDirectory() as place:
            seconds, processors = command(Path(place), rates, seed)
            curves = list(losses(Path(place)).values())
        best, trained = min(map(min, curves)), sum(len(curve) - 1 for curve in curves)
        for first in FIRST:
            options = ["prune=halving", f"eta={ETA}", f"first_rung={first}"]
            with tempfile.TemporaryDirectory() as place:
                took = command(Path(place), rates, seed, *(f"hydra.sweeper.{option}" for option in options))
                pruned = list(losses(Path(place)).values())
            epochs = sum(len(curve) - 1 for curve in pruned)
            optuna_epochs, optuna_best = optunas(curves, first)
            row = {
                "seconds": seconds, "pruned_seconds": took[0], "ratio": seconds / took[0],
                "processors": processors, "pruned_processors": took[1], "processors_ratio": processors / took[1],
                "epochs": trained, "pruned_epochs": epochs, "optuna_epochs": optuna_epochs,
                "best": best, "pruned_best": min(map(min, pruned)), "optuna_best": optuna_best,
                "chance_best": chance(curves, epochs),
            }  # fmt: skip
            tables[first].append(row)
            print(f"first_rung={first}  " + "  ".join(f"{name} {value:.5g}" for name, value in row.items()), flush=True)
    for first, table in tables.items():
        print(f"first_rung={first}, medians: ", end="")
        print("  ".join(f"{name} {median(row[name] for row in table):.5g}" for name in table[0]))
        for name in ("pruned_best", "optuna_best"):
            same = sum(row[name] == row["best"] for row in table)
            print(f"first_rung={first}, {name} as without pruning: {same} of {len(table)}")


if __name__ == "__main__":
    main()
