"""Learning-rate schedules: pure functions of the step, for all rows at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from dlrun.errors import ConfigError

State = dict[str, Tensor]


@dataclass(frozen=True)
class Clock:
    """How long a schedule lasts: its steps in total, and steps per epoch."""

    total: int
    per_epoch: int


class Schedule:
    """Maps steps to learning rates.

    Called with t, a (steps, 1) float64 tensor of step numbers that starts at 0 after the warmup, and the clock
    of the steps after the warmup. Every keyword-only argument of a method is either a number that may differ by
    row or an entry of the state, and arrives as a (1, runs) float64 tensor. Returns (steps, runs).
    """

    def __call__(self, t: Tensor, clock: Clock, *_: Any, **rows: Any) -> Tensor:
        raise NotImplementedError

    def momentum(self, t: Tensor, clock: Clock, *_: Any, **rows: Any) -> Tensor | None:
        """What the optimizer's `momentum` or `beta1`, if it has one, is at each step; None: what it was."""
        return None

    def init(self, runs: int) -> State:
        """What the schedule remembers between evaluations, as (1, runs) float64 tensors."""
        return {}

    def observe(self, state: State, val_loss: Tensor, *_: Any, **rows: Any) -> None:
        """Change the state in place after an evaluation with these losses, (1, runs)."""


class Constant(Schedule):
    """The same rate at every step."""

    def __call__(self, t: Tensor, clock: Clock, *, lr: Tensor) -> Tensor:
        return lr.expand(len(t), -1)


class Step(Schedule):
    r"""The rate falls at once, every few epochs.

    $$\text{lr}\; \gamma^{\lfloor \text{epoch} / \text{every} \rfloor}$$

    Reference: lectures 002 (halve it every 50 epochs), 004.
    """

    def __call__(self, t: Tensor, clock: Clock, *, lr: Tensor, every: Tensor, gamma: Tensor) -> Tensor:
        return lr * gamma ** torch.floor(t / (every * clock.per_epoch))


class Exponential(Schedule):
    r"""The rate falls by the same factor at every step.

    $$\text{lr}\; \gamma^{t}$$

    Args:
        per: what t counts: "epoch" (a step is a fraction of one, so the rate falls within epochs too) or "step".

    Reference: lectures 003 ($c^t$), 004 ($e^{-kt}$, $\gamma = e^{-k}$).
    """

    def __init__(self, per: Literal["epoch", "step"] = "epoch") -> None:
        self.per = per

    def __call__(self, t: Tensor, clock: Clock, *, lr: Tensor, gamma: Tensor) -> Tensor:
        return lr * gamma ** (t / clock.per_epoch if self.per == "epoch" else t)


class Cosine(Schedule):
    r"""The rate falls along half a cosine, from lr to min_factor lr.

    $$\text{lr}\,\bigl(m + (1 - m)\,(1 + \cos(\pi t / \text{total})) / 2\bigr), \quad m = \text{min\_factor}$$

    Reference: Loshchilov & Hutter 2017, arXiv:1608.03983 (one period, no restart); lecture 003.
    """

    def __call__(self, t: Tensor, clock: Clock, *, lr: Tensor, min_factor: Tensor) -> Tensor:
        return _anneal(lr, min_factor * lr, t / clock.total)


class OneCycle(Schedule):
    """The rate rises from lr / start_divisor to lr, then falls to lr / end_divisor; momentum goes the other way.

    Both phases are half cosines. As in torch.optim.lr_scheduler.OneCycleLR, whose final_div_factor is end_divisor /
    start_divisor, a phase's value is reached at its last step: the peak at step warm_fraction total - 1.

    Reference: Smith 2018, arXiv:1803.09820; lecture 002.
    """

    def __call__(
        self,
        t: Tensor,
        clock: Clock,
        *,
        lr: Tensor,
        warm_fraction: Tensor,
        start_divisor: Tensor,
        end_divisor: Tensor,
    ) -> Tensor:
        return self._cycle(t, clock, warm_fraction, lr / start_divisor, lr, lr / end_divisor)

    def momentum(
        self, t: Tensor, clock: Clock, *, warm_fraction: Tensor, max_momentum: Tensor, min_momentum: Tensor
    ) -> Tensor:
        return self._cycle(t, clock, warm_fraction, max_momentum, min_momentum, max_momentum)

    def _cycle(self, t: Tensor, clock: Clock, warm: Tensor, start: Tensor, peak: Tensor, end: Tensor) -> Tensor:
        turn, last = warm * clock.total - 1, clock.total - 1
        return torch.where(t < turn, _anneal(start, peak, t / turn), _anneal(peak, end, (t - turn) / (last - turn)))


class Plateau(Schedule):
    """The rate falls by factor when the validation loss has not improved for more than patience evaluations.

    An improvement is a loss below the best so far by more than threshold times its size. The rate never falls below
    min_factor lr. As torch.optim.lr_scheduler.ReduceLROnPlateau, but right for negative losses too.

    Reference: lecture 002 ("halve the learning rate when the validation error stops improving").
    """

    def __call__(self, t: Tensor, clock: Clock, *, lr: Tensor, scale: Tensor) -> Tensor:
        return (lr * scale).expand(len(t), -1)

    def init(self, runs: int) -> State:
        ones = torch.ones(1, runs, dtype=torch.float64)
        return {"scale": ones, "best": ones * torch.inf, "bad": ones * 0}

    def observe(
        self,
        state: State,
        val_loss: Tensor,
        *,
        factor: Tensor,
        patience: Tensor,
        threshold: Tensor,
        min_factor: Tensor,
    ) -> None:
        scale, best, bad = state["scale"], state["best"], state["bad"]
        better = val_loss < best * (1 - threshold * best.sign())
        best.copy_(torch.where(better, val_loss, best))
        bad.add_(1).masked_fill_(better, 0)
        falls = bad > patience
        bad.masked_fill_(falls, 0)
        scale.copy_(torch.where(falls, torch.maximum(scale * factor, min_factor), scale))


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


def _anneal(start: Tensor, end: Tensor, progress: Tensor) -> Tensor:
    return end + (start - end) * (1 + torch.cos(torch.pi * progress)) / 2
