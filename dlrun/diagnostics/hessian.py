"""The curvature of the objective while a network trains: its largest eigenvalues and its trace."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from dlrun.diagnostics.blocks import ALL
from dlrun.diagnostics.curvature import of_matrix, of_products
from dlrun.diagnostics.dense import dense
from dlrun.diagnostics.diagnostic import DuringTraining, Found, Part, Statistics, View, long_form
from dlrun.diagnostics.products import Matrix, Products, few
from dlrun.training.stack import Stack


class Hessian(DuringTraining):
    r"""The k largest eigenvalues of the objective's second derivatives (`eigenvalue_1`, the sharpness, and further)
    and the smallest (`smallest`), each with its residual $\|Hv - \lambda v\|$ for a vector v of length 1
    (`residual_1`, ..., `smallest_residual`): within it of $\lambda$ there is an eigenvalue for certain. By Lanczos'
    method, which tells an eigenvalue that occurs several times once; of no more parameters than `lanczos` they are
    those of the whole matrix.

    The trace (`trace`) by Hutchinson's method, with its standard error (`trace_error`), of all parameters (the layer
    `all`) and of each layer's block. `2/lr`, of the learning rate at that moment, is where gradient descent turns
    unstable: it overshoots along an eigenvector whose eigenvalue is larger. Momentum $\beta$ does so from
    $2 (1 + \beta)$/lr on; of optimizers that scale each parameter it says little.

    The objective is the mean loss of the samples plus penalties, without what changes minibatches: augmentation,
    mixup, label smoothing and dropout. `gauss_newton` leaves out what the network's own curvature adds.

    Args:
        every: see `DuringTraining`.
        part, samples: the samples looked at: so many of "train", "val" or "test"; None: all.
        statistics: batch normalization by these samples' own statistics, or by its running averages.
        matrix: "hessian" or "gauss_newton".
        k: how many of the largest eigenvalues.
        lanczos: steps of that method, at most; each takes a product with the matrix, of about two gradients.
        tolerance: it ends where all residuals are within this share of the largest magnitude.
        vectors: random ones for the trace.
        by_layer: also the largest eigenvalue of each layer's block, at the same price for each again.

    Reference: Cohen et al. 2021, arXiv:2103.00065 (2/lr); Yao et al. 2020, arXiv:1912.07145; lectures 002, 004.
    """

    def __init__(
        self,
        every: float | str | None,
        part: Part,
        samples: int | None,
        statistics: Statistics,
        matrix: Matrix,
        k: int,
        lanczos: int,
        tolerance: float,
        vectors: int,
        by_layer: bool,
    ) -> None:
        super().__init__(every)
        self.k, self.iterations, self.tolerance, self.vectors = k, lanczos, tolerance, vectors
        self.by_layer = by_layer
        self.products = Products(matrix, part, samples, statistics)

    def fits(self, stack: Stack) -> None:
        self.products.fits(stack, self._numbers(stack))

    def look(self, view: View) -> list[Found]:
        found: list[Found] = []
        for places, stack in few(view.stack, self._numbers(view.stack)):
            lr = None if view.lr is None or stack.rule.searches or stack.rule.curvature else view.lr[places]
            values = self._values(view, stack)
            found += long_form(view, values if lr is None else {(ALL, "2/lr"): 2 / lr, **values})
        return found

    def _numbers(self, stack: Stack) -> int:
        params = stack.layout.params
        return 2 * params * min(self.iterations, params)  # a basis or a matrix, and what is made of it

    @torch.no_grad()
    def _values(self, view: View, stack: Stack) -> dict[tuple[str, str], Tensor]:
        product = self.products.at_theta(stack)
        if stack.layout.params <= self.iterations:
            report = partial(view.progress, "columns of the matrix")
            found = of_matrix(*dense(product, stack.theta, report), stack, self.k, self.by_layer)
        else:
            given = (self.k, self.iterations, self.tolerance, self.vectors, self.by_layer)
            found = of_products(product, stack, *given, view.progress)
        values: dict[tuple[str, str], Tensor] = {}
        for layer, extremes in found.extremes.items():
            names = [*(f"{i + 1}" for i in range(self.k if layer == ALL else 1))]
            for i, name in enumerate(names):
                values[layer, f"eigenvalue_{name}"] = extremes.values[:, i]
                values[layer, f"residual_{name}"] = extremes.residuals[:, i]
            values[layer, "smallest"] = extremes.values[:, -1]
            values[layer, "smallest_residual"] = extremes.residuals[:, -1]
        for layer, (trace, error) in found.traces.items():
            values |= {(layer, "trace"): trace, (layer, "trace_error"): error}
        return values
