"""What a training needs, for all runs of a stack at once, and what it computes: losses, gradients, metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_map

from dlrun.datasets.data import Dataset
from dlrun.losses import Loss
from dlrun.metrics import Metric
from dlrun.optimizers.rule import Rule
from dlrun.regularizers.regularizer import Regularizer
from dlrun.rows import call
from dlrun.schedules import Schedule
from dlrun.theta import Layout
from dlrun.trace import Program, Recording

Rows = Mapping[str, Tensor]


@dataclass
class Stack:
    """The runs that train together: one structure, one row of numbers per run.

    theta: (runs, params). buffers: what layers remember or are told beside their parameters, (runs, ...).
    hyper, penalties: the rows of the update rule and of each regularizer, (runs, 1).
    rates: the rows of the schedule, lr among them, (1, runs).
    """

    dataset: Dataset
    model: nn.Module
    layout: Layout
    theta: Tensor
    buffers: dict[str, Tensor]
    averages: set[str]  #: the buffers that a training step changes
    loss: Loss
    metrics: list[Metric]
    rule: Rule
    hyper: Rows
    moving: list[str]  #: lr, and what else of `hyper` the schedule changes from step to step
    phases: list[Tensor]  #: (params,) of 1 where a phase of the training trains the parameter; none: one phase, all
    schedule: Schedule
    rates: Rows
    regularizers: list[Regularizer]
    penalties: list[Rows]
    masks: list[Tensor]  #: (params,), which parameters each regularizer penalises
    seeds: list[int]
    batch_size: int
    steps: int
    warmup: int
    eval_every: int  #: steps between evaluations
    clip_norm: Tensor | None  #: (runs, 1)
    clip_value: Tensor | None  #: (runs, 1)
    measure_train: bool
    compile: bool
    threads: int
    initialized: list[dict[str, list[str]]]  #: what each run's initializer reports of its work

    def __post_init__(self) -> None:
        self.ones = torch.ones_like(self.theta[:, 0])

    @property
    def runs(self) -> int:
        """Rows of theta."""
        return self.theta.shape[0]

    @property
    def train_size(self) -> int:
        """Training samples of one run."""
        return self.dataset.sizes["train"]

    @property
    def steps_per_epoch(self) -> int:
        """Minibatches in one pass over the training set, the last one possibly smaller."""
        return -(-self.train_size // self.batch_size)

    @torch.enable_grad()
    def gradient(self, point: Tensor, batch: Tensor) -> tuple[Any, ...]:
        """Each row's mean loss on its minibatch (runs,), its gradient at `point` (runs, params), and new averages.

        Without measure_train also what `sums` takes: losses, outputs and the data's own targets, (runs, batch, ...).
        batch: (runs, batch) row numbers of the dataset.
        """
        x, y = (
            samples.index_select(0, batch.flatten()).unflatten(0, batch.shape)
            for samples in (self.dataset.inputs, self.dataset.targets)
        )
        own_y = y
        for regularizer, rows in zip(self.regularizers, self.penalties, strict=True):
            x, y = call(regularizer.transform, x, y, self.dataset.outputs, rows=rows)
        changed = y is not own_y
        parameters = {name: view.detach().requires_grad_() for name, view in self.layout.views(point).items()}

        def loss_of_row(parameters: Any, buffers: Any, x: Tensor, y: Tensor, own_y: Tensor) -> Any:
            averages = {name: buffers[name].clone() for name in self.averages}  # layers change theirs in place
            outputs = functional_call(self.model, {**parameters, **buffers, **averages}, (x,))
            losses = self.loss(outputs, y)
            own_losses = self.loss(outputs, own_y) if changed else losses
            measured = [] if self.measure_train else [own_losses.detach(), outputs.detach()]
            return losses.mean(), averages, *measured

        self.model.train()
        losses, averages, *measured = over_rows(loss_of_row, self.runs)(parameters, self.buffers, x, y, own_y)
        gradients = torch.autograd.grad(losses, list(parameters.values()), self.ones)
        g = self.layout.flatten(dict(zip(parameters, gradients, strict=True)))
        return losses.detach(), g, averages, *measured, *([own_y] if measured else [])

    def sums(self, losses: Tensor, outputs: Tensor, y: Tensor) -> Tensor:
        """Sums over one row's samples of the loss and of every metric's statistics, (1 + statistics,) doubles."""
        predictions = self.loss.prediction(outputs)
        statistics = [metric.statistics(predictions, y) for metric in self.metrics]
        return torch.cat([losses.double()[:, None], *statistics], 1).sum(0)

    def values(self, means: Tensor) -> dict[str, Tensor]:
        """{"loss": (runs,), metric: (runs,), ...} from means over samples, (runs, 1 + statistics)."""
        result, start = {"loss": means[:, 0]}, 1
        for metric in self.metrics:
            width = metric.width(self.dataset.outputs)
            result[metric.name] = metric.value(means[:, start : start + width])
            start += width
        return result

    def clip(self, g: Tensor, norm: Tensor) -> Tensor:
        r"""Clip by norm, $g \min(1, c / \|g\|)$, then by value, to [-c, c] (Pascanu et al. 2013; lecture 002)."""
        if self.clip_norm is not None:
            g = g * (self.clip_norm / norm[:, None]).clamp(max=1)
        if self.clip_value is not None:
            g = torch.maximum(torch.minimum(g, self.clip_value), -self.clip_value)
        return g


class Evaluation:
    """Measures losses and metrics of a stack on a part of its data, in evaluation mode, in chunks."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.programs: dict[tuple[int, ...], Program] = {}

    @torch.no_grad()
    def __call__(self, part: str) -> dict[str, Tensor]:
        """{"loss": (runs,), metric: (runs,), ...} in double precision, on the CPU."""
        inputs, targets = self.stack.dataset.part(part)
        total = torch.zeros((), dtype=torch.float64, device=inputs.device)
        # about 4 MB of inputs for all rows at a time: the activations are a few times as large
        size = max(64, 2**20 // (self.stack.runs * inputs[0].numel()))
        for x, y in zip(inputs.split(size), targets.split(size), strict=True):
            if x.shape not in self.programs:
                self.programs[x.shape] = Recording(self._sums, [x, y]).program()
            total = total + self.programs[x.shape](x, y)[0]
        return self.stack.values((total / len(inputs)).cpu())

    def _sums(self, x: Tensor, y: Tensor) -> tuple[Tensor]:
        def sums_of_row(parameters: Any, buffers: Any) -> Tensor:
            outputs = functional_call(self.stack.model, {**parameters, **buffers}, (x,))
            return self.stack.sums(self.stack.loss(outputs, y), outputs, y)

        self.stack.model.eval()
        parameters = self.stack.layout.views(self.stack.theta)
        return (over_rows(sums_of_row, self.stack.runs)(parameters, self.stack.buffers),)


def over_rows(fn: Callable[..., Any], runs: int) -> Callable[..., Any]:
    """fn of one row's tensors as a function of all rows' tensors, whose first axis is the runs'."""
    if runs > 1:
        return vmap(fn, randomness="different")

    def alone(*rows: Any) -> Any:
        return tree_map(lambda t: t.unsqueeze(0), fn(*tree_map(lambda t: t.squeeze(0), rows)))

    return alone
