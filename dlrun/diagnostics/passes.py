"""A pass of a stack's networks over a probe, forth and back, from which every diagnostic takes what it looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlrun.architectures.units import hidden_units, normalizing
from dlrun.diagnostics.diagnostic import Statistics
from dlrun.diagnostics.layers import hooked
from dlrun.diagnostics.probe import Probe, set_mode
from dlrun.diagnostics.spread import in_memory
from dlrun.matrix.rows import alone
from dlrun.training.stack import Stack

OUTPUT = "output"  #: what the network itself puts out, as a layer
#: by layer, for each of its calls, what it takes in and what it puts out
Calls = dict[str, list[tuple[Tensor, Tensor]]]


@dataclass
class Part:
    """The pass over some groups of the samples, with a row for each of them and each run, those of a group together."""

    parameters: dict[str, Tensor]  #: (rows, ...)
    x: Tensor  #: (rows, samples of a group, ...), or without rows where all share it
    calls: Calls  #: (rows, samples of a group, ...)
    outputs: Tensor
    losses: Tensor  #: (rows, samples of a group)


class Pass:
    """The networks as they are, from a probe's inputs to its losses and back again.

    What is asked for is computed once, and what nobody asks for drops out of a recording.

    Args:
        statistics: batch normalization by each group's own statistics, or by its running averages.
        groups: parts of the samples that have gradients of their own. Samples that would leave them unequal are left
            out.
    """

    def __init__(self, stack: Stack, probe: Probe, statistics: Statistics, groups: int = 1) -> None:
        self.stack, self.probe, self.statistics, self.groups = stack, probe, statistics, groups
        self.size = probe.samples // groups  #: samples of a group

    @cached_property
    def outputs(self) -> Tensor:
        """Of the networks, (runs, samples, ...)."""
        return self._joined([part.outputs for part in self._parts])

    @cached_property
    def calls(self) -> Calls:
        """By layer of hidden units, and by normalization, what it takes in and puts out, (runs, samples, ...), at each
        of its calls: at every time, where a network that goes through time has it as a module; else there is one.
        """
        first, *_ = found = [part.calls for part in self._parts]
        return {
            name: [
                (self._joined([each[name][i][0] for each in found]), self._joined([each[name][i][1] for each in found]))
                for i in range(len(calls))
            ]
            for name, calls in first.items()
        }

    @cached_property
    def by_group(self) -> dict[str, Tensor]:
        """By parameter, the gradients of each group's mean loss, (groups, runs, ...)."""
        return {
            name: _cat([found[i] for found in self._gradients]).unflatten(0, (self.groups, -1))
            for i, name in enumerate(self._parts[0].parameters)
        }

    @cached_property
    def of_parameters(self) -> dict[str, Tensor]:
        """By parameter, the gradient of the mean loss, (runs, ...)."""
        return {name: _mean(each) if self.groups > 1 else each[0] for name, each in self.by_group.items()}

    @cached_property
    def of_units(self) -> dict[str, list[Tensor]]:
        """By layer of hidden units, for each of its calls, the gradient of every sample's own loss in what the layer
        puts out, (runs, samples, ...)."""
        units, place, found = hidden_units(self.stack.model), len(self._parts[0].parameters), {}
        for name, calls in self._parts[0].calls.items():
            places = range(place, place := place + len(calls))
            if name in units and calls:
                found[name] = [self._joined([each[i] for each in self._gradients]) * self.size for i in places]
        return found

    @torch.enable_grad()
    def of_inputs(self) -> Tensor:
        """The gradient of every sample's own loss in its inputs, (runs, samples, ...); of networks that do not
        convolve."""
        found = [torch.autograd.grad(part.losses.sum(), part.x, retain_graph=True)[0] for part in self._parts]
        return self._joined(found)

    @cached_property
    @torch.enable_grad()
    def _gradients(self) -> list[Sequence[Tensor]]:
        """Of each part, in its parameters and in what its layers put out at each of their calls."""
        return [
            torch.autograd.grad(
                part.losses.mean(1).sum(),
                [*part.parameters.values(), *(output for calls in part.calls.values() for _, output in calls)],
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            for part in self._parts
        ]

    @cached_property
    @torch.enable_grad()
    def _parts(self) -> list[Part]:
        set_mode(self.stack.model, self.statistics)
        # Convolutions of several networks beside each other take two to three times as long as one after the other.
        convolves = any(isinstance(module, nn.Conv2d) for module in self.stack.model.modules())
        apart = convolves or (self.stack.runs == 1 and self.stack.one_by_one())
        groups = [slice(i, i + 1) for i in range(self.groups)] if apart else [slice(0, self.groups)]
        return [self._part(some, convolves) for some in groups]

    def _part(self, groups: slice, convolves: bool) -> Part:
        stack, probe, count = self.stack, self.probe, groups.stop - groups.start
        modules = hidden_units(stack.model) | normalizing(stack.model)

        single: Calls = {name: [] for name in modules}

        def of_row(parameters: Any, buffers: Any, x: Tensor) -> tuple[Tensor, Calls]:
            calls: Calls = {name: [] for name in modules}

            def take(name: str, module: nn.Module, given: Any, output: Tensor) -> Tensor:
                # what is kept has the axis of the rows, and is the very tensor from which the network goes on, so that
                # it has a gradient: under vmap a view, which has this axis first
                if alone.get():
                    row = output.unsqueeze(0)
                    single[name].append((given[0].unsqueeze(0), row))
                    return row.squeeze(0)
                output = output.view_as(output)
                calls[name].append((given[0], output))
                return output

            with hooked(modules, take):
                return stack.outputs_of_row(parameters, buffers, x), calls

        def rows(values: Tensor) -> Tensor:
            """(groups * runs, ...) of (runs, ...), of one run or one group without a copy."""
            return values.expand(count, *values.shape).flatten(0, 1)

        def samples(values: Tensor) -> Tensor:
            """(groups * runs, samples of a group, ...)."""
            own = values.expand(stack.runs, *values.shape) if probe.shared else values
            by_group = own[:, : self.size * self.groups].unflatten(1, (self.groups, self.size))
            return by_group[:, groups].movedim(1, 0).flatten(0, 1)

        shared = convolves and probe.shared  # a convolution takes inputs that all share at once
        x = probe.x[groups.start * self.size : groups.stop * self.size] if shared else samples(probe.x)
        x = x.detach().requires_grad_(not convolves)
        parameters = {
            name: rows(view).detach().requires_grad_() for name, view in stack.layout.views(stack.theta).items()
        }
        buffers = {name: rows(buffer) for name, buffer in stack.buffers.items()}
        over_networks = stack.over_networks(count * stack.runs)
        outputs, calls = over_networks(of_row, (0, 0, None if shared else 0))(parameters, buffers, x)
        calls = single if any(single.values()) else calls
        return Part(parameters, x, calls, outputs, stack.measures.loss(outputs, samples(probe.y)))

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        """(runs, samples, ...) of what the parts have, (groups * runs, samples of a group, ...)."""
        together = _cat(parts)
        return together.unflatten(0, (self.groups, -1)).movedim(0, 1).flatten(1, 2) if self.groups > 1 else together


def _cat(parts: Sequence[Tensor]) -> Tensor:
    """Of a single one without a copy; of others in the order in which they lie in memory, in which it is fastest."""
    if len(parts) == 1:
        return parts[0]
    axes = in_memory(parts[0])
    return _put_back(torch.cat([each.permute(0, *axes) for each in parts]), axes)


def _mean(values: Tensor) -> Tensor:
    """`values.mean(0)`, in the order in which they lie in memory: four times as fast where that is not the axes'."""
    axes = in_memory(values)
    return values.permute(0, *axes).mean(0).permute(*np.argsort(axes).tolist())


def _put_back(values: Tensor, axes: Sequence[int]) -> Tensor:
    """Undoes `permute(0, *axes)`."""
    return values.permute(0, *(1 + np.argsort(axes)).tolist())
