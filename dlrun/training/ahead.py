"""What a GPU's steps will need, made on the CPU while it takes those before."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor

EPOCHS = 3  #: that are made at the same time, each by a thread: drawing leaves Python to the others half of the time
LARGE = 2**26  #: bytes of an epoch from which only the next one is made


class Ahead:
    """The minibatches of the epochs to come.

    Args:
        make: an epoch's minibatches on the CPU, by its number from 0.
        device: where they are wanted.
        epochs: how many there are.
    """

    def __init__(self, make: Callable[[int], list[Tensor]], device: torch.device, epochs: int) -> None:
        self.make, self.device, self.epochs = make, device, epochs
        self.made: dict[int, Future[list[Tensor]]] = {}

    def __call__(self, epoch: int) -> list[Tensor]:
        """The minibatches of this epoch; those after it are begun to be made."""
        self.made = {each: made for each, made in self.made.items() if each >= epoch}
        self._begin(epoch)
        batches = self.made[epoch].result()
        small = sum(batch.nbytes for batch in batches) < LARGE
        for each in range(epoch + 1, min(self.epochs, epoch + 1 + (EPOCHS if small else 1))):
            self._begin(each)
        if self.device.type == "cuda":
            # their memory, which is one, is another stream's, and must not be given away too early
            batches[0].record_stream(torch.cuda.current_stream(self.device))
        return batches

    def _begin(self, epoch: int) -> None:
        if epoch not in self.made:
            self.made[epoch] = _threads().submit(self._placed, epoch)

    def _placed(self, epoch: int) -> list[Tensor]:
        batches = self.make(epoch)
        if self.device.type != "cuda":
            return [batch.to(self.device) for batch in batches]
        stream = _stream(self.device)
        with torch.cuda.stream(stream):
            whole = torch.cat([batch.flatten() for batch in batches]).to(self.device)
            parts = whole.split([batch.numel() for batch in batches])
        stream.synchronize()
        return [part.view(batch.shape) for part, batch in zip(parts, batches, strict=True)]


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(EPOCHS, "batches")


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """A stream for copies beside the training's own."""
    return torch.cuda.Stream(device)
