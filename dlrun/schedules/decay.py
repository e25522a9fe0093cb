"""Schedules that fall for ever by a law of their own, whatever the length of the training."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from dlrun.schedules.schedule import Clock, Schedule, at_rest


class Decay(Schedule):
    """A rate that falls with time, from the end of a warmup on.

    Args:
        per: the unit of time: "epoch" (a step is a fraction of one, so the rate falls within epochs too) or "step".
    """

    def __init__(self, per: Literal["epoch", "step"] = "epoch") -> None:
        self.per = per

    def time(self, t: Tensor, clock: Clock) -> Tensor:
        """The steps t in units of `per`."""
        return t / clock.per_epoch if self.per == "epoch" else t


class Exponential(Decay):
    r"""The rate falls by the same factor in every unit of time.

    $$\text{lr}\; \gamma^{t}$$

    Reference: lecture 003.
    """

    def __call__(self, t: Tensor, clock: Clock, *, lr: Tensor, gamma: Tensor) -> Tensor:
        return lr * gamma ** self.time(t, clock)

    def robbins_monro(self, *, gamma: float) -> tuple[bool, bool]:
        """A geometric series, whose sum is finite unless gamma = 1: the steps may end short of the optimum."""
        return at_rest(1) if gamma == 1 else at_rest(0)


class NaturalExponential(Decay):
    r"""The rate falls at a relative speed of k per unit of time.

    $$\text{lr}\; e^{-k t}$$

    Reference: lecture 004; `Exponential` with $\gamma = e^{-k}$.
    """

    def __call__(self, t: Tensor, clock: Clock, *, lr: Tensor, k: Tensor) -> Tensor:
        return lr * torch.exp(-k * self.time(t, clock))

    def robbins_monro(self, *, k: float) -> tuple[bool, bool]:
        """A geometric series, whose sum is finite unless k = 0."""
        return at_rest(1) if k == 0 else at_rest(0)


class InverseTime(Decay):
    r"""The rate falls as one over time.

    $$\text{lr} / (1 + k t)$$

    Reference: Robbins & Monro 1951, doi:10.1214/aoms/1177729586; lecture 004.
    """

    def __call__(self, t: Tensor, clock: Clock, *, lr: Tensor, k: Tensor) -> Tensor:
        return lr / (1 + k * self.time(t, clock))

    def robbins_monro(self, *, k: float) -> tuple[bool, bool]:
        """The sum of 1/t grows as log t, and that of 1/t² is finite: the classical schedule that meets both."""
        return at_rest(1) if k == 0 else (True, True)


class InverseSqrt(Decay):
    r"""The rate falls as one over the square root of time.

    $$\text{lr} / \sqrt{1 + k t}$$

    After a warmup of w steps, k = 1/w per step continues it as in the Transformer: steps counted from 1, step w has lr,
    and those after it $\text{lr} \sqrt{w / \text{step}}$.

    Reference: Vaswani et al. 2017, arXiv:1706.03762 (section 5.3); lecture 003 ($\text{lr} / \sqrt{t}$).
    """

    def __call__(self, t: Tensor, clock: Clock, *, lr: Tensor, k: Tensor) -> Tensor:
        return lr / torch.sqrt(1 + k * self.time(t, clock))

    def robbins_monro(self) -> tuple[bool, bool]:
        """The squares are 1/t, whose sum grows as log t: just too slow a fall."""
        return True, False
