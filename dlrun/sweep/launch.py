"""A sweep on this machine: which runs it has, which are there already, how they are stacked, and what they leave."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dlrun.cli import statuses
from dlrun.console import SweepProgress, say
from dlrun.errors import ConfigError
from dlrun.records import SUMMARY, discard, read_summary, write_summary
from dlrun.report.collect import append_run, write_tables
from dlrun.sweep.compose import Job, check_jobs, compose, named
from dlrun.sweep.plan import PLAN, Plan
from dlrun.sweep.workers import Task, Worker, run

ROWS = 2**20  #: parameters of all rows of a stack: beyond, a step gains nothing more from being shared
WIDEST = 512  #: runs of a stack, each of which keeps a file open


def launch(
    config: DictConfig,
    loader: ConfigLoader,
    job_overrides: Sequence[Sequence[str]],
    first: int,
    *,
    width: int | None,
    workers: int | None,
    retry_failed: bool,
) -> list[JobReturn]:
    """Train the jobs that the sweep's folder does not hold yet, and complete its tables.

    Raises ConfigError before anything is written, where a config is wrong or its choices do not fit.
    """
    started, folder = time.perf_counter(), Path(config.hydra.sweep.dir).absolute()

    def numbered(job: Job, number: int) -> Job:
        return compose(config, loader, [job.overrides], number)[0]

    with _refusals_leave_nothing(folder):
        jobs = compose(config, loader, job_overrides, first)
        check_jobs(jobs)
        plan = Plan(folder, retry_failed)
        placed = [plan.place(job, numbered) for job in jobs]
        tasks = [Task(job.number, job.config, job.folder, job.files()) for job, is_there in placed if not is_there]
        stacks, device = stacked(tasks, width, workers) if tasks else ([], "cpu")  # without torch, which takes seconds
    if len(tasks) < len(jobs):
        say(f"{len(jobs) - len(tasks)} of {len(jobs)} runs are there already")
    try:
        if tasks:
            plan.save(tasks, config)
            _train(stacks, plan, min(len(stacks), workers or _places(device)), device)
    except KeyboardInterrupt:
        write_tables([folder], folder)
        raise
    write_tables([folder], folder)
    summaries = [_summary(job.folder) for job, _ in placed]
    statuses.extend(summary["status"] for summary in summaries)
    counts = Counter(summary["status"].replace("_", " ") for summary in summaries)
    said = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    say(f"{len(jobs)} runs: {said}; {time.perf_counter() - started:.1f} s")
    if len(plan.runs) > 1:
        from dlrun.report.report import report

        report([folder])
    return [_returned(job, summary) for (job, _), summary in zip(placed, summaries, strict=True)]


@contextmanager
def _refusals_leave_nothing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (ConfigError, HydraException, OmegaConfBaseException):
        if not (folder / PLAN).exists():
            discard(folder)
        raise


def _train(stacks: Sequence[Sequence[Task]], plan: Plan, processes: int, device: str) -> None:
    with SweepProgress(sum(map(len, stacks))) as progress:

        def show(active: Sequence[Worker]) -> None:
            progress.working([(len(worker.tasks), worker.steps) for worker in active])

        def done(ended: Sequence[Task], problem: str | None) -> None:
            for task in ended:
                progress.done(_conclude(task, problem))
                append_run(plan.folder, task.folder)

        # A forked process has torch and the data from the start. CUDA does not work in one; only Linux forks safely.
        forks = sys.platform == "linux" and device == "cpu"
        run(stacks, processes, "fork" if forks else "spawn", show, done)


def stacked(tasks: Sequence[Task], width: int | None, workers: int | None) -> tuple[list[list[Task]], str]:
    """The runs as stacks, and the type of the device that they train on.

    Runs whose configs have the same `build.structure` share stacks; all settings of each, whatever their seeds and
    rates, are built, but not initialized, to refuse what does not fit before anything is trained.

    width: runs of a stack at most; by default as many as have `ROWS` parameters together.
    """
    import torch

    from dlrun.build import build, structure

    torch.set_num_threads(1)
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(repr(structure(task.node)), []).append(task)
    problems, stacks, device = [], [], "cpu"
    for group in groups.values():
        settings = {repr({**task.node, "seed": 0, "name": "", "lr": None}): task.node for task in group}
        try:
            stack = build(list(settings.values()), initialize=False)
        except ConfigError as mistake:
            problems.append(f"{named(task.number for task in group)}: {mistake}")
            continue
        device = stack.theta.device.type
        widest = width or max(1, min(WIDEST, ROWS // stack.layout.params))
        if not stack.rule.stackable:
            widest = 1
        share = math.ceil(len(group) / (workers or _places(device)))  # so that no worker is idle
        stacks += _parts(group, math.ceil(len(group) / min(widest, share)))
    if problems:
        raise ConfigError("\n".join(problems))
    if len(groups) > 1:
        say(f"{len(tasks)} runs of {len(groups)} structures in {len(stacks)} stacks")
    return sorted(stacks, key=len, reverse=True), device


def _parts(tasks: Sequence[Task], count: int) -> list[list[Task]]:
    """The tasks in this many parts whose sizes differ by one at most."""
    cuts = [len(tasks) * i // count for i in range(count + 1)]
    return [list(tasks[a:b]) for a, b in pairwise(cuts)]


def _places(device: str) -> int:
    """How many processes train at a time: one per GPU, or one per core, since small work gains nothing from threads."""
    import torch

    return torch.cuda.device_count() if device == "cuda" else len(os.sched_getaffinity(0))


def _conclude(task: Task, problem: str | None) -> str:
    """The status of a run whose process has ended; one that could not tell any more gets a summary now."""
    if not (task.folder / SUMMARY).exists():
        task.folder.mkdir(parents=True, exist_ok=True)
        status = "failed" if problem else "interrupted"
        write_summary(task.folder, {"status": status, "name": task.node["name"], "error": problem})
    return str(_summary(task.folder)["status"])


def _summary(folder: Path) -> dict[str, Any]:
    """A run's summary; of one that was never begun, that it was interrupted."""
    return read_summary(folder) if (folder / SUMMARY).exists() else {"status": "interrupted"}


def _returned(job: Job, summary: dict[str, Any]) -> JobReturn:
    """What Hydra's sweepers want to know: the best validation loss, which some of them minimise."""
    value = summary.get("best_val_loss")
    result = JobReturn(overrides=job.overrides, working_dir=str(job.folder), status=JobStatus.COMPLETED)
    result.return_value = math.inf if value is None else value
    return result
