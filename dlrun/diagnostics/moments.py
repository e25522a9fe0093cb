"""Over which samples, channels and places the outputs of normalizations have mean 0 and variance 1."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.architectures.units import normalizing
from dlrun.diagnostics.diagnostic import Part, Statistics
from dlrun.diagnostics.measuring import Measuring, Values
from dlrun.diagnostics.passes import Pass
from dlrun.errors import ConfigError
from dlrun.training.stack import Stack


class Moments(Measuring):
    r"""How far the outputs of each normalization are from mean 0 and variance 1, over the sets of four of them.

    Of outputs y of a layer, (samples n, channels c, places), before scale and shift, with mean and variance over each
    set S

    $$\text{mean} = \max_S |\mu_S|, \quad \text{variance} = \max_S |\sigma_S^2 - 1|, \quad
    \mu_S = \tfrac{1}{|S|} \sum_{k \in S} y_k, \quad \sigma_S^2 = \tfrac{1}{|S|} \sum_{k \in S} (y_k - \mu_S)^2$$

    | quantity | S, one for each |
    |---|---|
    | `batch_mean`, `batch_variance` | channel c: all samples and places |
    | `layer_mean`, `layer_variance` | sample n: all channels and places |
    | `instance_mean`, `instance_variance` | sample n and channel c: all places, where there are several |
    | `group_mean`, `group_variance` | sample n and group of channels: these and all places |

    Groups are told where `groups` divides the channels. What is 0 over small sets is 0 over those that they make up: of
    groups also over the layer, of instances over all.

    Refused for networks without normalization.

    Args:
        every: see `DuringTraining`.
        part, samples: the samples looked at: so many of "train", "val" or "test"; None: all.
        statistics: batch normalization by these samples' own statistics, or by its running averages.
        groups: of channels that follow one another.

    Reference: Wu & He 2018, arXiv:1803.08494 (figure 2); lecture 004 (normalizing activations).
    """

    def __init__(
        self, every: float | str | None, part: Part, samples: int | None, statistics: Statistics, groups: int
    ) -> None:
        super().__init__(every, part, samples, statistics)
        self.channels = groups  #: that the channels are parted into

    def fits(self, stack: Stack) -> None:
        if not normalizing(stack.model):
            raise ConfigError("this network has no normalization to look at: normalization=batch, say, gives it one")

    def measure(self, passed: Pass) -> list[Values]:
        stack, values = passed.stack, list[Values]()
        parameters = stack.layout.views(stack.theta)
        for name in normalizing(stack.model):
            place = name.partition(" ")[0]
            scale, shift = (parameters.get(f"{place}.{own}") for own in ("weight", "bias"))
            for _, output in passed.calls[name]:
                if scale is not None and shift is not None:  # else it is affine=false, and has none
                    axes = (stack.runs, 1, -1, *[1] * (output.ndim - 3))
                    output = (output - shift.view(axes)) / scale.view(axes)
                told = self._told(output.double())
                values.append(Values([(name, quantity) for quantity in told], torch.stack(list(told.values()), 1)))
        return values

    def _told(self, y: Tensor) -> dict[str, Tensor]:
        """Of (runs, samples, channels, *places)."""
        y = y.flatten(3) if y.ndim > 3 else y[..., None]
        sets = {"batch": y.movedim(2, 1).flatten(2), "layer": y.flatten(2)}
        if y.shape[3] > 1:
            sets["instance"] = y
        if y.shape[2] % self.channels == 0 and y[0, 0].numel() > self.channels:
            sets["group"] = y.reshape(*y.shape[:2], self.channels, -1)
        told = {}
        for name, of in sets.items():
            told[f"{name}_mean"] = of.mean(-1).abs().flatten(1).amax(1)
            told[f"{name}_variance"] = (of.var(-1, correction=0) - 1).abs().flatten(1).amax(1)
        return told
