"""What every update rule offers to the trainer."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from dlrun.matrix.theta import Layout

State = dict[str, Tensor]


class Objective(Protocol):
    """What a step minimises, for rules that ask more of it than one gradient: the mean loss on the step's minibatch
    plus all penalties, as a function of the parameters, (runs, params)."""

    value: Tensor  #: (runs,), at theta as the step found it

    def gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The value (runs,) and the gradient (runs, params) at theta, in memory of their own."""

    def hessian(self, theta: Tensor) -> Tensor:
        """All second derivatives at theta, (runs, params, params)."""

    def gauss_newton(self, theta: Tensor) -> Tensor:
        r"""The Hessian without what the network's own curvature adds, (runs, params, params).

        $$\frac1n \sum_i J_i^\top H_i J_i + \nabla^2 \text{penalties}$$ with $J_i$ the derivatives of the outputs for
        sample i, and $H_i$ the Hessian of its loss in the outputs: positive semidefinite for a loss convex in them.

        Reference: Schraudolph 2002, doi:10.1162/08997660260028683.
        """


class Rule:
    """An update rule: a memory and the line that changes theta.

    theta, the gradient g and the rule's memory are matrices with one row per run, (runs, params). Every
    keyword-only argument of `update` is a hyperparameter that may differ by row and arrives as a (runs, 1)
    tensor; what changes the structure of the computation (a flag, a variant) goes to `__init__`.

    `update` works in place, so that theta stays one piece of memory for the whole training.
    """

    traceable = True  #: update is tensor arithmetic alone, so it can be recorded once and replayed
    stackable = True  #: update works on many rows at once
    curvature = False  #: update keeps (params, params) matrices; it gets the step's Objective after `state`
    by_sample = False  #: update asks for the Gauss–Newton matrix
    searches = False  #: update evaluates its loss at several points; it gets the step's Objective after `state`

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
