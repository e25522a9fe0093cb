"""What is measured at every evaluation, and the best and the last state of it that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dlrun.datasets.inputs import Inputs
from dlrun.matrix.theta import applied
from dlrun.matrix.trace import Program, Recording
from dlrun.optimizers.rule import State
from dlrun.training.stack import Stack

Row = dict[str, float]

CHUNK = 2**19  #: numbers of the inputs that an evaluation takes at a time, for all rows: what a core keeps at hand
CHUNK_ON_GPU = 2**24  #: likewise, what keeps a GPU at work
TOGETHER = 2**14  #: samples of a row's training steps that are measured at a time
LANES = 32  #: a chunk is a multiple of this, so that each sample has the same place in a vector of any row's


def chunk_size(rows: int, inputs: Inputs) -> int:
    """How many of the inputs (samples, ...) so many rows of networks take at a time."""
    chunk = CHUNK if inputs.device.type == "cpu" else CHUNK_ON_GPU
    return max(1, chunk // (rows * inputs.shape[1:].numel() * LANES)) * LANES


class Evaluation:
    """Measures losses and metrics of a stack on a part of its data, in evaluation mode, in chunks.

    Args:
        members: parameters and buffers to measure in place of the stack's own, (runs, members, ...); the mean
            prediction of a run's members counts.
        weight: (runs, members), the members' weights in that mean; None where each run has one member.
    """

    def __init__(self, stack: Stack, members: State | None = None, weight: Tensor | None = None) -> None:
        own = {**stack.buffers, "theta": stack.theta}
        count = 1 if members is None else members["theta"].shape[1]
        # views of memory that goes on changing
        rows = {name: tensor[:, None].expand(-1, count, *tensor.shape[1:]) for name, tensor in own.items()}
        rows = {name: tensor.flatten(0, 1) for name, tensor in {**rows, **(members or {})}.items()}
        self.stack, self.members, self.weight = stack, count, weight
        self.theta, self.buffers = rows.pop("theta"), rows
        self.programs: dict[tuple[Any, ...], Program] = {}

    @torch.no_grad()
    def __call__(self, part: str) -> dict[str, Tensor]:
        """{"loss": (runs,), metric: (runs,), ...} in double precision, on the CPU."""
        inputs = self.stack.dataset.inputs
        total = torch.zeros(self.stack.runs, self.stack.measures.statistics, dtype=torch.float64, device=inputs.device)
        size = chunk_size(len(self.theta), inputs)
        samples = 0
        for x, y in self.stack.chunks(part, size):
            samples += y.shape[int(self.stack.separate)]
            if x.shape not in self.programs:
                self.programs[x.shape] = self.stack.captured(Recording(self._sums, [x, y]).program(), [x, y])
            total = total + self.programs[x.shape](x, y)[0]
        return self.stack.measures.values(self.stack.team.mean(total.cpu(), samples))

    @torch.no_grad()
    def of_steps(self, taken: Sequence[Sequence[Tensor]]) -> dict[str, Tensor]:
        """The same of what training steps returned: losses, outputs and targets of each, (runs, samples, ...).

        So many steps are taken together as have `TOGETHER` samples, whatever the number of rows: an epoch of all rows
        at once, in double precision, takes more memory than its training.
        """
        total, samples = None, 0
        each = max(1, TOGETHER // taken[0][0].shape[1])
        for first in range(0, len(taken), each):
            given = [torch.cat(parts, 1) for parts in zip(*taken[first : first + each], strict=True)]
            samples += given[0].shape[1]
            shapes = tuple(part.shape for part in given)
            if shapes not in self.programs:
                self.programs[shapes] = Recording(lambda *args: (self.stack.measures.sums(*args),), given).program()
            sums = self.programs[shapes](*given)[0]
            total = sums if total is None else total + sums
        assert total is not None
        return self.stack.measures.values(self.stack.team.mean(total.cpu(), samples))

    def _sums(self, x: Tensor, y: Tensor) -> tuple[Tensor]:
        def outputs_of_row(parameters: Any, buffers: Any, x: Tensor) -> Tensor:
            return applied(self.stack.model, {**parameters, **buffers}, x)

        self.stack.model.eval()
        own = 0 if self.stack.separate else None
        x = x.repeat_interleave(self.members, 0) if self.stack.separate else x
        parameters = self.stack.layout.views(self.theta)
        over_networks = self.stack.over_networks(len(self.theta))
        outputs = over_networks(outputs_of_row, (0, 0, own))(parameters, self.buffers, x)
        if self.weight is not None:
            outputs = self.stack.measures.loss.combine(outputs.unflatten(0, (self.stack.runs, -1)), self.weight)
        y = y if self.stack.separate else y.expand(self.stack.runs, *y.shape)
        return (self.stack.measures.sums(self.stack.measures.reported(outputs, y), outputs, y),)


class Snapshot:
    """A network, or whatever else is measured, of each run as it was at one of its evaluations, and that one's row.

    network: its tensors by name, one row per run. They go on changing, and the snapshot does not.
    """

    def __init__(self, network: State) -> None:
        self.network = network
        self.kept = {name: tensor.clone() for name, tensor in network.items()}
        self.rows: list[Row] = [{} for _ in network["theta"]]

    def take(self, rows: Mapping[int, Row]) -> None:
        """Replace the entries of these runs, whose evaluations are given, by the present ones."""
        runs = list(rows)
        for name, tensor in self.kept.items():
            if len(runs) == len(tensor):
                tensor.copy_(self.network[name])
            elif runs:
                tensor[runs] = self.network[name][runs]
        for run, row in rows.items():
            self.rows[run] = row

    def restore(self) -> None:
        """Make all entries the present state."""
        for name, tensor in self.kept.items():
            self.network[name].copy_(tensor)


class Measured:
    """A network that is measured at every evaluation: its best and its last state, by its own validation loss.

    Args:
        label: how its columns begin after `val_`; empty for the network that is trained.
    """

    def __init__(self, label: str, network: State, evaluation: Evaluation) -> None:
        self.label = label
        self.evaluation = evaluation
        self.best = Snapshot(network)
        self.last = Snapshot(network)
        self.best_test: dict[str, Tensor] = {}  #: loss and metrics on the test part with the best parameters, (runs,)
        self.last_test: dict[str, Tensor] = {}

    def take(self, rows: Mapping[int, Row]) -> None:
        """Keep the present state of these runs, whose evaluations are given."""
        loss, best = f"val_{self.label}loss", self.best.rows
        self.last.take(rows)
        self.best.take({run: row for run, row in rows.items() if not best[run] or row[loss] < best[run][loss]})

    def test(self) -> None:
        """Measure both states on the test part; leaves the last one."""
        self.best.restore()
        self.best_test = self.evaluation("test")
        self.last.restore()
        self.last_test = self.evaluation("test")
