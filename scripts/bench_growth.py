"""How time grows with what a user makes larger: bench.py's `growth`, a slope for each series and a picture of all."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from math import log
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

UPPER = 3  #: points of a series, the largest, whose slope counts: below them a command's start is most of the time
Dlrun = Callable[..., dict[str, Any]]
Series = dict[int, list[float]]  #: by size, seconds, one of each round


def sizes(first: int, last: int, factor: int) -> list[int]:
    found = [first]
    while found[-1] * factor <= last:
        found.append(found[-1] * factor)
    return found


def measured(dlrun: str, solo: Dlrun, xor: Sequence[str], folder: Path, rounds: int) -> dict[str, Series]:
    """Seconds of whole sweeps by their runs, and of trainings by their epochs, rows and parameters.

    dlrun: the command. solo: trains a run in a folder and returns its summary. xor: the sweep's overrides.
    """

    def runs(place: Path, n: int) -> float:
        words = [f"seed=range({n})", "steps=200", "eval_every=200", f"hydra.sweep.dir={place}"]
        begin = time.perf_counter()
        subprocess.run([dlrun, "-m", *xor, *words], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begin

    common = ["compile=false", "plots=none", "threads=1", "device=cpu", "checkpoint_every=null"]
    blobs = ["dataset=blobs", "epochs=1", "train_metrics=running", "architecture.hidden=[16]", "batch_size=64"]
    series: dict[str, tuple[list[int], Callable[[Path, int], float]]] = {
        "runs of a sweep": (sizes(1, 4096, 4), runs),
        "epochs": (
            sizes(1, 1000, 10),
            lambda place, n: solo(place, *common, "dataset=digits", f"epochs={n}")["seconds"],
        ),
        "rows": (
            sizes(1000, 10**6, 10),
            lambda place, n: solo(place, *common, *blobs, f"dataset.samples={n}")["seconds"],
        ),
        "parameters": (  # of a layer of 64 features to n / 74 units to 10 classes
            sizes(1000, 10**7, 10),
            lambda place, n: solo(
                place, *common, "dataset=digits", "steps=60", "eval_every=2", f"architecture.hidden=[{n // 74}]"
            )["seconds"],
        ),
    }
    return {
        name: {n: [seconds(folder / f"{name}-{n}-{turn}", n) for turn in range(rounds)] for n in points}
        for name, (points, seconds) in series.items()
    }


def slope(series: Series) -> float:
    """Of log seconds over log size, by least squares over the `UPPER` largest sizes; 1: time grows in proportion."""
    points = [(log(n), log(median(seconds))) for n, seconds in sorted(series.items())[-UPPER:]]
    return linear_regression(*zip(*points, strict=True)).slope


def draw(found: dict[str, Series], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(8, 6), layout="constrained")
    for axis, (name, series) in zip(axes.flat, found.items(), strict=True):
        axis.loglog(list(series), [median(seconds) for seconds in series.values()], "o-")
        axis.set(xlabel=name, ylabel="seconds", title=f"slope of the {UPPER} largest {slope(series):.2f}")
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
