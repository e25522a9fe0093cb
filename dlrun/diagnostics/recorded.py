"""What a diagnostic computes, recorded once for a stack and replayed at every look."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from dlrun.diagnostics.diagnostic import Part
from dlrun.diagnostics.probe import Probe
from dlrun.matrix.trace import Program, Recording
from dlrun.training.stack import Stack

Values = dict[tuple[str, str], Tensor]


class Recorded:
    """A function of a stack's present networks and a probe.

    Args:
        measure: gives (runs,) values by layer and quantity, the same ones at every call, in the same order.
        part, samples: see `Probe.of`.
    """

    def __init__(self, measure: Callable[[Stack, Probe], Values], part: Part, samples: int | None) -> None:
        self.measure, self.part, self.samples = measure, part, samples
        self.stack: Stack | None = None  #: that it is recorded for; a narrower one takes its place
        self.program: Program
        self.names: list[tuple[str, str]] = []

    @torch.no_grad()
    def __call__(self, stack: Stack) -> Values:
        """The values of the networks as they are now."""
        if stack is not self.stack:
            self.stack, self.probe = stack, Probe.of(stack, self.part, self.samples)

            def recorded(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
                values = self.measure(stack, Probe(x, y, self.probe.shared))
                self.names = list(values)
                return (_together(list(values.values())),)

            self.program = Recording(recorded, [self.probe.x, self.probe.y]).program()
        (values,) = self.program(self.probe.x, self.probe.y)
        return dict(zip(self.names, values, strict=True))


def _together(values: Sequence[Tensor]) -> Tensor:
    """Values, (runs,) each, as doubles, (values, runs): those of a precision are cast together, which is quicker."""
    places = [[i for i, value in enumerate(values) if value.dtype == dtype] for dtype in {v.dtype for v in values}]
    parts = [torch.stack([values[i] for i in own]).double() for own in places]
    order = np.argsort([i for own in places for i in own])
    return torch.cat(parts)[torch.from_numpy(order).to(values[0].device)]
