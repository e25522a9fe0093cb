"""The loss along a straight line between two networks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dlrun.diagnostics.diagnostic import Found, OfFinished, Part, Statistics, View, rows_of
from dlrun.diagnostics.points import Points
from dlrun.errors import ConfigError
from dlrun.initializers.checkpoint import load
from dlrun.training.stack import Stack

INITIAL, THIS = "initial network", "this run"
BEYOND = 0.25  #: of the line's length, which is looked at beyond both ends


class Interpolation(OfFinished):
    r"""Loss and main metric at $(1 - \alpha)\, \theta_0 + \alpha\, \theta$, from the initial to the trained network.

    Where `to` names another run, from this trained network ($\alpha = 0$) to that one ($\alpha = 1$). $\alpha$ goes
    from -0.25 to 1.25. Loss and metric are those that metrics.csv reports; with `statistics` running, the running
    averages lie on the line too, and beyond its ends stay as they are there.

    The summary has, of each part, `barrier`: the most by which the loss L rises above the straight line between its
    values at both ends, and `rise`: the most by which it rises on the way at all, 0 where it falls throughout,

    $$\text{barrier} = \max_{0 \le \alpha \le 1} L(\alpha) - (1 - \alpha) L(0) - \alpha L(1), \quad
    \text{rise} = \max_{0 \le \alpha \le \alpha' \le 1} L(\alpha') - L(\alpha)$$

    `begin` and `end` say which network is at $\alpha = 0$ and which at 1.

    Args:
        to: another run's folder, whose best parameters are taken, or a .safetensors file of a network of the same
            shapes; None: from the initial network to this one.
        points: from one end of the line to the other; beyond, it goes on in the same steps.
        samples: how many of train and of val are looked at; None: all.
        statistics: batch normalization by these samples' own statistics, of 1,024 at a time at most, or by its running
            averages.

    Reference: Goodfellow, Vinyals & Saxe 2015, arXiv:1412.6544; Frankle et al. 2020, arXiv:1912.05671 (barrier).
    """

    def __init__(self, to: str | None, points: int, samples: int | None, statistics: Statistics) -> None:
        self.to, self.points, self.samples, self.statistics = to, points, samples, statistics

    def fits(self, stack: Stack) -> None:
        if self.to is not None:
            self._other(stack, self.to)

    def look(self, view: View) -> list[Found]:
        return [self._of_run(view, run) for run in range(view.stack.runs)]

    def _of_run(self, view: View, run: int) -> Found:
        stack = view.stack
        own = {name: stack.network[name][run] for name in ("theta", *sorted(stack.averages))}
        begin, end = (stack.starts[run](), own) if self.to is None else (own, self._other(stack, self.to))
        beyond = int(BEYOND * (self.points - 1))
        alpha = torch.arange(-beyond, self.points + beyond, dtype=torch.float64) / (self.points - 1)
        columns = {"alpha": alpha}
        summary: dict[str, float | str] = (
            {"begin": INITIAL, "end": THIS} if self.to is None else {"begin": THIS, "end": str(self.to)}
        )
        parts: list[Part] = ["train", "val"]
        for place, part in enumerate(parts):
            done = (2 * run + place) * len(alpha)
            values = Points(stack, run, part, self.samples, self.statistics)(
                lambda places: _between(begin, end, alpha[places]),
                len(alpha),
                lambda n: view.progress("points of the line", done + n, 2 * stack.runs * len(alpha)),  # noqa: B023
            )
            columns |= {f"{part}_{name}": value for name, value in values.items() if name != "objective"}
            inside = slice(beyond, beyond + self.points)
            summary |= {
                f"{what}_{part}": value for what, value in _shape(alpha[inside], values["loss"][inside]).items()
            }
        return Found(rows=rows_of(columns), summary=summary)

    def _other(self, stack: Stack, to: str) -> dict[str, Tensor]:
        """The network in a file: theta, (params,), and running averages. ConfigError where its shapes are others."""
        saved = load(to, "to")
        if wrong := stack.unlike(saved):
            raise ConfigError(
                f"to={to} is no network of these shapes, which differ in {', '.join(wrong)}: give a run of the same "
                "architecture and data"
            )
        theta = torch.cat([saved[slot.name].flatten() for slot in stack.layout.slots])
        return {"theta": theta, **{name: saved[name] for name in sorted(stack.averages)}}


def _between(begin: Mapping[str, Tensor], end: Mapping[str, Tensor], alpha: Tensor) -> dict[str, Tensor]:
    """The networks at these places of the line, (places, ...)."""
    found = {}
    for name, last in end.items():
        share = (alpha if name == "theta" else alpha.clamp(0, 1)).to(last)  # a variance is not below 0
        share = share.view(-1, *[1] * last.ndim)
        found[name] = (1 - share) * begin[name].to(last) + share * last
    return found


def _shape(alpha: Tensor, loss: Tensor) -> dict[str, float]:
    straight = (1 - alpha) * loss[0] + alpha * loss[-1]
    return {
        "barrier": (loss - straight).max().item(),
        "rise": (loss - loss.cummin(0).values).max().item(),
    }
