"""The random numbers of training steps: each run's from streams of its own, whatever runs train beside it.

What a run draws at a step is a function of its seed, the step, and which of the step's draws it is, and of nothing
else. So a row of a stack sees the noise of the run alone, a training that goes on sees what it would have seen, and
nothing of it has to be kept in a checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from dlrun.errors import ConfigError
from dlrun.matrix.rows import alone
from dlrun.matrix.seeds import NOISE, seed_of

AHEAD = 2**14  #: numbers of a run that are drawn at a time, of a small draw some steps': a stream takes 20 µs to begin
AHEAD_ON_GPU = 2**18  #: likewise, where drawing them takes less than to ask for them
STEPS = 256  #: for at most so many steps, which bounds the memory of wide stacks

aten = torch.ops.aten
#: how a run's part of a result is filled; the arguments are those after the tensor or size
_FILLED: dict[Any, Callable[..., Tensor]] = {
    aten.rand.default: lambda part, random: part.uniform_(generator=random),
    aten.rand_like.default: lambda part, random: part.uniform_(generator=random),
    aten.randn.default: lambda part, random: part.normal_(generator=random),
    aten.randn_like.default: lambda part, random: part.normal_(generator=random),
    aten.bernoulli.p: lambda part, random, p: part.bernoulli_(p, generator=random),
    aten.bernoulli_.float: lambda part, random, p: part.bernoulli_(p, generator=random),
}


@dataclass
class Draw:
    """One operation of a step that draws."""

    fill: Callable[..., Tensor]
    options: tuple[Any, ...]
    result: Tensor  #: (runs, ...), in place of what the operation returned; filled anew for every step
    block: Tensor  #: (runs, steps, ...), the results of some steps in a row
    first: int = -1  #: of these steps


class Noise:
    """What one recorded step draws.

    Args:
        seeds: of the runs, in the order of their rows.
        process: what makes the streams of this process its own, where several train a run together.
        samples: of the minibatch; steps on minibatches of another size have other streams.
        every: whether most steps are such steps, so that those to come are worth drawing at the same time.
        step: at which it is recorded.
    """

    def __init__(self, seeds: Sequence[int], process: Sequence[int], samples: int, every: bool, step: int) -> None:
        self.seeds, self.process, self.samples, self.every, self.step = seeds, process, samples, every, step
        self.draws: list[Draw] = []

    def drawn(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """The result of an operation that draws, at the step of the recording; `before` changes it.

        Raises ConfigError where the operation does not say which of its numbers are which run's.
        """
        like = args[0]
        known = operation in _FILLED
        shape = tuple(like.shape if isinstance(like, Tensor) else like) if known else ()
        if known and alone.get():  # of one run, whose network's tensors have no axis of runs
            shape = (1, *shape)
        if shape[:1] != (len(self.seeds),):
            raise ConfigError(
                f"{operation} draws random numbers that cannot be told apart by run: layers and regularizers can "
                "draw with torch.rand_like, torch.randn_like or nn.Dropout, and results begin with the axis of the runs"
            )
        dtype = kwargs.get("dtype") or getattr(like, "dtype", None)
        device = torch.device(kwargs.get("device") or (like.device if isinstance(like, Tensor) else "cpu"))
        ahead = AHEAD if device.type == "cpu" else AHEAD_ON_GPU
        steps = max(1, min(STEPS, ahead // max(1, math.prod(shape[1:])))) if self.every else 1
        block = torch.empty(shape[0], steps, *shape[1:], dtype=dtype, device=device)
        result = block[:, 0] if steps == 1 else torch.empty(shape, dtype=dtype, device=device)
        self.draws.append(Draw(_FILLED[operation], args[1:], result, block))
        self._fill(len(self.draws) - 1, self.step)
        return result[0] if alone.get() else result

    def before(self, program: Callable[..., Any], step: Callable[[], int]) -> Callable[..., Any]:
        """The program with what it draws drawn anew before every call, for the step of this number, from 0."""

        def drawn_first(*moving: Tensor) -> Any:
            number = step()
            for place in range(len(self.draws)):
                self._fill(place, number)
            return program(*moving)

        return drawn_first if self.draws else program

    def _fill(self, place: int, step: int) -> None:
        draw = self.draws[place]
        steps = draw.block.shape[1]
        within = step % steps
        if steps == 1 or draw.first != step - within:  # the step may have written over what it drew
            draw.first = step - within
            random = Generator(draw.block.device)
            for part, seed in zip(draw.block.unbind(), self.seeds, strict=True):
                random.manual_seed(seed_of(seed, NOISE, *self.process, self.samples, place, draw.first))
                draw.fill(part, random, *draw.options)
        if steps > 1:
            draw.result.copy_(draw.block[:, within])
