"""A sweep on this machine: which runs it has, which are there already, how they are stacked, and what they leave."""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dlrun.errors import ConfigError, out_of_memory
from dlrun.folder import checkpoint
from dlrun.folder.clearing import discard, refuse_foreign_files
from dlrun.folder.description import told
from dlrun.folder.lock import locked
from dlrun.folder.names import CHECKPOINT, LOG, PLAN, SUMMARY
from dlrun.folder.reading import summary_of
from dlrun.folder.records import write_summary
from dlrun.report.collect import append_run, write_tables
from dlrun.sweep.beginning import ended
from dlrun.sweep.compose import Job, check_jobs, compose, named
from dlrun.sweep.jobs import held
from dlrun.sweep.limits import stacked_runs
from dlrun.sweep.objective import refuse_unknown, value_of
from dlrun.sweep.plan import Plan
from dlrun.sweep.width import expected, width_for
from dlrun.sweep.workers import PATIENCE, Task, Worker, run
from dlrun.terminal.console import say
from dlrun.terminal.progress import SweepProgress
from dlrun.terminal.signals import ENDING, Deferred, Ended

DATASETS = 3  #: that are told of on the terminal


class Trainer(Protocol):
    """Who trains a sweep's stacks: processes of this machine, or a cluster."""

    remote: bool  #: Slurm's jobs, so that devices are not looked for here, and runs that wait there are followed

    def places(self, device: str) -> int:
        """How many stacks train at a time."""

    def train(self, stacks: Sequence[Sequence[Task]], plan: Plan, device: str) -> bool:
        """Train the stacks, and add the runs to sweep.csv as they end; false where they go on without this process.

        Raises ConfigError, with nothing begun, where they are refused.
        """


def launch(
    config: DictConfig,
    loader: ConfigLoader,
    job_overrides: Sequence[Sequence[str]],
    first: int,
    *,
    trainer: Trainer,
    width: int | None,
    retry_failed: bool,
) -> list[JobReturn]:
    """Train the jobs that the sweep's folder does not hold yet; `ending` completes its tables.

    Raises ConfigError before anything is written, where a config is wrong or its choices do not fit.
    """
    folder = Path(config.hydra.sweep.dir).absolute()

    def numbered(job: Job, number: int) -> Job:
        return compose(config, loader, [job.overrides], number)[0]

    with _refusals_leave_nothing(folder), locked(folder):
        jobs = compose(config, loader, job_overrides, first)
        check_jobs(jobs)
        plan = Plan(folder, retry_failed, PATIENCE)
        placed = [plan.place(job, numbered) for job in jobs]
        submitted = held(folder)
        here = [(job, there) for job, there in placed if str(job.folder.relative_to(folder)) not in submitted]
        begun = plan.unfinished(here)
        missing = [job for job, is_there in placed if not is_there or job.folder in plan.begun]
        left = [job for job in missing if str(job.folder.relative_to(folder)) not in submitted]
        if len(left) < len(missing):
            _say_submitted(len(missing) - len(left), submitted, trainer)
        for job in left:
            refuse_foreign_files(job.folder)
        tasks = [Task(job.number, job.config, job.folder, job.files(), job.overrides) for job in left]
        whole = [[job.number for job in stack] for stack in begun]
        # without torch, which takes seconds, where nothing is to be trained
        stacks, device = stacked(tasks, width, trainer, whole, _data(placed)) if tasks else ([], "cpu")
        if len(missing) < len(jobs):
            say(f"{len(jobs) - len(missing)} of {len(jobs)} runs are there already")
        try:
            if missing:
                plan.save(tasks, config)
                if not trainer.train(stacks, plan, device):
                    return []
        except (KeyboardInterrupt, Ended):
            with suppress(ConfigError):  # where none has begun
                write_tables([folder], folder)
            raise
    ended.setdefault(folder, []).extend(job.folder for job, _ in placed)
    return [_returned(job, summary_of(job.folder)) for job, _ in placed]


@contextmanager
def _refusals_leave_nothing(folder: Path) -> Iterator[None]:
    is_new = not (folder / PLAN).exists()
    try:
        yield
    except (ConfigError, HydraException, OmegaConfBaseException):
        if is_new:
            (folder / PLAN).unlink(missing_ok=True)
            discard(folder)
        raise
    except KeyboardInterrupt:
        if not (folder / PLAN).exists():
            discard(folder)
        raise


def _say_submitted(runs: int, submitted: dict[str, str], trainer: Trainer) -> None:
    ids = " ".join(dict.fromkeys(submitted.values()))
    told = f"{runs} runs are queued or running in Slurm's job {ids}"
    if not trainer.remote:
        raise ConfigError(f"{told}: let it end, or end it with `scancel {ids}`")
    say(f"{told} already")


class Here:
    """This machine as the trainer of a sweep.

    Args:
        workers: processes at a time; None: one per GPU, or one per core, as small work gains nothing from threads.
    """

    remote = False

    def __init__(self, workers: int | None) -> None:
        self.workers = workers

    def places(self, device: str) -> int:
        """As many as processes."""
        import torch

        return self.workers or (torch.cuda.device_count() if device == "cuda" else len(os.sched_getaffinity(0)))

    def train(self, stacks: Sequence[Sequence[Task]], plan: Plan, device: str) -> bool:
        """Train the stacks in worker processes, to the end."""
        with Deferred(signal.SIGINT, *ENDING) as signals, SweepProgress(sum(map(len, stacks))) as progress:

            def heed() -> None:
                signals.pass_on()
                if signals.interrupted:
                    raise KeyboardInterrupt

            def show(active: Sequence[Worker]) -> None:
                heed()
                progress.working([(len(worker.tasks), worker.steps, worker.total) for worker in active])
                if len(plan.runs) > 1 and progress.waiting == 0:
                    import dlrun.report.report  # noqa: F401 - takes a second: while the last stacks train

            def done(ended: Sequence[Task], problem: str | None) -> None:
                for task in ended:
                    progress.done(conclude(task, problem))
                    append_run(plan.folder, task.folder)

            run(stacks, min(len(stacks), self.places(device)), start_method(device), show, done)
            heed()
        return True


