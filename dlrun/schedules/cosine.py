"""Schedules along half cosines: decay (SGDR without and with restarts) and 1cycle."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.schedules.schedule import Clock, Schedule, at_rest


class Cosine(Schedule):
    r"""The rate falls along half a cosine, from lr to min_factor lr.

    $$\text{lr}\,\bigl(m + (1 - m)\,(1 + \cos(\pi t / \text{total})) / 2\bigr)$$

    at step t of total, with m = min_factor: where the rate arrives when the last step, total - 1, is done.

    Reference: Loshchilov & Hutter 2017, arXiv:1608.03983 (one period, no restart); lecture 003.
    """

    def __call__(self, t: Tensor, clock: Clock, *, lr: Tensor, min_factor: Tensor) -> Tensor:
        return _anneal(lr, min_factor * lr, t / clock.total)

    def robbins_monro(self, *, min_factor: float) -> tuple[bool, bool]:
        """Only the last rate counts: zero ends the training, and a positive one goes on for ever."""
        return at_rest(min_factor)


class CosineRestarts(Schedule):
    r"""Cosine decay that starts again at lr after each period; each period is t_mult times as long as the one before.

    $$\text{lr}\,\bigl(m + (1 - m)\,(1 + \cos(\pi\, t_i / T_i)) / 2\bigr), \quad T_i = \text{period} \cdot q^i$$

    with $t_i$ the time since the last of i restarts, m = min_factor and q = t_mult. At a restart the rate would arrive
    at m lr, and is lr instead. Periods count from the end of a warmup.

    Reference: Loshchilov & Hutter 2017, arXiv:1608.03983 (SGDR); lectures 002, 003.
    """

    def __call__(
        self, t: Tensor, clock: Clock, *, lr: Tensor, period: Tensor, t_mult: Tensor, min_factor: Tensor
    ) -> Tensor:
        x = t / (period * clock.per_epoch)  # in first periods
        equal = t_mult == 1
        q = torch.where(equal, 2, t_mult)  # the geometric formulas below want another number than 1

        def start(i: Tensor) -> Tensor:
            return torch.where(equal, i, (q**i - 1) / (q - 1))

        i = torch.where(equal, x, torch.log1p(x * (q - 1)) / torch.log(q)).floor()
        # at a restart the logarithm may round to either side
        i = i + (x >= start(i + 1)).to(x) - (x < start(i)).to(x)
        return _anneal(lr, min_factor * lr, (x - start(i)) / t_mult**i)

    def robbins_monro(self) -> tuple[bool, bool]:
        """Every period adds the same mean rate and mean square, for each of its steps, and there is always a next."""
        return True, False


class OneCycle(Schedule):
    r"""The rate rises from lr / start_divisor to lr, then falls to lr / end_divisor; momentum goes the other way.

    $$\text{lr}\,\bigl(b + (a - b)\,(1 + \cos(\pi x)) / 2\bigr)$$

    with x from 0 to 1 in each phase: a = 1 / start_divisor and b = 1 while it rises, a = 1 and b = 1 / end_divisor
    while it falls. As in torch.optim.lr_scheduler.OneCycleLR, whose final_div_factor is end_divisor /
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

    def robbins_monro(self) -> tuple[bool, bool]:
        """The last rate, lr / end_divisor, is small but stays."""
        return at_rest(1)

    def _cycle(self, t: Tensor, clock: Clock, warm: Tensor, start: Tensor, peak: Tensor, end: Tensor) -> Tensor:
        turn, last = warm * clock.total - 1, clock.total - 1
        return torch.where(t < turn, _anneal(start, peak, t / turn), _anneal(peak, end, (t - turn) / (last - turn)))


def _anneal(start: Tensor, end: Tensor, progress: Tensor) -> Tensor:
    return end + (start - end) * (1 + torch.cos(torch.pi * progress)) / 2
