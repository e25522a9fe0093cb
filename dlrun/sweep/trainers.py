"""Who trains a sweep's stacks: worker processes of this machine, or others that do likewise."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from math import inf
from typing import Any, Protocol, runtime_checkable

from dlrun.folder.contents import exists
from dlrun.folder.names import SUMMARY
from dlrun.folder.reading import summary_of
from dlrun.folder.records import write_summary
from dlrun.report.collect import append_run
from dlrun.sweep.plan import Plan
from dlrun.sweep.workers import Task, Worker, run
from dlrun.terminal.console import duration
from dlrun.terminal.progress import SweepProgress
from dlrun.terminal.signals import ENDING, Deferred


class Trainer(Protocol):
    """Who trains a sweep's stacks: processes of this machine, or a cluster."""

    remote: bool  #: Slurm's jobs, so that devices are not looked for here, and runs that wait there are followed
    pauses: bool  #: whether it ends runs at some moment, which go on later
    compares: bool  #: whether it ends runs where a sweep compares them, and trains those that go on

    def places(self, device: str) -> int:
        """How many stacks train at a time."""

    def train(self, stacks: Sequence[Sequence[Task]], plan: Plan, device: str, end: float = inf) -> bool:
        """Train the stacks, and add the runs to sweep.csv as they end; false where they go on without this process.

        end: the moment of `time.perf_counter` at which they are interrupted.

        Raises ConfigError, with nothing begun, where they are refused, and TimeOver at that moment.
        """


class TimeOver(Exception):
    """The time of a sweep is over: the runs at work have been interrupted, each with a checkpoint."""


@runtime_checkable
class Foreseen(Trainer, Protocol):
    """A trainer of which `--plan` can tell how it goes about its stacks."""

    def parts(self, stacks: Sequence[Sequence[Task]], device: str) -> tuple[list[list[Sequence[Task]]], int]:
        """The stacks, in the order in which they begin, of each part that has so many places of its own."""

    def foreseen(self, parts: Sequence[float], around: float) -> str:
        """What the parts take, in words, given the seconds of each and of what lies before and after all of them."""


class Here:
    """This machine as the trainer of a sweep.

    Args:
        workers: processes at a time; None: one per GPU, or one per core, as small work gains nothing from threads.
    """

    remote, pauses, compares = False, True, True

    def __init__(self, workers: int | None) -> None:
        self.workers = workers

    def places(self, device: str) -> int:
        """As many as processes."""
        import torch

        return self.workers or (torch.cuda.device_count() if device == "cuda" else len(os.sched_getaffinity(0)))

    def parts(self, stacks: Sequence[Sequence[Task]], device: str) -> tuple[list[list[Sequence[Task]]], int]:
        """A single one."""
        return [list(stacks)], min(len(stacks), self.places(device))

    def foreseen(self, parts: Sequence[float], around: float) -> str:
        """The time of the whole command."""
        training = sum(parts)
        return (
            f"about {duration(training + around)}: {duration(training)} of training and {duration(around)} of checks, "
            "tables and report"
        )

    def train(self, stacks: Sequence[Sequence[Task]], plan: Plan, device: str, end: float = inf) -> bool:
        """Train the stacks in worker processes, to the end."""
        if time.perf_counter() >= end:
            raise TimeOver
        with Deferred(signal.SIGINT, *ENDING) as signals, SweepProgress(sum(map(len, stacks))) as progress:

            def heed() -> None:
                signals.pass_on()
                if signals.interrupted:
                    raise KeyboardInterrupt

            def show(active: Sequence[Worker]) -> None:
                heed()
                if time.perf_counter() >= end:
                    raise TimeOver
                progress.working([(len(worker.tasks), worker.steps, worker.total) for worker in active])
                if len(plan.runs) > 1 and progress.waiting == 0:
                    import dlrun.report.report  # noqa: F401 - takes a second: while the last stacks train

            def done(ended: Sequence[Task], problem: str | None) -> None:
                for task in ended:
                    summary = conclude(task, problem)
                    waits = task.until is not None and "reason" in summary and summary["status"] == "interrupted"
                    progress.done("waiting" if waits else str(summary["status"]))
                    if not waits:
                        append_run(plan.folder, task.folder)

            def cut(tasks: Sequence[Task], why: str) -> None:
                progress.note(f"{len(tasks)} runs that trained together go on in two halves: {why}")

            run(stacks, self.parts(stacks, device)[1], start_method(device), show, done, cut)
            heed()
        return True


def start_method(device: str) -> str:
    """How worker processes start: a forked one has torch and the data from the start, but CUDA does not work in it,
    and only Linux forks safely."""
    return "fork" if sys.platform == "linux" and device == "cpu" else "spawn"


def conclude(task: Task, problem: str | None) -> dict[str, Any]:
    """The summary of a run whose process has ended; one that could not tell any more gets a summary now."""
    if not exists(task.folder, SUMMARY):
        task.folder.mkdir(parents=True, exist_ok=True)
        status = "failed" if problem else "interrupted"
        write_summary(task.folder, {"status": status, "name": task.node["name"], "error": problem})
    return summary_of(task.folder)
