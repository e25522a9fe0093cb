"""Record a function of tensors once, as a flat list of operations, and replay it cheaply.

Eager differentiation spends most of a small network's step in Python and in autograd's bookkeeping. Recording the
operations that really run, forward and backward, leaves a straight line of tensor calls. `torch.fx`'s own tracer
does the same but imports some 800 modules at its first call, longer than a small run takes to train.
"""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode

from dlrun.matrix.buffers import LARGE, RECORDED, Places, storages
from dlrun.matrix.libraries import library
from dlrun.matrix.noise import Noise

Program = Callable[..., tuple[Tensor, ...]]
aten = torch.ops.aten

# Operations whose Python binding takes exactly the operator's arguments, and skips some microseconds of dispatch.
_DIRECT = """
    add add_ addcdiv addcdiv_ addcmul addcmul_ addmm baddbmm bmm cat clamp clone copy_ cos div div_ eq exp expand fill_
    ge gt index_select le lerp lerp_ log log1p lt maximum mean minimum mm mul mul_ neg permute pow reciprocal relu rsqrt
    rsub select sigmoid sign sqrt sqrt_ squeeze sub sub_ sum t tanh transpose unsqueeze view where _log_softmax
    _log_softmax_backward_data
""".split()


class Recording(TorchDispatchMode):
    """The operations that a function ran, below autograd and vmap, with the tensors they ran on.

    Tensors that the function neither received nor made are taken to be memory that outlives it (theta, an
    optimizer's state, the data): they are read and written in place at every replay. Replay under torch.no_grad().

    Args:
        fn: takes the tensors `moving`, which change from call to call, and returns a tuple of tensors. It runs once.
        moving: example arguments; every replay needs the same shapes.
        scratch: memory that the function writes before it reads it, and that nobody needs after it.
        noise: gives the results of the operations that draw, which a replay takes as memory.
    """

    def __init__(
        self,
        fn: Callable[..., tuple[Tensor, ...]],
        moving: Sequence[Tensor],
        scratch: Sequence[Tensor] = (),
        noise: Noise | None = None,
    ) -> None:
        super().__init__()
        self.scratch, self.noise = scratch, noise
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self.moving = list(moving)
        with self:
            self.outputs = fn(*moving)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else the first dispatch imports all of torch._dynamo to wrap this method

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            assert self.noise is not None, f"{func} in what is not a training step"
            drawn = self.noise.drawn(func, args, kwargs or {})
            if not func._schema.is_mutable:
                return drawn
            func, args, kwargs = aten.copy_.default, (args[0], drawn), {}
        out = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, out))
        return out

    def program(self) -> Program:
        """A plain Python function of the moving tensors that replays the operations.

        What it returns is new memory at every call; what it computes on the way is not.
        """
        graph, memory = self._graph(hoist=True)
        return _replay(graph, memory, self.scratch)

    def compiled(self) -> Program:
        """The same, fused by TorchInductor; takes seconds, and needs a C++ compiler on a CPU."""
        from torch._inductor import compile as inductor

        keep_to_the_cache()
        graph, memory = self._graph(hoist=False)
        module = fx.GraphModule(torch.nn.Module(), graph)
        # Without its own checks of sizes and strides, a tenth of a small step: replays get what was recorded.
        with warnings.catch_warnings():  # TF32 is what users choose, or not
            warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
            return partial(inductor(module, [*memory, *self.moving], options={"size_asserts": False}), *memory)

    def as_library(self) -> Program:
        """As `compiled`, on a CPU, by a library that is kept: built once, then loaded, by whatever command."""
        graph, memory = self._graph(hoist=False)
        inputs = [*memory, *self.moving]

        def build(path: Path) -> None:
            from torch._inductor import aot_compile

            keep_to_the_cache()
            module = fx.GraphModule(torch.nn.Module(), graph)
            options = {"size_asserts": False, "aot_inductor.output_path": str(path)}
            with warnings.catch_warnings(category=FutureWarning, action="ignore"):  # PyTorch's to itself
                aot_compile(module, tuple(inputs), options=options)

        return partial(library(graph, inputs, build), *memory)

    def halves(self, still: int) -> tuple[Program, Program]:
        """The program in two: what the last moving tensors have no part in, and the rest.

        `second(*some, *first(*some), *others)` gives what the whole program would of (*some, *others). Of a derivative
        in a direction, which is among the others, the first half is the linearisation, the same for every direction.

        still: how many moving tensors, the first ones, both halves take.
        """
        graph, memory = self._graph(hoist=True)
        *body, output = graph.nodes
        begin, end = len(memory) + still, len(memory) + len(self.moving)
        late, both = _late(body, body[begin:end]), body[:begin]
        asked = {each for node in (*late, output) for each in node.all_input_nodes}
        kept = [node for node in body[begin:] if node in asked and node not in late]
        first, second = fx.Graph(), fx.Graph()
        early: dict[fx.Node, fx.Node] = {}
        later: dict[fx.Node, fx.Node] = {}
        for node in both:
            early[node], later[node] = first.node_copy(node), second.node_copy(node)
        for node in kept:
            later[node] = second.placeholder(f"kept_{node.name}")
            later[node].meta[RECORDED] = node.meta[RECORDED]
        for node in body[begin:]:
            half, placed = (second, later) if node in late else (first, early)
            placed[node] = half.node_copy(node, placed.__getitem__)
        first.output(tuple(early[node] for node in kept))
        second.output(tuple(later[node] for node in output.args[0]))
        first.eliminate_dead_code()
        return _replay(first, [*memory], ()), _replay(second, [*memory], ())

    def _graph(self, hoist: bool) -> tuple[fx.Graph, list[Tensor]]:
        """The operations as a graph whose inputs are the outliving memory, then the moving tensors.

        With hoist, a view of memory alone becomes memory: it is the same at every replay.
        """
        graph = fx.Graph()
        nodes: dict[int, fx.Node] = {id(t): graph.placeholder(f"moving_{i}") for i, t in enumerate(self.moving)}
        for node, tensor in zip(graph.nodes, self.moving, strict=True):
            node.meta[RECORDED] = tensor
        first = next(iter(graph.nodes), None)
        memory: dict[int, Tensor] = {}
        viewed: dict[int, Tensor] = {}  # what each result, if it is a view, is a view of
        writes: dict[int, list[int]] = {}  # by storage, the places of the operations that write to it
        for i, (func, args, kwargs, _) in enumerate(self.operations):
            for storage in _written(func, args, kwargs):
                writes.setdefault(storage, []).append(i)
        ends = self._ends()
        done: dict[Any, fx.Node] = {}  # by operation and inputs, for what gives the same again

        def node_of(value: Any) -> Any:
            if isinstance(value, Tensor):
                if id(value) not in nodes:
                    with graph.inserting_before(first):
                        nodes[id(value)] = graph.placeholder(f"memory_{len(memory)}")
                        nodes[id(value)].meta[RECORDED] = value
                    memory[id(value)] = value
                return nodes[id(value)]
            if isinstance(value, list | tuple):
                return type(value)(map(node_of, value))
            return value

        for i, (func, args, kwargs, out) in enumerate(self.operations):
            tensors = _tensors(args, kwargs)
            if hoist and func.is_view and all(id(t) in memory or id(t) not in nodes for t in tensors):
                continue
            if tensors and isinstance(out, Tensor) and not func._schema.is_mutable:
                viewed.setdefault(id(out), tensors[0])
                origin = _origin(out, viewed)
                if origin is not None and id(out) not in nodes:
                    nodes[id(out)] = node_of(origin)
                    continue
            if self._is_itself(func, args, out, writes, ends.get(id(out), i), i):
                nodes[id(out)] = node_of(args[0])
                continue
            inputs = node_of(args)
            if func is aten.view.default and inputs[0].target is aten.unsqueeze.default:
                inputs = (inputs[0].args[0], inputs[1])
            options = {k: node_of(v) for k, v in kwargs.items()}
            same = _hashable((func, inputs, options)) if _repeats(func, [*tensors, out], writes) else None
            if same in done:
                nodes[id(out)] = done[same]
                continue
            node = graph.call_function(func, inputs, options)
            node.meta[RECORDED] = out
            if same is not None:
                done[same] = node
            if isinstance(out, Tensor):
                if func._schema.is_mutable:  # an operation in place returns its own first argument
                    nodes.setdefault(id(out), node)
                else:  # as c10d's wait_tensor does, which is to be waited for
                    nodes[id(out)] = node
            else:
                for i, part in enumerate(out):
                    nodes[id(part)] = graph.call_function(operator.getitem, (node, i))
                    nodes[id(part)].meta[RECORDED] = part
        graph.output(tuple(node_of(out) for out in self.outputs))
        graph.eliminate_dead_code()
        return graph, list(memory.values())

    def _is_itself(self, func: Any, args: Any, out: Any, writes: dict[int, list[int]], end: float, i: int) -> bool:
        """Whether a result is its argument times 1, as vmap has a layer's bias, and the argument will do in its place:
        neither changes before the result's end, and no buffer takes the place of something as small."""
        if func not in (aten.mul.Scalar, aten.mul.Tensor) or isinstance(args[1], Tensor) or args[1] != 1:
            return False
        changed = _storage(out) in writes or any(i < k <= end for k in writes.get(_storage(args[0]), []))
        return not changed and end < inf and out.dtype == args[0].dtype and out.nbytes < LARGE

    def _ends(self) -> dict[int, float]:
        """By a tensor's id, the place of the last operation that reads it, or a view of it."""
        ends: dict[int, float] = {id(out): inf for out in self.outputs}
        for i, (func, args, kwargs, out) in reversed(list(enumerate(self.operations))):
            for tensor in _tensors(args, kwargs):
                seen = ends.get(id(out), i) if func.is_view else i
                ends[id(tensor)] = max(ends.get(id(tensor), i), seen)
        return ends


