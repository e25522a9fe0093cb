"""How much minibatches' gradients differ: the noise scale, and the signal in each layer's gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.diagnostics.diagnostic import DuringTraining, Found, Part, Statistics, View, long_form
from dlrun.diagnostics.probe import Probe, set_mode
from dlrun.diagnostics.recorded import Recorded, Values
from dlrun.diagnostics.spread import flattened
from dlrun.errors import ConfigError
from dlrun.training.objective import outputs_of
from dlrun.training.stack import Stack


class GradientNoise(DuringTraining):
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
        super().__init__(every)
        self.part, self.samples, self.groups, self.statistics = part, samples, groups, statistics
        self.recorded = Recorded(self._measure, part, samples)

    def fits(self, stack: Stack) -> None:
        size = stack.dataset.sizes[self.part]
        count = size if self.samples is None else min(self.samples, size)
        own = bool(stack.averages) and self.statistics == "batch"
        if count // self.groups < 1 + own:
            raise ConfigError(
                f"groups={self.groups} of {count} samples leave {count // self.groups} for each, and {1 + own} or more "
                "are wanted: give fewer groups, or more samples"
            )

    @torch.no_grad()
    def look(self, view: View) -> list[Found]:
        values = self.recorded(view.stack)
        names = list(dict.fromkeys(layer for layer, _ in values))
        pairs = {name: (values[name, "noise"], values[name, "signal"]) for name in names}
        pairs["all"] = tuple(torch.stack(each).sum(0) for each in zip(*pairs.values(), strict=True))  # type: ignore[assignment]
        told: Values = {}
        for name, (noise, signal) in pairs.items():
            scale = torch.where(signal > 0, noise / signal, torch.nan)
            snr = torch.where(noise > 0, signal / noise, torch.nan)
            told |= {(name, "noise"): noise, (name, "signal"): signal}
            told |= {(name, "noise_scale"): scale, (name, "snr"): snr}
        return long_form(view, told)

    @torch.enable_grad()
    def _measure(self, stack: Stack, probe: Probe) -> Values:
        set_mode(stack.model, self.statistics)
        size = probe.samples // self.groups

        def grouped(samples: Tensor) -> Tensor:
            """(runs * groups, size, ...)."""
            samples = samples.expand(stack.runs, *samples.shape) if probe.shared else samples
            return samples[:, : size * self.groups].unflatten(1, (self.groups, size)).flatten(0, 1)

        # a row of its own for every group, so that its gradient is its own, whatever the network
        parameters = {
            name: self._rows(view).detach().requires_grad_() for name, view in stack.layout.views(stack.theta).items()
        }
        buffers = {name: self._rows(buffer) for name, buffer in stack.buffers.items()}
        outputs = outputs_of(stack, parameters, buffers, grouped(probe.x))
        loss = stack.measures.loss(outputs, grouped(probe.y)).mean(1)
        gradients = torch.autograd.grad(loss.sum(), list(parameters.values()))
        values: Values = {}
        for name, gradient in zip(parameters, gradients, strict=True):
            flat = flattened(gradient).unflatten(0, (stack.runs, self.groups))
            # the sum of squares less that of the mean, in one pass over the gradients
            squares = torch.linalg.vector_norm(flat, dim=2).double().square().sum(1)
            of_mean = torch.linalg.vector_norm(flat.mean(1), dim=1).double().square()
            noise = (squares - self.groups * of_mean).clamp(min=0) * size / (self.groups - 1)
            values[name, "noise"] = noise
            values[name, "signal"] = of_mean - noise / (size * self.groups)
        return values

    def _rows(self, values: Tensor) -> Tensor:
        """(runs * groups, ...) of (runs, ...), of a single run without a copy."""
        return values[:, None].expand(-1, self.groups, *values.shape[1:]).flatten(0, 1)
