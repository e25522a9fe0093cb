"""Other launchers than dlrun's, such as Hydra's own, joblib's and Ray's: each run is a job, with the same folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from dlrun.config.escapes import quoted
from dlrun.folder.lock import locked
from dlrun.folder.names import holds_run
from dlrun.report.collect import append_run
from dlrun.sweep.jobs import outlast
from dlrun.sweep.launch import launch
from dlrun.sweep.plan import Plan
from dlrun.sweep.trainers import conclude
from dlrun.sweep.workers import PATIENCE, Task, begin
from dlrun.terminal.signals import unconverted


class Recorded(Launcher):
    """Another launcher, in whose sweeps jobs are checked first, what is there is not repeated, and all is told.

    Args:
        launcher: set up, for the sweep of this config.
        retry_failed: train failed runs again that the sweep's folder holds.
    """

    def __init__(self, launcher: Launcher, context: HydraContext, config: DictConfig, retry_failed: bool) -> None:
        self.launcher, self.context, self.config, self.retry_failed = launcher, context, config, retry_failed

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing more: the other launcher is set up."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Launch the jobs that the sweep's folder lacks, through the other launcher."""
        trainer, loader, retry = Jobs(self.launcher), self.context.config_loader, self.retry_failed
        return launch(self.config, loader, job_overrides, initial_job_idx, trainer=trainer, width=1, retry_failed=retry)


def recorded(launcher: Launcher, context: HydraContext, config: DictConfig, retry_failed: bool) -> Launcher:
    """The launcher, which is `Recorded` if it is not dlrun's."""
    own = type(launcher).__module__.startswith("hydra_plugins.dlrun_stack.")
    return launcher if own else Recorded(launcher, context, config, retry_failed)


class Jobs:
    """Another launcher as the trainer of a sweep."""

    remote, pauses, compares = False, False, False

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher

    def places(self, device: str) -> int:
        """No matter: nothing is stacked."""
        return 1

    def train(self, stacks: Sequence[Sequence[Task]], plan: Plan, device: str, end: float = inf) -> bool:
        """Launch the jobs, whose folders tell how they ended: of one that died there is no return value."""
        for span in _spans(sorted((task for stack in stacks for task in stack), key=lambda task: task.number)):
            problem = "the job ended and left no summary"
            try:
                jobs = [[*task.overrides, f"hydra.sweep.subdir={_below(task, plan)}"] for task in span]
                with unconverted():
                    self.launcher.launch(jobs, initial_job_idx=span[0].number)
            except Exception as mistake:  # of the launcher, such as a worker that was killed
                problem = repr(mistake)
                outlast(plan.folder)
            for task in span:
                if not holds_run(task.folder):  # it was not its turn yet; what was typed tells it apart in the tables
                    with locked(task.folder, PATIENCE):
                        begin(task)
                conclude(task, problem)
                append_run(plan.folder, task.folder)
        return True


def _below(task: Task, plan: Plan) -> str:
    """The run's folder in the sweep's, as typed: that of its plan, whatever hydra.sweep.subdir says by now."""
    return quoted(str(task.folder.relative_to(plan.folder)))


def _spans(tasks: Sequence[Task]) -> Iterator[list[Task]]:
    """The tasks in parts with consecutive numbers: a launcher numbers its jobs from the first."""
    span: list[Task] = []
    for task in tasks:
        if span and task.number != span[-1].number + 1:
            yield span
            span = []
        span.append(task)
    if span:
        yield span
