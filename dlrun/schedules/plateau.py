"""The schedule that watches the validation loss."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.schedules.schedule import Clock, Schedule, State, at_rest


class Plateau(Schedule):
    r"""The rate falls by factor when the validation loss has not improved for more than patience evaluations.

    $$\text{lr}\; s, \quad s \leftarrow \max(\text{factor} \cdot s, m)$$

    with s = 1 at first and m = min_factor. An improvement is a loss below the best so far by more than threshold times
    its size. As torch.optim.lr_scheduler.ReduceLROnPlateau, but right for negative losses too.

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

    def robbins_monro(self, *, min_factor: float) -> tuple[bool, bool]:
        """Once the loss no longer improves, a geometric series as in `Step`, down to min_factor lr."""
        return at_rest(min_factor)
