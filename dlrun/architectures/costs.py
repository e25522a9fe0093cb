"""What a network's layers are, put out, hold and cost."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from dlrun.activations import Same
from dlrun.architectures.blocks import Dropout


@dataclass
class Layer:
    """A module that holds parameters, or has no further modules in it.

    shape: of what it puts out for one input. parameters: its own. multiply_adds: its own, in all its calls for one
    input.
    """

    name: str
    kind: str
    shape: tuple[int, ...] = ()
    parameters: int = 0
    multiply_adds: int = 0


@torch.no_grad()
def layers(model: nn.Module, x: Tensor) -> list[Layer]:
    r"""The layers of a network in the order in which an input x, (1, ...), reaches them.

    A multiply-add is one product that is added to a sum: a matrix product of (a, b) and (b, c) takes a b c, and a
    convolution takes its outputs times its kernel's numbers, be they of the padding or not. Biases, normalization,
    activations, pooling and sums are not counted. A layer that goes through time is called at every step, and each
    call counts.

    Reference: He et al. 2016, arXiv:1512.03385 (table 1, which counts multiply-adds too).
    """
    found = {name: Layer(name or "network", type(module).__name__) for name, module in model.named_modules()}
    order: list[str] = []
    seen: set[int] = set()
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            found[name].parameters += parameter.numel() * (id(parameter) not in seen)
            seen.add(id(parameter))
    with ExitStack() as hooks, _Products() as products:
        for name, module in model.named_modules():
            hooks.callback(module.register_forward_pre_hook(_entering(name, order, products)).remove)
            hooks.callback(module.register_forward_hook(_leaving(found[name], products)).remove)
        model.eval()
        model(x)
    for name, count in products.counts.items():
        found[name].multiply_adds = count
    modules = dict(model.named_modules())
    names = dict.fromkeys([*order, *found])
    return [found[name] for name in names if _is_layer(modules[name], found[name])]


def _is_layer(module: nn.Module, layer: Layer) -> bool:
    if layer.parameters or layer.multiply_adds:
        return True
    stands_for_nothing = isinstance(module, Dropout) or (
        isinstance(module, nn.Identity) and not isinstance(module, Same)
    )
    return not list(module.children()) and not stands_for_nothing


def _entering(name: str, order: list[str], products: _Products) -> Any:
    def enter(module: nn.Module, given: Any) -> None:
        order.append(name)
        products.inside.append(name)

    return enter


def _leaving(layer: Layer, products: _Products) -> Any:
    def leave(module: nn.Module, given: Any, output: Tensor) -> None:
        layer.shape = tuple(output.shape[1:])
        products.inside.pop()

    return leave


class _Products(TorchDispatchMode):
    """Counts the multiply-adds of matrix products and convolutions, for the innermost module that is being called."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.counts: dict[str, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count and self.inside:
            flops = count(*args, **(kwargs or {}), out_val=out)
            self.counts[self.inside[-1]] = self.counts.get(self.inside[-1], 0) + flops // 2  # a product, a sum
        return out
