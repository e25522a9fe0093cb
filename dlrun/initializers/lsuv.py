"""Layer-sequential unit variance: weights scaled by what they make of a batch of training samples."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from dlrun.datasets.dataset import Dataset
from dlrun.errors import ConfigError
from dlrun.initializers.drawn import Orthogonal
from dlrun.initializers.initializer import Bias, run_watched
from dlrun.matrix.theta import Layout

SAMPLES, ITERATIONS = 256, 10  #: of the batch; per layer, as in the paper


class LSUV(Orthogonal):
    r"""Orthogonal weights, then scaled, layer after layer, until every layer's outputs have variance 1.

    $$W \leftarrow W / \sqrt{\mathrm{Var}(W x + b)}$$

    The variance is taken over samples and units of one training batch that has passed the layers before, already
    scaled, with dropout off. A layer used more than once is scaled at its first use for anything but zeros: a recurrent
    one at the second time step, since the state before the first is 0.

    Args:
        tolerance: deviation from 1 that is left as it is.

    Raises ConfigError where a layer's outputs do not vary, or are not finite.

    Reference: Mishkin & Matas 2015, arXiv:1511.06422.
    """

    def __init__(self, tolerance: float, bias: Bias) -> None:
        super().__init__(1.0, bias)
        self.tolerance = tolerance

    def initialize(
        self, model: nn.Module, layout: Layout, theta: Tensor, dataset: Dataset, generator: Generator
    ) -> Tensor:
        theta = theta.clone()
        weights, used, done = layout.views(theta[None]), set[str](), set[str]()

        def scale(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            used.add(name)
            if name in done or not inputs[0].any():
                return None
            done.add(name)
            for _ in range(ITERATIONS):
                variance = output.var(correction=0)
                if not (variance.isfinite() and variance > 0):
                    raise _unscalable(name, variance.item())
                if abs(variance - 1) <= self.tolerance:
                    break
                weights[f"{name}.weight"].div_(variance.sqrt())  # views of theta, as the network's own
                output = module.forward(*inputs)
            return output

        batch = torch.randperm(dataset.sizes["train"], generator=generator)[:SAMPLES]
        run_watched(model, layout, theta, dataset.inputs.index_select(0, batch), scale)
        for name in sorted(used - done):
            raise _unscalable(name, 0)
        return super().initialize(model, layout, theta, dataset, generator)


def _unscalable(layer: str, variance: float) -> ConfigError:
    return ConfigError(
        f"initializer=lsuv: the outputs of layer {layer} have variance {variance:g} on training samples, which no "
        "factor makes 1: choose another initializer"
    )
