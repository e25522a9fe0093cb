"""The rates of a whole training: those of the schedule, to which a warmup rises."""

from __future__ import annotations

import re

from torch import Tensor

from dlrun.errors import ConfigError
from dlrun.schedules.schedule import Clock, Schedule


def rates(schedule: Schedule, t: Tensor, clock: Clock, warmup: int, **rows: Tensor) -> Tensor:
    r"""The learning rates (steps, runs) of a training whose first `warmup` steps rise linearly to the schedule's rate.

    $$\min\bigl(1, (t + 1) / \text{warmup}\bigr)\; \text{lr}_{t'}$$

    t (steps, 1) and the clock count the whole training, t' is the schedule's own time. One whose times are epochs that
    the user typed (`Schedule.by_epochs`) has t' = t: its epochs are those of the training. Any other begins where the
    warmup ends, at its last step, t' = max(0, t - warmup + 1), and is laid out over the steps that are left.
    rows: what the schedule's `__call__` names.
    """
    own_t, own_clock = _own_time(schedule, t, clock, warmup)
    return ((t + 1) / max(warmup, 1)).clamp(max=1) * schedule(own_t, own_clock, **rows)


def momenta(schedule: Schedule, t: Tensor, clock: Clock, warmup: int, **rows: Tensor) -> Tensor | None:
    """The momentum (steps, runs) at the steps of `rates`, held at its first value during the warmup; None: unchanged.

    rows: what the schedule's `momentum` names.
    """
    own_t, own_clock = _own_time(schedule, t, clock, warmup)
    return schedule.momentum(own_t, own_clock, **rows)


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


def _own_time(schedule: Schedule, t: Tensor, clock: Clock, warmup: int) -> tuple[Tensor, Clock]:
    """The steps t as the schedule counts them, and its clock."""
    before = 0 if schedule.by_epochs else max(warmup - 1, 0)
    return (t - before).clamp(min=0), Clock(clock.total - before, clock.per_epoch)
