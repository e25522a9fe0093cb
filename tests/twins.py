"""Slow and obvious twins of what diagnostics compute: one run at a time, by modules, hooks and backward() alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from dlrun.training.stack import Stack


def module_of(stack: Stack, run: int, statistics: str = "batch") -> nn.Module:
    """A run's network as a module of its own, with dropout off and batch normalization as asked."""
    model = copy.deepcopy(stack.model).requires_grad_(True)
    values = {name: view[run] for name, view in stack.layout.views(stack.theta).items()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(values[name])
        for name, buffer in model.named_buffers():
            buffer.copy_(stack.buffers[name][run])
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(statistics == "batch")
    return model


def samples_of(stack: Stack, run: int, part: str, count: int) -> tuple[Tensor, Tensor]:
    """So many samples of a part that lie evenly in it."""
    x, y = stack.variants[stack.variant[run]].part(part)
    places = [round(i * (len(x) - 1) / max(1, count - 1)) for i in range(count)]
    return x[places], y[places]


def loss_of(stack: Stack, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The mean loss."""
    return stack.measures.loss(model(x), y).mean()


@contextmanager
def outputs_kept(modules: dict[str, nn.Module]) -> Iterator[dict[str, list[tuple[Tensor, Tensor]]]]:
    """Inputs and outputs of modules in all their calls; the outputs keep their gradients."""
    kept: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in modules}

    def keep(name: str, given: Tensor, output: Tensor) -> None:
        output.retain_grad()
        kept[name].append((given, output))

    hooks = [
        module.register_forward_hook(lambda module, given, output, name=name: keep(name, given[0], output))
        for name, module in modules.items()
    ]
    yield kept
    for hook in hooks:
        hook.remove()


def measured_at(stack: Stack, run: int, theta: Tensor, batches: list[tuple[Tensor, Tensor]], statistics: str) -> Tensor:
    """The mean over all samples of the loss that is minimised, with these parameters, one batch after the other."""
    model = module_of(stack, run, statistics)
    nn.utils.vector_to_parameters(theta, model.parameters())
    total, count = torch.zeros(()), 0
    for x, y in batches:
        with torch.no_grad():
            total = total + stack.measures.loss(model(x), y).sum()
        count += len(x)
    return total / count


def filter_normalised(model: nn.Module, random: torch.Generator, biases: bool) -> Tensor:
    """Li et al.'s direction, a filter at a time."""
    maps = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)]
    weights = {id(module.weight) for module in maps}
    drawn = torch.randn(sum(each.numel() for each in model.parameters()), generator=random, dtype=torch.float64)
    parts, at = [], 0
    for parameter in model.parameters():
        direction = drawn[at : at + parameter.numel()].reshape(parameter.shape)
        at += parameter.numel()
        own = parameter.detach().double()
        if id(parameter) in weights:
            for i in range(len(own)):
                parts.append((direction[i] * (own[i] ** 2).sum().sqrt() / (direction[i] ** 2).sum().sqrt()).flatten())
        else:
            scale = (own**2).sum().sqrt() / (direction**2).sum().sqrt() if biases else 0.0
            parts.append((direction * scale).flatten())
    return torch.cat(parts)


