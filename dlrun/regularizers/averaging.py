"""Regularizers that keep other parameters beside the trained ones: averages along the way, or an ensemble."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dlrun.optimizers.rule import State
from dlrun.regularizers.regularizer import Regularizer
from dlrun.schedules.schedule import Clock


class Averaging(Regularizer):
    """Its memory holds parameters and running averages, (runs, members, ...), that are measured beside the network.

    The training itself is not changed. Where there are several members, the mean of their predictions counts.
    """

    fewest = 0  #: how often `collect` has to be due in a training
    advice = ""  #: what to change where it is not

    def init(self, network: State) -> State:
        return {name: tensor[:, None].clone() for name, tensor in network.items()}

    def moments(self, t: Tensor, lr: Tensor, clock: Clock, *_: Any, **rows: Any) -> Tensor:
        """After which of the steps t, (steps, 1), `collect` is due, (steps, runs).

        lr: (steps + 2, runs), the rates of these steps, of the step before them and of the one after them; NaN where
        the training has none.
        """
        return torch.zeros(len(t), lr.shape[1], dtype=torch.bool)

    def collect(self, memory: State, network: State, due: Tensor) -> None:
        """Take the network as it is into the memory, in the rows that are due, (runs,)."""

    def settle(self, memory: State, network: State, measured_averages: Callable[[Tensor], State]) -> None:
        """Make the memory ready to be measured.

        measured_averages: the running averages that parameters (runs, params) have on the training set.
        """

    def weight(self, memory: State) -> Tensor | None:
        """(runs, members), each member's weight in the mean prediction; None where there is one."""
        return None


class EMA(Averaging):
    r"""Exponential moving average of the parameters, measured beside them.

    $$\bar\theta \leftarrow \beta_t \bar\theta + (1 - \beta_t)\,\theta, \quad
    \beta_t = \min\bigl(\text{decay}, \tfrac{1 + t}{10 + t}\bigr)$$

    after step t = 1, 2, ..., so that the start is forgotten quickly. Batch normalization's averages are averaged
    likewise.

    Reference: Polyak & Juditsky 1992, doi:10.1137/0330046; Tarvainen & Valpola 2017, arXiv:1703.01780.
    """

    def init(self, network: State) -> State:
        return {**super().init(network), "t": torch.zeros_like(network["theta"][:, :1])}

    def follow(self, memory: State, network: State, *, decay: Tensor) -> None:
        t = memory["t"].add_(1)
        rest = 1 - torch.minimum(decay, (1 + t) / (10 + t))
        for name, tensor in network.items():
            memory[name].lerp_(tensor[:, None], rest.view(-1, *[1] * tensor.ndim))


class SWA(Averaging):
    r"""Stochastic weight averaging: the mean of the parameters at the ends of epochs late in the training.

    $$\bar\theta \leftarrow \bar\theta + (\theta - \bar\theta) / n$$

    at the share `start` of the training, and every `every` epochs from there on. Before, it is the network itself.
    Batch normalization's averages are measured anew for the mean, by a pass over the training set.

    Reference: Izmailov et al. 2018, arXiv:1803.05407.
    """

    def init(self, network: State) -> State:
        return {**super().init(network), "n": torch.zeros_like(network["theta"][:, :1])}

    def moments(self, t: Tensor, lr: Tensor, clock: Clock, *, start: Tensor, every: Tensor) -> Tensor:
        passed, due = t + 1 - (start.T * clock.total).round(), (every.T * clock.per_epoch).round().clamp(min=1)
        return (passed >= 0) & (passed % due == 0)

    def collect(self, memory: State, network: State, due: Tensor) -> None:
        n = memory["n"].add_(due[:, None])
        share = due[:, None, None] / n[:, :, None].clamp(min=1)
        memory["theta"].lerp_(network["theta"][:, None], share)

    def settle(self, memory: State, network: State, measured_averages: Callable[[Tensor], State]) -> None:
        begun = memory["n"][:, 0] > 0
        _put(memory, network, ~begun, 0)
        for name, average in measured_averages(memory["theta"][:, 0]).items():
            memory[name][begun, 0] = average[begun]


class SnapshotEnsemble(Averaging):
    r"""The mean prediction of the network's own snapshots, one wherever the learning rate is at a low.

    That is before it rises again, as at the end of each of cosine_restarts' periods, and at the end of the training.
    Until the first of them it is the network itself. Their files are numbered by these cycles: of the latest 5 of 7,
    snapshot_ensemble_3.safetensors is the oldest.

    Args:
        snapshots: how many of the latest are kept.

    Reference: Huang et al. 2017, arXiv:1704.00109.
    """

    fewest, advice = (
        2,
        "take a rate that falls and rises again: schedule=cosine_restarts, with a shorter schedule.period",
    )

    def __init__(self, snapshots: int) -> None:
        self.snapshots = snapshots

    def init(self, network: State) -> State:
        members = {name: tensor.repeat_interleave(self.snapshots, 1) for name, tensor in super().init(network).items()}
        weight = members["theta"][:, :, 0] * 0
        return {**members, "weight": weight, "cycle": weight.long()}  # each member's, from 1; 0 for none

    def moments(self, t: Tensor, lr: Tensor, clock: Clock, *_: Any, **rows: Any) -> Tensor:
        low = (lr[1:-1] < lr[:-2]) & (lr[1:-1] < lr[2:])
        return low | (t == clock.total - 1)

    def collect(self, memory: State, network: State, due: Tensor) -> None:
        done = memory["cycle"].amax(1)
        oldest, rows = done % self.snapshots, due.nonzero()[:, 0]
        _put(memory, network, due, oldest)
        memory["cycle"][rows, oldest[rows]] = done[rows] + 1
        self._weigh(memory)

    def settle(self, memory: State, network: State, measured_averages: Callable[[Tensor], State]) -> None:
        _put(memory, network, memory["cycle"].amax(1) == 0, 0)
        self._weigh(memory)

    def _weigh(self, memory: State) -> None:
        memory["weight"].copy_(memory["cycle"] > 0)
        memory["weight"][:, 0] = 1  # the first, or the network itself while there is none

    def weight(self, memory: State) -> Tensor:
        return memory["weight"]


def _put(memory: State, network: State, due: Tensor, member: Tensor | int) -> None:
    """Copy the network's rows that are due to this member of each."""
    rows = due.nonzero()[:, 0]
    for name, tensor in network.items():
        memory[name][rows, member if isinstance(member, int) else member[rows]] = tensor[rows]
