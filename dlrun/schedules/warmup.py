"""The rates of a whole training: a linear warmup, then the schedule."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from dlrun.errors import ConfigError
from dlrun.schedules.schedule import Clock, Schedule


def rates(schedule: Schedule, t: Tensor, clock: Clock, warmup: int, **rows: Tensor) -> Tensor:
    r"""The learning rates (steps, runs) of a training whose first `warmup` steps rise linearly to lr.

    $$\text{lr}\,(t + 1) / \text{warmup} \quad \text{for } t < \text{warmup}$$

    t (steps, 1) and the clock count the whole training; the schedule gets what is after the warmup, from its step 0.
    rows: what the schedule's `__call__` names.
    """
    rising = rows["lr"] * (t + 1) / max(warmup, 1)
    t_after, clock_after = _after(t, clock, warmup)
    return torch.where(t < warmup, rising, schedule(t_after, clock_after, **rows))


def momenta(schedule: Schedule, t: Tensor, clock: Clock, warmup: int, **rows: Tensor) -> Tensor | None:
    """The momentum (steps, runs) at the steps of `rates`, held at its first value during the warmup; None: unchanged.

    rows: what the schedule's `momentum` names.
    """
    t_after, clock_after = _after(t, clock, warmup)
    return schedule.momentum(t_after, clock_after, **rows)


def warmup_steps(warmup: float | str, clock: Clock) -> int:
    """How many steps `schedule.warmup` means: below 1 a fraction of all, from 1 epochs, or "200steps", "0.5epochs".

    Raises ConfigError for anything else, and where the warmup is longer than the training.
    """
    match = re.fullmatch(r"(?P<steps>\d+) ?steps?|(?P<number>\d*\.?\d+(e-\d+)?) ?(?P<unit>epochs?)?", str(warmup))
    if not match:
        raise ConfigError(
            f"schedule.warmup={warmup}: write a number below 1 (a fraction of all steps), a number from 1 (epochs), "
            "or a text such as 200steps or 0.5epochs"
        )
    if match["steps"]:
        steps = int(match["steps"])
    else:
        number = float(match["number"])
        steps = round(number * (clock.per_epoch if match["unit"] or number >= 1 else clock.total))
    if steps > clock.total:
        raise ConfigError(f"schedule.warmup={warmup}: that is {steps} steps, and the training has {clock.total}")
    return steps


def _after(t: Tensor, clock: Clock, warmup: int) -> tuple[Tensor, Clock]:
    return (t - warmup).clamp(min=0), Clock(clock.total - warmup, clock.per_epoch)
