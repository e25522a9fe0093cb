"""The parameter matrix theta, one row per run: where each layer's parameters lie in it, and networks that use them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

Kind = Literal["weight", "bias", "other"]  # "other": norm scales, PReLU slopes, whatever is not a linear map


@dataclass(frozen=True)
class Slot:
    """Columns start:stop of theta hold the parameter `name` of the given shape."""

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int
    kind: Kind


class Layout:
    """Maps a model's named parameters to columns of theta.

    Args:
        model: any module; its parameters are listed in their own order.
    """

    def __init__(self, model: nn.Module) -> None:
        linear_maps = {
            name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
        }
        self.slots: list[Slot] = []
        self.params = 0
        for name, parameter in model.named_parameters():
            owner, _, leaf = name.rpartition(".")
            kind: Kind = "other"
            if owner in linear_maps:
                kind = "bias" if leaf == "bias" else "weight"
            stop = self.params + parameter.numel()
            self.slots.append(Slot(name, tuple(parameter.shape), self.params, stop, kind))
            self.params = stop

    def views(self, theta: Tensor) -> dict[str, Tensor]:
        """theta (runs, params) as one view per parameter, (runs, *shape)."""
        return {s.name: theta[:, s.start : s.stop].view(theta.shape[0], *s.shape) for s in self.slots}

    def named(self, names: Collection[str]) -> Tensor:
        """(params,) of 1 where the parameter is one of these, else 0."""
        return torch.cat([torch.full((s.stop - s.start,), float(s.name in names)) for s in self.slots])

    def mask(self, *kinds: Kind) -> Tensor:
        """(params,) of 1 where the parameter is of one of the kinds, else 0."""
        return self.named({s.name for s in self.slots if s.kind in kinds})


def applied(model: nn.Module, tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The model's outputs for x with these tensors in the place of its own parameters and buffers of the same names.

    The model is left as it was. torch.func.functional_call does not manage that where a module has two names, as the
    layer has whose weights a decoder shares: under the second it puts back what it had put in under the first.

    A model that computes in 16 bits (`compute_in`) has PyTorch's autocast: linear maps and convolutions take them, what
    needs more than that float32, and the outputs are float32.
    """
    named = [*model.named_parameters(), *model.named_buffers()]
    given = {id(own): tensors[name] for name, own in named if name in tensors}
    stores: list[dict[str, Any]] = [each for m in model.modules() for each in (m._parameters, m._buffers)]
    places = [(store, key, own) for store in stores for key, own in store.items() if id(own) in given]
    try:
        for store, key, own in places:
            store[key] = given[id(own)]
        half = computes_in(model)
        if half is None:
            outputs: Tensor = model(x)
            return outputs
        with torch.autocast(x.device.type, half, cache_enabled=False):  # whose cache takes vmap's tensors for weights
            outputs = model(x)
        return outputs.float()
    finally:
        for store, key, own in places:
            store[key] = own


def compute_in(model: nn.Module, half: torch.dtype | None) -> None:
    """Let `applied` compute a model in bfloat16 or float16, or as it is."""
    model.__dict__["computes_in"] = half  # which PyTorch would type as a part of the model


def computes_in(model: nn.Module) -> torch.dtype | None:
    """What `compute_in` set."""
    return model.__dict__.get("computes_in")


def unlike(own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> list[str]:
    """The names that a network or a saved one has alone, in another shape, or of another kind of numbers: integers, and
    complex ones, are no weights, whatever their shape."""
    here, there = ({name: (t.shape, t.is_floating_point()) for name, t in each.items()} for each in (own, saved))
    return [name for name in {**here, **there} if here.get(name) != there.get(name)]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in, *kernel): inputs to one unit, and units one input goes to."""
    return shape[1] * prod(shape[2:]), shape[0] * prod(shape[2:])
