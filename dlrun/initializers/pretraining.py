"""Greedy layer-wise pretraining: each hidden layer learns, without labels, from what the layers before it give."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dlrun.activations import ACTIVATIONS
from dlrun.architectures.autoencoder import Autoencoder, Transposed
from dlrun.architectures.blocks import Dropout
from dlrun.datasets.dataset import Dataset
from dlrun.errors import ConfigError
from dlrun.initializers.drawn import Xavier
from dlrun.initializers.initializer import Bias
from dlrun.matrix.theta import Layout

Step = Callable[[Tensor, int], Tensor]  #: (codes (batch, features), epoch) -> their reconstruction error, after a step
#: what may stand between two layers; an Identity is where no normalization is
BETWEEN: tuple[type[nn.Module], ...] = (nn.Identity, *{type(activation()) for activation in ACTIVATIONS.values()})


class Pretraining(Xavier):
    """Xavier's weights; then the hidden layers, first to last, are trained to tell what they are given.

    A layer is trained on the codes of all training samples by the layers before it, which no longer change, with
    dropout off. The output layer stays as it was drawn. `history` has the mean squared reconstruction error of every
    layer and epoch: per number, over the epoch's minibatches, each before its step.

    Args:
        epochs: passes over the training part for each layer.
        batch_size: samples per step.

    Raises ConfigError for networks that are no chain of fully connected layers with a hidden one among them, and
    where the error is no longer finite.

    Reference: Hinton, Osindero & Teh 2006, doi:10.1162/neco.2006.18.7.1527; Bengio et al. 2006 (NIPS); lecture 002.
    """

    name: str  #: in conf/initializer

    def __init__(self, epochs: int, batch_size: int, bias: Bias) -> None:
        super().__init__("uniform", bias)
        self.epochs = epochs
        self.batch_size = batch_size

    def step(
        self, layer: int, weight: Tensor, bias: Tensor, activation: nn.Sequential, codes: Tensor, generator: Generator
    ) -> Step:
        """What changes the weight (units, features) and the bias (units,) of a hidden layer in place.

        Layers count from 1; the activation is what follows the layer; codes: (samples, features).
        """
        raise NotImplementedError

    def fits(self, model: nn.Module, layout: Layout, dataset: Dataset) -> None:
        super().fits(model, layout, dataset)
        self.hidden_layers(model)

    def initialize(
        self, model: nn.Module, layout: Layout, theta: Tensor, dataset: Dataset, generator: Generator
    ) -> Tensor:
        theta = super().initialize(model, layout, theta, dataset, generator).clone()
        layers = self.hidden_layers(model)
        parameters = {name: view[0] for name, view in layout.views(theta[None]).items()}  # views of theta
        codes = dataset.part("train")[0].flatten(1)
        for layer, (name, following) in enumerate(layers, 1):
            weight, bias = parameters.pop(f"{name}.weight"), parameters.pop(f"{name}.bias")
            activation = deepcopy(following).to(theta.dtype)
            step = self.step(layer, weight, bias, activation, codes, generator)
            for epoch in range(1, self.epochs + 1):
                order = torch.randperm(len(codes), generator=generator)
                errors = [len(batch) * step(codes[batch], epoch) for batch in order.split(self.batch_size)]
                error = torch.stack(errors).sum().item() / len(codes)
                if not torch.isfinite(weight).all():
                    error = torch.nan
                self.record(layer, epoch, error, len(layers))
            with torch.no_grad():
                codes = activation(F.linear(codes, weight, bias))
        self.report["pretrained"] = [slot.name for slot in layout.slots if slot.name not in parameters]
        self.report["as drawn"] = list(parameters)
        return theta

    def record(self, layer: int, epoch: int, error: float, layers: int) -> None:
        """Keep and show an epoch's reconstruction error; ConfigError where there is none."""
        if not abs(error) < torch.inf:
            raise ConfigError(
                f"initializer={self.name}: the training of hidden layer {layer} diverged in epoch {epoch}: "
                "give a smaller initializer.lr, or scale the inputs (dataset.scale)"
            )
        self.history.append({"layer": layer, "epoch": epoch, "reconstruction": error})
        text = f"pretraining layer {layer}/{layers}  reconstruction {error:.4g}"
        self.progress(text, (layer - 1) * self.epochs + epoch, layers * self.epochs)

    def hidden_layers(self, model: nn.Module) -> list[tuple[str, nn.Sequential]]:
        """The names of the hidden fully connected layers, each with its activation; ConfigError for other networks."""
        layers: list[tuple[str, nn.Sequential]] = []
        output = 1  # linear maps at the end that are no hidden layers
        for name, module in model.named_modules(remove_duplicate=False):
            if isinstance(module, Transposed):  # from here on the weights are those of the layers before
                output = 0
                break
            if isinstance(module, nn.Linear) and module.bias is not None:
                layers.append((name, nn.Sequential()))
            elif isinstance(module, BETWEEN) and layers:
                layers[-1][1].append(module)
            elif not isinstance(module, nn.Sequential | Autoencoder | nn.Flatten | Dropout):
                raise ConfigError(
                    f"initializer={self.name} trains one fully connected layer after the other, and this network has "
                    f"a {type(module).__name__}: choose architecture=mlp with architecture.skip=false and "
                    "normalization=none, or another initializer"
                )
        if len(layers) <= output:
            raise ConfigError(
                f"initializer={self.name} trains hidden layers, and this network has none: give "
                "architecture=mlp and its architecture.hidden, or choose another initializer"
            )
        return layers[: len(layers) - output]
