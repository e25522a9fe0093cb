"""Pretraining by autoencoders: a layer's codes are to give back what the layer was given."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dlrun.initializers.initializer import Bias
from dlrun.initializers.pretraining import Pretraining, Step
from dlrun.optimizers.adam import Adam


class AutoencoderPretraining(Pretraining):
    r"""Each hidden layer is the encoder of an autoencoder with a linear decoder, trained by Adam.

    $$\min \|V f(W \tilde x + b) + c - x\|^2$$

    with the layer's W, b and activation f; V is drawn like W, c starts at 0, and both are thrown away. $\tilde x$ is x,
    or what corruption leaves of it, drawn anew for every minibatch.

    Args:
        lr: Adam's.
        tied: V is the transpose of W.
        corruption: probability of each input number to be replaced by 0 (denoising).

    Reference: Bengio et al. 2006, "Greedy layer-wise training of deep networks" (NIPS); Vincent et al. 2008,
    doi:10.1145/1390156.1390294 (corruption); lecture 002.
    """

    name = "autoencoder_pretraining"

    def __init__(self, epochs: int, lr: float, batch_size: int, tied: bool, corruption: float, bias: Bias) -> None:
        super().__init__(epochs, batch_size, bias)
        self.lr = lr
        self.tied = tied
        self.corruption = corruption

    def step(
        self, layer: int, weight: Tensor, bias: Tensor, activation: nn.Sequential, codes: Tensor, generator: Generator
    ) -> Step:
        units, features = weight.shape
        trained = [weight, bias, torch.zeros_like(weight[0])]
        if not self.tied:
            trained.append(self.weight((features, units), 0.0, generator).to(weight))
        adam, rows = Adam(), [tensor.view(1, -1) for tensor in trained]
        states = [adam.init(row) for row in rows]
        numbers = {"lr": self.lr, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
        hyper = {name: torch.tensor([[number]], dtype=weight.dtype) for name, number in numbers.items()}

        def step(x: Tensor, epoch: int) -> Tensor:
            leaves = [tensor.detach().requires_grad_() for tensor in trained]
            decoder = leaves[0].T if self.tied else leaves[3]
            given = x
            if self.corruption:
                given = x * (torch.rand(x.shape, generator=generator) >= self.corruption)
            with torch.enable_grad():
                code = activation(F.linear(given, leaves[0], leaves[1]))
                error = F.mse_loss(F.linear(code, decoder, leaves[2]), x)
            for row, state, g in zip(rows, states, torch.autograd.grad(error, leaves), strict=True):
                adam.update(row, g.reshape(1, -1), state, **hyper)
            return error.detach()

        return step
