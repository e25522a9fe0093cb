"""The one trainer: `fit` trains the runs of a stack side by side, each as it would train alone."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from math import isfinite
from typing import Any, Protocol

import torch
from torch import Tensor

from dlrun.plan import learning_rates, plan
from dlrun.rows import call
from dlrun.seeds import NOISE, seed_of
from dlrun.stack import Evaluation, Stack, over_rows
from dlrun.trace import Recording

Row = dict[str, float]
Step = Callable[..., tuple[Tensor, ...]]


class Observer(Protocol):
    """Who watches a training."""

    def row(self, run: int, row: Row) -> None:
        """An evaluation of one run, with the columns of metrics.csv."""

    def due(self) -> bool:
        """Whether it is time to show progress; reading a loss makes the device wait, so this is asked first."""

    def step(self, done: int, loss: float, lr: float) -> None:
        """Progress between evaluations."""


class Snapshot:
    """Parameters and buffers of each run as they were at one of its evaluations, and that evaluation's row."""

    def __init__(self, stack: Stack) -> None:
        self.theta = stack.theta.clone()
        self.buffers = {name: buffer.clone() for name, buffer in stack.buffers.items()}
        self.rows: list[Row] = [{} for _ in range(stack.runs)]

    def take(self, run: int, stack: Stack, row: Row) -> None:
        """Replace the run's entry by its present one."""
        self.theta[run] = stack.theta[run]
        for name, buffer in self.buffers.items():
            buffer[run] = stack.buffers[name][run]
        self.rows[run] = row

    def restore(self, stack: Stack) -> None:
        """Make all entries the stack's present state."""
        stack.theta.copy_(self.theta)
        for name, buffer in self.buffers.items():
            stack.buffers[name].copy_(buffer)


class State:
    """What changes while a stack trains, beside its theta and buffers."""

    def __init__(self, stack: Stack) -> None:
        stack.rule.bind(stack.layout, stack.theta)
        self.step = 0
        self.memory = stack.rule.init(stack.theta)
        self.schedule = stack.schedule.init(stack.runs)
        self.regularizers = [regularizer.init(stack.theta) for regularizer in stack.regularizers]
        self.best = Snapshot(stack)
        self.last = Snapshot(stack)
        self.status = ["running"] * stack.runs


@dataclass
class Outcome:
    """How the runs of a stack ended."""

    status: list[str]  #: finished, stopped_early, diverged or interrupted
    best: Snapshot  #: by validation loss
    last: Snapshot
    best_test: dict[str, Tensor]  #: loss and metrics on the test part with the best parameters, (runs,)
    last_test: dict[str, Tensor]
    started: str  #: UTC time of the first step
    seconds: float  #: from there to the last evaluation
    compile_seconds: float


