"""The processes that torchrun started, as a team: sums, means and messages between them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dlrun.folder.checkpoint import Record
from dlrun.terminal.signals import Deferred
from dlrun.training.team import OTHERS, Alone, Tensors, is_private

LOOK = 1.0  #: seconds, roughly, after which the processes ask each other whether a signal came or a checkpoint is due
PATIENCE = timedelta(days=1)  #: for downloads and long initializers; torchrun ends the others when one process dies


class Team(Alone):
    """The processes that torchrun started; what needs all of them waits until all have come to it."""

    def __init__(self) -> None:
        # Inductor asks this module what the collectives' results look like.
        import torch.distributed._functional_collectives

        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        store, rank, size = next(dist.rendezvous("env://", timeout=PATIENCE))
        # After a restart, torchrun's store still holds the addresses of the processes that are gone.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(f"dlrun.{attempt}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.group: str = dist.group.WORLD.group_name  # type: ignore[union-attr]
        self.wanted = False  #: a checkpoint, since they last asked each other
        self.last: tuple[int, float] | None = None  #: when that was: the step, and the time
        self.next = 0  #: the step after which they ask again

    def total(self, g: Tensor, *losses: Tensor) -> tuple[Tensor, ...]:
        """See `Alone`."""
        params = g.shape[1]
        sums = self.sum(torch.cat([g, *(loss[:, None] for loss in losses)], 1))
        # cloned, to be kept until the next evaluation without the gradient
        return sums[:, :params], *(loss.clone() for loss in sums[:, params:].unbind(1))

    def sum(self, own: Tensor) -> Tensor:
        """The sum over all processes, by operations that can be recorded, replayed and compiled."""
        sums = torch.ops._c10d_functional.all_reduce(own, "sum", self.group)
        return torch.ops._c10d_functional.wait_tensor(sums)

    def mean(self, sums: Tensor, samples: int) -> Tensor:
        """See `Alone`."""
        own = torch.cat([sums, torch.full_like(sums[:, :1], samples)], 1)
        dist.all_reduce(own)
        return own[:, :-1] / own[:, -1:]

    def due(self, step: int, due: Callable[[int], bool], signals: Deferred) -> bool:
        """See `Alone`; they ask each other about every second, since asking takes as long as a small network's step."""
        self.wanted = due(step) or self.wanted
        if step < self.next:
            return False
        now = time.monotonic()
        done, seconds = (step - self.last[0], now - self.last[1]) if self.last else (1, LOOK)
        came, wanted, seconds = self._greatest(signals.came, self.wanted, seconds)
        self.wanted, self.last, self.next = False, (step, now), step + max(1, int(done * LOOK / seconds))
        self._told(signals, int(came))
        return bool(wanted or came)

    def came(self, signals: Deferred) -> bool:
        """See `Alone`."""
        [came] = self._greatest(signals.came)
        self._told(signals, int(came))
        return came != 0

    def agreed(self, said: bool) -> bool:
        """See `Alone`."""
        return bool(self._greatest(said)[0])

    def _greatest(self, *numbers: float) -> list[float]:
        numbers_here = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(numbers_here, dist.ReduceOp.MAX)
        return numbers_here.tolist()

    def _told(self, signals: Deferred, came: int) -> None:
        if came:
            signals.came = came
            signals.interrupted = signals.interrupted or came == signal.SIGINT

    def gathered(self, tensors: Tensors, record: Record) -> tuple[Tensors, Record]:
        """See `Alone`."""
        private = {name: tensor.cpu() for name, tensor in tensors.items() if is_private(name)}
        all_of_them: list[Any] | None = [None] * self.size if self.rank == 0 else None
        dist.gather_object((private, record["taken"]), all_of_them)
        for rank, (theirs, _) in enumerate(all_of_them or []):
            if rank:
                tensors = {**tensors, **{f"{OTHERS}{rank}/{name}": tensor for name, tensor in theirs.items()}}
        return tensors, {**record, "shares": [taken for _, taken in all_of_them or []]}

    def tell(self, told: Any = None) -> Any:
        """What process 0 tells the others."""
        box = [told]
        dist.broadcast_object_list(box, device=torch.device("cpu"))
        return box[0]
