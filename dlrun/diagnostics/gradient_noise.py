"""How much minibatches' gradients differ: the noise scale, and the signal in each layer's gradient."""

from __future__ import annotations

import torch

from dlrun.diagnostics.blocks import ALL
from dlrun.diagnostics.diagnostic import Part, Statistics
from dlrun.diagnostics.measuring import Measuring, Values
from dlrun.diagnostics.passes import Pass
from dlrun.diagnostics.spread import flattened
from dlrun.errors import ConfigError
from dlrun.training.stack import Stack


class GradientNoise(Measuring):
    r"""From gradients $g_1, \dots, g_k$ of k groups of b samples each, and their mean $\bar g$, without bias: the trace
    of the covariance of one sample's gradient, $\text{tr}\,\Sigma$ (`noise`), and the squared length of the true
    gradient, $\|G\|^2$ (`signal`).

    $$\text{tr}\,\Sigma = \frac{b}{k-1} \sum_i \|g_i - \bar g\|^2, \quad
    \|G\|^2 = \|\bar g\|^2 - \frac{\text{tr}\,\Sigma}{b k}$$

    `noise_scale` is $B = \text{tr}\,\Sigma / \|G\|^2$, the simple noise scale: the batch size from which larger ones
    pay less than they cost; `snr` is $\|G\|^2 / \text{tr}\,\Sigma$. Per parameter, and together in the layer `all`.
    Where the estimate of $\|G\|^2$ is not above 0, there is no noise scale to be told from so few samples (`nan`).

    Of the loss alone, without penalties, dropout and what changes minibatches.

    Args:
        every: see `DuringTraining`.
        part, samples: the samples looked at: so many of "train", "val" or "test"; None: all.
        groups: k; samples that would leave the groups unequal are left out. As many as samples: of single samples.
        statistics: batch normalization by each group's own statistics, or by its running averages.

    Raises ConfigError for fewer than two groups of one sample, or of two with a group's own statistics.

    Reference: McCandlish et al. 2018, arXiv:1812.06162 (section 2.2, appendix A.1); lecture 004.
    """

    def __init__(
        self, every: float | str | None, part: Part, samples: int | None, groups: int, statistics: Statistics
    ) -> None:
        super().__init__(every, part, samples, statistics)
        self.groups = groups

    def fits(self, stack: Stack) -> None:
        size = stack.dataset.sizes[self.part]
        count = size if self.samples is None else min(self.samples, size)
        own = bool(stack.averages) and self.statistics == "batch"
        if count // self.groups < 1 + own:
            raise ConfigError(
                f"groups={self.groups} of {count} samples leave {count // self.groups} for each, and {1 + own} or more "
                "are wanted: give fewer groups, or more samples"
            )

    def measure(self, passed: Pass) -> list[Values]:
        # the sum of squares less that of the mean, in one pass over the gradients; (parameters, runs)
        lengths = [torch.linalg.vector_norm(flattened(each.flatten(0, 1)), dim=1) for each in passed.by_group.values()]
        squares = torch.stack(lengths).double().square().unflatten(1, (self.groups, -1)).sum(1)
        of_means = [torch.linalg.vector_norm(flattened(each), dim=1) for each in passed.of_parameters.values()]
        of_mean = torch.stack(of_means).double().square()
        noise = (squares - self.groups * of_mean).clamp(min=0) * passed.size / (self.groups - 1)
        signal = of_mean - noise / (passed.size * self.groups)
        noise, signal = (torch.cat([each, each.sum(0, keepdim=True)]) for each in (noise, signal))
        scale = torch.where(signal > 0, noise / signal, torch.nan)
        snr = torch.where(noise > 0, signal / noise, torch.nan)
        names = [*passed.by_group, ALL]
        told = [(name, quantity) for name in names for quantity in ("noise", "signal", "noise_scale", "snr")]
        return [Values(told, torch.stack([noise, signal, scale, snr], 1).flatten(0, 1).T)]
