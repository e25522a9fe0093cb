"""What hidden units take in and put out: whether signals live through the depth of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlrun.architectures.units import hidden_units, is_transfer
from dlrun.diagnostics.measuring import Measuring, Values
from dlrun.diagnostics.passes import OUTPUT, Pass
from dlrun.diagnostics.spread import flat, quantities, spread
from dlrun.errors import ConfigError
from dlrun.matrix.rows import over_rows
from dlrun.matrix.theta import applied
from dlrun.training.stack import Stack

FLAT = 0.05  #: of a transfer function's steepest slope, below which a unit counts as saturated


class Activations(Measuring):
    r"""Per layer of hidden units, over units and samples: mean, std and percentiles of what they put out (`mean`,
    `std`, `p15`, `p50`, `p85`) and of what their transfer function f takes in (`input_mean`, ...).

    `saturated` is the share of outputs where f is flat, $|f'(z)| < 0.05 \max |f'|$: of a sigmoid from |z| = 4.4 on, of
    a ReLU wherever it is 0. `dead` is the share of units that are so for every sample; the units of a convolution are
    its channels. Layers of gates and RBF kernels have outputs alone; the layer `output` is the network's own.

    Args:
        every: see `DuringTraining`.
        part, samples: the samples looked at: so many of "train", "val" or "test"; None: all.
        statistics: batch normalization by these samples' own statistics, or by its running averages.

    Reference: Glorot & Bengio 2010; Ioffe & Szegedy 2015, arXiv:1502.03167 (figure 1); lecture 002.
    """

    def fits(self, stack: Stack) -> None:
        if not hidden_units(stack.model):
            raise ConfigError("this network has no hidden units to look at")
        for module in filter(is_transfer, hidden_units(stack.model).values()):
            steepest(type(module))  # a number, which is found before anything is recorded

    def measure(self, passed: Pass) -> list[Values]:
        stack, modules = passed.stack, hidden_units(passed.stack.model)
        units = {
            name: [torch.stack(each, 2) if len(each) > 1 else each[0] for each in zip(*passed.calls[name], strict=True)]
            for name in modules
            if passed.calls[name]
        }
        functions = [name for name in units if is_transfer(modules[name])]
        tensors = {(name, ""): output for name, (_, output) in units.items()}
        tensors |= {(name, "input_"): units[name][0] for name in functions}
        tensors[OUTPUT, ""] = passed.outputs
        told = [(name, f"{of}{quantity}") for name, of in tensors for quantity in quantities()]
        values = [Values(told, spread(list(tensors.values())))]
        if functions:
            given = [units[name][0] for name in functions]
            slopes = [slope_of(stack, name, modules[name], z) for name, z in zip(functions, given, strict=True)]
            least = [FLAT * steepest(type(modules[name])) for name in functions]
            shares = [(name, quantity) for name in functions for quantity in ("saturated", "dead")]
            values.append(Values(shares, flat(slopes, given, least)))
        return values


@torch.enable_grad()
def slope_of(stack: Stack, layer: str, module: nn.Module, z: Tensor) -> Tensor:
    """$f'(z)$ of a transfer function, in the form of z, (runs, ...); f may have parameters of each run's own."""
    place = f"{layer.partition(' ')[0]}."
    own = {
        name.removeprefix(place): view
        for name, view in stack.layout.views(stack.theta).items()
        if name.startswith(place)
    }
    leaf = z.detach().requires_grad_()
    outputs = over_rows(lambda parameters, z: applied(module, parameters, z))(own, leaf)
    return torch.autograd.grad(outputs.sum(), leaf)[0]  # of every entry, since f is elementwise


_steepest: dict[type[nn.Module], float] = {}


def steepest(kind: type[nn.Module]) -> float:
    """The largest slope of a transfer function between -10 and 10."""
    if kind not in _steepest:
        z = torch.linspace(-10, 10, 2001, dtype=torch.float64, requires_grad=True)
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(kind().double()(z).sum(), z)
        _steepest[kind] = float(slope.abs().max())
    return _steepest[kind]
