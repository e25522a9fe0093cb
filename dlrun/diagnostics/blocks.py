"""Layers as blocks of a matrix of second derivatives: which parameters are each layer's, and products within it."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.diagnostics.products import Product
from dlrun.matrix.theta import Layout

ALL = "all"  #: the layer that all parameters together are called


def layers(layout: Layout) -> dict[str, slice]:
    """The columns of theta of each layer, which is a module with parameters of its own; or a parameter in no module."""
    found: dict[str, slice] = {}
    for slot in layout.slots:
        name = slot.name.rpartition(".")[0] or slot.name
        found[name] = slice(found[name].start if name in found else slot.start, slot.stop)
    return found


def within(product: Product, columns: slice, params: int) -> Product:
    """The product with a matrix's block on the diagonal: of vectors (runs, columns) to such ones."""

    def of_block(vectors: Tensor) -> Tensor:
        whole = torch.zeros(len(vectors), params, dtype=vectors.dtype, device=vectors.device)
        whole[:, columns] = vectors
        return product(whole)[:, columns]

    return of_block
