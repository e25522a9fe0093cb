"""Directions in parameter space along which diagnostics look: drawn at random, or those of a path."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from dlrun.matrix.theta import Layout

COLUMNS = 2**22  #: numbers of a path that are taken in double precision at a time
FLAT = 1e-12  #: of the first axis' variance: what lies across a straight path is rounding


def filter_normalised(layout: Layout, theta: Tensor, random: Generator, biases: bool) -> Tensor:
    r"""A random direction, (params,), each of whose filters is as long as the network's own.

    $$d_{ij} \leftarrow \frac{d_{ij}}{\|d_{ij}\|}\, \|\theta_{ij}\|, \quad d_{ij} \sim N(0, I)$$

    for the filter j of layer i: the weights that lead to one unit, or to one channel of a convolution. Biases, the
    parameters of normalizations and others that are no linear map's weights do not move, 0, unless `biases`: then each
    such tensor counts as one filter.

    theta: (params,).

    Reference: Li et al. 2018, arXiv:1712.09913 (section 4).
    """
    drawn = torch.randn(layout.params, generator=random, dtype=torch.float64)
    parts = []
    for slot in layout.slots:
        filters = slot.shape[0] if slot.kind == "weight" else 1
        d, own = (each[slot.start : slot.stop].view(filters, -1) for each in (drawn, theta.double().cpu()))
        length = own.norm(dim=1, keepdim=True) if slot.kind == "weight" or biases else 0
        parts.append((d / d.norm(dim=1, keepdim=True) * length).flatten())
    return torch.cat(parts).to(theta)


def principal_axes(path: Tensor, random: Generator) -> tuple[Tensor, Tensor]:
    r"""The two orthonormal directions along which a path varies most, (2, params) doubles, and the share of its
    variance that each explains, (2,); NaN where there is none.

    They are the first eigenvectors of $\sum_t (\theta_t - \bar\theta)(\theta_t - \bar\theta)^T$, found by way of the
    (moments, moments) matrix of products, and point from the path's end to its beginning. Across a path that is
    straight, or that stands still, a direction is drawn.

    path: (moments, params), of two parameters at least.

    Reference: Li et al. 2018, arXiv:1712.09913 (section 7); Jolliffe 2002, Principal Component Analysis.
    """
    path = path.repeat(2, 1) if len(path) == 1 else path
    blocks = range(0, path.shape[1], max(1, COLUMNS // len(path)))

    def centred(start: int) -> Tensor:
        part = path[:, start : start + blocks.step].double()
        return part - part.mean(0)

    products = torch.zeros(len(path), len(path), dtype=torch.float64)
    for start in blocks:
        products.addmm_(centred(start), centred(start).T)
    variances, vectors = torch.linalg.eigh(products)
    variances, vectors = variances.flip(0)[:2].clamp(min=0), vectors.flip(1)[:, :2]
    axes = torch.cat([vectors.T @ centred(start) for start in blocks], 1)
    back = (path[0] - path[-1]).double()
    kept: list[Tensor] = []
    for axis, variance in zip(axes, variances, strict=True):
        if not variance > FLAT * variances[0]:
            axis = torch.randn(len(axis), generator=random, dtype=torch.float64)
        for other in kept:
            axis = axis - (axis @ other) * other
        kept.append(axis / axis.norm() * (-1.0 if axis @ back < 0 else 1.0))
    shares = torch.where(variances > FLAT * variances[0], variances, 0) / products.diagonal().sum()
    return torch.stack(kept), shares
