"""`dlrun --summary`: the network that a config makes, without a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from dlrun.architectures.costs import layers
from dlrun.config.check import resolved
from dlrun.terminal.console import say_on
from dlrun.terminal.description import summary
from dlrun.training.build import build

if TYPE_CHECKING:
    from rich.console import Console

CONVENTION = (
    "multiply-adds are those of matrix products and convolutions, in one pass of one input; biases, normalization, "
    "activations and pooling are not counted"
)


def outline(config: DictConfig, console: Console | None = None) -> None:
    """Print what the data are, and each layer of the network with its output's shape, parameters and multiply-adds.

    Raises ConfigError where the config cannot be trained.
    """
    from rich.console import Console
    from rich.table import Table

    console = console or Console()
    stack = build([resolved(config)], initialize=False)
    for line in summary(stack.dataset.description):
        say_on(console, line)
    found = layers(stack.model, stack.dataset.inputs[:1])
    table = Table(box=None, pad_edge=False, header_style="dim", show_footer=True, footer_style="bold")
    total = f"{sum(layer.multiply_adds for layer in found):,}"
    table.add_column("layer", "all", overflow="fold")
    table.add_column("")
    table.add_column("output")
    table.add_column("parameters", f"{stack.layout.params:,}", justify="right", no_wrap=True)
    table.add_column("multiply-adds", total, justify="right", no_wrap=True)
    for layer in found:
        numbers = [f"{number:,}" if number else "" for number in (layer.parameters, layer.multiply_adds)]
        table.add_row(layer.name, layer.kind, " x ".join(map(str, layer.shape)), *numbers)
    console.print(table)
    say_on(console, CONVENTION, "dim")
