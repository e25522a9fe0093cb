"""Numbers that may differ from run to run of a stack, and how a technique declares them.

A technique (an update rule, a schedule, a regularizer) declares a per-row number as a keyword-only argument of the
method that uses it; what shapes the computation is an argument of `__init__` instead. The signature is the only
declaration.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from torch import Tensor
from torch.func import vmap


def keywords(method: Callable[..., Any]) -> set[str]:
    """The names of a method's keyword-only arguments."""
    return _keywords(getattr(method, "__func__", method))


@cache  # reading a signature takes longer than a step of a small network
def _keywords(function: Callable[..., Any]) -> set[str]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def call(method: Callable[..., Any], *args: Any, rows: Mapping[str, Tensor]) -> Any:
    """Call the method with those of the rows that it declares."""
    return method(*args, **{name: rows[name] for name in keywords(method)})


def over_rows(fn: Callable[..., Any], dims: tuple[int | None, ...] | None = None) -> Callable[..., Any]:
    """fn of one row's tensors as a function of all rows' tensors, whose first axis is the runs'.

    A single row goes the same way, so that it gives the same bits as in a stack.

    dims: 0 for each such argument, None for one that all rows share; by default none is shared.
    """
    return vmap(fn, dims or 0, randomness="different")
