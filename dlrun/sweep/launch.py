"""A sweep on this machine: which runs it has, which are there already, how they are stacked, and what they leave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dlrun.config.durations import seconds
from dlrun.config.moments import Moment
from dlrun.config.options import estimating
from dlrun.errors import ConfigError
from dlrun.folder.clearing import discard, refuse_foreign_files
from dlrun.folder.contents import exists
from dlrun.folder.lock import locked
from dlrun.folder.names import METRICS, PLAN, SUMMARY, shell_command
from dlrun.folder.reading import summary_of
from dlrun.report.collect import append_run, drop_runs, write_tables
from dlrun.sweep.beginning import Part, begun_at, ended, parts
from dlrun.sweep.compose import Job, check_jobs, compose
from dlrun.sweep.halving import Halving, at
from dlrun.sweep.jobs import held
from dlrun.sweep.objective import values_of
from dlrun.sweep.packing import pack_rest, refuse_without_parquet
from dlrun.sweep.plan import Plan
from dlrun.sweep.stacking import digests, stacked
from dlrun.sweep.trainers import TimeOver, Trainer
from dlrun.sweep.workers import PATIENCE, Task
from dlrun.terminal.console import counted, say
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

    With `--plan` only what would be trained is told, and what it would take.

    Raises ConfigError before anything is written, where a config is wrong or its choices do not fit.
    """
    folder = Path(config.hydra.sweep.dir).absolute()

    def numbered(job: Job, number: int) -> Job:
        return compose(config, loader, [job.overrides], number)[0]

    with _guarded(folder):
        jobs = compose(config, loader, job_overrides, first)
        check_jobs(jobs)
        halving, end = options_of(config, jobs, trainer)
        plan = Plan(folder, retry_failed, 0 if estimating() else PATIENCE, prunes=halving is not None)
        jobs = [plan.place(job, numbered)[0] for job in jobs]
        rungs: list[Moment | None] = [*halving.rungs, None] if halving and not estimating() else [None]
        try:
            for place, until in enumerate(rungs):
                if not _train(jobs, until, plan, config, trainer, width, end, first=place == 0):
                    return []
                if halving and until and not _decided(halving, jobs, place, folder):
                    break
        except (KeyboardInterrupt, Ended):
            with suppress(ConfigError):  # where none has begun
                write_tables([folder], folder)
            raise
        except TimeOver:
            if _packs(config) and (done := [job.folder for job in jobs if plan.holds(job)]):
                pack_rest(folder, done)
            return _time_over(jobs, plan)
        if _packs(config) and not estimating():
            pack_rest(folder, [job.folder for job in jobs])
    ended.setdefault(folder, []).extend(job.folder for job in jobs)
    return [_returned(job, summary_of(job.folder)) for job in jobs]


def _train(
    jobs: Sequence[Job],
    until: Moment | None,
    plan: Plan,
    config: DictConfig,
    trainer: Trainer,
    width: int | None,
    end: float,
    first: bool,
) -> bool:
    """Train those of the jobs that have not come to their end, or to a rung; false where they go on elsewhere.

    until: the rung. end: see `options_of`. first: whether this command has trained nothing before.
    """
    placed = [(job, plan.holds(job)) for job in jobs]
    going = [(job, there) for job, there in placed if there or not (until and at(job.folder, until).waits)]
    submitted = held(plan.folder)
    begun, paused = plan.unfinished([(job, there) for job, there in going if _name(job, plan) not in submitted])
    missing = [job for job, there in going if not there or job.folder in plan.begun]
    left = [job for job in missing if _name(job, plan) not in submitted]
    if len(left) < len(missing):
        _say_submitted(len(missing) - len(left), submitted, trainer)
    for job in left:
        refuse_foreign_files(job.folder)
    how = (until, config.hydra.sweeper.get("prune") is not None, plan.folder if _packs(config) else None)
    tasks = [Task(job.number, job.node, job.folder, job.files, job.overrides, *how) for job in left]
    whole = [[job.number for job in stack] for stack in begun]
    # without torch, which takes seconds, where nothing is to be trained
    stacks, device = list[list[Task]](), "cpu"
    if tasks:
        stacks, device = stacked(tasks, width, trainer, whole, paused, digests(placed), tells=first)
    if first and len(missing) < len(jobs):
        say(f"{len(jobs) - len(missing)} of {len(jobs)} runs are there already")
    if estimating():
        from dlrun.sweep.estimate import tell

        tell(config, stacks, trainer, device)
        return False
    if not missing:
        return True
    if first:
        parts.append(Part(len(tasks)))
    plan.save(tasks, config)
    drop_runs(plan.folder, {_name(job, plan) for job in left})
    return trainer.train(stacks, plan, device, end)


