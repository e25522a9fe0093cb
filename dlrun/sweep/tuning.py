"""A fair comparison: the rate of every setting is tuned with the same number of trials, then the best are run anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from statistics import mean
from typing import Any

from hydra.core.utils import JobReturn

from dlrun.errors import ConfigError
from dlrun.records import read_summary

Jobs = list[list[str]]
Launch = Callable[[str, Jobs], Sequence[JobReturn]]  #: the name of a folder in the sweep's, and the jobs to run there


def tuned(
    jobs: Jobs, default_lr: Callable[[list[str]], float], trials: int, decades: float, seeds: int, launch: Launch
) -> list[Sequence[JobReturn]]:
    """Run the jobs with the learning rate that does best for each setting, found on other seeds.

    Every setting, which is what a job says but for its seed, gets the same trials: rates spaced evenly on a logarithmic
    axis around the setting's own default, each with the same seeds, none of which the jobs have. The rate with the
    fewest diverged runs, then the lowest mean of the best validation losses, is taken.

    Args:
        jobs: overrides of each run, without lr.
        default_lr: of a job's overrides, its optimizer's own.
        trials: rates for each setting.
        decades: from the default rate to the highest, and to the lowest.
        seeds: of each trial.

    Raises ConfigError where the jobs set lr.

    Reference: Schneider et al. 2019, arXiv:1903.05499 (DeepOBS); Dahl et al. 2023, arXiv:2306.07179 (AlgoPerf).
    """
    if any(override.startswith("lr=") for job in jobs for override in job):
        raise ConfigError("lr is what hydra.sweeper.trials finds: leave lr out, or set hydra.sweeper.trials=0")
    settings: list[list[str]] = []
    for job in jobs:
        setting = [override for override in job if not override.startswith("seed=")]
        if setting not in settings:
            settings.append(setting)
    first = 1 + max((int(o.removeprefix("seed=")) for job in jobs for o in job if o.startswith("seed=")), default=0)
    steps = [decades * (2 * i / (trials - 1) - 1) if trials > 1 else 0.0 for i in range(trials)]
    grids = [[float(f"{default_lr(setting) * 10**step:.3g}") for step in steps] for setting in settings]
    trial_jobs = [
        [*setting, f"lr={lr}", f"seed={first + seed}"]
        for setting, grid in zip(settings, grids, strict=True)
        for lr in grid
        for seed in range(seeds)
    ]
    ended = iter(launch("tuning", trial_jobs))
    best: dict[tuple[str, ...], float] = {}
    for setting, grid in zip(settings, grids, strict=True):
        found = {lr: _quality([read_summary(Path(next(ended).working_dir or "")) for _ in range(seeds)]) for lr in grid}
        best[tuple(setting)] = min(found, key=lambda lr: found[lr])
    final = [[*job, f"lr={best[tuple(o for o in job if not o.startswith('seed='))]}"] for job in jobs]
    return [launch("final", final)]


def _quality(summaries: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Less is better: the share of runs that did not come to an end, the mean best validation loss of the others."""
    losses = [s["best_val_loss"] for s in summaries if s["status"] in ("finished", "stopped_early")]
    return 1 - len(losses) / len(summaries), mean(losses) if losses else inf
