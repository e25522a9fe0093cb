"""What each step of a training gets: its batch, and the numbers that the schedule moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from dlrun.rows import keywords
from dlrun.schedules import Clock, State, momenta, rates
from dlrun.seeds import ORDER, generator
from dlrun.stack import Stack

BLOCK = 1000  #: steps whose batches and rates are laid out at a time


def plan(stack: Stack, schedule: State, first: int, stop: int) -> Iterator[tuple[Tensor, ...]]:
    """For each of the steps first, ..., stop - 1: its batch, (runs, batch), its moving numbers, (runs, 1) each, and,
    for a training in phases, the mask of the parameters that train, (params,).

    A batch holds row numbers of the training part; schedule is the schedule's memory.
    """
    while first < stop:
        epoch, begin = divmod(first, stack.steps_per_epoch)
        steps = min(stack.steps_per_epoch - begin, stop - first, BLOCK)
        order, size = epoch_order(stack, epoch), stack.batch_size
        batches = [order[:, i * size : (i + 1) * size].contiguous() for i in range(begin, begin + steps)]
        yield from zip(
            batches, *moving_numbers(stack, schedule, first, steps), *masks(stack, first, steps), strict=True
        )
        first += steps


def epoch_order(stack: Stack, epoch: int) -> Tensor:
    """(runs, samples): the order in which each run sees the training samples; a full batch needs no shuffling."""
    if stack.steps_per_epoch == 1:
        order = torch.arange(stack.train_size).expand(stack.runs, -1)
    else:
        orders = [torch.randperm(stack.train_size, generator=generator(s, ORDER, epoch)) for s in stack.seeds]
        order = torch.stack(orders)
    return order.to(stack.theta.device)


def moving_numbers(stack: Stack, schedule: State, first: int, steps: int) -> list[tuple[Tensor, ...]]:
    """The values at these steps, (runs, 1) each, of every name in `stack.moving`."""
    values = [learning_rates(stack, schedule, first, steps)]
    if len(stack.moving) > 1:
        t, clock, rows = _arguments(stack, schedule, first, steps, stack.schedule.momentum)
        momentum = momenta(stack.schedule, t, clock, stack.warmup, **rows)
        assert momentum is not None
        values.append(momentum)
    return [value[:, :, None].to(stack.theta).unbind() for value in values]


def masks(stack: Stack, first: int, steps: int) -> list[list[Tensor]]:
    """The phase's mask at each of these steps; phases share the training evenly."""
    count = len(stack.phases)
    return [[stack.phases[step * count // stack.steps] for step in range(first, first + steps)]] if count else []


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
