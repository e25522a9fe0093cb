"""Minibatches that are made ahead: the same, in the same order, and a fault where they are asked for."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from dlrun.training.ahead import EPOCHS, LARGE, Ahead
from dlrun.training.batches import epoch_batches, plan
from dlrun.training.state import State

CPU = torch.device("cpu")


@pytest.mark.parametrize("size, further", [(1, EPOCHS), (LARGE // 8, 1)])
def test_the_next_epochs_are_made_and_those_past_are_dropped(size: int, further: int) -> None:
    made: list[int] = []

    def make(epoch: int) -> list[Tensor]:
        made.append(epoch)
        return [torch.full((size,), epoch)]

    ahead = Ahead(make, CPU, epochs=6)
    for epoch in (0, 0, 1, 3, 5):
        assert int(ahead(epoch)[0][0]) == epoch
        assert sorted(ahead.made) == list(range(epoch, min(6, epoch + further + 1)))
    assert sorted(made) == sorted(set(made))


def test_a_fault_is_raised_where_the_epoch_is_asked_for() -> None:
    ahead = Ahead(lambda epoch: [torch.zeros(1)][epoch:] or [torch.zeros(1)[epoch]], CPU, epochs=2)
    ahead(0)
    with pytest.raises(IndexError):
        ahead(1)


def test_a_plan_is_the_same(stack_of: Any) -> None:
    stack = stack_of("dataset=iris", "batch_size=16", "epochs=3", rows=[[], ["seed=1"]])
    schedule, steps = State(stack).schedule, stack.steps
    plain = [batch for batch, *_ in plan(stack, schedule, 0, steps)]
    stack.ahead = Ahead(partial(epoch_batches, stack, begin=0, steps=stack.steps_per_epoch), CPU, 3)
    for first in (0, 3):
        again = [batch for batch, *_ in plan(stack, schedule, first, steps)]
        assert all(torch.equal(a, b) for a, b in zip(plain[first:], again, strict=True))
