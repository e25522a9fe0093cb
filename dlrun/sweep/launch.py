"""A sweep on this machine: which runs it has, which are there already, how they are stacked, and what they leave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dlrun.errors import ConfigError
from dlrun.folder.clearing import discard, refuse_foreign_files
from dlrun.folder.lock import locked
from dlrun.folder.names import PLAN
from dlrun.folder.reading import summary_of
from dlrun.report.collect import write_tables
from dlrun.sweep.beginning import ended
from dlrun.sweep.compose import Job, check_jobs, compose
from dlrun.sweep.jobs import held
from dlrun.sweep.objective import value_of
from dlrun.sweep.plan import Plan
from dlrun.sweep.stacking import digests, stacked
from dlrun.sweep.trainers import Trainer
from dlrun.sweep.workers import PATIENCE, Task
from dlrun.terminal.console import say
from dlrun.terminal.signals import Ended


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
        stacks, device = stacked(tasks, width, trainer, whole, digests(placed)) if tasks else ([], "cpu")
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


def _returned(job: Job, summary: dict[str, Any]) -> JobReturn:
    """What Hydra's sweepers want to know of a run, some of which optimise it."""
    result = JobReturn(overrides=job.overrides, working_dir=str(job.folder), status=JobStatus.COMPLETED)
    result.return_value = value_of(summary, job.config.get("objective"))
    return result
