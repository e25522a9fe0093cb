"""Schedules that hold a rate for some epochs, then jump."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from dlrun.errors import ConfigError
from dlrun.schedules.schedule import Clock, Schedule, at_rest


class Constant(Schedule):
    """The same rate, lr, at every step. Reference: lectures 002, 003, 004."""

    def __call__(self, t: Tensor, clock: Clock, *, lr: Tensor) -> Tensor:
        return lr.expand(len(t), -1)

    def robbins_monro(self) -> tuple[bool, bool]:
        """A rate that never falls: its noise never dies out."""
        return at_rest(1)


class Step(Schedule):
    r"""The rate falls at once, every few epochs.

    $$\text{lr}\; \gamma^{\lfloor \text{epoch} / \text{every} \rfloor}$$

    Epochs count from the start of the training, those of a warmup too.

    Reference: lectures 002 (halve it every 50 epochs), 004.
    """

    by_epochs = True

    def __call__(self, t: Tensor, clock: Clock, *, lr: Tensor, every: Tensor, gamma: Tensor) -> Tensor:
        return lr * gamma ** torch.floor(t / (every * clock.per_epoch))

    def robbins_monro(self, *, gamma: float) -> tuple[bool, bool]:
        """A geometric series, every term taken for the same number of steps: both sums are finite unless gamma = 1."""
        return at_rest(1) if gamma == 1 else at_rest(0)


class MultiStep(Schedule):
    r"""The rate falls by the same factor at each of the given epochs.

    $$\text{lr}\; \gamma^{|\{m \in \text{milestones}: m \le \text{epoch}\}|}$$

    Epochs count from the start of the training, those of a warmup too.

    Reference: He et al. 2016, arXiv:1512.03385 (0.1 after 32,000 and 48,000 steps).
    """

    by_epochs = True

    def __init__(self, milestones: Sequence[float]) -> None:
        self.milestones = sorted(milestones)

    def __call__(self, t: Tensor, clock: Clock, *, lr: Tensor, gamma: Tensor) -> Tensor:
        return lr * gamma ** _passed(self.milestones, t, clock)

    def robbins_monro(self) -> tuple[bool, bool]:
        """After the last milestone the rate never falls."""
        return at_rest(1)


class Manual(Schedule):
    """The rates of a table from epochs to rates, each held until the next; lr itself before the first.

    Epochs count from the start of the training, those of a warmup too, which rises to the table's rates.

    Args:
        rates: {epoch: rate}, in any order; None is the empty table.

    Raises ConfigError for anything else.

    Reference: lecture 004 ("manual decay").
    """

    by_epochs = True

    def __init__(self, rates: Mapping[Any, Any] | None = None) -> None:
        if rates is not None and not isinstance(rates, Mapping):
            raise ConfigError(f"schedule.rates={rates}: write a table of epochs and rates, such as {{0:0.1,10:0.01}}")
        table = {}
        for key, value in (rates or {}).items():
            epoch, rate = _number(key), _number(value)
            if epoch is None or epoch < 0:
                raise ConfigError(f"schedule.rates: {key} is no epoch; write numbers >= 0, such as {{0:0.1,10:0.01}}")
            if rate is None or rate <= 0:
                raise ConfigError(f"schedule.rates: epoch {key} has the rate {value}; write a number > 0")
            table[epoch] = rate
        self.epochs = sorted(table)
        self.rates = torch.tensor([table[epoch] for epoch in self.epochs], dtype=torch.float64)

    def __call__(self, t: Tensor, clock: Clock, *, lr: Tensor) -> Tensor:
        values = torch.cat([lr, self.rates[:, None].expand(-1, lr.shape[1])])
        return values[_passed(self.epochs, t, clock)[:, 0]]

    def robbins_monro(self) -> tuple[bool, bool]:
        """After the table's last epoch the rate never falls."""
        return at_rest(1)


def _passed(epochs: Sequence[float], t: Tensor, clock: Clock) -> Tensor:
    """(steps, 1): how many of the sorted epochs have begun at each step."""
    return torch.searchsorted(torch.tensor(epochs, dtype=torch.float64) * clock.per_epoch, t, right=True)


def _number(value: Any) -> float | None:
    """The value as a finite number; text too, since keys of a YAML table may be quoted."""
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) else None
