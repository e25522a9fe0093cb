"""Triangular cycles (Smith 2017)."""

from __future__ import annotations

from torch import Tensor

from dlrun.schedules.schedule import Clock, Schedule


class Cyclic(Schedule):
    r"""The rate goes up and down along lines between min_factor lr and lr; momentum goes the other way.

    $$\text{lr}\,\bigl(m + (1 - m)\, x\bigr), \quad x = 1 - |1 - (t \bmod 2h) / h|$$

    with h the length of half a cycle, and m = min_factor. x, which starts at 0, is 1 after half a cycle. Cycles count
    from the end of a warmup, which rises to the lowest rate. The momentum
    is max_momentum where x = 0 and min_momentum where x = 1.

    Reference: Smith 2017, arXiv:1506.01186 (the "triangular" policy); momentum: Smith 2018, arXiv:1803.09820.
    """

    def __call__(self, t: Tensor, clock: Clock, *, lr: Tensor, half_cycle: Tensor, min_factor: Tensor) -> Tensor:
        return lr * (min_factor + (1 - min_factor) * self._height(t, clock, half_cycle))

    def momentum(
        self, t: Tensor, clock: Clock, *, half_cycle: Tensor, max_momentum: Tensor, min_momentum: Tensor
    ) -> Tensor:
        return max_momentum - (max_momentum - min_momentum) * self._height(t, clock, half_cycle)

    def robbins_monro(self) -> tuple[bool, bool]:
        """Periodic: every cycle adds the same to both sums."""
        return True, False

    def _height(self, t: Tensor, clock: Clock, half_cycle: Tensor) -> Tensor:
        half = half_cycle * clock.per_epoch
        return 1 - (1 - t % (2 * half) / half).abs()
