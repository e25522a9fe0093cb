"""Worker processes: each trains one stack of a sweep's runs, and tells the parent how it goes."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dlrun.config.moments import Moment
from dlrun.errors import ConfigError, Unwritable
from dlrun.files.opening import inside
from dlrun.folder import checkpoint
from dlrun.folder.clearing import clear
from dlrun.folder.lock import Busy, locked
from dlrun.folder.names import CHECKPOINT, SUMMARY, form_of
from dlrun.folder.reading import summary_of
from dlrun.folder.records import write_summary
from dlrun.sweep.limits import open_files
from dlrun.sweep.packing import pack
from dlrun.terminal.signals import as_in_a_child, interruptible, obeyed, unconverted

INTERVAL = 0.2  # seconds between two reports of progress
PATIENCE = 600  # seconds for a process that lost its parent to notice, after its present step, and leave the folders


@dataclass(frozen=True)
class Task:
    """One run of a sweep."""

    number: int
    node: Mapping[str, Any]  #: its config, resolved
    folder: Path
    files: Mapping[str, str] = field(repr=False)  #: what Hydra writes into the folder, by path
    overrides: Sequence[str] = ()  #: what a launcher is told of it
    until: Moment | None = None  #: where it waits for the other runs of a sweep that prunes
    pruned: bool = False  #: whether its sweep prunes
    packed: Path | None = None  #: the sweep with whose packed runs it is to lie, once its stack is complete


class Worker:
    """A process that trains some runs as one stack.

    Args:
        tasks: the runs; their configs have one `build.structure`.
        place: which of the machine's devices to use, where there are several.
    """

    def __init__(self, context: BaseContext, tasks: Sequence[Task], place: int) -> None:
        self.tasks, self.place = tasks, place
        self.steps, self.total = 0, 0  #: done by the stack, and in all, once it has told
        self.fault: OSError | None = None  #: the machine's, which would meet the other stacks too
        self.connection, theirs = context.Pipe(duplex=False)
        # the context's own class, which mypy knows by its base alone
        self.process: BaseProcess = context.Process(target=_work, args=(tasks, place, theirs))  # type: ignore[attr-defined]
        self.process.start()
        theirs.close()

    def interrupt(self) -> None:
        """Let the training end after its present step."""
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGINT)

    @property
    def killed(self) -> tuple[int, ...]:
        """If the process was killed: which runs it trained, and the step of the last checkpoint that they left."""
        kept = checkpoint.latest(self.tasks[0].folder / CHECKPOINT)
        return (*(task.number for task in self.tasks), kept) if (self.process.exitcode or 0) < 0 else ()

    @property
    def ended(self) -> str | None:
        """Why the process ended before its work, if it did."""
        code = self.process.exitcode
        if code is None or code == 0:
            return None
        return f"the process was ended by signal {-code}" if code < 0 else f"the process ended with code {code}"


def run(
    stacks: Sequence[Sequence[Task]],
    workers: int,
    method: str,
    progress: Callable[[list[Worker]], None],
    done: Callable[[Sequence[Task], str | None], None],
    cut: Callable[[Sequence[Task], str], None] = lambda tasks, why: None,
) -> None:
    """Train the stacks, up to `workers` at a time; a stack that fails is cut in two, down to the run that is at fault.

    One that was killed is first tried again as it is, from its checkpoint; it may not have been its fault.

    done: told the runs of a stack that has ended, and why, if it failed as a single run.
    progress: called now and then with the workers at work.
    cut: told the runs of a stack that is cut in two, and why it failed.

    Raises KeyboardInterrupt after the trainings have ended in order, and so what the file system raised in a worker.
    """
    import dlrun.job.folders  # noqa: F401 - a tenth of a second, once in place of in each fork

    gc.freeze()  # what is loaded stays: looking through it takes a worker a sixth of a second, and copies its memory
    context = multiprocessing.get_context(method)
    waiting, active, free = list(stacks), list[Worker](), list(range(workers))
    tried = set[tuple[int, ...]]()  #: those that were killed, with how far they had come
    try:
        while waiting or active:
            while waiting and free:
                active.append(Worker(context, waiting.pop(0), free.pop(0)))
            _listen(active, INTERVAL)
            progress(active)
            for worker in [w for w in active if not w.process.is_alive()]:
                _listen([worker], 0)
                active.remove(worker)
                free.append(worker.place)
                worker.connection.close()
                if worker.fault:
                    raise worker.fault
                if worker.killed and worker.killed not in tried:
                    tried.add(worker.killed)
                    waiting.insert(0, worker.tasks)
                elif worker.ended and len(worker.tasks) > 1:
                    middle = len(worker.tasks) // 2
                    cut(worker.tasks, str(summary_of(worker.tasks[0].folder).get("error") or worker.ended))
                    for task in worker.tasks:  # none of them has failed yet, should Ctrl-C come before their turn
                        with locked(task.folder, PATIENCE):
                            clear(task.folder)
                    waiting[:0] = [worker.tasks[:middle], worker.tasks[middle:]]
                else:
                    done(worker.tasks, worker.ended)
    except BaseException as problem:
        for worker in active:
            worker.interrupt()
        for worker in active:
            worker.process.join()
            if not isinstance(problem, OSError):  # for then nothing can be written
                done(worker.tasks, None)  # one that had not begun to train ends as if it had failed
        raise


def _listen(workers: Sequence[Worker], timeout: float) -> None:
    """Take in what the workers tell until one of them has ended or told something, or the time has passed."""
    sources: list[Any] = [w.connection for w in workers] + [w.process.sentinel for w in workers]
    ready = wait(sources, timeout)
    for worker in workers:
        while worker.connection in ready and worker.connection.poll():
            try:
                told = worker.connection.recv()
                if isinstance(told, OSError):
                    worker.fault = told
                else:
                    worker.steps, worker.total = told
            except (EOFError, OSError):
                break


def _work(tasks: Sequence[Task], place: int, connection: Connection) -> None:
    """What the process does. Its exit code tells whether it got to its end; everything else is in the folders."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C is for the parent, which passes it on once
    as_in_a_child()
    parent = multiprocessing.parent_process()

    def tell(told: tuple[int, int]) -> None:
        try:
            connection.send(told)
            orphaned = parent is not None and os.getppid() != parent.pid  # a pipe may stay open: children share it
        except OSError:
            orphaned = True
        if orphaned:
            signal.raise_signal(signal.SIGTERM)  # leaves a checkpoint to what resumes the sweep

    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(place % torch.cuda.device_count())  # there may be several workers to each
    try:
        with interruptible(lambda signum: None):
            code = train(tasks, tell)
    except OSError as problem:
        with suppress(OSError):  # the parent is gone
            connection.send(problem)
        code = 1
    except KeyboardInterrupt:  # before the training, which would have ended in order
        code = 130
    if code:
        sys.exit(code)


