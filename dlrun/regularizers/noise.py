"""Regularizers that add noise to the units or to the gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.datasets.dataset import Dataset
from dlrun.optimizers.rule import State
from dlrun.regularizers.regularizer import Regularizer


class Dropout(Regularizer):
    r"""Inverted dropout of inputs and of fully connected hidden units; the layers stand in the architecture.

    $$x \leftarrow m\, x / (1 - p), \quad m \sim \text{Bernoulli}(1 - p)$$

    while training, for every unit of every sample; an evaluation leaves x as it is.

    Reference: Srivastava et al. 2014, jmlr.org/papers/v15/srivastava14a; lecture 002.
    """

    random = True

    def fits(self, dataset: Dataset, *, p_input: Tensor, p_hidden: Tensor) -> None:
        """Every dataset; the rates are numbers of each run, which the layers hold as buffers."""


class GradientNoise(Regularizer):
    r"""Annealed Gaussian noise on the clipped gradient: $g + \mathcal N(0, \sigma_t^2)$ at step t = 0, 1, ...

    $$\sigma_t^2 = \frac{\eta}{(1 + t)^\gamma}$$

    Reference: Neelakantan et al. 2015, arXiv:1511.06807.
    """

    random = True

    def init(self, network: State) -> State:
        return {"t": torch.zeros_like(network["theta"][:, :1])}

    def perturb(self, g: Tensor, memory: State, *, eta: Tensor, gamma: Tensor) -> Tensor:
        std = (eta / (1 + memory["t"]) ** gamma).sqrt()
        memory["t"].add_(1)
        return g + std * torch.randn_like(g)
