"""A recorded program as one call: on a GPU its operations are captured as a CUDA graph, and replayed together.

Of a small network's step a GPU needs a few microseconds for each operation, and Python some ten to ask for it: asked
for once, as a graph on memory that stays where it is, they follow each other without waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from dlrun.matrix.trace import Program

ROWS = 1000  #: of a block of arguments
BYTES = 2**26  #: of such a block; what is larger takes longer to compute with than to be asked for


class Graph(Protocol):
    """What a device can replay by itself."""

    def capture(self, call: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What the call returns: tensors that `replay` writes anew. None of its operations has run yet.

        Raises RuntimeError where one of them cannot be captured.
        """

    def replay(self) -> None:
        """Run the captured operations, on the same memory."""


class CudaGraph:
    """A graph of a CUDA device, whose memory it shares with the other graphs of this process: none runs beside another.

    Args:
        device: on which the operations run.
    """

    _first: ClassVar[dict[torch.device, torch.cuda.CUDAGraph]] = {}  #: by its life the memory stays theirs

    def __init__(self, device: torch.device) -> None:
        self.device, self.graph = device, torch.cuda.CUDAGraph()
        if device not in self._first:
            self._first[device] = torch.cuda.CUDAGraph()
            with self._capturing(self._first[device], None):
                torch.zeros(1, device=device)

    def capture(self, call: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """See `Graph`."""
        with self._capturing(self.graph, self._first[self.device].pool()):
            return call()

    @contextmanager
    def _capturing(self, graph: torch.cuda.CUDAGraph, pool: Any) -> Iterator[None]:
        # what other threads ask of the device meanwhile, minibatches to come, is no part of it
        with torch.cuda.device(self.device), torch.cuda.graph(graph, pool, capture_error_mode="thread_local"):
            yield

    def replay(self) -> None:
        """See `Graph`."""
        self.graph.replay()


def graph_of(device: torch.device) -> Graph | None:
    """A new graph of this device, or None where it has none."""
    return CudaGraph(device) if device.type == "cuda" else None


def captured(program: Program, moving: Sequence[Tensor], refused: Callable[[str], None]) -> Program:
    """The program as a graph, where the device of its moving tensors has such; else the program as it is.

    It must have run before, so that nothing is loaded or set up any more. With an operation that cannot be captured,
    one that waits for the device, say, the program stays as it is.

    Args:
        program: on memory that outlives it and moving tensors, of which every call has the same shapes.
        moving: example arguments.
        refused: told why it could not be captured.
    """
    graph = graph_of(moving[0].device)
    if graph is None:
        return program
    at, further = torch.zeros(2, len(moving), 1, dtype=torch.int64, device=moving[0].device)
    arguments = [_Argument(*each) for each in zip(moving, at, further, strict=True)]

    def call() -> tuple[Tensor, ...]:
        outputs = program(*[argument.read() for argument in arguments])
        at.add_(further)
        return outputs

    try:
        outputs = graph.capture(call)
    except RuntimeError as problem:
        refused(" ".join(str(problem).split()))
        return program
    return _Replay(graph, arguments, outputs)


class _Replay:
    """Calls a graph as the program that was captured in it."""

    def __init__(self, graph: Graph, arguments: Sequence[_Argument], outputs: Sequence[Tensor]) -> None:
        self.graph, self.arguments, self.outputs = graph, arguments, outputs

    def __call__(self, *moving: Tensor) -> tuple[Tensor, ...]:
        for argument, given in zip(self.arguments, moving, strict=True):
            argument.give(given)
        self.graph.replay()
        return tuple(output.clone() for output in self.outputs)  # the next replay writes over them


class _Argument:
    """Where a graph finds one of its arguments: in a row of a block, the next one at every replay.

    What steps get are rows of larger tensors, one after the other: these are copied as a whole, once, and the graph
    itself counts the rows. Anything else is copied before every replay. The larger tensors must not change.

    Args:
        example: the argument, in shape and kind.
        at, further: (1,), where the graph counts: the row that it reads, and by how many it goes on then.
    """

    def __init__(self, example: Tensor, at: Tensor, further: Tensor) -> None:
        rows = max(1, min(ROWS, BYTES // max(1, example.nbytes)))
        self.block = example.new_empty(rows, *example.shape)
        self.block[0].copy_(example)
        self.at, self.further = at, further
        self.source: Tensor | None = None  #: what the block holds
        self.row = 0  #: of it, that the next replay reads

    def read(self) -> Tensor:
        """The row that is next, new memory."""
        return self.block.index_select(0, self.at)[0]

    def give(self, argument: Tensor) -> None:
        """Have the next replay read this."""
        source, row = _row(argument)
        if source is None or len(source) > len(self.block):
            if self.source is not None or self.row:
                self.at.zero_()
                self.further.zero_()
                self.source, self.row = None, 0
            self.block[0].copy_(argument, non_blocking=True)
            return
        if source is not self.source:
            self.block[: len(source)].copy_(source, non_blocking=True)
            self.further.fill_(1)
        if source is not self.source or row != self.row:
            self.at.fill_(row)
        self.source, self.row = source, row + 1


def _row(tensor: Tensor) -> tuple[Tensor | None, int]:
    """Of what tensor this one is a row along the first axis, and which; None where it is none."""
    base = tensor._base
    if base is None or base.shape[1:] != tensor.shape or not base.is_contiguous() or not tensor.is_contiguous():
        return None, 0
    row, rest = divmod(int(tensor.storage_offset()), max(1, tensor.numel()))
    return (base, row) if rest == 0 and tensor.dtype == base.dtype and base.storage_offset() == 0 else (None, 0)