def _replay(graph: fx.Graph, memory: list[Tensor], scratch: Sequence[Tensor]) -> Program:
    """A graph whose first inputs are this memory as a Python function of its other inputs."""
    begin = next(iter(graph.nodes))
    last = list(graph.nodes)[len(memory) - 1] if memory else None

    def input_of(tensor: Tensor) -> fx.Node:
        nonlocal last
        memory.append(tensor)
        with graph.inserting_before(begin) if last is None else graph.inserting_after(last):
            last = graph.placeholder(f"place_{len(memory)}")
        last.meta[RECORDED] = tensor
        return last

    buffers = Places(graph, input_of, scratch).assign()
    for node in graph.nodes:
        name = _binding(node.target)
        if name is not None:
            method = not hasattr(torch, name)
            node.op, node.target = ("call_method", name) if method else ("call_function", getattr(torch, name))
        if node.target is aten.mkldnn_rnn_layer.default and node.meta[RECORDED][3] is not None:
            node.target = _lstm
    module = fx.GraphModule(torch.nn.Module(), graph)
    module.__dict__["buffers"] = buffers  # live as long as the program
    return partial(module.forward, *memory)


def _lstm(*args: Any) -> Any:
    """PyTorch's layer of an LSTM, which gives what its backward takes only where it sees that autograd is on."""
    with torch.enable_grad():
        return aten.mkldnn_rnn_layer.default(*args)


