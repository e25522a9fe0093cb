"""Where theta starts: what an initializer is, and the biases that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from dlrun.datasets.dataset import Dataset
from dlrun.errors import ConfigError
from dlrun.matrix.theta import Layout, Slot, applied

Shape = tuple[int, ...]
Bias = float | Literal["prior"]
Hook = Callable[[str, nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]


class Initializer:
    """Draws one weight tensor (out, in, *kernel) and its bias (out,) at a time, then may refine the whole.

    Args:
        bias: the value of every bias; "prior" puts what the training targets are without any input into the output
            layer's, see `prior`, and 0 into the others.
    """

    #: told (what is done, how much of it, of how much) while `initialize` works long
    progress: Callable[[str, int, int], None] = staticmethod(lambda text, done, total: None)

    def __init__(self, bias: Bias) -> None:
        self.bias_value = bias
        self.report: dict[str, list[str]] = {}  #: what `initialize` did, for the run's records
        self.history: list[dict[str, float]] = []  #: a row per epoch that `initialize` trained, likewise

    def weight(self, shape: Shape, slope: float, generator: Generator) -> Tensor:
        """The weights of a layer followed by an activation with this slope left of zero (0 but for leaky ReLUs)."""
        raise NotImplementedError

    def bias(self, weight_shape: Shape, generator: Generator) -> Tensor:
        """The biases of the layer whose weights have this shape."""
        return torch.full((weight_shape[0],), 0.0 if self.bias_value == "prior" else float(self.bias_value))

    def fits(self, model: nn.Module, layout: Layout, dataset: Dataset) -> None:
        """ConfigError where `initialize` would fail whatever is drawn, which a sweep asks before it begins."""
        if self.bias_value == "prior":
            _output_bias(model, layout, dataset)

    def initialize(
        self, model: nn.Module, layout: Layout, theta: Tensor, dataset: Dataset, generator: Generator
    ) -> Tensor:
        """A row (params,) as it was drawn, refined by what the network does with the training part, if that `fits`."""
        if self.bias_value != "prior":
            return theta
        values, start = prior(dataset), _output_bias(model, layout, dataset).start
        theta = theta.clone()
        theta[start : start + len(values)] = values
        return theta


def prior(dataset: Dataset) -> Tensor:
    r"""The outputs (outputs,) that predict best without looking at the input, in double precision.

    $\log (n_k / n)$ for classes, $\log (n_1 / n_0)$ for two, the mean target of a regression; n counts training
    samples, and a class without any counts as one.

    Reference: lecture 004 (output unit for skewed distributions).
    """
    targets = dataset.targets[dataset.rows("train")]
    if dataset.task == "regression":
        return targets.double().mean(0)
    counts = torch.bincount(targets.long(), minlength=max(dataset.outputs, 2)).clamp(min=1).double()
    if dataset.task == "binary":
        return (counts[1:] / counts[:1]).log()
    return (counts / counts.sum()).log()


def _output_bias(model: nn.Module, layout: Layout, dataset: Dataset) -> Slot:
    """The bias of the linear map that comes last in use; ConfigError where there is not one for each output."""
    called: list[str] = []
    theta = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    run_watched(model, layout, theta, dataset.inputs[:2], lambda name, *_: called.append(name))
    last = next((slot for slot in layout.slots if called and slot.name == f"{called[-1]}.bias"), None)
    if last is None or last.shape[0] < len(prior(dataset)):
        raise ConfigError(
            "initializer.bias=prior needs an output layer with a bias for each output, and this network has none: "
            "give a number, or choose another architecture"
        )
    return last


def run_watched(model: nn.Module, layout: Layout, theta: Tensor, inputs: Tensor, hook: Hook) -> None:
    """Run the network once with the parameters theta (params,), calling the hook after each of its linear maps.

    The hook takes the map's name, module, inputs and output, and may return another output. Batch normalization uses
    the batch's own statistics, as in training; dropout and whatever else is random are off.
    """

    def watching(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
        return lambda module, inputs, output: hook(name, module, inputs, output)

    training = model.training
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
    maps = dict.fromkeys(slot.name.rpartition(".")[0] for slot in layout.slots if slot.kind == "weight")
    handles = [model.get_submodule(name).register_forward_hook(watching(name)) for name in maps]
    parameters = {name: view[0] for name, view in layout.views(theta[None]).items()}
    buffers = {name: buffer.to(theta.dtype, copy=True) for name, buffer in model.named_buffers()}
    try:
        with torch.no_grad():
            applied(model, {**parameters, **buffers}, inputs.to(theta.dtype))
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
