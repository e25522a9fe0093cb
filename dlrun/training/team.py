"""The processes that train a run together, of which there is one mostly."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dlrun.folder.checkpoint import Checkpoint, Record
from dlrun.terminal.signals import Deferred

Tensors = dict[str, Tensor]
OTHERS = "process."  #: how the names of a checkpoint's tensors begin that are another process's than number 0's


class Alone:
    """A training in one process: all samples are its own, and nobody else has to be asked."""

    rank, size = 0, 1

    @property
    def noise(self) -> tuple[int, ...]:
        """What makes this process's stream of noise its own."""
        return (self.rank,) if self.rank else ()

    def share(self, samples: int) -> slice:
        """Which of so many samples this process takes; shares differ by one sample at most."""
        each, more = divmod(samples, self.size)
        begin = self.rank * each + min(self.rank, more)
        return slice(begin, begin + each + (self.rank < more))

    def of_batch(self, batch: Tensor) -> Tensor:
        """This process's share of a minibatch's row numbers, (runs, batch)."""
        return batch if self.size == 1 else batch[:, self.share(batch.shape[1])]

    def total(self, g: Tensor, *losses: Tensor) -> tuple[Tensor, ...]:
        """Gradient (runs, params) and losses (runs,) of all processes' shares."""
        return g, *losses

    def mean(self, sums: Tensor, samples: int) -> Tensor:
        """The mean over all processes' samples, from this one's number of samples and sums over them, on the CPU."""
        return sums / samples

    def due(self, step: int, due: Callable[[int], bool], signals: Deferred) -> bool:
        """Whether all processes keep a checkpoint after this step, because one is due or a signal came."""
        return due(step) or self.came(signals)

    def came(self, signals: Deferred) -> bool:
        """Whether a signal came to any process; it then came to all."""
        return signals.came != 0

    def agreed(self, said: bool) -> bool:
        """Whether any process said so: clocks differ, and all are to do the same."""
        return said

    def gathered(self, tensors: Tensors, record: Record) -> tuple[Tensors, Record]:
        """What process 0 keeps: its own state, and what of the others' differs from it."""
        return tensors, record

    def own(self, begun: Checkpoint) -> tuple[Tensors, Record]:
        """The state that this process goes on with, of a checkpoint by as many processes or by others.

        If there were others, process 0 takes all that they measured.
        """
        sizes: list[list[int]] = begun.record.get("shares", [begun.record["taken"]])
        common = {name: tensor for name, tensor in begun.tensors.items() if not name.startswith(OTHERS)}
        parts = [{name: tensor for name, tensor in common.items() if is_private(name)}]
        for rank in range(1, len(sizes)):
            start = f"{OTHERS}{rank}/"
            parts.append({k.removeprefix(start): t for k, t in begun.tensors.items() if k.startswith(start)})
        if self.rank < len(parts):
            own, taken = dict(parts[self.rank]), sizes[self.rank]
        else:
            own, taken = {name: t for name, t in parts[0].items() if name.startswith("taken/")}, sizes[0]
        if len(parts) != self.size:
            for name in [name for name in own if name.startswith("taken/")]:
                all_of_them = torch.cat([part[name] for part in parts], 1)
                own[name] = all_of_them if self.rank == 0 else all_of_them[:, :0]
            taken = [sum(each) if self.rank == 0 else 0 for each in zip(*sizes, strict=True)]
        shared = {name: tensor for name, tensor in common.items() if not is_private(name)}
        return {**shared, **own}, {**begun.record, "taken": taken}


def is_private(name: str) -> bool:
    """Whether a tensor of a training's state differs from process to process: the outputs of its share are its own."""
    return name.removeprefix("taken/").isdecimal()
