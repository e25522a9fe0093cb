"""Has something done with what a network's layers put out while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def hooked(modules: dict[str, nn.Module], hook: Callable[[str, nn.Module, Any, Tensor], Any]) -> Iterator[None]:
    """Has a hook called with a module's name, itself, its arguments and its output; it may give another output."""
    with ExitStack() as hooks:
        for name, module in modules.items():
            handle = module.register_forward_hook(
                lambda module, given, output, name=name: hook(name, module, given, output)
            )
            hooks.callback(handle.remove)
        yield
