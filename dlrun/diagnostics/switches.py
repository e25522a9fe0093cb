"""A piecewise linear network as the places where its units switch from one linear piece to another."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlrun.activations import Same
from dlrun.architectures.blocks import Dropout
from dlrun.architectures.recurrent import Last, Rows
from dlrun.architectures.units import hidden_units, is_transfer
from dlrun.diagnostics.layers import hooked
from dlrun.diagnostics.probe import set_mode
from dlrun.errors import ConfigError
from dlrun.matrix.theta import applied
from dlrun.training.stack import Stack

AT_ZERO = (nn.ReLU, nn.LeakyReLU, nn.PReLU)  #: of which each unit switches where its input is 0
#: modules without further ones in them that are affine in evaluation mode
AFFINE = (
    nn.Linear, nn.Conv2d, nn.Flatten, nn.Identity, Same, Dropout, Rows, Last,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
)  # fmt: skip


def refuse_curved(model: nn.Module) -> None:
    """ConfigError for a network that is not piecewise linear, or has no pieces, as far as its modules tell."""
    units = hidden_units(model)
    curved = [each for each in units.values() if not isinstance(each, (*AT_ZERO, Same))]
    others = [each for each in model.modules() if not list(each.children()) and not is_transfer(each)]
    curved += [each for each in others if type(each) not in AFFINE and not _is_pooling(each)]
    if curved:
        what = "this normalization" if isinstance(curved[0], nn.GroupNorm) else type(curved[0]).__name__
        raise ConfigError(
            f"it is for networks of linear pieces, and {what} is curved: choose "
            "architecture.activation=relu, leaky_relu or prelu with architecture=mlp, cnn, resnet, densenet, "
            "autoencoder or rnn, and normalization=none or batch"
        )
    if not any(map(_switches, model.modules())):
        raise ConfigError("this network is linear: it has a single region")


def _is_pooling(module: nn.Module) -> bool:
    return isinstance(module, nn.MaxPool2d) and module.padding == 0 and module.dilation == 1 and not module.ceil_mode


def _switches(module: nn.Module) -> bool:
    return isinstance(module, AT_ZERO) or _is_pooling(module)


class Switches:
    """One run's network in double precision and evaluation mode.

    What switches is each the largest of some functions that are affine wherever nothing before it switches: of a
    ReLU's input and 0, of the entries of a pooling window. A place is a call of the module of such units.
    """

    def __init__(self, stack: Stack, run: int) -> None:
        self.model = stack.model
        tensors = {**stack.layout.views(stack.theta), **stack.buffers}
        self.tensors = {name: tensor[run].double() for name, tensor in tensors.items()}
        self.modules = {name: module for name, module in stack.model.named_modules() if _switches(module)}

    def places(self, x: Tensor) -> list[int]:
        """How many units each place has, from any inputs (points, ...)."""
        _, found = self._passed(x[:1], None)
        return found

    def values(self, x: Tensor, place: int) -> Tensor:
        """The affine functions at inputs (points, ...): (points, units, functions)."""
        found, _ = self._passed(x, place)
        return found

    def outputs(self, x: Tensor) -> Tensor:
        """(points, outputs)."""
        set_mode(self.model, "running")
        return applied(self.model, self.tensors, x).flatten(1)

    def _passed(self, x: Tensor, place: int | None) -> tuple[Tensor, list[int]]:
        units: list[int] = []
        kept = [torch.empty(0)]

        def take(name: str, module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            if len(units) == place:
                kept[0] = _functions(module, given[0])
            units.append(output[0].numel())

        with hooked(self.modules, take):
            self.outputs(x)
        return kept[0], units


def _functions(module: nn.Module, z: Tensor) -> Tensor:
    if not isinstance(module, nn.MaxPool2d):
        z = z.flatten(1)
        return torch.stack([z, torch.zeros_like(z)], 2)
    kernel, stride = (each if isinstance(each, tuple) else (each, each) for each in (module.kernel_size, module.stride))
    windows = z.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1])
    return windows.flatten(4).flatten(1, 3)
