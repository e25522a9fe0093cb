"""What each step of a training gets: its batch, and the numbers that the schedule moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlrun.datasets.pixels import Pixels
from dlrun.errors import ConfigError
from dlrun.matrix.rows import call, keywords
from dlrun.matrix.seeds import ORDER, generator
from dlrun.regularizers.averaging import Averaging
from dlrun.schedules.schedule import Clock, State
from dlrun.schedules.warmup import momenta, rates
from dlrun.training.ahead import Ahead
from dlrun.training.stack import Stack

BLOCK = 1000  #: steps whose batches and rates are laid out at a time


def plan(stack: Stack, schedule: State, first: int, stop: int) -> Iterator[tuple[Tensor, ...]]:
    """For each of the steps first, ..., stop - 1: its batch, (runs, batch), and what `stack.moving` names, (runs, 1)
    each but for `trained`, the mask of the parameters that a phase trains, (params,).

    A batch holds row numbers of `stack.inputs`; schedule is the schedule's memory.
    """
    per_epoch, on_cpu = stack.steps_per_epoch, stack.theta.device.type == "cpu"
    if per_epoch > 1 and not on_cpu and stack.ahead is None:
        make = partial(epoch_batches, stack, begin=0, steps=per_epoch)
        stack.ahead = Ahead(make, stack.theta.device, -(-stack.steps // per_epoch))
    while first < stop:
        epoch, begin = divmod(first, per_epoch)
        steps = min(stop - first, BLOCK, *([per_epoch - begin] if per_epoch > 1 else []))
        if per_epoch == 1:
            batches = epoch_batches(stack, 0, 0, 1) * steps
        elif stack.ahead:
            batches = stack.ahead(epoch)[begin : begin + steps]
        else:
            batches = epoch_batches(stack, epoch, begin, steps)
        foreseen = stack.inputs.foreseen(batches) if isinstance(stack.inputs, Pixels) else batches
        yield from zip(foreseen, *moving_numbers(stack, schedule, first, steps), strict=True)
        first += steps


def epoch_batches(stack: Stack, epoch: int, begin: int, steps: int) -> list[Tensor]:
    """The minibatches of an epoch from its step `begin` on, (runs, batch) each, on the CPU unless there is but one.

    A run sees the training samples in an order of its own; a full batch needs no shuffling.
    """
    if stack.steps_per_epoch == 1:
        order = torch.arange(stack.train_size).expand(stack.runs, -1)
    else:
        orders = [torch.randperm(stack.train_size, generator=generator(s, ORDER, epoch)) for s in stack.seeds]
        order = torch.stack(orders)
    if stack.separate:  # the runs' own samples lie one set after the other
        order = order + torch.tensor(stack.variant)[:, None] * sum(stack.dataset.sizes.values())
    if stack.steps_per_epoch == 1:
        order = order.to(stack.theta.device)
    size = stack.batch_size
    return [order[:, i * size : (i + 1) * size].contiguous() for i in range(begin, begin + steps)]


def moving_numbers(stack: Stack, schedule: State, first: int, steps: int) -> Iterator[Sequence[Tensor]]:
    """The values at these steps of every name in `stack.moving`; phases share the training evenly."""
    for name in stack.moving:
        if name == "trained":
            yield [stack.phases[step * len(stack.phases) // stack.steps] for step in range(first, first + steps)]
        elif name == "lr":
            yield learning_rates(stack, schedule, first, steps)[:, :, None].to(stack.theta).unbind()
        else:
            t, clock, rows = _arguments(stack, schedule, first, steps, stack.schedule.momentum)
            momentum = momenta(stack.schedule, t, clock, stack.warmup, **rows)
            assert momentum is not None
            yield momentum[:, :, None].to(stack.theta).unbind()


def averaging(stack: Stack, name: str) -> Averaging:
    """The stack's regularizer of this name, which keeps other parameters beside the network's."""
    regularizer = stack.regularizers[stack.averaging[name]]
    assert isinstance(regularizer, Averaging)
    return regularizer


def moments(stack: Stack) -> dict[int, dict[str, Tensor]]:
    """By the number of steps done: which rows, (runs,), are collected then by each regularizer that keeps others.

    Raises ConfigError for a training in which one of them gets too few.
    """
    found: dict[int, dict[str, Tensor]] = {}
    regularizers = {name: averaging(stack, name) for name in stack.averaging}
    counts = {name: torch.zeros(stack.runs, dtype=torch.int64) for name in stack.averaging}
    schedule, clock = stack.schedule.init(stack.runs), Clock(stack.steps, stack.steps_per_epoch)
    for first in range(0, stack.steps if counts else 0, BLOCK):
        steps = min(BLOCK, stack.steps - first)
        t = torch.arange(first, first + steps, dtype=torch.float64)[:, None]
        lr = learning_rates(stack, schedule, first - 1, steps + 2)
        lr[[0] * (first == 0) + [-1] * (first + steps == stack.steps)] = torch.nan
        for name, regularizer in regularizers.items():
            rows = {key: row.cpu() for key, row in stack.penalties[stack.averaging[name]].items()}
            due = call(regularizer.moments, t, lr, clock, rows=rows)
            counts[name] += due.sum(0)
            for i in due.any(1).nonzero()[:, 0].tolist():
                found.setdefault(first + i + 1, {})[name] = due[i].to(stack.theta.device)
    for name, regularizer in regularizers.items():
        if counts[name].min() < regularizer.fewest:
            raise ConfigError(
                f"regularizer={name} takes the network's parameters {counts[name].min()} times in a training of "
                f"{stack.steps} steps, and needs {regularizer.fewest}: {regularizer.advice}"
            )
    return found


def learning_rates(stack: Stack, schedule: State, first: int, steps: int) -> Tensor:
    """(steps, runs) in double precision, from the step `first` on."""
    t, clock, rows = _arguments(stack, schedule, first, steps, stack.schedule.__call__)
    return rates(stack.schedule, t, clock, stack.warmup, **rows)


def _arguments(
    stack: Stack, schedule: State, first: int, steps: int, method: Callable[..., Any]
) -> tuple[Tensor, Clock, dict[str, Tensor]]:
    t = torch.arange(first, first + steps, dtype=torch.float64)[:, None]
    rows = {**stack.rates, **schedule}
    return t, Clock(stack.steps, stack.steps_per_epoch), {name: rows[name] for name in keywords(method)}