@obeyed()
def train(tasks: Sequence[Task], tell: Callable[[tuple[int, int]], None] = lambda told: None) -> int:
    """Train runs as one stack and complete their folders; returns the exit code, 0, or 1 or 2 as of a single run.

    The runs go on from the checkpoint that this stack left, if it did.

    tell: told the steps done, and those in all, now and then.

    Raises OSError where results cannot be written: the runs are not at fault, and can go on.
    """
    import torch

    from dlrun.job.folders import Folders, continuing
    from dlrun.training.build import build
    from dlrun.training.components import blamed

    open_files()
    torch.set_num_threads(1)
    nodes, folders = [dict(task.node) for task in tasks], [task.folder for task in tasks]
    try:
        with unconverted(), ExitStack() as locks:
            for folder in folders:  # no other process writes there until this one ends, whoever its parent is by then
                locks.enter_context(locked(folder, PATIENCE))
            begun, problems = continuing(folders)
            if begun is None:
                for task in tasks:
                    begin(task)
            stack = build(nodes, initialize=begun is None)
            if tasks[0].pruned and nodes[0]["compile"] == "auto":
                stack.compile = False  # a survivor's stacks are many, each with another width to compile for
            with Folders(nodes, folders, stack, begun, problems, tasks[0].until) as all_folders:
                all_folders.train(Telling(all_folders, tell))
    except Unwritable as problem:
        raise problem.__cause__ or problem from None
    except Busy as problem:  # so that nothing may be written there
        raise OSError(errno.EBUSY, str(problem)) from None
    except OSError:
        raise
    except ConfigError as mistake:
        _fail(tasks, str(mistake))
        return 2
    except Exception as problem:
        _fail(tasks, blamed(problem))
        return 1
    if any(task.node["plots"] == "all" for task in tasks):
        from dlrun.plots.pictures import drawn

        for task in tasks:  # one that cannot be drawn is told, and the runs are not trained again for it
            drawn(task.folder, form_of(task.node))
    if sweep := tasks[0].packed:
        with suppress(Exception):  # they are complete: the command packs them in the end, or says why not
            pack(sweep, folders)
    return 0


def begin(task: Task) -> None:
    """Leave the run's folder with what Hydra writes into it, and nothing else of a run."""
    clear(task.folder)  # of what a stack that failed left, of which this run was a part
    for name, text in task.files.items():
        path = inside(task.folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _fail(tasks: Sequence[Task], why: str) -> None:
    for task in tasks:
        if not (task.folder / SUMMARY).exists():
            write_summary(task.folder, {"status": "failed", "name": task.node["name"], "error": why})


class Telling:
    """An observer that writes the runs' rows, and tells how many steps are done."""

    def __init__(self, folders: Any, tell: Callable[[tuple[int, int]], None]) -> None:
        self.row, self.trace = folders.row, folders.trace
        self.tell, self.total = tell, folders.stack.steps
        self.next = time.monotonic() + INTERVAL

    def due(self) -> bool:
        return time.monotonic() >= self.next

    def step(self, done: int, loss: float, lr: float) -> None:
        self.next = time.monotonic() + INTERVAL
        self.tell((done, self.total))
