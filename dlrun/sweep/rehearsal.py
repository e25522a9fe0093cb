"""What a stack of runs will take: its first steps, an evaluation, and files of some of its runs, which are not kept."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dlrun.config.durations import seconds as duration
from dlrun.errors import reason
from dlrun.folder.names import METRICS, form_of
from dlrun.sweep.limits import open_files
from dlrun.sweep.width import peak, timed_steps
from dlrun.sweep.workers import Task, begin
from dlrun.terminal.signals import as_in_a_child

if TYPE_CHECKING:
    from torch import device

    from dlrun.training.evaluation import Row

SECONDS, FEWEST, MOST = 0.3, 3, 200  #: for which steps are timed, and how many of them at least and at most
QUICK = 1.0  #: seconds of an evaluation, below which it is timed again, without what only the first one takes
FILED = 100  #: runs at most whose folders are written; the others take as long


@dataclass(frozen=True)
class Takes:
    """What a stack of runs takes: seconds, bytes, and how many of what."""

    begin: float  #: until the first step: networks are drawn, folders begun, the step is recorded and compiled
    step: float
    evaluation: float  #: with the rows that are written of it
    looks: float  #: of diagnostics while they train, in all
    end: float  #: tests, weights, summaries and pictures
    steps: int
    evaluations: int
    columns: int  #: of metrics.csv
    memory: int  #: beyond that of the process which starts it; of the device, on a GPU
    files: int  #: of each run
    size: int  #: of a run's files
    uncounted: tuple[str, ...]  #: diagnostics of the finished networks, which are not rehearsed
    stops: bool  #: whether runs may stop early
    limit: float  #: seconds of training, max_time

    @property
    def seconds(self) -> float:
        """From the stack's beginning to its end."""
        return self.begin + min(self._training, self.limit) + self.end

    @property
    def is_limited(self) -> bool:
        """Whether max_time ends it."""
        return self.limit < self._training

    @property
    def _training(self) -> float:
        return self.steps * self.step + self.evaluations * self.evaluation + self.looks


class Unrehearsed(Exception):
    """Why a stack could not be rehearsed."""


def rehearsed(tasks: Sequence[Task], together: int, method: str, alone: bool = False) -> Takes:
    """What training these runs as one stack takes while so many such stacks train at a time, in a process each.

    Steps, evaluations and files are those of the training itself; trackers are left out, and what compiling takes and
    saves is what `training.machine` expects of it.

    method: how processes start.
    alone: as a run that is no sweep's, with as many threads as it asks for, and its curves drawn.

    Raises Unrehearsed where that fails.
    """
    context = multiprocessing.get_context(method)
    found: list[Takes | str] = []
    with TemporaryDirectory(prefix="dlrun-plan-") as there:
        processes, ends = [], []
        try:
            for place in range(together):
                ours, theirs = context.Pipe(duplex=False)
                arguments = (tasks, place, Path(there, str(place)), alone, theirs)
                process = context.Process(target=_rehearse, args=arguments, daemon=True)  # type: ignore[attr-defined]
                process.start()
                theirs.close()
                processes.append(process)
                ends.append(ours)
            for each in ends:
                with suppress(EOFError):
                    found.append(each.recv())
        finally:
            for process in processes:
                process.kill()
                process.join()
    told = [each for each in found if isinstance(each, Takes)]
    if len(told) < together:
        raise Unrehearsed(next((each for each in found if isinstance(each, str)), "its process was ended"))

    def average(name: str) -> float:
        return mean(getattr(each, name) for each in told)

    return replace(
        told[0],
        begin=average("begin"),
        step=average("step"),
        evaluation=average("evaluation"),
        looks=average("looks"),
        end=average("end"),
        memory=max(each.memory for each in told),
    )


def _rehearse(tasks: Sequence[Task], place: int, there: Path, alone: bool, connection: Connection) -> None:
    import torch

    as_in_a_child()
    if torch.cuda.is_available():
        torch.cuda.set_device(place % torch.cuda.device_count())
    torch.set_num_threads(1)
    try:
        connection.send(takes(tasks, there, alone))
    except Exception as problem:
        connection.send(reason(problem))


