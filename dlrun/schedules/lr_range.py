"""The learning rate range test: one short training that tries every rate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dlrun.schedules.schedule import Clock, Schedule, State, at_rest

SHARE = 0.03  #: of the training's steps over which the loss is smoothed


class LRRange(Schedule):
    r"""The rate rises by the same factor at every step, from min_factor lr to max_factor lr at the last one.

    $$\text{lr}\; m\, (M / m)^{t / (\text{total} - 1)}$$

    at step t of total, with m = min_factor and M = max_factor. The minibatches' losses over the rate show which rates
    learn, and where they begin to diverge. Their exponential average over about 3 % of the steps, $s_t$, smooths them;
    a run ends where it exceeds its lowest value by `explosion` - 1 times the size of that, or is no longer a number.

    Reference: Smith 2017, arXiv:1506.01186 (section 3.3).
    """

    watches = True

    def __call__(self, t: Tensor, clock: Clock, *, lr: Tensor, min_factor: Tensor, max_factor: Tensor) -> Tensor:
        return lr * min_factor * (max_factor / min_factor) ** (t / max(clock.total - 1, 1))

    def init(self, runs: int) -> State:
        zeros = torch.zeros(1, runs, dtype=torch.float64)
        return {"average": zeros, "weight": zeros.clone(), "lowest": zeros + torch.inf}

    def watch(self, state: State, losses: Tensor, clock: Clock, *, explosion: Tensor) -> tuple[Tensor, Tensor]:
        beta, smoothed = 1 - 1 / max(SHARE * clock.total, 1), []
        for loss in losses:
            state["average"].lerp_(loss[None], 1 - beta)
            state["weight"].lerp_(
                torch.ones_like(loss)[None], 1 - beta
            )  # of what has been seen: the average began at 0
            smoothed.append(state["average"] / state["weight"])
        s = torch.cat(smoothed)
        lowest = torch.cat([state["lowest"], s]).cummin(0).values[1:]
        state["lowest"].copy_(lowest[-1:])
        return s, ~(s <= lowest + (explosion - 1) * lowest.abs())  # what is not a number has exploded too

    def robbins_monro(self) -> tuple[bool, bool]:
        """The last rate is the largest, and stays."""
        return at_rest(1)


def suggestion(lr: Sequence[float], smoothed: Sequence[float]) -> float | None:
    """A rate to train with: where the loss falls fastest, before its lowest, over a tenth of the test.

    None where it does not fall at all, or the test is too short.
    """
    losses = np.asarray(smoothed)
    half = max(1, len(losses) // 20)
    fall = losses[: -2 * half] - losses[2 * half :]
    fall = fall[: max(0, np.nanargmin(losses) + 1 - 2 * half)] if np.isfinite(losses).any() else fall[:0]
    return float(lr[int(fall.argmax()) + half]) if len(fall) and fall.max() > 0 else None
