"""What hidden units take in and put out: whether signals live through the depth of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlrun.architectures.units import hidden_units, is_transfer
from dlrun.diagnostics.diagnostic import DuringTraining, Found, Part, Statistics, View, long_form
from dlrun.diagnostics.layers import kept_on_the_way
from dlrun.diagnostics.probe import Probe, set_mode
from dlrun.diagnostics.recorded import Recorded, Values
from dlrun.diagnostics.spread import share, spread
from dlrun.errors import ConfigError
from dlrun.matrix.rows import over_rows
from dlrun.matrix.theta import applied
from dlrun.training.stack import Stack

FLAT = 0.05  #: of a transfer function's steepest slope, below which a unit counts as saturated


class Activations(DuringTraining):
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

    def __init__(self, every: float | str | None, part: Part, samples: int | None, statistics: Statistics) -> None:
        super().__init__(every)
        self.part, self.samples, self.statistics = part, samples, statistics
        self.recorded = Recorded(self._measure, part, samples)

    def fits(self, stack: Stack) -> None:
        if not hidden_units(stack.model):
            raise ConfigError("this network has no hidden units to look at")
        for module in filter(is_transfer, hidden_units(stack.model).values()):
            steepest(type(module))  # a number, which is found before anything is recorded

    def look(self, view: View) -> list[Found]:
        return long_form(view, self.recorded(view.stack))

    def _measure(self, stack: Stack, probe: Probe) -> Values:
        set_mode(stack.model, self.statistics)
        modules = hidden_units(stack.model)
        values: Values = {}
        for name, calls in kept_on_the_way(stack, probe, _output_and_input).items():
            parts = [
                torch.stack(tensors, 2) if len(tensors) > 1 else tensors[0] for tensors in zip(*calls, strict=True)
            ]
            values |= {(name, quantity): value for quantity, value in spread(parts[0]).items()}
            if len(parts) == 2:
                given = parts[1]
                values |= {(name, f"input_{quantity}"): value for quantity, value in spread(given).items()}
                flat = slope_of(stack, name, modules[name], given).abs() < FLAT * steepest(type(modules[name]))
                lost = given.flatten(1).isnan().any(1)  # nothing of these is known
                units = 2 if flat.ndim == 5 else -1  # (runs, samples, channels, height, width), or units last
                dead = flat.movedim(units, 1).flatten(2).all(2)
                for quantity, condition in (("saturated", flat), ("dead", dead)):
                    values[name, quantity] = torch.where(lost, torch.nan, share(condition))
        return values


def _output_and_input(name: str, module: nn.Module, given: Tensor, output: Tensor) -> tuple[Tensor, ...]:
    return (output, given) if is_transfer(module) else (output,)


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
