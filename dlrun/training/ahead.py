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
            for batch in (batches[0], batches[-1]):  # whose memory is another stream's: it is not given away too early
                batch.record_stream(torch.cuda.current_stream(self.device))
        return batches

    def _begin(self, epoch: int) -> None:
        if epoch not in self.made:
            self.made[epoch] = _threads().submit(self._placed, epoch)

    def _placed(self, epoch: int) -> list[Tensor]:
        batches = self.make(epoch)
        alike = torch.stack([batch for batch in batches if batch.shape == batches[0].shape])
        parts = [alike, *(batch[None] for batch in batches[len(alike) :])]  # the last one may be smaller
        if self.device.type != "cuda":
            return [batch for part in parts for batch in part.to(self.device)]
        stream = _stream(self.device)
        with torch.cuda.stream(stream):
            parts = [part.to(self.device) for part in parts]
        stream.synchronize()
        return [batch for part in parts for batch in part]


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(EPOCHS, "batches")


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """A stream for copies beside the training's own."""
    return torch.cuda.Stream(device)