def start_method(device: str) -> str:
    """How worker processes start: a forked one has torch and the data from the start, but CUDA does not work in it,
    and only Linux forks safely."""
    return "fork" if sys.platform == "linux" and device == "cpu" else "spawn"


def stacked(
    tasks: Sequence[Task],
    width: int | None,
    trainer: Trainer,
    whole: Sequence[Sequence[int]] = (),
    data: Mapping[str, str] | None = None,
) -> tuple[list[list[Task]], str]:
    """The runs as stacks, and the type of the device that they train on.

    Runs whose configs have the same `build.structure` share stacks; all settings of each, whatever their seeds and
    rates, are built, but not initialized, to refuse what does not fit before anything is trained.

    width: runs of a stack at most; by default as many as `width` finds best.
    whole: the numbers of the runs of each stack that goes on from a checkpoint, and stays as it is.
    data: what the folder's runs were trained with, see `_data`; other data are refused.
    """
    import torch

    from dlrun.training.build import build, structure

    torch.set_num_threads(1)
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(repr(structure(task.node)), []).append(task)
    numbered = {task.number: task for task in tasks}
    problems, stacks, device = [], [[numbered[number] for number in stack] for stack in whole], "cpu"
    going_on = {number for stack in whole for number in stack}
    read: dict[str, list[str]] = {}  #: what is told of each dataset
    for key, group in groups.items():
        settings = {repr({**task.node, "seed": 0, "name": "", "lr": None}): task.node for task in group}
        try:
            nodes = list(settings.values())
            if trainer.remote:  # its devices and compilers are not this machine's
                nodes = [{**node, "device": "cpu", "compile": False} for node in nodes]
            stack = build(nodes, initialize=False)
            refuse_unknown(nodes, stack)
        except ConfigError as mistake:
            problems.append(f"{named(task.number for task in group)}: {mistake}")
            continue
        except Exception as problem:
            if not out_of_memory(problem):
                raise
            stacks += [[task] for task in group if task.number not in going_on]  # one by one there may be enough
            continue
        if (data or {}).get(_source(group[0].node), stack.dataset.digest) != stack.dataset.digest:
            problems.append(
                f"{named(task.number for task in group)}: the data have changed since other runs in this folder were "
                "trained: put them back as they were, or choose another hydra.sweep.dir"
            )
            continue
        several = f"; the first of {len(stack.variants)} versions" if len(stack.variants) > 1 else ""
        first, *others = told(stack.dataset.description)
        read.setdefault(_source(group[0].node), [first + several, *others])
        device = stack.theta.device.type
        fresh = [task for task in group if task.number not in going_on]
        if fresh:
            places, params = trainer.places(device), stack.layout.params
            if not stack.rule.stackable:
                widest = 1
            elif width:
                widest = width
            elif trainer.remote:
                widest = expected(len(fresh), params, places)
            else:
                runs = [task.node for task in fresh]
                widest = width_for(runs, key, stack.steps, params, places, start_method(device))
            share = math.ceil(len(fresh) / places)  # so that no worker is idle
            stacks += _parts(fresh, math.ceil(len(fresh) / min(widest, share, stacked_runs())))
    if problems:
        raise ConfigError("\n".join(problems))
    for lines in list(read.values())[:DATASETS]:
        for line in lines:
            say(line, indent=2)
    if len(read) > DATASETS:
        say(f"and {len(read) - DATASETS} more datasets, of which each run's {LOG} tells")
    if len(groups) > 1:
        say(f"{len(tasks)} runs of {len(groups)} structures in {len(stacks)} stacks")
    return sorted(stacks, key=len, reverse=True), device


def _data(placed: Sequence[tuple[Job, bool]]) -> dict[str, str]:
    """The digests of the data that runs were trained with, complete ones and those with a checkpoint, by `_source`."""
    found = {}
    for job, complete in placed:
        record = summary_of(job.folder) if complete else checkpoint.newest(job.folder / CHECKPOINT)
        if digest := record.get("data"):
            found[_source(job.config)] = digest
    return found


def _source(node: Mapping[str, Any]) -> str:
    """Runs in which this is the same have the same samples."""
    return repr({key: value for key, value in node["dataset"].items() if key not in ("split_seed", "label_noise")})


def _parts(tasks: Sequence[Task], count: int) -> list[list[Task]]:
    """The tasks in this many parts whose sizes differ by one at most."""
    cuts = [len(tasks) * i // count for i in range(count + 1)]
    return [list(tasks[a:b]) for a, b in pairwise(cuts)]


def conclude(task: Task, problem: str | None) -> str:
    """The status of a run whose process has ended; one that could not tell any more gets a summary now."""
    if not (task.folder / SUMMARY).exists():
        task.folder.mkdir(parents=True, exist_ok=True)
        status = "failed" if problem else "interrupted"
        write_summary(task.folder, {"status": status, "name": task.node["name"], "error": problem})
    return str(summary_of(task.folder)["status"])


def _returned(job: Job, summary: dict[str, Any]) -> JobReturn:
    """What Hydra's sweepers want to know of a run, some of which optimise it."""
    result = JobReturn(overrides=job.overrides, working_dir=str(job.folder), status=JobStatus.COMPLETED)
    result.return_value = value_of(summary, job.config.get("objective"))
    return result
