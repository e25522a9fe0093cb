"""A pass of a stack's networks over a probe, with what their hidden units take in and put out on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from dlrun.architectures.units import hidden_units
from dlrun.diagnostics.probe import Probe
from dlrun.matrix.rows import over_rows
from dlrun.training.stack import Stack

OUTPUT = "output"  #: what the network itself puts out, as a layer
#: given a layer's name, its module, and its input and output, (samples, ...), of one run; what it keeps of them
Keep = Callable[[str, nn.Module, Tensor, Tensor], tuple[Tensor, ...]]
#: given a layer's name and how often it was called before in this pass, what is added to its output
Added = dict[str, list[Tensor]]


def kept_on_the_way(
    stack: Stack, probe: Probe, keep: Keep, modules: dict[str, nn.Module] | None = None
) -> dict[str, list[tuple[Tensor, ...]]]:
    """By layer, for each of its calls in a pass over the probe, what `keep` keeps, (runs, samples, ...).

    A layer is called once, but in a network that goes through time and has it as a module.

    modules: those that count as layers, by what they are called; None: those of hidden units.
    """
    modules = hidden_units(stack.model) if modules is None else modules

    def of_row(parameters: Any, buffers: Any, x: Tensor) -> Any:
        kept: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in modules}

        def take(name: str, module: nn.Module, given: Any, output: Tensor) -> None:
            kept[name].append(keep(name, module, given[0], output))

        with hooked(modules, take):
            outputs = stack.outputs_of_row(parameters, buffers, x)
        return {**kept, OUTPUT: [(outputs,)]}

    rows = over_rows(of_row, (0, 0, None if probe.shared else 0))
    found: dict[str, list[tuple[Tensor, ...]]] = rows(stack.layout.views(stack.theta), stack.buffers, probe.x)
    return found


def outputs_with(stack: Stack, parameters: dict[str, Tensor], probe: Probe, added: Added) -> Tensor:
    """The networks' outputs, (runs, samples, outputs), where something is added to the output of each layer's calls.

    parameters: by name, (runs, ...). The gradient in what is added, of 0, is that in the layer's output.
    """
    modules = {name: module for name, module in hidden_units(stack.model).items() if name in added}

    def of_row(parameters: Any, buffers: Any, x: Tensor, added: Added) -> Tensor:
        calls = {name: iter(tensors) for name, tensors in added.items()}
        with hooked(modules, lambda name, module, given, output: output + next(calls[name])):
            return stack.outputs_of_row(parameters, buffers, x)

    rows = over_rows(of_row, (0, 0, None if probe.shared else 0, 0))
    outputs: Tensor = rows(parameters, stack.buffers, probe.x, added)
    return outputs


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
