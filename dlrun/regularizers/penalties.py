"""Regularizers that keep weights small: penalties, decay, and a bound on norms."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.matrix.theta import Layout
from dlrun.regularizers.regularizer import Regularizer


class L2(Regularizer):
    r"""$\frac{\alpha}{2} \|\theta\|_2^2$, whose gradient is $\alpha\theta$. Reference: lecture 002."""

    def __init__(self, include_bias: bool) -> None:
        self.include_bias = include_bias

    def penalty(self, theta: Tensor, mask: Tensor, *, alpha: Tensor) -> Tensor:
        return alpha[:, 0] / 2 * (theta.square() @ mask)


class L1(Regularizer):
    r"""$\alpha \|\theta\|_1$, whose (sub)gradient is $\alpha\,\text{sign}\,\theta$. Reference: lecture 002."""

    def __init__(self, include_bias: bool) -> None:
        self.include_bias = include_bias

    def penalty(self, theta: Tensor, mask: Tensor, *, alpha: Tensor) -> Tensor:
        return alpha[:, 0] * (theta.abs() @ mask)


class ElasticNet(Regularizer):
    r"""$\alpha\,(\rho \|\theta\|_1 + \frac{1-\rho}{2} \|\theta\|_2^2)$ with $\rho$ = l1_ratio.

    Reference: Zou & Hastie 2005, doi:10.1111/j.1467-9868.2005.00503.x, in scikit-learn's parametrisation.
    """

    def __init__(self, include_bias: bool) -> None:
        self.include_bias = include_bias

    def penalty(self, theta: Tensor, mask: Tensor, *, alpha: Tensor, l1_ratio: Tensor) -> Tensor:
        return (alpha * (l1_ratio * theta.abs() + (1 - l1_ratio) / 2 * theta.square())) @ mask


class WeightDecay(Regularizer):
    r"""Decoupled decay $\theta \leftarrow (1 - \text{lr}\,\alpha)\,\theta$ beside the gradient's step.

    Reference: Loshchilov & Hutter 2019, arXiv:1711.05101; lecture 002.
    """

    def __init__(self, include_bias: bool) -> None:
        self.include_bias = include_bias

    def decay(self, theta: Tensor, mask: Tensor, lr: Tensor, *, alpha: Tensor) -> None:
        theta.mul_(1 - lr * alpha * mask)


class MaxNorm(Regularizer):
    r"""After each update every unit's incoming weights are rescaled to norm c where longer.

    $$w \leftarrow w \min(1, c / \|w\|_2)$$

    A unit is an output of a linear map or an output channel of a convolution; its bias stays.

    Reference: Srivastava et al. 2014, section 5.1.
    """

    def project(self, theta: Tensor, layout: Layout, *, c: Tensor) -> None:
        views = layout.views(theta)
        for slot in layout.slots:
            if slot.kind == "weight":
                units = views[slot.name].flatten(2)  # (runs, out, in)
                units.mul_((c / torch.linalg.vector_norm(units, dim=2)).clamp(max=1)[:, :, None])