def takes(tasks: Sequence[Task], there: Path, alone: bool = False) -> Takes:
    """What training these runs as one stack takes in this process. there: a folder for the files."""
    import torch

    from dlrun.diagnostics.during import During
    from dlrun.diagnostics.finished import of_finished
    from dlrun.job.folders import Folders
    from dlrun.regularizers.regularizer import Regularizer
    from dlrun.training.build import build
    from dlrun.training.machine import COMPILING
    from dlrun.training.state import State
    from dlrun.training.train import evaluate, flushed_subnormals
    from dlrun.training.watching import Outcome

    open_files()
    nodes = [{**task.node, "tracker": {}} for task in tasks]
    before, clock = peak(), Stopwatch()
    with torch.no_grad(), flushed_subnormals():
        stack = build(nodes)
        clock.device = stack.theta.device
        if tasks[0].pruned and nodes[0]["compile"] == "auto":
            stack.compile = False  # as in `workers.train`
        if alone:
            torch.set_num_threads(stack.threads)
        state = State(stack)
        few = state.select(state.runs[:FILED])
        times, taken = timed_steps(stack, state, SECONDS, FEWEST, MOST, time.perf_counter)
        begun = clock.passed() - sum(times)
        evaluate(stack, state, Rows(), taken[-1:], clock.last)
        evaluation = first = clock.passed()
        if first < QUICK:
            evaluate(stack, state, Rows(), taken[-1:], clock.last)
            evaluation = clock.passed()
        for each in state.measured:
            each.test()
        tested = clock.passed()

        filed = [replace(task, folder=there / str(i)) for i, task in enumerate(tasks[:FILED])]
        if few is not state:
            _, taken = timed_steps(few.stack, few, 0, 1, 1, time.perf_counter)
        clock.passed()
        for task in filed:
            begin(task)
        folders = [task.folder for task in filed]
        with Folders(nodes[:FILED], folders, few.stack) as all_folders:
            opened = clock.passed()
            during = During(stack.diagnostics, few.stack, all_folders.found)
            during.look(few.stack, few)
            look, looks = clock.passed(), max((1 + stack.steps // each for each in during.steps.values()), default=0)
            rows = Rows(all_folders)
            evaluate(few.stack, few, rows, taken[-1:], clock.last)
            for each in few.measured:
                each.test()
            clock.passed()
            all_folders.save(Outcome(["finished"] * few.stack.runs, few.measured, "", 1.0, 0.0))
    if nodes[0]["plots"] == "all" or (alone and nodes[0]["plots"] != "none"):
        from dlrun.plots.pictures import drawn

        for folder in folders:
            drawn(folder, form_of(nodes[0]))
    saved = clock.passed()
    share = len(tasks) / len(filed)
    step = sum(times[1:]) / len(times[1:])
    if stack.compile:
        costs = COMPILING.get(stack.theta.device.type, COMPILING["cpu"])
        begun += costs.seconds
        step = max(step / 10, step - costs.saved - costs.saved_per_parameter * stack.theta.numel())
    evaluations = 1 + -(-stack.steps // stack.eval_every)
    header, *lines = (folders[0] / METRICS).read_bytes().splitlines(keepends=True)
    files = [file for file in folders[0].rglob("*") if file.is_file()]
    return Takes(
        begin=begun + max(0.0, first - evaluation) + share * opened,
        step=step,
        evaluation=evaluation + share * rows.seconds,
        looks=share * look * looks,
        end=tested + share * saved,
        steps=stack.steps,
        evaluations=evaluations,
        columns=header.count(b",") + 1,
        memory=torch.cuda.max_memory_allocated(clock.device) if stack.theta.is_cuda else peak() - before,
        files=len(files),
        size=sum(file.stat().st_size for file in files) + (evaluations - 1) * max(map(len, lines), default=0),
        uncounted=tuple(of_finished(stack.diagnostics)),
        limit=inf if nodes[0]["max_time"] is None else duration(nodes[0]["max_time"]),
        stops=any(type(each).observe is not Regularizer.observe for each in stack.regularizers),
    )


class Stopwatch:
    """Seconds from one look at it to the next; a GPU is waited for."""

    def __init__(self) -> None:
        self.last = time.perf_counter()
        self.device: device | None = None

    def passed(self) -> float:
        """Since the last call."""
        if self.device and self.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.device)
        last, self.last = self.last, time.perf_counter()
        return self.last - last


class Rows:
    """An observer that writes rows into folders, where there are some, and adds up the seconds that it takes."""

    def __init__(self, folders: Any = None) -> None:
        self.folders, self.seconds = folders, 0.0

    def row(self, run: int, row: Row) -> None:
        start = time.perf_counter()
        if self.folders:
            self.folders.row(run, row)
        self.seconds += time.perf_counter() - start

    def trace(self, run: int, steps: list[Row]) -> None:
        if self.folders:
            self.folders.trace(run, steps)

    def due(self) -> bool:
        return False

    def step(self, done: int, loss: float, lr: float) -> None:
        pass
