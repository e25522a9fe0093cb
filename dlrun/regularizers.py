"""What is added to a training to make it generalise; freely combined, each under its own name in the config."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dlrun.datasets.data import Task
from dlrun.errors import ConfigError
from dlrun.optimizers.rule import State


class Regularizer:
    """Hooks of the trainer; each does nothing unless a regularizer says otherwise.

    Keyword-only arguments of a hook are numbers that may differ by row, as (runs, 1) tensors.
    `mask`, (params,), is 1 for the parameters that penalties apply to: weights alone, or all with include_bias.
    """

    include_bias = False

    def fits(self, task: Task) -> None:
        """ConfigError where the regularizer makes no sense for the task."""

    def soften(self, targets: Tensor, outputs: int, *_: Any, **rows: Any) -> Tensor:
        """Other targets for one row's training loss."""
        return targets

    def penalize(self, g: Tensor, theta: Tensor, mask: Tensor, *_: Any, **rows: Any) -> Tensor:
        """The gradient g of the loss, (runs, params), plus the penalty's."""
        return g

    def decay(self, theta: Tensor, mask: Tensor, lr: Tensor, *_: Any, **rows: Any) -> None:
        """Change theta in place, apart from the gradient."""

    def init(self, runs: int) -> State:
        """The memory of `observe`."""
        return {}

    def observe(self, state: State, val_loss: Tensor, *_: Any, **rows: Any) -> Tensor:
        """Which rows should stop, (runs,), after an evaluation's validation loss (runs,)."""
        return torch.zeros_like(val_loss, dtype=torch.bool)


class L2(Regularizer):
    r"""Penalty $\frac{\alpha}{2} \|\theta\|_2^2$, gradient $\alpha\theta$. Reference: lecture 002."""

    def __init__(self, include_bias: bool) -> None:
        self.include_bias = include_bias

    def penalize(self, g: Tensor, theta: Tensor, mask: Tensor, *, alpha: Tensor) -> Tensor:
        return g + alpha * mask * theta


class L1(Regularizer):
    r"""Penalty $\alpha \|\theta\|_1$, (sub)gradient $\alpha\,\text{sign}\,\theta$. Reference: lecture 002."""

    def __init__(self, include_bias: bool) -> None:
        self.include_bias = include_bias

    def penalize(self, g: Tensor, theta: Tensor, mask: Tensor, *, alpha: Tensor) -> Tensor:
        return g + alpha * mask * torch.sign(theta)


class WeightDecay(Regularizer):
    r"""Decoupled decay $\theta \leftarrow (1 - \text{lr}\,\alpha)\,\theta$ beside the gradient's step.

    Reference: Loshchilov & Hutter 2019, arXiv:1711.05101; lecture 002.
    """

    def __init__(self, include_bias: bool) -> None:
        self.include_bias = include_bias

    def decay(self, theta: Tensor, mask: Tensor, lr: Tensor, *, alpha: Tensor) -> None:
        theta.mul_(1 - lr * alpha * mask)


class Dropout(Regularizer):
    """Inverted dropout of inputs and of fully connected hidden units; the layers stand in the architecture.

    Reference: Srivastava et al. 2014; lecture 002.
    """

    def __init__(self, p_input: float, p_hidden: float) -> None:
        self.p_input = p_input
        self.p_hidden = p_hidden


class LabelSmoothing(Regularizer):
    r"""Training targets mixed with the uniform ones: $(1-\alpha)\,t + \alpha / k$ for k classes.

    Reference: Szegedy et al. 2015, arXiv:1512.00567; lecture 002.
    """

    def fits(self, task: Task) -> None:
        if task == "regression":
            raise ConfigError("regularizer=label_smoothing needs classes, and this dataset's targets are numbers")

    def soften(self, targets: Tensor, outputs: int, *, alpha: Tensor) -> Tensor:
        if targets.is_floating_point():  # binary: the probability of class 1
            return (1 - alpha) * targets + alpha / 2
        hard = targets[:, None] == torch.arange(outputs, device=targets.device)
        return (1 - alpha) * hard + alpha / outputs


class EarlyStopping(Regularizer):
    """Stops a run when its validation loss has not improved for a number of evaluations.

    An improvement is more than min_delta below the best so far. The best parameters are kept in any case.

    Reference: Prechelt 1998, doi:10.1007/3-540-49430-8_3; lectures 002, 004.
    """

    def init(self, runs: int) -> State:
        return {"best": torch.full((runs,), torch.inf, dtype=torch.float64), "waited": torch.zeros(runs)}

    def observe(self, state: State, val_loss: Tensor, *, patience: Tensor, min_delta: Tensor) -> Tensor:
        better = val_loss < state["best"] - min_delta[:, 0]
        state["best"] = torch.where(better, val_loss, state["best"])
        state["waited"] = torch.where(better, 0, state["waited"] + 1)
        return state["waited"] >= patience[:, 0]
