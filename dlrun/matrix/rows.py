"""Numbers that may differ from run to run of a stack, and how a technique declares them.

A technique (an update rule, a schedule, a regularizer) declares a per-row number as a keyword-only argument of the
method that uses it; what shapes the computation is an argument of `__init__` instead. The signature is the only
declaration.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_map

#: whether what runs now is one network's own computation, whose tensors have no axis of runs, not even under `vmap`
alone: ContextVar[bool] = ContextVar("alone", default=False)


def keywords(method: Callable[..., Any]) -> set[str]:
    """The names of a method's keyword-only arguments."""
    return _keywords(getattr(method, "__func__", method))


@cache  # reading a signature takes longer than a step of a small network
def _keywords(function: Callable[..., Any]) -> set[str]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


@cache
def accepted(maker: Callable[..., Any]) -> frozenset[str]:
    """The names of what a class's `__init__` or a function takes."""
    return frozenset(inspect.signature(maker).parameters)


def call(method: Callable[..., Any], *args: Any, rows: Mapping[str, Tensor]) -> Any:
    """Call the method with those of the rows that it declares."""
    return method(*args, **{name: rows[name] for name in keywords(method)})


def over_rows(fn: Callable[..., Any], dims: tuple[int | None, ...] | None = None) -> Callable[..., Any]:
    """fn of one row's tensors as a function of all rows' tensors, whose first axis is the runs'.

    A single row goes the same way, so that it gives the same bits as in a stack.

    dims: 0 for each such argument, None for one that all rows share; by default none is shared.
    """
    return vmap(fn, dims or 0, randomness="different")


def over_single_row(
    fn: Callable[..., Any], dims: tuple[int | None, ...] | None = None, channels_last: bool = True
) -> Callable[..., Any]:
    """`over_rows` where there is one row, by the kernels that PyTorch has for one network: they round otherwise.

    channels_last: how the row's own images and kernels of convolutions are laid out.
    """

    def single(tensor: Tensor) -> Tensor:
        own = tensor.squeeze(0)
        return own.contiguous(memory_format=torch.channels_last) if channels_last and own.ndim == 4 else own

    def of_rows(*arguments: Any) -> Any:
        own = [
            each if dim is None else tree_map(single, each)
            for each, dim in zip(arguments, dims or (0,) * len(arguments), strict=True)
        ]
        before = alone.set(True)
        try:
            outputs = fn(*own)
        finally:
            alone.reset(before)
        return tree_map(lambda tensor: tensor.unsqueeze(0), outputs)

    return of_rows