def objective_of_run(
    stack: Stack, run: int, part: str, count: int, statistics: str = "batch"
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """A run's mean loss plus penalties as a function of its parameters (params,), and the parameters."""
    model, alone = module_of(stack, run, statistics), stack.select([run])
    x, y = samples_of(stack, run, part, count)

    def objective(theta: Tensor) -> Tensor:
        penalty = alone.penalty(theta[None])
        loss = stack.measures.loss(called_with(model, stack, theta, x), y).mean()
        return loss if penalty is None else loss + penalty[0]

    return objective, stack.theta[run].clone()


def called_with(model: nn.Module, stack: Stack, theta: Tensor, x: Tensor) -> Tensor:
    """What a module gives with parameters (params,) in the place of its own; its buffers stay as they are."""
    parameters = {name: view[0] for name, view in stack.layout.views(theta[None]).items()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    outputs: Tensor = functional_call(model, {**parameters, **buffers}, (x,))
    return outputs


def hessian_times(objective: Callable[[Tensor], Tensor], theta: Tensor, v: Tensor) -> Tensor:
    """The Hessian times v, differentiated twice by backward passes."""
    leaf = theta.clone().requires_grad_()
    (g,) = torch.autograd.grad(objective(leaf), leaf, create_graph=True)
    return torch.autograd.grad(g @ v, leaf)[0]


def gauss_newton_of_run(stack: Stack, run: int, part: str, count: int, statistics: str = "batch") -> Tensor:
    """The sum of J^T H J with the Jacobian of all outputs and the Hessian of the mean loss in them, and penalties'."""
    model, alone = module_of(stack, run, statistics), stack.select([run])
    x, y = samples_of(stack, run, part, count)
    theta = stack.theta[run].clone()
    outputs = called_with(model, stack, theta, x).detach()
    jacobian = torch.autograd.functional.jacobian(lambda t: called_with(model, stack, t, x), theta).flatten(0, -2)
    curvature = torch.autograd.functional.hessian(
        lambda z: stack.measures.loss(z.view_as(outputs), y).mean(), outputs.flatten()
    )
    matrix = jacobian.T @ curvature @ jacobian
    if alone.penalty(theta[None]) is not None:
        matrix = matrix + torch.autograd.functional.hessian(lambda t: alone.penalty(t[None])[0], theta)
    return matrix


def reliability(probabilities: np.ndarray, targets: np.ndarray, bins: int) -> list[tuple[int, float, float]]:
    """Samples, mean confidence and accuracy of each bin (b/bins, (b+1)/bins], of (samples, classes), one by one."""
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for row, target in zip(probabilities.tolist(), targets.tolist(), strict=True):
        confidence = max(row)
        place = next(b for b in range(bins) if b / bins < confidence <= (b + 1) / bins)
        members[place].append((confidence, row.index(confidence) == target))
    nothing = float("nan")
    return [
        (len(some), sum(c for c, _ in some) / len(some), sum(right for _, right in some) / len(some))
        if some
        else (0, nothing, nothing)
        for some in members
    ]


def breakpoints(model: nn.Sequential, start: Tensor, end: Tensor) -> list[float]:
    """Where a multilayer perceptron of ReLUs, or leaky ones, bends between two inputs: by the straight line a + b t
    that each layer's outputs are on each piece of (0, 1), the pieces one after the other."""
    pieces = [(0.0, 1.0, start.flatten(), (end - start).flatten())]
    for module in model:
        if isinstance(module, nn.Linear):
            pieces = [(t0, t1, module(a), b @ module.weight.T) for t0, t1, a, b in pieces]
        elif isinstance(module, nn.ReLU | nn.LeakyReLU):
            slope = getattr(module, "negative_slope", 0.0)
            cut = []
            for t0, t1, a, b in pieces:
                zeros = [-z0 / z1 for z0, z1 in zip(a.tolist(), b.tolist(), strict=True) if z1]
                places = [t0, *sorted(t for t in zeros if t0 < t < t1), t1]
                for left, right in pairwise(places):
                    factor = torch.where(a + b * (left + right) / 2 > 0, torch.ones_like(a), slope)
                    cut.append((left, right, a * factor, b * factor))
            pieces = cut
        else:
            assert isinstance(module, nn.Flatten | nn.Identity)
    return [right for _, right, *_ in pieces[:-1]]


def patterns(model: nn.Module, x: Tensor) -> list[bytes]:
    """What every ReLU and every pooling window of a network chooses, for each input (points, ...)."""
    chosen: list[Tensor] = []

    def look(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.MaxPool2d):
            choice = nn.functional.max_pool2d(given[0], 2, return_indices=True)[1]
        else:
            choice = (given[0] > 0).long()
        chosen.append(choice.flatten(1))

    kinds = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.MaxPool2d)
    hooks = [module.register_forward_hook(look) for module in model.modules() if isinstance(module, kinds)]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return [row.numpy().tobytes() for row in torch.cat(chosen, 1)]
