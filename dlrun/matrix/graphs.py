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
    inputs = [tensor.clone() for tensor in moving]
    try:
        outputs = graph.capture(lambda: program(*inputs))
    except RuntimeError as problem:
        refused(" ".join(str(problem).split()))
        return program
    return _Replay(graph, inputs, outputs)


class _Replay:
    """Calls a graph as the program that was captured in it."""

    def __init__(self, graph: Graph, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        self.graph, self.inputs, self.outputs = graph, inputs, outputs

    def __call__(self, *moving: Tensor) -> tuple[Tensor, ...]:
        for own, given in zip(self.inputs, moving, strict=True):
            own.copy_(given, non_blocking=True)
        self.graph.replay()
        return tuple(output.clone() for output in self.outputs)  # the next replay writes over them
