"""Pretraining by restricted Boltzmann machines: a layer's units are to explain what the layer was given."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dlrun.datasets.dataset import Dataset
from dlrun.errors import ConfigError
from dlrun.initializers.initializer import Bias
from dlrun.initializers.pretraining import Pretraining, Step
from dlrun.matrix.theta import Layout
from dlrun.optimizers.sgd import Momentum

STD = 0.01  # of the first weights; the guide, section 8.1
EARLY_MOMENTUM, EARLY_EPOCHS = 0.5, 5  # the guide, section 9.1
LR = {"bernoulli": 0.1, "gaussian": 0.01}  # "one or two orders of magnitude smaller", the guide, section 13.2


class RBM:
    r"""A restricted Boltzmann machine: binary hidden units h, and visible units v between which nothing is linked.

    $$E(v, h) = -h^\top W v - b^\top h - c^\top v, \quad P(h_j = 1 | v) = \sigma(W v + b)_j, \quad
    P(v_i = 1 | h) = \sigma(W^\top h + c)_i$$
    and for Gaussian visible units, of variance 1, $\|v - c\|^2 / 2$ in place of $-c^\top v$, so that
    $v | h \sim N(W^\top h + c, I)$.

    Args:
        weight: W, (hidden, visible). hidden_bias: b, (hidden,). visible_bias: c, (visible,).
        gaussian: whether the visible units are Gaussian.

    Reference: Smolensky 1986; Hinton 2010, "A practical guide to training restricted Boltzmann machines" (UTML TR
    2010-003).
    """

    def __init__(self, weight: Tensor, hidden_bias: Tensor, visible_bias: Tensor, gaussian: bool) -> None:
        self.weight = weight
        self.hidden_bias = hidden_bias
        self.visible_bias = visible_bias
        self.gaussian = gaussian

    def hidden(self, v: Tensor) -> Tensor:
        """P(h = 1 | v), (batch, hidden)."""
        return F.linear(v, self.weight, self.hidden_bias).sigmoid()

    def visible(self, h: Tensor) -> Tensor:
        """The mean of v given h, (batch, visible)."""
        mean = F.linear(h, self.weight.T, self.visible_bias)
        return mean if self.gaussian else mean.sigmoid()

    def contrast(self, v: Tensor, k: int, generator: Generator) -> tuple[list[Tensor], Tensor]:
        r"""Contrastive divergence, and the reconstructions (batch, visible) after k steps.

        $$\langle h v^\top \rangle_{data} - \langle h v^\top \rangle_k, \quad \langle h \rangle_{data} -
        \langle h \rangle_k, \quad \langle v \rangle_{data} - \langle v \rangle_k$$
        for W, b and c. The chain from the data to the reconstructions samples h, and takes means for v; so do the
        averages for both (the guide's section 3).

        Reference: Hinton 2002, doi:10.1162/089976602760128018.
        """
        p = self.hidden(v)
        v_k, p_k = v, p
        for _ in range(k):
            h = torch.rand(p.shape, generator=generator) < p_k
            v_k = self.visible(h.to(v))
            p_k = self.hidden(v_k)
        return [(p.T @ v - p_k.T @ v_k) / len(v), (p - p_k).mean(0), (v - v_k).mean(0)], v_k


class RBMPretraining(Pretraining):
    r"""Each hidden layer has the weights and hidden biases of a restricted Boltzmann machine trained by CD-k.

    $$\Delta \leftarrow \mu \Delta + \text{lr}\,(\langle h v^\top \rangle_{data} - \langle h v^\top \rangle_k
    - \lambda W), \quad W \leftarrow W + \Delta$$

    and likewise, without $\lambda$, for the biases. $\mu$ is at most 0.5 in the first five epochs. W starts at
    N(0, 0.01²), hidden biases at the value of all biases, visible biases where they alone explain the data's means.

    Args:
        lr: None takes 0.1 where visible units are Bernoulli, and 0.01 where they are Gaussian.
        k: steps between the data and the reconstructions.
        momentum: $\mu$.
        weight_decay: $\lambda$.
        visible: the first machine's visible units. bernoulli: inputs in [0, 1] are probabilities; gaussian: of
            variance 1; auto: bernoulli for inputs in [0, 1]. All others are Bernoulli, the probabilities of the
            hidden units before.

    Raises ConfigError where hidden units are no sigmoids, and for visible=bernoulli with other inputs.

    Reference: Hinton, Osindero & Teh 2006, doi:10.1162/neco.2006.18.7.1527; Hinton 2010, "A practical guide to
    training restricted Boltzmann machines" (UTML TR 2010-003); lecture 002.
    """

    name = "rbm_pretraining"

    def __init__(
        self,
        epochs: int,
        lr: float | None,
        batch_size: int,
        k: int,
        momentum: float,
        weight_decay: float,
        visible: Literal["auto", "bernoulli", "gaussian"],
        bias: Bias,
    ) -> None:
        super().__init__(epochs, batch_size, bias)
        self.lr = lr
        self.k = k
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.visible = visible

    def fits(self, model: nn.Module, layout: Layout, dataset: Dataset) -> None:
        super().fits(model, layout, dataset)
        for _, activation in self.hidden_layers(model):
            names = [type(module).__name__ for module in activation if not isinstance(module, nn.Identity)]
            if names != ["Sigmoid"]:
                raise ConfigError(
                    "initializer=rbm_pretraining trains hidden units that are on with probability sigmoid(W x + b), "
                    f"and this network's activation is {', '.join(names) or 'Identity'}: give "
                    "architecture.activation=sigmoid"
                )
        self.visible_units(dataset.part("train")[0])

    def step(
        self, layer: int, weight: Tensor, bias: Tensor, activation: nn.Sequential, codes: Tensor, generator: Generator
    ) -> Step:
        units = self.visible_units(codes) if layer == 1 else "bernoulli"
        if layer == 1:
            self.report["visible units"] = [units]
        means = codes.mean(0)
        if units == "bernoulli":
            means = ((means * len(codes) + 0.5) / (len(codes) + 1)).logit()  # counts that are never all or nothing
        weight.copy_(STD * torch.randn(weight.shape, generator=generator))
        rbm = RBM(weight, bias, means, units == "gaussian")
        rule, rows = Momentum(), [tensor.view(1, -1) for tensor in (weight, bias, means)]
        states = [rule.init(row) for row in rows]
        lr = torch.full_like(weight[:1, :1], LR[units] if self.lr is None else self.lr)

        def step(v: Tensor, epoch: int) -> Tensor:
            (g_weight, *g_biases), v_k = rbm.contrast(v, self.k, generator)
            g_weight -= self.weight_decay * weight
            early = min(self.momentum, EARLY_MOMENTUM) if epoch <= EARLY_EPOCHS else self.momentum
            momentum = torch.full_like(lr, early)
            for row, state, g in zip(rows, states, [g_weight, *g_biases], strict=True):
                rule.update(row, -g.view(1, -1), state, lr=lr, momentum=momentum)  # uphill
            return F.mse_loss(v_k, v)

        return step

    def visible_units(self, inputs: Tensor) -> Literal["bernoulli", "gaussian"]:
        """Of the first machine, for inputs (samples, ...)."""
        low, high = inputs.min().item(), inputs.max().item()
        if self.visible != "auto":
            if self.visible == "bernoulli" and (low < 0 or high > 1):
                raise ConfigError(
                    f"initializer.visible=bernoulli needs inputs in [0, 1], and these are in [{low:g}, {high:g}]: "
                    "give dataset.scale=minmax, or leave initializer.visible=auto"
                )
            return self.visible
        return "bernoulli" if low >= 0 and high <= 1 else "gaussian"
