"""Muon (Jordan 2024): momentum whose steps are orthogonalised, matrix by matrix."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from dlrun.errors import ConfigError
from dlrun.matrix.theta import Layout
from dlrun.optimizers.adam import AdamW
from dlrun.optimizers.rule import Rule, State


class Muon(Rule):
    r"""Each hidden weight matrix moves by the orthogonal matrix nearest to its momentum; the rest by AdamW.

    $$m \leftarrow \mu m + (1-\mu) g, \quad U = \text{orthogonalize}(\mu m + (1-\mu) g)$$
    $$W \leftarrow (1 - \text{lr}\; \lambda) W - \text{lr}\; \sqrt{\max(1, \text{rows} / \text{columns})}\; U$$

    Hidden weights are those of all linear and convolution layers but the last one, which is the output; a kernel
    (out, in, height, width) is the matrix (out, in height width). AdamW takes the output layer, biases and whatever
    else there is, with the rate lr adamw_ratio, so that a schedule moves both rates.

    Args:
        steps: of the Newton-Schulz iteration.

    Raises ConfigError for a network without a hidden weight.

    Reference: Jordan et al. 2024, Muon: An optimizer for hidden layers in neural networks
    (kellerjordan.github.io/posts/muon).
    """

    def __init__(self, steps: int = 5) -> None:
        self.steps = steps
        self.adamw = AdamW()

    def bind(self, layout: Layout, theta: Tensor) -> None:
        matrices = [slot for slot in layout.slots if slot.kind == "weight"]
        self.hidden = matrices[:-1]  # the last one is the output layer's
        if not self.hidden:
            raise ConfigError(
                "optimizer=muon orthogonalises the weights of hidden layers, and this network has none: add a hidden "
                "layer, or choose optimizer=adamw"
            )
        mask = torch.zeros(layout.params, dtype=torch.bool, device=theta.device)
        for slot in self.hidden:
            mask[slot.start : slot.stop] = True
        self.columns, self.rest = mask.nonzero()[:, 0], (~mask).nonzero()[:, 0]

    def init(self, theta: Tensor) -> State:
        return {"m": torch.zeros_like(theta[:, self.columns]), **self.adamw.init(theta[:, self.rest])}

    def update(
        self,
        theta: Tensor,
        g: Tensor,
        state: State,
        *,
        lr: Tensor,
        momentum: Tensor,
        weight_decay: Tensor,
        adamw_ratio: Tensor,
        adamw_beta1: Tensor,
        adamw_beta2: Tensor,
        adamw_eps: Tensor,
        adamw_weight_decay: Tensor,
    ) -> None:
        g_hidden = g.index_select(1, self.columns)
        m = state["m"].lerp_(g_hidden, 1 - momentum)
        parts = torch.lerp(g_hidden, m, momentum).split([slot.stop - slot.start for slot in self.hidden], dim=1)
        for slot, part in zip(self.hidden, parts, strict=True):
            rows, columns = slot.shape[0], prod(slot.shape[1:])
            step = orthogonalize(part.reshape(-1, rows, columns), self.steps).flatten(1)
            weight = theta[:, slot.start : slot.stop]
            weight.mul_(1 - lr * weight_decay).addcmul_(lr, step, value=-(max(1, rows / columns) ** 0.5))

        rest = theta.index_select(1, self.rest)
        self.adamw.update(
            rest,
            g.index_select(1, self.rest),
            state,
            lr=lr * adamw_ratio,
            beta1=adamw_beta1,
            beta2=adamw_beta2,
            eps=adamw_eps,
            weight_decay=adamw_weight_decay,
        )
        theta.index_copy_(1, self.rest, rest)


def orthogonalize(matrices: Tensor, steps: int) -> Tensor:
    r"""Matrices (runs, rows, columns) with their singular vectors, and singular values near 1, in about [0.7, 1.2].

    $$X \leftarrow a X + (b\, X X^T + c\, (X X^T)^2) X, \quad (a, b, c) = (3.4445, -4.7750, 2.0315)$$

    from $X = G / \|G\|_F$, a Newton-Schulz iteration of order 5. Its coefficients trade exactness for speed: small
    singular values grow 3.4-fold at each step.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices  # the smaller Gram matrix
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=1e-7)  # a gradient of zero stays zero
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