def _late(nodes: Sequence[fx.Node], moving: Collection[fx.Node]) -> set[fx.Node]:
    """The nodes that need the moving ones, and those that would find memory changed by them, or too early."""
    touched = {node: {s for each in (node, *node.all_input_nodes) for s in storages(each)} for node in nodes}
    written: set[int] = set()
    for node in nodes:
        if isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
            written |= touched[node]
    late, count = set(moving), -1
    while count < len(late):
        count = len(late)
        theirs = {s for node in late for s in touched[node]} & written
        for node in nodes:
            if node.op != "placeholder" and (touched[node] & theirs or late.intersection(node.all_input_nodes)):
                late.add(node)
    return late


def keep_to_the_cache() -> None:
    """Have TorchInductor keep all that it makes, headers too, in its cache folder, which `machine.not_compiled` chose.

    Some of it goes to the default for that folder, among temporary files, whatever TORCHINDUCTOR_CACHE_DIR says.
    """
    from torch._inductor import codecache
    from torch._inductor.runtime import cache_dir_utils, runtime_utils

    for module in (cache_dir_utils, runtime_utils, codecache):
        module.default_cache_dir = cache_dir_utils.cache_dir  # type: ignore[attr-defined]
    codecache._HEADER_DIR = os.path.join(cache_dir_utils.cache_dir(), "precompiled_headers")
    codecache._HEADER_LOCK_DIR = os.path.join(codecache._HEADER_DIR, "locks")


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """An operation's arguments that are tensors, those in lists among them."""
    given = [each for a in (*args, *kwargs.values()) for each in (a if isinstance(a, list | tuple) else [a])]
    return [each for each in given if isinstance(each, Tensor)]


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[int]:
    """The storages that an operation writes to."""
    for i, argument in enumerate(func._schema.arguments if func._schema.is_mutable else ()):
        value = args[i] if i < len(args) else kwargs.get(argument.name)
        if argument.alias_info is not None and argument.alias_info.is_write and isinstance(value, Tensor):
            yield _storage(value)


def _repeats(func: Any, tensors: Sequence[Any], written: Collection[int]) -> bool:
    """Whether an operation on these tensors, its result among them, would give the same if it were done again."""
    return (
        func.namespace == "aten"
        and not func._schema.is_mutable
        and "empty" not in func._schema.name
        and all(isinstance(t, Tensor) and _storage(t) not in written for t in tensors)
    )


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((key, _hashable(each)) for key, each in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_hashable, value))
    return (type(value), value)  # for 1, 1.0 and True are not the same


def _origin(view: Tensor, viewed: dict[int, Tensor]) -> Tensor | None:
    """The tensor that a view, perhaps of a view, shows again as it is; None for a view that shows it otherwise."""
    tensor = view
    while id(tensor) in viewed:
        tensor = viewed[id(tensor)]
        if _storage(tensor) != _storage(view):
            return None
        if _appearance(tensor) == _appearance(view):
            return tensor
    return None


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _appearance(t: Tensor) -> tuple[Any, ...]:
    return _storage(t), t.storage_offset(), t.shape, t.stride(), t.dtype, t.is_conj(), t.is_neg()


def _binding(target: Any) -> str | None:
    """The name of the Python binding to call in place of an operator, if there is a quicker one."""
    if not isinstance(target, torch._ops.OpOverload) or target._overloadname.endswith("out"):
        return None
    name = target._schema.name.removeprefix("aten::")
    return name if name in _DIRECT else None
