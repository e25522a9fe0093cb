"""How many runs train best as one stack on this machine: measured, where a sweep is long enough to gain from it."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import astuple, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.files.kept import in_cache, keep, read_kept
from dlrun.terminal.signals import as_in_a_child

if TYPE_CHECKING:
    from torch import Tensor

    from dlrun.training.stack import Stack
    from dlrun.training.state import State

WORTH = 30  #: seconds of a worker's training from which looking for a better width pays
STEPS = 5  #: timed at each width, after one that is not
GAIN = 0.95  #: of the seconds per run: what a stack of twice the width has to gain to be chosen
SHARE = 0.5  #: of the free memory, for all workers together


@dataclass(frozen=True)
class Limits:
    """What stacks are tried on a kind of device."""

    params: int  #: of all rows of a stack, beyond which a step is not expected to gain from more of them
    widest: int  #: runs of a stack, each of which keeps two files open
    narrowest: int  #: runs that are stacked without looking


CPU = Limits(params=2**20, widest=512, narrowest=8)
#: A GPU is as fast with many rows as with one for long: 256 of 26,122 parameters took an H200 3.2 times what one did.
GPU = Limits(params=2**28, widest=4096, narrowest=64)


@dataclass(frozen=True)
class Needs:
    """What a stack of some width needs for each of its runs."""

    seconds: float  #: of a step; on a CPU of its time
    memory: float  #: bytes
    free: float  #: bytes that the device had to give


def width_for(
    nodes: Sequence[Mapping[str, Any]], structure: str, steps: int, params: int, places: int, device: str, method: str
) -> int:
    """The runs of a stack.

    What was measured for a structure on this machine is kept in the user's cache folder.

    Args:
        nodes: configs of all runs of one structure.
        structure: what they have in common.
        steps, params: of one run.
        places: how many stacks train at a time.
        device: the type of the device.
        method: how processes start.
    """
    width, share, limits = expected(len(nodes), params, places, device), -(-len(nodes) // places), limits_of(device)
    if width <= limits.narrowest or sys.platform != "linux":  # other systems count memory otherwise
        return width
    widths = [limits.narrowest << i for i in range((min(limits.widest, share) // limits.narrowest).bit_length())]
    cache = _cache()
    key = hashlib.sha256(f"{_machine(device)} {structure}".encode()).hexdigest()[:32]
    known = {int(each): Needs(*numbers) for each, numbers in read_kept(cache).get(key, {}).items()}
    found, pays = dict(known), True
    with closing(_measurements(nodes, [each for each in widths if each not in known], method)) as more:
        for candidate in widths:
            if candidate not in found:
                measured = next(more, None)
                if measured is None:  # the system did not let it live, for want of memory perhaps
                    break
                found[candidate] = measured
            pays = found[candidate].seconds * steps * share >= WORTH
            if not pays or not _may_gain(found, candidate, places):
                break
    if found != known:
        keep(cache, {**read_kept(cache), key: {each: astuple(needs) for each, needs in found.items()}})
    if not found:
        return 1
    if pays and len(found) > 1:  # else the steps take less than beginning stacks does, which wide ones do seldom
        best = min(each.seconds for each in found.values())
        width = min(share, *(each for each, needs in found.items() if needs.seconds * GAIN <= best))
    affordable = min(SHARE * needs.free / places / max(1, needs.memory) for needs in found.values())
    return max(1, min(width, int(affordable)))


def limits_of(device: str) -> Limits:
    """What stacks are tried on a device of this type."""
    return GPU if device == "cuda" else CPU


def expected(runs: int, params: int, places: int, device: str) -> int:
    """The runs of a stack, as far as can be told without measuring: none more than keeps every place at work."""
    limits = limits_of(device)
    return max(1, min(limits.widest, limits.params // params, -(-runs // places)))


def _may_gain(found: dict[int, Needs], width: int, places: int) -> bool:
    """Whether stacks of twice the width may be better, and fit into the memory."""
    here, before = found[width], found.get(width // 2)
    fits = 2 * width * here.memory * places <= SHARE * here.free
    return fits and (before is None or here.seconds < before.seconds)


def _measurements(
    nodes: Sequence[Mapping[str, Any]], widths: Sequence[int], method: str
) -> Generator[Needs, None, None]:
    """One after the other, by a process of its own, whose memory can be told from this one's."""
    if not widths:
        return
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(nodes, widths, theirs), daemon=True)  # type: ignore[attr-defined]
    process.start()
    theirs.close()
    try:
        with suppress(EOFError):
            while True:
                yield Needs(*ours.recv())
    finally:
        process.kill()
        process.join()


def _measure(nodes: Sequence[Mapping[str, Any]], widths: Sequence[int], connection: Connection) -> None:
    import torch

    from dlrun.training.build import build
    from dlrun.training.state import State
    from dlrun.training.train import flushed_subnormals

    as_in_a_child()
    torch.set_num_threads(1)
    before = peak()
    for width in widths:
        stack = build([dict(node) for node in nodes[:width]], initialize=False)
        stack.theta.normal_(std=0.05)
        cuda = stack.theta.device if stack.theta.is_cuda else None
        with torch.no_grad(), flushed_subnormals():
            state = State(stack)
            state.measured[0].evaluation("val")
            # a busy machine makes single steps many times as long, but not what they take of a processor
            clock = time.perf_counter if cuda else time.thread_time
            times, _ = timed_steps(stack, state, 0, 1 + STEPS, 1 + STEPS, clock)
        memory = torch.cuda.max_memory_allocated(cuda) if cuda else peak() - before
        free = torch.cuda.mem_get_info(cuda)[0] + memory if cuda else _free()
        connection.send((min(times[1:]) / width, memory / width, free))


def timed_steps(
    stack: Stack, state: State, seconds: float, fewest: int, most: int, clock: Callable[[], float]
) -> tuple[list[float], list[tuple[Tensor, ...]]]:
    """Take steps for so many seconds, so many at least and at most; the seconds of each, and what they returned."""
    import torch

    from dlrun.training.batches import plan
    from dlrun.training.step import prepare

    batch, *moving = next(plan(stack, state.schedule, 0, 1))
    step, _, _ = prepare(stack, state, batch, moving, compiling=False)
    times: list[float] = []
    taken: list[tuple[Tensor, ...]] = []
    while len(times) < fewest or (sum(times) < seconds and len(times) < most):
        begin = clock()
        taken.append(step(batch, *moving))
        if stack.theta.is_cuda:
            torch.cuda.synchronize(stack.theta.device)
        times.append(clock() - begin)
    return times, taken


def peak() -> int:
    """The most bytes that this process has had."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _free() -> int:
    """Bytes of memory that processes can still get."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


def _machine(device: str) -> str:
    import torch

    own = torch.cuda.get_device_name() if device == "cuda" else "seconds of a processor"
    return f"{platform.node()} {platform.machine()} {os.cpu_count()} cores, {own}, torch {torch.__version__}"


def _cache() -> Path:
    return in_cache("widths.json")
