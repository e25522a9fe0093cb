"""A fair comparison: the rate of every setting is tuned with the same number of trials, then the best are run anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf, isfinite
from pathlib import Path
from statistics import mean, median_high
from typing import Any

from hydra.core.utils import JobReturn

from dlrun.errors import ConfigError
from dlrun.files.opening import read
from dlrun.folder import wellformed
from dlrun.folder.names import OVERRIDES
from dlrun.folder.reading import read_summary

TUNING, FINAL = "tuning", "final"  #: the folders of the trials and of the runs with the best rates, in the sweep's
FINISHED = ("finished", "stopped_early")
TARGET = "the target {} is the least demanding of the settings' medians, so that half of each setting's runs reach it"

Jobs = list[list[str]]
Launch = Callable[[str, Jobs], Sequence[JobReturn]]  #: the name of a folder in the sweep's, and the jobs to run there


def tuned(
    jobs: Jobs, default_lr: Callable[[list[str]], float], trials: int, decades: float, seeds: int, launch: Launch
) -> list[Sequence[JobReturn]]:
    """Run the jobs with the learning rate that does best for each setting, found on other seeds.

    Every setting, which is what a job says but for its seed, gets the same trials: rates spaced evenly on a logarithmic
    axis around the setting's own default, each with the same seeds, none of which the jobs have. The rate with the
    fewest diverged runs is taken, then with the best mean of the main metric on validation, as in the sweep's report,
    then with the lowest validation loss.

    Args:
        jobs: overrides of each run, without lr.
        default_lr: of a job's overrides, its optimizer's own.
        trials: rates for each setting.
        decades: from the default rate to the highest, and to the lowest.
        seeds: of each trial.

    Raises ConfigError where the jobs set lr.

    Reference: Schneider et al. 2019, arXiv:1903.05499 (DeepOBS); Dahl et al. 2023, arXiv:2306.07179 (AlgoPerf).
    """
    settings, grids, trial_jobs = tried(jobs, default_lr, trials, decades, seeds)
    ended = iter(launch(TUNING, trial_jobs))
    best: dict[tuple[str, ...], float] = {}
    for setting, grid in zip(settings, grids, strict=True):
        found = {lr: _quality([read_summary(Path(next(ended).working_dir or "")) for _ in range(seeds)]) for lr in grid}
        best[tuple(setting)] = min(found, key=lambda lr: found[lr])
    final = [[*job, f"lr={best[tuple(o for o in job if not o.startswith('seed='))]}"] for job in jobs]
    return [launch(FINAL, final)]


def tried(
    jobs: Jobs, default_lr: Callable[[list[str]], float], trials: int, decades: float, seeds: int
) -> tuple[Jobs, list[list[float]], Jobs]:
    """The settings, the rates that are tried for each, and the jobs that try them; the arguments are those of `tuned`.

    Raises ConfigError where the jobs set lr.
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
    return settings, grids, trial_jobs


def _quality(summaries: Sequence[dict[str, Any]]) -> tuple[float, float, float]:
    """Less is better: the share of runs that did not come to an end, then the others' means on validation."""
    ended = [summary for summary in summaries if summary["status"] in FINISHED]
    if not ended:
        return 1, inf, inf
    name, sign = _main_metric(ended[0])
    means = (mean(summary[f"best_val_{each}"] for summary in ended) for each in (name, "loss"))
    return 1 - len(ended) / len(summaries), sign * next(means), next(means)


def _main_metric(summary: Mapping[str, Any]) -> tuple[str, int]:
    """The main metric if the task has one, else the loss; and the sign that makes less of it better."""
    ways = summary.get("metrics", {})
    name = next(iter(ways), "loss")
    return name, -1 if ways.get(name) == "higher" else 1


def common_target(runs: Sequence[Path]) -> tuple[str, float] | None:
    """A column of metrics.csv and a value that every setting reaches in half of its runs; None where nothing finished.

    The main metric if the task has one, else the loss. Settings of which most runs failed set no target.
    """
    summaries = {run: read_summary(run) for run in runs}
    finished = [summary for summary in summaries.values() if summary["status"] in FINISHED]
    if not finished:
        return None
    name, sign = _main_metric(finished[0])
    found: dict[tuple[str, ...], list[float]] = {}
    for run, summary in summaries.items():
        typed = wellformed.overrides(read(run, OVERRIDES), run / OVERRIDES)
        ended = summary["status"] in FINISHED
        setting = tuple(override for override in typed if not override.startswith("seed="))
        found.setdefault(setting, []).append(sign * summary[f"best_val_{name}"] if ended else inf)
    medians = [median_high(values) for values in found.values()]
    reached = [median for median in medians if isfinite(median)]
    return (f"val_{name}", sign * max(reached)) if reached else None
