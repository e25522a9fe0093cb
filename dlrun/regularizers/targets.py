"""Regularizers that train on other targets than the data's."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.datasets.dataset import Dataset
from dlrun.errors import ConfigError
from dlrun.regularizers.regularizer import Regularizer, per_run


def probabilities(targets: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Class numbers (runs, batch) as one probability per class, (runs, batch, classes); other targets as they are."""
    if targets.is_floating_point():
        return targets
    return (targets[..., None] == torch.arange(classes, device=targets.device)).to(dtype)


class LabelSmoothing(Regularizer):
    r"""Training targets mixed with the uniform ones: $(1-\alpha)\,t + \alpha / k$ for k classes.

    Reference: Szegedy et al. 2015, arXiv:1512.00567; lecture 002.
    """

    def fits(self, dataset: Dataset) -> None:
        if dataset.task == "regression":
            raise ConfigError("regularizer=label_smoothing needs classes, and this dataset's targets are numbers")

    def transform(self, x: Tensor, targets: Tensor, outputs: int, *, alpha: Tensor) -> tuple[Tensor, Tensor]:
        t = probabilities(targets, outputs, x.dtype)
        alpha = per_run(alpha, t)
        return x, (1 - alpha) * t + alpha / max(outputs, 2)  # a binary task has one output, for its class 1


class Mixup(Regularizer):
    r"""Every sample of a minibatch is mixed with another one, and their targets likewise.

    $$\tilde x_i = \lambda x_i + (1-\lambda) x_{\pi(i)}, \quad \tilde t_i = \lambda t_i + (1-\lambda) t_{\pi(i)},
    \quad \lambda \sim \text{Beta}(\alpha, \alpha)$$

    with one $\lambda$ and one permutation $\pi$ per minibatch; $\alpha = 0$ mixes nothing. The larger share is the
    sample's own: the law of the minibatch is the same, since $\pi$ and its inverse are equally likely, and training
    metrics that are running means compare with the sample's own target.

    Reference: Zhang et al. 2018, arXiv:1710.09412.
    """

    random = True

    def transform(self, x: Tensor, targets: Tensor, outputs: int, *, alpha: Tensor) -> tuple[Tensor, Tensor]:
        share = symmetric_beta(alpha.double())
        share = torch.maximum(share, 1 - share).to(x.dtype)
        order = torch.rand(x.shape[:2], device=x.device).argsort(1)
        run = torch.arange(len(x), device=x.device)[:, None]
        t = probabilities(targets, outputs, x.dtype)
        return (
            torch.lerp(x[run, order], x, per_run(share, x)),
            torch.lerp(t[run, order], t, per_run(share, t)),
        )


def symmetric_beta(alpha: Tensor) -> Tensor:
    r"""One draw from Beta(alpha, alpha) for each alpha >= 0, (runs, 1); at 0 its limit, 0 or 1 with equal chances.

    $$\frac12 + \frac12\,\text{sign}(c) \left(1 + \frac{1}{(U^{-1/\alpha} - 1)\, c^2}\right)^{-1/2},
    \quad c = \cos 2\pi V, \quad U, V \sim \mathcal U(0, 1)$$

    Reference: Devroye 1996, doi:10.1145/256562.256623, section 3 (from Bailey's polar method for Student's t).
    """
    u, v = torch.rand(len(alpha), 2, dtype=alpha.dtype, device=alpha.device).split(1, 1)
    c = torch.cos(2 * torch.pi * v)
    q = 1 / (torch.expm1(-torch.log1p(-u) / alpha.clamp(min=torch.finfo(alpha.dtype).tiny)) * c.square())
    root = (1 + q).sqrt()
    # (1 - 1 / root) / 2, of which near 0, where small alphas crowd, no digit is lost; q = inf, as at u = 0, gives 1/2
    low = (q / (2 * root * (root + 1))).nan_to_num(0.5)
    return torch.where(c < 0, low, 1 - low)
