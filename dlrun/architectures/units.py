"""Where the hidden units and the normalizations of a network are, whatever its architecture."""

from __future__ import annotations

from torch import nn

from dlrun.activations import ACTIVATIONS
from dlrun.architectures.rbf import Kernels
from dlrun.architectures.recurrent import Layer

TRANSFER = tuple(each for each in ACTIVATIONS.values() if isinstance(each, type))


NORMALIZING = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)  #: of which normalizations.py makes all of them


def is_transfer(module: nn.Module) -> bool:
    """Whether a module is one of `activations.ACTIVATIONS`: an elementwise function of its only input."""
    return type(module) in TRANSFER


def hidden_units(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that put out hidden units, in the order of the network, by what a table calls them: `1 ReLU`.

    They are the transfer functions, the layers of gates of recurrent networks, whose functions are no modules, and
    the kernels of radial basis functions.
    """
    found = {}
    for name, module in model.named_modules():
        layer = isinstance(module, Layer) and not any(map(is_transfer, module.modules()))
        if layer or is_transfer(module) or isinstance(module, Kernels):
            found[f"{name} {type(module).__name__}".strip()] = module
    return found


def normalizing(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that normalize, in the order of the network, by what a table calls them: `2 BatchNorm1d`."""
    return {
        f"{name} {type(module).__name__}": module
        for name, module in model.named_modules()
        if isinstance(module, NORMALIZING)
    }
