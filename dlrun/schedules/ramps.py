"""Schedules that go once from one rate to another, along the whole training."""

from __future__ import annotations

from torch import Tensor

from dlrun.schedules.schedule import Clock, Schedule, at_rest


class Polynomial(Schedule):
    r"""The rate falls as a power of the time that is left, from lr to min_factor lr.

    $$\text{lr}\,\bigl(m + (1 - m)\,(1 - t / \text{total})^{\text{power}}\bigr)$$

    at step t of total, with m = min_factor: where the rate arrives when the last step, total - 1, is done.

    Reference: lecture 003; Chen et al. 2017, arXiv:1606.00915 (power 0.9).
    """

    def __call__(self, t: Tensor, clock: Clock, *, lr: Tensor, power: Tensor, min_factor: Tensor) -> Tensor:
        return lr * (min_factor + (1 - min_factor) * (1 - t / clock.total) ** power)

    def robbins_monro(self, *, min_factor: float) -> tuple[bool, bool]:
        """Only the last rate counts: zero ends the training, and a positive one goes on for ever."""
        return at_rest(min_factor)


class Linear(Schedule):
    r"""The rate falls along a line, from lr to min_factor lr.

    $$\text{lr}\,\bigl(1 - (1 - m)\, t / \text{total}\bigr)$$

    at step t of total, with m = min_factor: where the rate arrives when the last step, total - 1, is done.

    Reference: lectures 002 (from $\epsilon_0$ down to $\epsilon_f$), 003.
    """

    def __call__(self, t: Tensor, clock: Clock, *, lr: Tensor, min_factor: Tensor) -> Tensor:
        return lr * (1 - (1 - min_factor) * t / clock.total)

    def robbins_monro(self, *, min_factor: float) -> tuple[bool, bool]:
        """Only the last rate counts: zero ends the training, and a positive one goes on for ever."""
        return at_rest(min_factor)
