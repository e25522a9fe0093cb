"""A task of a sweep's job array: what it reads, trains, and does when Slurm ends it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from dlrun.config.escapes import unescaped
from dlrun.config.moments import Moment
from dlrun.folder.checkpoint import checkpointed
from dlrun.folder.reading import status_of
from dlrun.folder.records import yaml_text
from dlrun.folder.resume import has_more_time
from dlrun.sweep.halving import at
from dlrun.sweep.trainers import conclude, start_method
from dlrun.sweep.workers import Task, run

PATIENCE = 60.0  # seconds after SIGTERM until a task that nobody has ended goes on
LOOK = 0.1  # seconds between two looks at the signals that came


def write_part(folder: Path, index: int, part: Sequence[Sequence[Task]]) -> None:
    """Write what the task with this index trains; the configs as YAML, since JSON has no keys that are numbers."""
    content = [
        [
            {
                "number": task.number,
                "node": yaml_text(task.node),
                "folder": str(task.folder),
                "files": dict(task.files),
                "until": task.until and [task.until.number, task.until.in_steps],
                "pruned": task.pruned,
                "packed": str(task.packed or ""),
            }
            for task in stack
        ]
        for stack in part
    ]
    (folder / f"{index}.json").write_text(json.dumps(content), encoding="utf-8")


def read_part(folder: Path, index: int) -> list[list[Task]]:
    """What `write_part` wrote."""

    def task(node: str, folder: str, until: Sequence[Any] | None, packed: str, **others: Any) -> Task:
        own = unescaped(yaml.load(node, Loader=yaml.CSafeLoader))
        moment, sweep = Moment(*until) if until else None, Path(packed) if packed else None
        return Task(node=own, folder=Path(folder), until=moment, packed=sweep, **others)

    return [[task(**run) for run in stack] for stack in json.loads((folder / f"{index}.json").read_text("utf-8"))]


class Part:
    """What a task of the job array does: it trains its stacks, those that are left when it was requeued.

    Slurm's warning before the end (USR2) stops the training, at a checkpoint, and has submitit requeue the task. After
    SIGTERM, by scancel or a preemption, the task waits for its end instead, since one that ends is not requeued.

    Args:
        folder: the submission's.
        workers: processes at a time; None: one per GPU, or one per core that Slurm gave.
    """

    def __init__(self, folder: str, workers: int | None) -> None:
        self.folder, self.workers = folder, workers

    def __call__(self, index: int) -> None:
        import submitit

        warning = getattr(signal, f"SIG{submitit.JobEnvironment().USR_SIG}")
        with noticed(warning, signal.SIGTERM) as came:
            while (stacks := self._left(index)) and self._train(stacks, came):
                until = time.monotonic() + PATIENCE
                while warning not in came() and time.monotonic() < until:
                    time.sleep(LOOK)
                if warning in came():
                    break
                came().clear()
            requeue = warning in came() and self._left(index)
        if requeue:
            signal.raise_signal(warning)  # submitit's turn, which ends the process

    def checkpoint(self, index: int) -> Any:
        """What submitit requeues: the same, which finds in the folders what is done."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, index)

    def _left(self, index: int) -> list[list[Task]]:
        return [rest for stack in read_part(Path(self.folder), index) for rest in unfinished(stack)]

    def _train(self, stacks: list[list[Task]], came: Callable[[], set[int]]) -> bool:
        """Train until the end, or until a signal came; whether one did."""
        import torch

        cuda = any(task.node["device"] != "cpu" for stack in stacks for task in stack) and torch.cuda.is_available()
        workers = self.workers or (torch.cuda.device_count() if cuda else int(os.environ.get("SLURM_CPUS_PER_TASK", 1)))

        def look(active: object) -> None:
            if came():
                raise KeyboardInterrupt

        def done(ended: Sequence[Task], problem: str | None) -> None:
            for task in ended:
                conclude(task, None if came() else problem)

        try:
            run(stacks, workers, start_method("cuda" if cuda else "cpu"), look, done)
        except KeyboardInterrupt:
            return True
        return False


def unfinished(stack: Sequence[Task]) -> list[list[Task]]:
    """What is left of a stack: those that go on from a checkpoint, each with the runs that it had; those that paused,
    by their steps; and one that begins.

    A failed run is not tried again: what remains of it would fail again.
    """
    tasks = {task.folder: task for task in stack}
    left = {
        folder
        for folder, task in tasks.items()
        if (status_of(folder) in (None, "interrupted") and not (task.until and at(folder, task.until).waits))
        or has_more_time(folder, task.node.get("max_time"))
    }
    stacks, paused = checkpointed({folder: folder not in left for folder in tasks})
    going_on = {folder for members in stacks for folder in members}
    beginning: dict[int, list[Task]] = {}
    for folder in tasks:
        if folder in left - going_on:
            beginning.setdefault(paused.get(folder, 0), []).append(tasks[folder])
    return [*([tasks[folder] for folder in members] for members in stacks), *beginning.values()]


@contextmanager
def noticed(*signals: int) -> Iterator[Callable[[], set[int]]]:
    """Keeps signals from this process and from those that it starts, since Slurm sends them to every process of a task;
    yields a function that tells which have come."""
    came: set[int] = set()
    # Libraries' threads began without the mask: what they take arrives at the handler.
    before = {number: signal.signal(number, lambda number, frame: came.add(number)) for number in signals}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def tell() -> set[int]:
        while pending := signal.sigtimedwait(signals, 0):
            came.add(pending.si_signo)
        return came

    try:
        yield tell
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
