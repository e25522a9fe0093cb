"""Where a recorded program keeps its large intermediate results: in memory that is asked of the system once.

A step of a wide stack makes dozens of results of some megabytes and drops them. An allocator gives such memory back
to the system and asks for it again, page by page, at every step, which takes as long as the arithmetic; and memory
that changes from result to result is never in the core's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from weakref import ref

import torch
from torch import Tensor, fx

LARGE = 2**16  #: bytes from which a result gets a place; the allocator has smaller memory at hand
RECORDED = "recorded"  #: the key of a node's meta that holds the tensor that the recording saw

aten = torch.ops.aten
# Operations that write their result wherever they are told, by the argument `out`.
_ELEMENTWISE: dict[Any, Callable[..., Any]] = {
    aten.add.Tensor: torch.add,
    aten.addcdiv.default: torch.addcdiv,
    aten.addcmul.default: torch.addcmul,
    aten.div.Tensor: torch.div,
    aten.exp.default: torch.exp,
    aten.lerp.Tensor: torch.lerp,
    aten.log.default: torch.log,
    aten.maximum.default: torch.maximum,
    aten.minimum.default: torch.minimum,
    aten.mul.Tensor: torch.mul,
    aten.neg.default: torch.neg,
    aten.reciprocal.default: torch.reciprocal,
    aten.rsqrt.default: torch.rsqrt,
    aten.sigmoid.default: torch.sigmoid,
    aten.sign.default: torch.sign,
    aten.sqrt.default: torch.sqrt,
    aten.sub.Tensor: torch.sub,
    aten.tanh.default: torch.tanh,
}
_OTHER: dict[Any, Callable[..., Any]] = {
    aten._log_softmax.default: torch._log_softmax,
    aten._log_softmax_backward_data.default: torch._log_softmax_backward_data,
    aten.bmm.default: torch.bmm,
    aten.gather.default: torch.gather,
    aten.index_select.default: torch.index_select,
    aten.mm.default: torch.mm,
}
_IN_PLACE: dict[Any, Callable[..., Any]] = {aten.relu.default: torch.relu_}  # over their argument, or not at all
_GRAD_INPUT = {aten.threshold_backward.default: aten.threshold_backward.grad_input}  # `out` under another name

_WRITABLE: dict[Any, Callable[..., Any]] = {**_ELEMENTWISE, **_OTHER, **_GRAD_INPUT}
# Views, and the view of their result's memory that takes the place of their argument.
_INVERSE: dict[Any, Callable[..., Tensor]] = {
    aten.t.default: torch.t,
    aten.transpose.int: torch.transpose,
}

_made: list[ref[Tensor]] = []  # by programs that still live; they never run at the same time, and so share


class Places:
    """Gives places to the results of a graph whose nodes know their recorded tensors (`RECORDED`).

    The recorded tensors tell exactly which nodes share memory, since all of them are still alive.

    Args:
        memory: makes a tensor that outlives the program an input of the graph.
        scratch: tensors that the program writes before it reads them, and that nobody needs after it.
    """

    def __init__(self, graph: fx.Graph, memory: Callable[[Tensor], fx.Node], scratch: Sequence[Tensor] = ()) -> None:
        self.graph, self.memory = graph, memory
        self.nodes = list(graph.nodes)
        self.users: dict[int, list[int]] = {}  #: by storage, the nodes that make, read or write it, in order
        for i, node in enumerate(self.nodes):
            for storage in {s for each in (node, *node.all_input_nodes) for s in storages(each)}:
                self.users.setdefault(storage, []).append(i)
        buffers = [buffer for buffer in (each() for each in _made) if buffer is not None]
        self.free = sorted(buffers, key=_bytes)
        self.held: dict[int, Tensor] = {}  #: by storage, the buffer in its place
        for each in scratch:
            if _storage(each) in self.users:
                self.held[_storage(each)] = each.flatten().view(torch.uint8)
        self.used: list[Tensor] = []

    def assign(self) -> list[Tensor]:
        """Rewrite the graph, so that large results are written to buffers, and what is only copied, where it goes.

        Returns the buffers, to be kept as long as the graph is used.
        """
        for node in self.nodes:
            if node.target is aten.copy_.default:
                self._written_at_once(node)
        for i, node in enumerate(self.nodes):
            if self._is_large(node, i):
                self._settle(node, i)
            for storage in [s for s in self.held if self.users[s][-1] == i]:
                self.free.append(self.held.pop(storage))
                self.free.sort(key=_bytes)
        return self.used

    def _written_at_once(self, copy: fx.Node) -> None:
        """Let a result that is only copied into memory be written there, where nothing looks at that memory before."""
        memory, source = copy.args[:2]
        assert isinstance(memory, fx.Node) and isinstance(source, fx.Node)
        if memory.op != "placeholder" or source.meta[RECORDED].shape != memory.meta[RECORDED].shape:
            return
        there, views = memory.meta[RECORDED], []
        while source.target in _INVERSE and len(source.users) == 1:
            views.append(source)
            there = _INVERSE[source.target](there, *source.args[1:])
            [source] = source.all_input_nodes
        made = source.meta[RECORDED]
        if source.target not in _WRITABLE or len(source.users) > 1 or made.dtype != there.dtype:
            return
        begin, end = self.nodes.index(source), self.nodes.index(copy)
        between = [self.nodes[i] for i in self.users[_storage(there)] if begin < i < end]
        seen = [each.meta[RECORDED] for node in between for each in node.all_input_nodes]
        if any(_overlap(tensor, there) for tensor in seen):
            return
        self._write(source, there)
        for node in (copy, *views):
            self.graph.erase_node(node)
            self.nodes[self.nodes.index(node)] = source  # so that the others keep their numbers

    def _is_large(self, node: fx.Node, i: int) -> bool:
        """Whether the node makes a large result, all of a memory that nobody outside the program sees."""
        if node.target not in _WRITABLE | _IN_PLACE:
            return False
        tensor = node.meta[RECORDED]
        return (
            tensor.device.type == "cpu"
            and tensor.nbytes >= LARGE
            and self.users[_storage(tensor)][0] == i
            and self.users[_storage(tensor)][-1] < len(self.nodes) - 1
            and tensor.untyped_storage().nbytes() == tensor.nbytes
        )

    def _settle(self, node: fx.Node, i: int) -> None:
        """Let the node write over an argument that nobody needs any more, or else to a free buffer."""
        own = node.meta[RECORDED]
        over = self._ending_argument(node, i)
        if over is not None:
            self.held[_storage(own)] = self.held.pop(_storage(over))
        if node.target in _IN_PLACE:
            node.target = node.target if over is None else _IN_PLACE[node.target]
            return
        if over is None:
            self.held[_storage(own)] = self._buffer(own.nbytes)
        self._write(node, self.held[_storage(own)].view(own.dtype)[: own.numel()].as_strided(own.shape, own.stride()))

    def _ending_argument(self, node: fx.Node, i: int) -> Tensor | None:
        if node.target in _OTHER:
            return None
        own, tensors = node.meta[RECORDED], [each.meta[RECORDED] for each in node.all_input_nodes]
        for tensor in tensors:
            sharing = [each for each in tensors if _storage(each) == _storage(tensor)]
            alike = all(_geometry(each) == _geometry(own) for each in sharing)
            if alike and _storage(tensor) in self.held and self.users[_storage(tensor)][-1] == i:
                return tensor
        return None

    def _buffer(self, size: int) -> Tensor:
        for k, buffer in enumerate(self.free):
            if buffer.nbytes >= size:
                self.used.append(buffer)
                return self.free.pop(k)
        buffer = torch.empty(-(-size // 64) * 64, dtype=torch.uint8)
        _made[:] = [each for each in _made if each() is not None] + [ref(buffer)]
        self.used.append(buffer)
        return buffer

    def _write(self, node: fx.Node, there: Tensor) -> None:
        out = "out"
        if node.target in _GRAD_INPUT:
            out = "grad_input"
        node.target = _WRITABLE[node.target]
        node.kwargs = {**node.kwargs, out: self.memory(there)}


def _overlap(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have an element in common."""
    if _storage(a) != _storage(b):
        return False
    if a.dtype != b.dtype:
        return True
    touched = torch.zeros(a.untyped_storage().nbytes() // a.element_size(), dtype=torch.bool)
    touched.as_strided(a.shape, a.stride(), a.storage_offset()).fill_(True)
    return bool(touched.as_strided(b.shape, b.stride(), b.storage_offset()).any())


def _geometry(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride(), tensor.storage_offset(), tensor.dtype


def storages(node: fx.Node) -> Iterator[int]:
    """The memories of what a node made when it was recorded."""
    recorded = node.meta.get(RECORDED)
    for tensor in recorded if isinstance(recorded, tuple | list) else [recorded]:
        if isinstance(tensor, Tensor):
            yield _storage(tensor)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _bytes(buffer: Tensor) -> int:
    return buffer.nbytes
