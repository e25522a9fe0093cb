"""Over which samples, channels and places the outputs of normalizations have mean 0 and variance 1."""

from __future__ import annotations

from torch import Tensor, nn

from dlrun.diagnostics.diagnostic import DuringTraining, Found, Part, Statistics, View, long_form
from dlrun.diagnostics.layers import OUTPUT, kept_on_the_way
from dlrun.diagnostics.probe import Probe, set_mode
from dlrun.diagnostics.recorded import Recorded, Values
from dlrun.errors import ConfigError
from dlrun.training.stack import Stack

KINDS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)  #: of which normalizations.py makes all of them


class Moments(DuringTraining):
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
        super().__init__(every)
        self.statistics, self.groups = statistics, groups
        self.recorded = Recorded(self._measure, part, samples)

    def fits(self, stack: Stack) -> None:
        if not normalizing(stack.model):
            raise ConfigError("this network has no normalization to look at: normalization=batch, say, gives it one")

    def look(self, view: View) -> list[Found]:
        return long_form(view, self.recorded(view.stack))

    def _measure(self, stack: Stack, probe: Probe) -> Values:
        set_mode(stack.model, self.statistics)
        kept = kept_on_the_way(stack, probe, _before_scale_and_shift, normalizing(stack.model))
        values: Values = {}
        for name, calls in kept.items():
            for (output,) in calls if name != OUTPUT else ():
                values |= {(name, quantity): value for quantity, value in self._told(output.double()).items()}
        return values

    def _told(self, y: Tensor) -> dict[str, Tensor]:
        """Of (runs, samples, channels, *places)."""
        y = y.flatten(3) if y.ndim > 3 else y[..., None]
        sets = {"batch": y.movedim(2, 1).flatten(2), "layer": y.flatten(2)}
        if y.shape[3] > 1:
            sets["instance"] = y
        if y.shape[2] % self.groups == 0 and y[0, 0].numel() > self.groups:
            sets["group"] = y.reshape(*y.shape[:2], self.groups, -1)
        told = {}
        for name, of in sets.items():
            told[f"{name}_mean"] = of.mean(-1).abs().flatten(1).amax(1)
            told[f"{name}_variance"] = (of.var(-1, correction=0) - 1).abs().flatten(1).amax(1)
        return told


def _before_scale_and_shift(name: str, module: nn.Module, given: Tensor, output: Tensor) -> tuple[Tensor, ...]:
    if not isinstance(module, KINDS) or module.weight is None:  # the network's own output, or affine=false
        return (output,)
    scale, shift = (each.view(-1, *[1] * (output.ndim - 2)) for each in (module.weight, module.bias))
    return ((output - shift) / scale,)


def normalizing(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that normalize, in the order of the network, by what a table calls them: `2 BatchNorm1d`."""
    return {
        f"{name} {type(module).__name__}": module for name, module in model.named_modules() if isinstance(module, KINDS)
    }
