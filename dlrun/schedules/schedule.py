"""What a schedule is: learning rates as a function of the step, and the clock that it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

State = dict[str, Tensor]


@dataclass(frozen=True)
class Clock:
    """How long a schedule lasts: its steps in total, and steps per epoch."""

    total: int
    per_epoch: int


class Schedule:
    """Maps steps to learning rates.

    Called with t, a (steps, 1) float64 tensor of step numbers that starts at 0 when the warmup ends, and the clock
    of the steps from there on. Every keyword-only argument of a method is either a number that may differ by
    row or an entry of the state, and arrives as a (1, runs) float64 tensor. Returns (steps, runs).
    """

    watches = False  #: `watch` is to see the loss of every step
    by_epochs = False  #: its times are epochs of the training, which a warmup does not shift: t starts at 0 with it

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

    def watch(self, state: State, losses: Tensor, clock: Clock, *_: Any, **rows: Any) -> tuple[Tensor, Tensor]:
        """What it makes of the minibatches' losses at the steps since the last call, and where a run should stop.

        losses: (steps, runs). Returns smoothed losses and booleans, (steps, runs) each; changes the state in place.
        """
        raise NotImplementedError

    def robbins_monro(self, *_: Any, **numbers: Any) -> tuple[bool, bool]:
        r"""Whether $\sum \text{lr}_t = \infty$ and whether $\sum \text{lr}_t^2 < \infty$, continued for ever.

        With both, gradient descent on minibatches converges for a convex loss: the steps reach everywhere, and their
        noise dies out. A schedule that is laid out over the training stays at its last rate afterwards. Every
        keyword-only argument is one run's number of the config. Warmup changes neither sum.

        Reference: Robbins & Monro 1951, doi:10.1214/aoms/1177729586; lectures 002, 003, 004.
        """
        raise NotImplementedError


def at_rest(rate: float) -> tuple[bool, bool]:
    """`Schedule.robbins_monro` of a rate that stays where it is: at zero both sums are finite, above it neither is."""
    return rate > 0, rate == 0
