"""Whole matrices of second derivatives, column by column, for networks that are small enough."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.diagnostics.products import Product, Told


def dense(product: Product, theta: Tensor, told: Told) -> tuple[Tensor, Tensor]:
    r"""Each row's symmetric matrix in double precision, (runs, params, params), and how far rounding may have moved
    its eigenvalues, (runs,).

    The product's rounding makes a matrix A that is not quite symmetric: the matrix is $(A + A^\top)/2$, and the
    other is $\|A - A^\top\|_F / 2$, as large as what rounding did to it as far as that can be seen, plus
    $\epsilon \|A\|_F$ with the precision $\epsilon$ of theta, for what cannot.
    """
    runs, params = theta.shape
    matrix = torch.empty(runs, params, params, dtype=torch.float64, device=theta.device)
    for i in range(params):
        v = torch.zeros_like(theta)
        v[:, i] = 1
        matrix[:, :, i] = product(v)
        told(i + 1, params)
    askew = torch.linalg.vector_norm(matrix - matrix.mT, dim=(1, 2)) / 2
    unseen = torch.finfo(theta.dtype).eps * torch.linalg.vector_norm(matrix, dim=(1, 2))
    return (matrix + matrix.mT) / 2, askew + unseen


def eigenvalues_of(matrix: Tensor) -> Tensor:
    """The eigenvalues of symmetric matrices (runs, n, n) from the smallest, (runs, n); NaN where one is not finite."""
    finite = matrix.isfinite().all(2).all(1)[:, None]
    return torch.where(finite, torch.linalg.eigvalsh(torch.where(finite[:, None], matrix, 0)), torch.nan)