@torch.no_grad()
def fit(stack: Stack, observer: Observer) -> Outcome:
    """Train every run of the stack to its end, reporting each evaluation to the observer.

    The stack is left with the parameters that each run ended with.
    """
    torch.manual_seed(seed_of(stack.seeds[0], NOISE))
    state, evaluation = State(stack), Evaluation(stack)
    batch, *moving = next(plan(stack, state.schedule, 0, 1))
    step, outputs, compile_seconds = prepare(stack, state, batch, moving, stack.compile)
    steps = {batch.shape: step}

    started, start = datetime.now(timezone.utc).isoformat(), time.perf_counter()
    with deferred_interrupt() as interrupted, flushed_subnormals():
        evaluate(stack, state, evaluation, observer, [outputs], start)
        while state.step < stack.steps and "running" in state.status:
            stop = min(stack.steps, (state.step // stack.eval_every + 1) * stack.eval_every)
            taken = []
            for batch, *moving in plan(stack, state.schedule, state.step, stop):
                if batch.shape not in steps:  # an epoch's last, smaller batch: too rare to be worth compiling
                    steps[batch.shape], _, _ = prepare(stack, state, batch, moving, compiling=False)
                outputs = steps[batch.shape](batch, *moving)
                taken.append(outputs)
                state.step += 1
                if observer.due():
                    observer.step(state.step, outputs[0].mean().item(), moving[0].mean().item())
                if interrupted():
                    break
            evaluate(stack, state, evaluation, observer, taken, start)
            if interrupted() and state.step < stack.steps:
                state.status = ["interrupted" if status == "running" else status for status in state.status]
    seconds = time.perf_counter() - start
    state.best.restore(stack)
    best_test = evaluation("test")
    state.last.restore(stack)
    return Outcome(
        status=["finished" if status == "running" else status for status in state.status],
        best=state.best,
        last=state.last,
        best_test=best_test,
        last_test=evaluation("test"),
        started=started,
        seconds=seconds,
        compile_seconds=compile_seconds,
    )


def gradient(stack: Stack, state: State, batch: Tensor, *moving: Tensor) -> tuple[Tensor, ...]:
    """Each row's gradient (runs, params), then its loss (runs,), gradient norm before clipping (runs,) and
    what running training columns are made of."""
    hyper = {**stack.hyper, **dict(zip(stack.moving, moving, strict=False))}
    point = call(stack.rule.point, stack.theta, state.memory, rows=hyper)
    loss, g, averages, *measured = stack.gradient(point, batch)
    for name, average in averages.items():
        stack.buffers[name].copy_(average)
    for regularizer, mask, rows in zip(stack.regularizers, stack.masks, stack.penalties, strict=True):
        g = call(regularizer.penalize, g, point, mask, rows=rows)
    if stack.phases:
        g = g * moving[-1]
    norm = torch.linalg.vector_norm(g, dim=1)
    g = stack.clip(g, norm)
    for regularizer, memory, rows in zip(stack.regularizers, state.regularizers, stack.penalties, strict=True):
        g = call(regularizer.perturb, g, memory, rows=rows)
    if stack.phases:  # noise, too, is for the parameters that train
        g = g * moving[-1]
    return g, loss, norm, *measured


def update(stack: Stack, state: State, g: Tensor, *moving: Tensor) -> None:
    """Change theta and the optimizer's memory in place."""
    hyper = {**stack.hyper, **dict(zip(stack.moving, moving, strict=False))}
    for regularizer, mask, rows in zip(stack.regularizers, stack.masks, stack.penalties, strict=True):
        trained = mask * moving[-1] if stack.phases else mask
        call(regularizer.decay, stack.theta, trained, hyper["lr"], rows=rows)
    call(stack.rule.update, stack.theta, g, state.memory, rows=hyper)
    for regularizer, rows in zip(stack.regularizers, stack.penalties, strict=True):
        call(regularizer.project, stack.theta, stack.layout, rows=rows)


def prepare(
    stack: Stack, state: State, batch: Tensor, moving: Sequence[Tensor], compiling: bool
) -> tuple[Step, tuple[Tensor, ...], float]:
    """The step for batches of this shape, what it returns for this batch, and the seconds that compiling it took.

    A step takes a batch and the moving numbers, changes theta and the state, and returns the loss, the gradient norm
    and, where the training columns are running means, what they are made of. Recording it runs it; that is undone.
    """

    def first_part(batch: Tensor, *moving: Tensor) -> tuple[Tensor, ...]:
        g, *outputs = gradient(stack, state, batch, *moving)
        if not stack.rule.traceable:
            return g, *outputs
        update(stack, state, g, *moving)
        return tuple(outputs)

    def whole(batch: Tensor, *moving: Tensor) -> tuple[Tensor, ...]:
        g, *outputs = program(batch, *moving)
        update(stack, state, g, *moving)
        return tuple(outputs)

    memories = [state.memory, *state.regularizers]
    changed = [stack.theta, *stack.buffers.values(), *(tensor for memory in memories for tensor in memory.values())]
    saved = [tensor.clone() for tensor in changed]
    with torch.random.fork_rng(devices=[stack.theta.device] if stack.theta.is_cuda else []):
        recording = Recording(first_part, [batch, *moving])
        start = time.perf_counter()
        program = recording.compiled() if compiling else recording.program()
        if compiling:
            program(batch, *moving)  # the first call compiles what is left
        seconds = time.perf_counter() - start if compiling else 0.0
    for tensor, value in zip(changed, saved, strict=True):
        tensor.copy_(value)
    if stack.rule.traceable:
        return program, recording.outputs, seconds
    return whole, recording.outputs[1:], seconds


def evaluate(
    stack: Stack,
    state: State,
    evaluation: Evaluation,
    observer: Observer,
    taken: list[tuple[Tensor, ...]],
    start: float,
) -> None:
    """Measure every running run, report its row, and decide whether it goes on.

    taken: what the steps since the last evaluation returned.
    """
    val = evaluation("val")
    if stack.measure_train:
        train = evaluation("train")
    else:
        losses, outputs, targets = (torch.cat(parts, 1) for parts in list(zip(*taken, strict=True))[2:])
        train = stack.values(over_rows(stack.sums, stack.runs)(losses, outputs, targets).cpu() / losses.shape[1])
    norm = torch.stack([norms for _, norms, *_ in taken]).double().mean(0).cpu()
    lr = learning_rates(stack, state.schedule, max(state.step - 1, 0), 1)[0]
    epoch, seconds = state.step / stack.steps_per_epoch, time.perf_counter() - start
    stops = torch.zeros(stack.runs, dtype=torch.bool)
    for regularizer, memory, rows in zip(stack.regularizers, state.regularizers, stack.penalties, strict=True):
        stops |= call(regularizer.observe, memory, val["loss"], rows={k: v.cpu() for k, v in rows.items()})
    call(stack.schedule.observe, state.schedule, val["loss"][None], rows=stack.rates)

    for run, status in enumerate(state.status):
        if status != "running":
            continue
        row: Row = {"epoch": epoch, "step": state.step, "lr": lr[run].item()}
        for name in val:
            row |= {f"train_{name}": train[name][run].item(), f"val_{name}": val[name][run].item()}
        row |= {"grad_norm": norm[run].item(), "seconds": seconds}
        observer.row(run, row)
        state.last.take(run, stack, row)
        if not state.best.rows[run] or row["val_loss"] < state.best.rows[run]["val_loss"]:
            state.best.take(run, stack, row)
        if not all(map(isfinite, (row["train_loss"], row["val_loss"], row["grad_norm"]))):
            state.status[run] = "diverged"
        elif stops[run]:
            state.status[run] = "stopped_early"


@contextmanager
def flushed_subnormals() -> Iterator[None]:
    """Numbers too small for full precision become zero: moments of gradients that stay zero would decay to them,
    and arithmetic with them is many times slower."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Ctrl-C waits for the step to end: yields a function that says whether it came. A second one does not wait."""
    came = False

    def handler(signum: int, frame: Any) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    try:
        previous = signal.signal(signal.SIGINT, handler)
    except ValueError:  # not the main thread, which alone receives signals
        yield lambda: False
        return
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, previous)
