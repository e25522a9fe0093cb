"""What one step minimises, for the update rules that ask more of it than a gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dlrun.errors import ConfigError
from dlrun.matrix.rows import over_rows
from dlrun.matrix.theta import applied
from dlrun.training.stack import Rows, Stack

Step = Callable[..., tuple[Tensor, ...]]

BLOCK = 2**22  #: numbers of theta that the samples' own rows may hold at a time
COLUMNS = 64  #: of a Hessian, computed at a time


class StepObjective:
    """What one step minimises, for the rules that ask: its gradient is the step's own recorded one."""

    def __init__(self, stack: Stack, step: Step, batch: Tensor, moving: Sequence[Tensor], value: Tensor) -> None:
        self.stack, self.step, self.batch, self.moving = stack, step, batch, moving
        self.value = value

    def gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """See `optimizers.rule.Objective`."""
        here = self.stack.theta.clone()
        self.stack.theta.copy_(theta)
        g, value, *_ = self.step(self.batch, *self.moving)
        self.stack.theta.copy_(here)
        return value, g.clone()

    def hessian(self, theta: Tensor) -> Tensor:
        """See `optimizers.rule.Objective`."""
        return hessian(self.stack, theta, self.batch)

    def gauss_newton(self, theta: Tensor) -> Tensor:
        """See `optimizers.rule.Objective`."""
        return gauss_newton(self.stack, theta, self.batch)


@torch.enable_grad()
def refuse_once_differentiable(stack: Stack) -> None:
    """ConfigError for a network or a loss whose gradient cannot be differentiated; looks at two training samples."""
    samples = torch.arange(min(2, stack.train_size), device=stack.theta.device).expand(stack.runs, -1)
    stack.model.train()
    x, y, _ = stack.minibatch(samples)
    leaf = stack.theta.detach().requires_grad_()
    problem = once_differentiable(objective_of(stack, leaf, x, y), leaf)
    if problem is not None:
        raise ConfigError(
            f"the optimizer {type(stack.rule).__name__} takes second derivatives, and {problem}: choose another "
            "architecture, or optimizer=gauss_newton or lbfgs, which take first derivatives only"
        )


@torch.enable_grad()
def once_differentiable(objective: Tensor, leaf: Tensor) -> str | None:
    """Why the gradient in a leaf of values that were made of it cannot be differentiated; None: it can."""
    (g,) = torch.autograd.grad(objective.sum(), leaf, create_graph=True)
    try:
        if g.requires_grad:
            torch.autograd.grad(g.sum(), leaf, allow_unused=True)
    except RuntimeError as problem:
        return f"PyTorch {torch.__version__} has none of this network ({' '.join(str(problem).split())})"
    return None


@torch.enable_grad()
def hessian(stack: Stack, theta: Tensor, batch: Tensor) -> Tensor:
    """The second derivatives of a stack's objective at theta, (runs, params, params)."""
    stack.model.train()
    x, y, _ = stack.minibatch(batch)
    leaf = theta.detach().requires_grad_()
    return _derivatives(objective_of(stack, leaf, x, y), leaf)


def outputs_of(
    stack: Stack, parameters: Rows, buffers: Rows, x: Tensor, shared: bool = False, twice: bool = False
) -> Tensor:
    """The outputs of networks, (rows, samples, outputs), in the mode in which the model is; nothing changes.

    parameters, buffers: by name, (rows, ...). x: (rows, samples, ...), or (samples, ...) where all share it.
    twice: whether they are to be differentiated twice.
    """
    over_networks = stack.over_networks(len(next(iter(parameters.values()))), twice)
    outputs: Tensor = over_networks(stack.outputs_of_row, (0, 0, None if shared else 0))(parameters, buffers, x)
    return outputs


def objective_of(stack: Stack, theta: Tensor, x: Tensor, y: Tensor, shared: bool = False) -> Tensor:
    """Each row's objective at theta on these samples, (runs,): the mean of their losses plus penalties.

    x, y: (runs, samples, ...); of x that is `shared`, (samples, ...).
    """
    outputs = outputs_of(stack, stack.layout.views(theta), stack.buffers, x, shared, twice=True)
    objective = stack.measures.loss(outputs, y).mean(1)
    penalty = stack.penalty(theta)
    return objective if penalty is None else objective + penalty


@torch.enable_grad()
def gauss_newton(stack: Stack, theta: Tensor, batch: Tensor) -> Tensor:
    """See `optimizers.rule.Objective.gauss_newton`, (runs, params, params).

    Every sample is a row with parameters of its own, so that one backward pass gives the derivatives of an output
    for all samples.
    """
    x, y, _ = stack.minibatch(batch)
    runs, samples = batch.shape
    total = torch.zeros(runs, stack.layout.params, stack.layout.params, dtype=theta.dtype, device=theta.device)
    stack.model.train()
    for part in torch.arange(samples, device=theta.device).split(max(1, BLOCK // (runs * stack.layout.params))):
        leaf = theta.detach().repeat_interleave(len(part), 0).requires_grad_()
        buffers = {name: buffer.repeat_interleave(len(part), 0) for name, buffer in stack.buffers.items()}

        def outputs_of_row(parameters: Any, buffers: Any, x: Tensor) -> Tensor:
            return applied(stack.model, {**parameters, **buffers}, x[None])[0]

        outputs = over_rows(outputs_of_row)(stack.layout.views(leaf), buffers, x[:, part].flatten(0, 1))
        jacobian = torch.stack(
            [torch.autograd.grad(output.sum(), leaf, retain_graph=True)[0] for output in outputs.unbind(1)], 1
        )
        outputs = outputs.detach().requires_grad_()
        curvature = _derivatives(stack.measures.loss(outputs, y[:, part].flatten(0, 1)), outputs)
        jacobian, curvature = jacobian.unflatten(0, (runs, -1)), curvature.unflatten(0, (runs, -1))
        total += torch.einsum("rnip,rnij,rnjq->rpq", jacobian, curvature, jacobian)
    leaf = theta.detach().requires_grad_()
    penalty = stack.penalty(leaf)
    return total / samples + (0 if penalty is None else _derivatives(penalty, leaf))


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
