"""The eigenvalues of the objective's second derivatives at the end: all of them, or how they are distributed."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from dlrun.diagnostics.blocks import ALL
from dlrun.diagnostics.curvature import Curvature, of_matrix, of_products
from dlrun.diagnostics.dense import dense, eigenvalues_of
from dlrun.diagnostics.diagnostic import Found, OfFinished, Part, Row, Statistics, View
from dlrun.diagnostics.products import Matrix, Products, few
from dlrun.diagnostics.quadrature import Nodes, density, quadrature
from dlrun.training.stack import Stack


class Spectrum(OfFinished):
    r"""The spectrum of the objective's second derivatives, as rows `layer,quantity,value,weight,error`.

    Of up to `full` parameters every eigenvalue (`eigenvalue`), each of weight 1/P: those of the whole matrix, which
    is made column by column. Of more, stochastic Lanczos quadrature: nodes (`node`) whose weights say how large a
    share of all eigenvalues lies about there. Either gives the `density`, smoothed by a Gaussian of half a per cent
    of the range, whose weight is the density at that value: its integral is 1.

    Also `largest`, `smallest` and `trace`, of all parameters (the layer `all`) and of each layer's block. What
    rounding may have done, the residual $\|Hv - \lambda v\|$ of Lanczos' method or the standard error of a trace by
    random vectors is the `error`.

    summary.json gets these of all parameters, and of a whole matrix: `negative`, how many eigenvalues are below 0,
    which is the index of a critical point, by more than rounding; `flat`, how many are 0 up to rounding;
    `condition`, the ratio of the largest to the smallest magnitude among those that are not flat. Of a density
    `negative_share` alone, with its standard error: nodes next to 0 stand for many eigenvalues on both sides of it.

    The objective is the mean loss of the samples plus penalties, without what changes minibatches: augmentation,
    mixup, label smoothing and dropout. `gauss_newton` leaves out what the network's own curvature adds.

    Args:
        part, samples: the samples looked at: so many of "train", "val" or "test"; None: all.
        statistics: batch normalization by these samples' own statistics, or by its running averages.
        matrix: "hessian" or "gauss_newton".
        full: parameters up to which there are all eigenvalues; the matrix and what is made of it take 32 bytes times
            the square of their number.
        lanczos: steps of that method, at most; each takes a product with the matrix, of about two gradients.
        tolerance: the largest and the smallest eigenvalue end with residuals within this share of the magnitude.
        vectors: random ones for the density and the trace.
        by_layer: also the largest and the smallest eigenvalue of each layer's block.

    Reference: Ghorbani et al. 2019, arXiv:1901.10159; Papyan 2018, arXiv:1811.07062; Yao et al. 2020,
    arXiv:1912.07145; lectures 002, 004.
    """

    def __init__(
        self,
        part: Part,
        samples: int | None,
        statistics: Statistics,
        matrix: Matrix,
        full: int,
        lanczos: int,
        tolerance: float,
        vectors: int,
        by_layer: bool,
    ) -> None:
        self.full, self.iterations, self.tolerance, self.vectors = full, lanczos, tolerance, vectors
        self.by_layer = by_layer
        self.products = Products(matrix, part, samples, statistics)

    def fits(self, stack: Stack) -> None:
        self.products.fits(stack, self._numbers(stack))

    @torch.no_grad()
    def look(self, view: View) -> list[Found]:
        found: list[Found] = []
        for _, stack in few(view.stack, self._numbers(view.stack)):
            product = self.products.at_theta(stack)
            if stack.layout.params <= self.full:
                matrix, rounding = dense(product, stack.theta, partial(view.progress, "columns of the matrix"))
                curvature = of_matrix(matrix, rounding, stack, 1, self.by_layer)
                values = eigenvalues_of(matrix)
                found += [_of_all(values[run], curvature, run) for run in range(stack.runs)]
            else:
                numbers = (1, self.iterations, self.tolerance, self.vectors, self.by_layer)
                curvature = of_products(product, stack, *numbers, view.progress)
                nodes = quadrature(
                    product, stack, self.iterations, self.vectors, partial(view.progress, "density, vectors")
                )
                precision = torch.finfo(stack.theta.dtype).eps * stack.layout.params**0.5
                found += [_of_nodes(nodes[run], curvature, run, precision) for run in range(stack.runs)]
        for each in found:
            each.summary = {"parameters": view.stack.layout.params, **each.summary}
        return found

    def _numbers(self, stack: Stack) -> int:
        params = stack.layout.params
        return 4 * params**2 if params <= self.full else 2 * params * min(self.iterations, params)


def _of_all(values: Tensor, curvature: Curvature, run: int) -> Found:
    """values: (params,), from the smallest; NaN where the matrix is not finite."""
    rounding = curvature.extremes[ALL].residuals[run, 0].item()
    weight, sizes = 1 / len(values), values.abs()
    rows = [_row(ALL, "eigenvalue", value, weight, rounding) for value in values.tolist()]
    summary = _told(curvature, run, rows)
    if values.isfinite().all():
        rows += _density(values, torch.full_like(values, weight))
        sure = sizes > rounding
        summary |= {
            "negative": int((values < -rounding).sum()),
            "negative_share": (values < -rounding).double().mean().item(),
            "flat": int((~sure).sum()),
            "condition": (sizes[sure].max() / sizes[sure].min()).item() if sure.any() else float("nan"),
        }
    return Found(rows, summary={"eigenvalues": "all", **summary})


def _of_nodes(nodes: Nodes | None, curvature: Curvature, run: int, precision: float) -> Found:
    rows: list[Row] = []
    summary = _told(curvature, run, rows)
    if nodes is not None:
        places, weights = nodes
        share = torch.where(places < -precision * places.abs().max(), weights, 0).sum(1)
        flat_places, flat_weights = places.flatten(), weights.flatten() / len(weights)
        order = flat_places.argsort()
        rows += [
            _row(ALL, "node", place, weight)
            for place, weight in zip(flat_places[order].tolist(), flat_weights[order].tolist(), strict=True)
            if weight > 0
        ]
        rows += _density(flat_places, flat_weights)
        summary |= {
            "negative_share": share.mean().item(),
            "negative_share_error": (share.std() / len(share) ** 0.5).item(),
        }
    return Found(rows, summary={"eigenvalues": "density", **summary})


def _told(curvature: Curvature, run: int, rows: list[Row]) -> dict[str, float | str]:
    """Add the rows of extremes and traces; what the summary says of them."""
    summary: dict[str, float | str] = {}
    for layer, extremes in curvature.extremes.items():
        for place, quantity in ((0, "largest"), (-1, "smallest")):
            value, error = extremes.values[run, place].item(), extremes.residuals[run, place].item()
            rows.append(_row(layer, quantity, value, error=error))
            summary |= {quantity: value, f"{quantity}_error": error} if layer == ALL else {}
    for layer, (traces, errors) in curvature.traces.items():
        trace, error = traces[run].item(), errors[run].item()
        rows.append(_row(layer, "trace", trace, error=error))
        summary |= {"trace": trace, "trace_error": error} if layer == ALL else {}
    return summary


def _density(places: Tensor, weights: Tensor) -> list[Row]:
    grid, heights = density(places, weights)
    return [_row(ALL, "density", place, height) for place, height in zip(grid.tolist(), heights.tolist(), strict=True)]


def _row(layer: str, quantity: str, value: float, weight: float = float("nan"), error: float = float("nan")) -> Row:
    return {"layer": layer, "quantity": quantity, "value": value, "weight": weight, "error": error}
