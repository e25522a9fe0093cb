"""The one trainer: `fit` trains the runs of a stack side by side, each as it would train alone."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from math import isfinite

import torch
from torch import Tensor

from dlrun.errors import ConfigError
from dlrun.matrix.rows import call
from dlrun.schedules.schedule import Clock
from dlrun.terminal.signals import ENDING, Deferred
from dlrun.training.averages import measured_averages
from dlrun.training.batches import averaging, learning_rates, plan
from dlrun.training.evaluation import Row
from dlrun.training.stack import Stack
from dlrun.training.state import State
from dlrun.training.step import prepare
from dlrun.training.watching import NOBODY, Keeper, Looks, Observer, Outcome


@torch.no_grad()
def fit(
    stack: Stack,
    observer: Observer,
    keeper: Keeper = NOBODY,
    until: ExitStack | None = None,
    looks: Looks = NOBODY,
) -> Outcome:
    """Train every run of the stack to its end, reporting each evaluation to the observer.

    The stack is left with the parameters that each run ended with. From a checkpoint the training goes on as if it
    had never ended, whatever the stack's own parameters are. When half of the runs have ended, the others go on alone.
    When the keeper says that it is over, those that still train pause.

    until: what is closed when the outcome is safe; signals that come after the last step wait for it.
    looks: who looks into the networks.
    """
    whole = State(stack)
    if keeper.begun:
        try:
            whole.load(*stack.team.own(keeper.begun))
        except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as problem:
            raise ConfigError(
                f"the checkpoint does not fit this training ({problem!r}): delete the run's checkpoint/ to begin again"
            ) from problem
    state = whole.select(whole.runs)
    stack = state.stack
    batch, *moving = next(plan(stack, state.schedule, 0, 1))
    step, outputs, compile_seconds = prepare(stack, state, batch, moving, stack.compile)
    steps = {batch.shape: step}
    state.compile_seconds += compile_seconds
    state.started = state.started or datetime.now(UTC).isoformat()
    state.start = whole.start = time.perf_counter() - (keeper.begun.record["seconds"] if keeper.begun else 0)

    with ExitStack() as own, flushed_subnormals():
        leaving, signals = False, Deferred(signal.SIGINT, *ENDING)

        def late() -> None:
            signals.pass_on()
            if signals.interrupted and not leaving:
                raise KeyboardInterrupt

        until = until or own
        until.enter_context(signals)
        until.callback(late)
        if keeper.begun is None:
            looks.look(stack, state)
            evaluate(stack, state, observer, [outputs], state.start)

        def over() -> bool:
            """Whether the runs pause here, at an evaluation."""
            epoch, seconds = state.step / stack.steps_per_epoch, time.perf_counter() - state.start
            return state.step < stack.steps and stack.team.agreed(keeper.over(state.step, epoch, seconds))

        while "running" in state.status and (state.taken or (state.step < stack.steps and not over())):
            evaluated = state.step - len(state.taken)  # a checkpoint may lie between two evaluations
            stop = min(stack.steps, (evaluated // stack.eval_every + 1) * stack.eval_every)
            for batch, *moving in plan(stack, state.schedule, state.step, stop):
                if batch.shape not in steps:  # an epoch's last, smaller batch: too rare to be worth compiling
                    steps[batch.shape], _, _ = prepare(stack, state, batch, moving, compiling=False)
                looks.before_step(stack, state)
                outputs = steps[batch.shape](batch, *moving)
                state.taken.append(outputs)
                state.step += 1
                if state.step in stack.moments:
                    collect(stack, state)
                looks.look(stack, state)
                if observer.due():
                    observer.step(state.step, outputs[0].mean().item(), moving[0].mean().item())
                if stack.team.due(state.step, keeper.due, signals):
                    keep(keeper, whole, state)
                    signals.pass_on()
                    leaving = signals.interrupted and state.step < stack.steps
                    if leaving:
                        break
            evaluate(stack, state, observer, state.taken, state.start)
            state.taken = []
            if leaving:
                state.status = ["interrupted" if status == "running" else status for status in state.status]
            left = [run for run, status in zip(state.runs, state.status, strict=True) if status == "running"]
            if 0 < 2 * len(left) <= stack.runs and not stack.compile:  # which takes longer than it would save
                whole.merge(state)
                state = whole.select(left)
                stack, steps = state.stack, {}
        pausing = "running" in state.status and state.step < stack.steps
        if pausing:
            keep_apart(keeper, whole, state)
            state.status = ["paused" if status == "running" else status for status in state.status]
            if stack.team.came(signals):
                signals.pass_on()
        elif stack.team.came(signals) or keeper.at_the_end:  # signals during the last evaluation
            if not leaving:  # else what is kept is the state before that evaluation, from which the training goes on
                keep(keeper, whole, state)
            signals.pass_on()
    seconds = time.perf_counter() - state.start
    whole.merge(state)
    for measured in whole.measured:
        measured.test()
    return Outcome(
        status=["finished" if status == "running" else status for status in whole.status],
        measured=whole.measured,
        started=whole.started,
        seconds=seconds,
        compile_seconds=whole.compile_seconds,
        left_out=[int(count) for count in whole.scaling["left_out"].tolist()] if whole.scaling else [],
    )


def keep(keeper: Keeper, whole: State, state: State) -> None:
    """Keep a checkpoint of the whole stack, of which `state` has the runs that still take steps."""
    whole.merge(state)
    keeper.keep(*whole.stack.team.gathered(whole.tensors(), whole.record()))


def keep_apart(keeper: Keeper, whole: State, state: State) -> None:
    """Keep what each run that still takes steps goes on from by itself, in whatever stack."""
    whole.merge(state)
    running = [run for run, status in enumerate(whole.status) if status == "running"]
    keeper.keep_apart({run: whole.stack.team.gathered(*whole.part([run])) for run in running})


def collect(stack: Stack, state: State) -> None:
    """Hand the network to the regularizers that take it after this step."""
    for name, due in stack.moments[state.step].items():
        averaging(stack, name).collect(state.regularizers[stack.averaging[name]], stack.network, due)


def evaluate(stack: Stack, state: State, observer: Observer, taken: list[tuple[Tensor, ...]], start: float) -> None:
    """Measure every running run, report its row, and decide whether it goes on.

    taken: what the steps since the last evaluation returned.
    """
    for name, place in stack.averaging.items():
        averaging(stack, name).settle(state.regularizers[place], stack.network, partial(measured_averages, stack))
    val = {
        f"{measured.label}{name}": value
        for measured in state.measured
        for name, value in measured.evaluation("val").items()
    }
    if stack.measure_train:
        train = state.measured[0].evaluation("train")
    else:
        train = state.measured[0].evaluation.of_steps([step[2:] for step in taken])
    norms = torch.stack([norms for _, norms, *_ in taken]).double()
    norm = (norms.nanmean(0) if stack.scaled else norms.mean(0)).cpu()  # of the steps that were taken
    lr = learning_rates(stack, state.schedule, max(state.step - 1, 0), 1)[0]
    epoch, seconds = state.step / stack.steps_per_epoch, time.perf_counter() - start
    stops = torch.zeros(stack.runs, dtype=torch.bool)
    for regularizer, memory, rows in zip(stack.regularizers, state.regularizers, stack.penalties, strict=True):
        stops |= call(regularizer.observe, memory, val["loss"], rows={k: v.cpu() for k, v in rows.items()})
    if stack.schedule.watches and state.step:
        stops |= watch(stack, state, observer, torch.stack([loss for loss, *_ in taken]).double().cpu())
    call(stack.schedule.observe, state.schedule, val["loss"][None], rows=stack.rates)

    numbers = {name: value.tolist() for name, value in val.items()}
    train_numbers = {name: value.tolist() for name, value in train.items()}
    running = [run for run, status in enumerate(state.status) if status == "running"]
    reports: dict[int, Row] = {}
    for run, rate, length in zip(running, lr[running].tolist(), norm[running].tolist(), strict=True):
        row: Row = {"epoch": epoch, "step": state.step, "lr": rate}
        for name in numbers:
            row |= {f"train_{name}": train_numbers[name][run]} if name in train else {}
            row |= {f"val_{name}": numbers[name][run]}
        reports[run] = row | {"grad_norm": length, "seconds": seconds}
        observer.row(state.runs[run], reports[run])
    for measured in state.measured:
        measured.take(reports)
    norm_told = () if stack.scaled else ("grad_norm",)  # which has none of steps that were left out
    for run, row in reports.items():
        if stack.schedule.watches and stops[run]:
            state.status[run] = "stopped_early"  # that the loss explodes is what such a training is for
        elif not all(isfinite(row[name]) for name in ("train_loss", "val_loss", *norm_told)):
            state.status[run] = "diverged"
        elif stops[run]:
            state.status[run] = "stopped_early"


def watch(stack: Stack, state: State, observer: Observer, losses: Tensor) -> Tensor:
    """Let the schedule see the losses of the last steps, (steps, runs), report them, and return which runs end."""
    steps = len(losses)
    first = state.step - steps
    lr = learning_rates(stack, state.schedule, first, steps)
    clock = Clock(stack.steps, stack.steps_per_epoch)
    smoothed, stops = call(stack.schedule.watch, state.schedule, losses, clock, rows=stack.rates)
    for run, status in enumerate(state.status):
        end = int(stops[:, run].nonzero()[0]) + 1 if stops[:, run].any() else steps
        rows = zip(lr[:end, run].tolist(), losses[:end, run].tolist(), smoothed[:end, run].tolist(), strict=True)
        if status == "running":
            observer.trace(
                state.runs[run],
                [
                    {"step": first + i + 1, "lr": rate, "loss": loss, "smoothed": s}
                    for i, (rate, loss, s) in enumerate(rows)
                ],
            )
    return stops.any(0)


@contextmanager
def flushed_subnormals() -> Iterator[None]:
    """Numbers too small for full precision become zero: moments of gradients that stay zero would decay to them,
    and arithmetic with them is many times slower."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
