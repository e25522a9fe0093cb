"""Products of the Hessian or the Gauss-Newton matrix of all runs' objectives with a vector of each run's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import add
from typing import Literal

import torch
from torch import Tensor

from dlrun.diagnostics.diagnostic import Part, Statistics
from dlrun.diagnostics.probe import Probe, set_mode
from dlrun.errors import ConfigError
from dlrun.matrix.trace import Program, Recording
from dlrun.training.objective import objective_of, once_differentiable, outputs_of
from dlrun.training.stack import Stack

Matrix = Literal["hessian", "gauss_newton"]
Product = Callable[[Tensor], Tensor]  #: of (runs, params) in theta's precision
Told = Callable[[int, int], None]  #: told how many products are done, and of how many at most

CHUNK = 2**18  #: numbers of one run's inputs that are taken at a time
MEMORY = 2**30  #: bytes that a diagnostic may keep for the runs it looks at together, beside the products
LARGEST = 2**33  #: bytes that it may keep for one run
KEPT = 2**30  #: bytes of linearisations that are kept; those of further samples are made again for every product


class Products:
    r"""Makes products of a matrix of second derivatives with vectors, and never the matrix.

    The objective L is the mean loss of a probe's samples plus penalties. Its Hessian times v is $\nabla (\nabla L^\top
    v)$; the Gauss-Newton matrix times v is $J^\top H_\ell J v$, with the derivatives J of the outputs and $H_\ell$ of
    the loss in the outputs, plus the penalties' Hessian times v. What does not depend on v is computed once for a
    theta, and kept.

    Recorded and never compiled: that takes half a minute for a small network and more than five for a recurrent one,
    which thousands of products do not win back.

    Args:
        statistics: batch normalization by these samples' own statistics, or by its running averages.

    Reference: Pearlmutter 1994, doi:10.1162/neco.1994.6.1.147; Schraudolph 2002, doi:10.1162/08997660260028683.
    """

    def __init__(self, matrix: Matrix, part: Part, samples: int | None, statistics: Statistics) -> None:
        self.matrix, self.part, self.samples, self.statistics = matrix, part, samples, statistics
        self.stack: Stack | None = None  #: that it is recorded for; a narrower one takes its place
        self.bytes_kept = 0  #: of the linearisations of the last product that was made

    @torch.enable_grad()
    def fits(self, stack: Stack, numbers: int) -> None:
        """ConfigError where there are no such products, or no memory for as many numbers beside them for each run."""
        size = 8 * numbers
        if size > LARGEST:
            raise ConfigError(
                f"it keeps {size / 2**30:,.0f} GiB for {stack.layout.params:,} parameters, and its limit is "
                f"{LARGEST / 2**30:.0f} GiB: give a smaller lanczos, or choose a smaller network"
            )
        probe = Probe.of(stack, self.part, 2 if self.samples is None else min(self.samples, 2))
        if self.together(stack) and probe.samples < 2:
            raise ConfigError("batch normalization by a single sample's own statistics: statistics=running, or more")
        set_mode(stack.model, self.statistics)
        leaf = stack.theta.detach().requires_grad_()
        objective = objective_of(stack, leaf, probe.x, probe.targets(stack.runs), probe.shared)
        problem = once_differentiable(objective, leaf)
        if problem is not None:
            raise ConfigError(f"it takes second derivatives, and {problem}: leave it out, or choose another network")

    def together(self, stack: Stack) -> bool:
        """Whether the samples' own statistics tie them together, so that they are not taken in parts."""
        return bool(stack.averages) and self.statistics == "batch"

    @torch.no_grad()
    def at_theta(self, stack: Stack) -> Product:
        """The product at the stack's present theta, which must stay as it is while the product is used."""
        if stack is not self.stack:
            self._record(stack)
        linearisations: list[tuple[Tensor, ...] | None] = []
        storages: dict[int, int] = {}
        for x, y in self.chunks:
            kept = self.programs[x.shape][0](x, y) if sum(storages.values()) < KEPT else None
            storages |= {each.data_ptr(): each.nbytes() for each in (t.untyped_storage() for t in kept or ())}
            linearisations.append(kept)
        self.bytes_kept = sum(storages.values())

        @torch.no_grad()
        def product(vectors: Tensor) -> Tensor:
            parts = [] if self.penalty is None else [self.penalty(vectors)[0]]
            for (x, y), kept in zip(self.chunks, linearisations, strict=True):
                first, second = self.programs[x.shape]
                parts.append(second(x, y, *(first(x, y) if kept is None else kept), vectors)[0])
            return reduce(add, parts)

        return product

    def _record(self, stack: Stack) -> None:
        self.stack, probe = stack, Probe.of(stack, self.part, self.samples)
        set_mode(stack.model, self.statistics)
        runs, count = stack.runs, probe.samples
        own = probe.x.numel() // (count if probe.shared else count * runs)
        size = count if self.together(stack) else max(1, CHUNK // max(1, own))
        axis = 0 if probe.shared else 1
        self.chunks = list(zip(probe.x.split(size, axis), probe.y.split(size, axis), strict=True))
        self.programs: dict[torch.Size, tuple[Program, Program]] = {}
        matrix = _hessian_product if self.matrix == "hessian" else _gauss_newton_product
        v = torch.zeros_like(stack.theta)

        def of_losses(x: Tensor, y: Tensor, vectors: Tensor) -> tuple[Tensor]:
            parameters = {
                name: view.detach().requires_grad_() for name, view in stack.layout.views(stack.theta).items()
            }
            outputs = outputs_of(stack, parameters, stack.buffers, x, probe.shared, twice=True)
            targets = Probe(x, y, probe.shared).targets(runs)

            def loss(outputs: Tensor) -> Tensor:
                return stack.measures.loss(outputs, targets).sum() / count

            directions = stack.layout.views(vectors)
            products = matrix(loss, outputs, list(parameters.values()), [directions[name] for name in parameters])
            return (torch.cat([each.flatten(1) for each in products], 1),)

        def of_penalty(vectors: Tensor) -> tuple[Tensor]:
            leaf = stack.theta.detach().requires_grad_()
            penalty = stack.penalty(leaf)
            assert penalty is not None
            return (_again(torch.autograd.grad(penalty.sum(), leaf, create_graph=True), [leaf], [vectors])[0],)

        with torch.enable_grad():
            for x, y in self.chunks:
                if x.shape not in self.programs:
                    self.programs[x.shape] = Recording(of_losses, [x, y, v]).halves(2)
            penalised = stack.penalty(stack.theta) is not None
            self.penalty = Recording(of_penalty, [v]).program() if penalised else None


def few(stack: Stack, numbers: int) -> Iterator[tuple[slice, Stack]]:
    """The stack's runs, as many together as memory allows with so many numbers for each: their places, and they."""
    count = max(1, MEMORY // (8 * numbers))
    if count >= stack.runs:
        yield slice(None), stack
        return
    for first in range(0, stack.runs, count):
        places = range(first, min(first + count, stack.runs))
        yield slice(places.start, places.stop), stack.select(places)


def _hessian_product(
    loss: Callable[[Tensor], Tensor], outputs: Tensor, parameters: Sequence[Tensor], directions: Sequence[Tensor]
) -> Sequence[Tensor]:
    return _again(_gradients(loss(outputs), parameters, create_graph=True), parameters, directions)


def _gauss_newton_product(
    loss: Callable[[Tensor], Tensor], outputs: Tensor, parameters: Sequence[Tensor], directions: Sequence[Tensor]
) -> Sequence[Tensor]:
    # J v without forward mode, which some layers lack: J^T u is linear in u, and its derivative is J
    u = torch.zeros_like(outputs).requires_grad_()
    back = _gradients((outputs * u).sum(), parameters, create_graph=True)
    (forth,) = _again(back, [u], directions)
    point = outputs.detach().requires_grad_()
    (curved,) = _again(_gradients(loss(point), [point], create_graph=True), [point], [forth])
    return _gradients((outputs * curved).sum(), parameters)


def _again(gradients: Sequence[Tensor], leaves: Sequence[Tensor], directions: Sequence[Tensor]) -> Sequence[Tensor]:
    """The gradients of the gradients' product with directions; what is not curved gives 0."""
    curved = [(g * v).sum() for g, v in zip(gradients, directions, strict=True) if g.requires_grad]
    if not curved:
        return [torch.zeros_like(leaf) for leaf in leaves]
    return _gradients(reduce(add, curved), leaves)


def _gradients(value: Tensor, leaves: Sequence[Tensor], create_graph: bool = False) -> Sequence[Tensor]:
    return torch.autograd.grad(
        value, leaves, create_graph=create_graph, retain_graph=True, allow_unused=True, materialize_grads=True
    )