def _packs(config: DictConfig) -> bool:
    """Whether complete runs are packed."""
    return bool(config.hydra.sweeper.get("keep") == "packed")


def _name(job: Job, plan: Plan) -> str:
    return str(job.folder.relative_to(plan.folder))


def options_of(config: DictConfig, jobs: Sequence[Job], trainer: Trainer) -> tuple[Halving | None, float]:
    """How the sweep prunes, if it does, and the moment of `time.perf_counter` at which its time is over.

    Raises ConfigError where its launcher can do neither, or its runs have not one max_time.
    """
    sweeper = config.hydra.sweeper
    if _packs(config):
        refuse_without_parquet()
    if sweeper.get("max_time") is not None and not trainer.pauses:
        raise ConfigError(
            f"hydra.sweeper.max_time={sweeper.max_time}: with hydra/launcher=stack alone, which can end a run to go on "
            "later; max_time=... is for each run, with any launcher"
        )
    if sweeper.get("prune") is not None and not trainer.compares:
        raise ConfigError(
            f"hydra.sweeper.prune={sweeper.prune}: with hydra/launcher=stack, or with stack_slurm and "
            "hydra.launcher.wait=true, where this command waits at each rung for all runs to compare them"
        )
    if len(times := {job.config.get("max_time") for job in jobs}) > 1:
        told = ",".join(map(str, times))
        raise ConfigError(f"max_time={told}: it is no setting, since runs in a stack share their time; give one")
    halving = Halving.of(sweeper.first_rung, sweeper.eta, jobs) if sweeper.get("prune") is not None else None
    budget = sweeper.get("max_time")
    return halving, inf if budget is None else begun_at() + seconds(budget)


def _decided(halving: Halving, jobs: Sequence[Job], place: int, folder: Path) -> bool:
    """Whether all runs have come to a rung; then those that lose there have ended."""
    found = halving.decide(jobs, place)
    if found is None:  # a process was ended from outside
        return False
    before, after, lost = found
    for job in lost:
        append_run(folder, job.folder)
    say(f"{halving.rungs[place]}: the best {after} of {counted(before, 'setting')} go{'es' * (after == 1)} on")
    return True


def _time_over(jobs: Sequence[Job], plan: Plan) -> list[JobReturn]:
    """Tell of a sweep whose time is over, and leave its tables; its exit code tells of the runs that have ended."""
    done = [job.folder for job in jobs if plan.holds(job)]
    new = sum(not exists(job.folder, METRICS) and not exists(job.folder, SUMMARY) for job in jobs)
    begun = len(jobs) - len(done) - new
    say(
        f"hydra.sweeper.max_time is over: {len(done)} of {counted(len(jobs), 'run')} are done, {begun} interrupted, "
        f"{new} not begun; `{shell_command('resume', plan.folder)}` goes on"
    )
    if done:
        ended.setdefault(plan.folder, []).extend(done)
    else:
        with suppress(ConfigError):  # where none has begun
            write_tables([plan.folder], plan.folder)
    return []


@contextmanager
def _guarded(folder: Path) -> Iterator[None]:
    """Keeps others out of a sweep's folder, and leaves nothing there of a refusal; a plan leaves the folder alone."""
    if estimating():
        yield
    else:
        with _refusals_leave_nothing(folder), locked(folder):
            yield


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
    """What Hydra's sweepers want to know of a run, some of which optimise it: a number, or as many as objectives."""
    result = JobReturn(overrides=job.overrides, working_dir=str(job.folder), status=JobStatus.COMPLETED)
    values = values_of(summary, job.config.get("objective"))
    result.return_value = values[0] if values and len(values) == 1 else values
    return result
