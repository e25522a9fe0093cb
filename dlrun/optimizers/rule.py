"""What every update rule offers to the trainer."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dlrun.theta import Layout

State = dict[str, Tensor]


class Rule:
    """An update rule: a memory and the line that changes theta.

    theta, the gradient g and the rule's memory are matrices with one row per run, (runs, params). Every
    keyword-only argument of `update` is a hyperparameter that may differ by row and arrives as a (runs, 1)
    tensor; what changes the structure of the computation (a flag, a variant) goes to `__init__`.

    `update` works in place, so that theta stays one piece of memory for the whole training.
    """

    traceable = True  #: update is tensor arithmetic alone, so it can be recorded once and replayed
    stackable = True  #: update works on many rows at once

    def bind(self, layout: Layout, theta: Tensor) -> None:
        """See, before `init`, where each layer's parameters lie in theta; only a rule that needs shapes cares.

        theta is the memory that the training changes, so views of it stay right.
        """

    def init(self, theta: Tensor) -> State:
        """The memory before the first step; every tensor has one row per run."""
        return {}

    def point(self, theta: Tensor, state: State, *_: Any, **hyper: Any) -> Tensor:
        """Where the gradient is evaluated: theta itself, unless the rule looks ahead."""
        return theta

    def update(self, theta: Tensor, g: Tensor, state: State, *_: Any, **hyper: Any) -> None:
        """Change theta and state in place, given the gradient g at `point`; g is only read."""
        raise NotImplementedError
