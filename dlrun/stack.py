"""What a training needs, for all runs of a stack at once, and what it computes: losses, gradients, metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_map

from dlrun.datasets.data import Dataset
from dlrun.initializers.initializer import Initializer
from dlrun.losses import Loss
from dlrun.metrics import Metric
from dlrun.optimizers.rule import Rule, State
from dlrun.regularizers.regularizer import Regularizer
from dlrun.rows import call
from dlrun.schedules import Schedule
from dlrun.theta import Layout
from dlrun.trace import Program, Recording

Rows = Mapping[str, Tensor]

CHUNK = 2**18  #: numbers of the inputs that an evaluation takes at a time, for all rows: what a core keeps at hand
BLOCK = 2**22  #: numbers of theta that the samples' own rows may hold at a time
COLUMNS = 64  #: of a Hessian, computed at a time


@dataclass
class Stack:
    """The runs that train together: one structure, one row of numbers per run.

    theta: (runs, params). buffers: what layers remember or are told beside their parameters, (runs, ...).
    hyper, penalties: the rows of the update rule and of each regularizer, (runs, 1).
    rates: the rows of the schedule, lr among them, (1, runs).
    """

    dataset: Dataset  #: the first run's; the others' differ at most in which samples stand where, and in labels
    variants: list[Dataset]  #: the different ones, each with as many samples, whose tensors are views of these:
    inputs: Tensor
    targets: Tensor
    variant: list[int]  #: each run's place in `variants`
    model: nn.Module
    layout: Layout
    theta: Tensor
    buffers: dict[str, Tensor]
    averages: set[str]  #: the buffers that a training step changes
    loss: Loss
    metrics: list[Metric]
    rule: Rule
    hyper: Rows
    moving: list[str]  #: what differs from step to step: lr, what else of `hyper` the schedule moves, phases' `trained`
    phases: list[Tensor]  #: (params,) of 1 where a phase of the training trains the parameter; none: one phase, all
    schedule: Schedule
    rates: Rows
    regularizers: list[Regularizer]
    averaging: dict[str, int]  #: by the name that its columns get, the place of each that keeps other parameters
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
    initializers: list[Initializer]  #: each run's own, for what it reports of its work
    moments: dict[int, dict[str, Tensor]] = field(default_factory=dict)  #: see `plan.moments`

    def __post_init__(self) -> None:
        self.g = torch.zeros_like(self.theta)

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

    @property
    def separate(self) -> bool:
        """Whether the runs' samples differ."""
        return len(self.variants) > 1

    def chunks(self, part: str, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets of "train", "val" or "test", (chunk, ...), or (runs, chunk, ...) where runs' differ."""
        for start in range(0, self.dataset.sizes[part], size):
            if not self.separate:
                x, y = self.dataset.part(part)
                yield x[start : start + size], y[start : start + size]
            else:
                parts = [variant.part(part) for variant in self.variants]
                pairs = [[tensor[start : start + size] for tensor in parts[v]] for v in self.variant]
                x, y = (torch.stack(tensors) for tensors in zip(*pairs, strict=True))
                yield x, y

    @property
    def network(self) -> State:
        """What a run's network is: its row of theta, and the buffers that a model file holds, (runs, ...)."""
        saved = [name for name in self.model.state_dict() if name in self.buffers]
        return {"theta": self.theta, **{name: self.buffers[name] for name in saved}}

    def minibatch(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs and targets to train on, and the data's own targets, (runs, batch, ...).

        batch: (runs, batch) row numbers of `inputs`.
        """
        x, y = (
            samples.index_select(0, batch.flatten()).unflatten(0, batch.shape)
            for samples in (self.inputs, self.targets)
        )
        own_y = y
        for regularizer, rows in zip(self.regularizers, self.penalties, strict=True):
            x, y = call(regularizer.transform, x, y, self.dataset.outputs, rows=rows)
        return x, y, own_y

    def penalty(self, theta: Tensor) -> Tensor | None:
        """What the regularizers add to each row's loss, (runs,), if anything."""
        parts = [
            call(regularizer.penalty, theta, mask, rows=rows)
            for regularizer, mask, rows in zip(self.regularizers, self.masks, self.penalties, strict=True)
        ]
        values = [part for part in parts if part is not None]
        return reduce(add, values) if values else None

    @torch.enable_grad()
    def gradient(self, point: Tensor, batch: Tensor) -> tuple[Any, ...]:
        """Each row's objective, its mean loss on its minibatch plus penalties, (runs,), the objective's gradient at
        `point`, (runs, params), the mean loss alone, (runs,), and new running averages.

        Without measure_train also what `sums` takes: losses, outputs and the data's own targets, (runs, batch, ...).
        """
        x, y, own_y = self.minibatch(batch)
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
        # a sum, since autograd imports all of SymPy to look at the gradients that it is given for several outputs
        gradients = torch.autograd.grad(losses.sum(), list(parameters.values()))
        g = self.g  # one piece of memory, whose views a recorded step has at hand
        for view, part in zip(self.layout.views(g).values(), gradients, strict=True):
            view.copy_(part)
        loss = objective = losses.detach()
        leaf = point.detach().requires_grad_()
        penalty = self.penalty(leaf)
        if penalty is not None:
            g = g + torch.autograd.grad(penalty.sum(), leaf)[0]
            objective = loss + penalty.detach()
        return objective, g, loss, averages, *measured, *([own_y] if measured else [])

    @torch.enable_grad()
    def hessian(self, theta: Tensor, batch: Tensor) -> Tensor:
        """The objective's second derivatives at theta, (runs, params, params)."""
        x, y, _ = self.minibatch(batch)
        leaf = theta.detach().requires_grad_()

        def loss_of_row(parameters: Any, buffers: Any, x: Tensor, y: Tensor) -> Tensor:
            averages = {name: buffers[name].clone() for name in self.averages}
            return self.loss(functional_call(self.model, {**parameters, **buffers, **averages}, (x,)), y).mean()

        self.model.train()
        objective = over_rows(loss_of_row, self.runs)(self.layout.views(leaf), self.buffers, x, y)
        penalty = self.penalty(leaf)
        if penalty is not None:
            objective = objective + penalty
        return _derivatives(objective, leaf)

    @torch.enable_grad()
    def gauss_newton(self, theta: Tensor, batch: Tensor) -> Tensor:
        """See `optimizers.rule.Objective.gauss_newton`, (runs, params, params).

        Every sample is a row with parameters of its own, so that one backward pass gives the derivatives of an output
        for all samples.
        """
        x, y, _ = self.minibatch(batch)
        runs, samples = batch.shape
        total = torch.zeros(runs, self.layout.params, self.layout.params, dtype=theta.dtype, device=theta.device)
        self.model.train()
        for part in torch.arange(samples, device=theta.device).split(max(1, BLOCK // (runs * self.layout.params))):
            rows = runs * len(part)
            leaf = theta.detach().repeat_interleave(len(part), 0).requires_grad_()
            buffers = {name: buffer.repeat_interleave(len(part), 0) for name, buffer in self.buffers.items()}

            def outputs_of_row(parameters: Any, buffers: Any, x: Tensor) -> Tensor:
                return functional_call(self.model, {**parameters, **buffers}, (x[None],))[0]

            outputs = over_rows(outputs_of_row, rows)(self.layout.views(leaf), buffers, x[:, part].flatten(0, 1))
            jacobian = torch.stack(
                [torch.autograd.grad(output.sum(), leaf, retain_graph=True)[0] for output in outputs.unbind(1)], 1
            )
            outputs = outputs.detach().requires_grad_()
            curvature = _derivatives(self.loss(outputs, y[:, part].flatten(0, 1)), outputs)
            jacobian, curvature = jacobian.unflatten(0, (runs, -1)), curvature.unflatten(0, (runs, -1))
            total += torch.einsum("rnip,rnij,rnjq->rpq", jacobian, curvature, jacobian)
        leaf = theta.detach().requires_grad_()
        penalty = self.penalty(leaf)
        return total / samples + (0 if penalty is None else _derivatives(penalty, leaf))

    @torch.no_grad()
    def measured_averages(self, theta: Tensor) -> State:
        """The running averages that fit these parameters, (runs, ...): means over the training set's minibatches.

        Reference: Izmailov et al. 2018, arXiv:1803.05407, section 3.3.
        """
        if not self.averages:
            return {}
        layers = [m for m in self.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        momenta = [layer.momentum for layer in layers]
        self.model.eval()
        for layer in layers:
            layer.train()
            layer.momentum = 1.0  # the average is then the minibatch's own

        def averages_of_row(parameters: Any, buffers: Any, x: Tensor) -> Any:
            averages = {name: buffers[name].clone() for name in self.averages}
            functional_call(self.model, {**parameters, **buffers, **averages}, (x,))
            return averages

        sums, batches = {name: torch.zeros_like(self.buffers[name]) for name in self.averages}, 0
        for x, _ in self.chunks("train", self.batch_size):
            if x.shape[-self.dataset.inputs.ndim] == 1:  # a single sample has no variance
                continue
            own = 0 if self.separate else None
            averages = over_rows(averages_of_row, self.runs, (0, 0, own))(self.layout.views(theta), self.buffers, x)
            for name, total in sums.items():
                total += averages[name]
            batches += 1
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        return {name: total / batches for name, total in sums.items()}

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
    """Measures losses and metrics of a stack on a part of its data, in evaluation mode, in chunks.

    Args:
        members: parameters and buffers to measure in place of the stack's own, (runs, members, ...); the mean
            prediction of a run's members counts.
        weight: (runs, members), the members' weights in that mean; None where each run has one member.
    """

    def __init__(self, stack: Stack, members: State | None = None, weight: Tensor | None = None) -> None:
        own = {**stack.buffers, "theta": stack.theta}
        count = 1 if members is None else members["theta"].shape[1]
        # views of memory that goes on changing
        rows = {name: tensor[:, None].expand(-1, count, *tensor.shape[1:]) for name, tensor in own.items()}
        rows = {name: tensor.flatten(0, 1) for name, tensor in {**rows, **(members or {})}.items()}
        self.stack, self.members, self.weight = stack, count, weight
        self.theta, self.buffers = rows.pop("theta"), rows
        self.programs: dict[tuple[int, ...], Program] = {}

    @torch.no_grad()
    def __call__(self, part: str) -> dict[str, Tensor]:
        """{"loss": (runs,), metric: (runs,), ...} in double precision, on the CPU."""
        inputs = self.stack.dataset.inputs
        total = torch.zeros((), dtype=torch.float64, device=inputs.device)
        size = max(32, CHUNK // (len(self.theta) * inputs[0].numel()))
        for x, y in self.stack.chunks(part, size):
            if x.shape not in self.programs:
                self.programs[x.shape] = Recording(self._sums, [x, y]).program()
            total = total + self.programs[x.shape](x, y)[0]
        return self.stack.values((total / self.stack.dataset.sizes[part]).cpu())

    def _sums(self, x: Tensor, y: Tensor) -> tuple[Tensor]:
        def outputs_of_row(parameters: Any, buffers: Any, x: Tensor) -> Tensor:
            return functional_call(self.stack.model, {**parameters, **buffers}, (x,))

        def sums_of_row(outputs: Tensor, y: Tensor) -> Tensor:
            return self.stack.sums(self.stack.loss(outputs, y), outputs, y)

        self.stack.model.eval()
        own = 0 if self.stack.separate else None
        x = x.repeat_interleave(self.members, 0) if self.stack.separate else x
        parameters = self.stack.layout.views(self.theta)
        outputs = over_rows(outputs_of_row, len(self.theta), (0, 0, own))(parameters, self.buffers, x)
        if self.weight is not None:
            outputs = self.stack.loss.combine(outputs.unflatten(0, (self.stack.runs, -1)), self.weight)
        return (over_rows(sums_of_row, self.stack.runs, (0, own))(outputs, y),)


def _derivatives(value: Tensor, leaf: Tensor) -> Tensor:
    """Second derivatives of each row's value (rows,) in its own row of the leaf (rows, n): (rows, n, n)."""
    zeros = torch.zeros(*leaf.shape, leaf.shape[1], dtype=leaf.dtype, device=leaf.device)
    (g,) = torch.autograd.grad(value.sum(), leaf, create_graph=True)
    if not g.requires_grad:  # linear
        return zeros
    basis = torch.eye(leaf.shape[1], dtype=leaf.dtype, device=leaf.device)[:, None].expand(-1, *leaf.shape)

    def products(vectors: Tensor, together: bool) -> Tensor | None:
        return torch.autograd.grad(g, leaf, vectors, retain_graph=True, is_grads_batched=together, allow_unused=True)[0]

    try:
        columns = [products(some, True) for some in basis.split(COLUMNS)]
    except RuntimeError:  # group normalization's second derivatives, for one, take one vector at a time
        columns = [each if each is None else each[None] for each in (products(one, False) for one in basis)]
    present = [column for column in columns if column is not None]
    return torch.cat(present).movedim(0, 1) if present else zeros


def over_rows(fn: Callable[..., Any], runs: int, dims: tuple[int | None, ...] | None = None) -> Callable[..., Any]:
    """fn of one row's tensors as a function of all rows' tensors, whose first axis is the runs'.

    dims: 0 for each such argument, None for one that all rows share; by default none is shared.
    """
    if runs > 1:
        return vmap(fn, dims or 0, randomness="different")

    def alone(*rows: Any) -> Any:
        own = [
            row if dim is None else tree_map(lambda t: t.squeeze(0), row)
            for row, dim in zip(rows, dims or [0] * len(rows), strict=True)
        ]
        return tree_map(lambda t: t.unsqueeze(0), fn(*own))

    return alone
