"""What pruning saves: a random search of 256 learning rates, with and without, and Optuna's pruner on the same curves.

`python scripts/bench_pruning.py [REPETITIONS]` prints a line for each repetition and the medians. What is timed are
whole commands, by the clock and by the processors. Optuna's SuccessiveHalvingPruner (ASHA's rule for stopping, Li et al. 2020)
is asked trial by trial, as in a search of one process, and told of by the epochs that it lets train. Half an hour.
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

RATES, EPOCHS, FIRST, ETA = 256, 30, 1, 4


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


def optunas(curves: list[list[float]]) -> tuple[int, float]:
    """Epochs that Optuna's pruner lets train, one trial after the other, and the best loss among these."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=FIRST, reduction_factor=ETA)
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


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    versions = [f"Python {platform.python_version()}", f"dlrun {dlrun.__version__}"]
    versions += [f"{name} {version(name)}" for name in ("torch", "optuna")]
    print(f"{platform.machine()}, {os.cpu_count()} cores, {', '.join(versions)}", flush=True)
    table: list[dict[str, float]] = []
    for seed in range(repetitions):
        draw = random.Random(seed)
        rates = list(dict.fromkeys(f"{10 ** draw.uniform(-5, 0):.3g}" for _ in range(2 * RATES)))[:RATES]
        with tempfile.TemporaryDirectory() as place:
            whole, pruned = Path(place, "whole"), Path(place, "pruned")
            ways = [(whole, ()), (pruned, ("hydra.sweeper.prune=halving", f"hydra.sweeper.eta={ETA}"))]
            took = {
                folder: command(folder, rates, seed, *options) for folder, options in ways[:: -1 if seed % 2 else 1]
            }
            all_of_them, some = losses(whole), losses(pruned)
        best = [min(min(curve) for curve in curves.values()) for curves in (all_of_them, some)]
        epochs, optunas_best = optunas(list(all_of_them.values()))
        row = {
            "seconds": took[whole][0], "pruned": took[pruned][0], "ratio": took[whole][0] / took[pruned][0],
            "processors": took[whole][1], "pruned_processors": took[pruned][1],
            "processors_ratio": took[whole][1] / took[pruned][1],
            "epochs": sum(len(curve) - 1 for curve in all_of_them.values()),
            "pruned_epochs": sum(len(curve) - 1 for curve in some.values()), "optuna_epochs": epochs,
            "best": best[0], "pruned_best": best[1], "optuna_best": optunas_best,
        }  # fmt: skip
        table.append(row)
        print("  ".join(f"{name} {value:.6g}" for name, value in row.items()), flush=True)
    print("medians: " + "  ".join(f"{name} {median(row[name] for row in table):.6g}" for name in table[0]))
    for name in ("pruned_best", "optuna_best"):
        print(f"{name} as without pruning: {sum(row[name] == row['best'] for row in table)} of {len(table)}")


if __name__ == "__main__":
    main()
