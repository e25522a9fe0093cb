"""The loss of a run's network wherever its parameters are put."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from dlrun.diagnostics.diagnostic import Part, Statistics
from dlrun.diagnostics.probe import Probe, set_mode
from dlrun.matrix.trace import Program, Recording
from dlrun.training.evaluation import CHUNK, LANES
from dlrun.training.machine import memory_kept
from dlrun.training.objective import outputs_of
from dlrun.training.stack import Stack

BATCH = 1024  #: samples at a time, at most, by whose own statistics batch normalization is
#: numbers of the inputs that a network takes at a time else: deep ones on images are twice as fast as with 2**20
NUMBERS = 2**17
PARAMETERS = 2**24  #: numbers of theta that the points of a pass may have, for all of them together

#: told how many points are measured
Measuring = Callable[[int], None]
#: theta, and running averages where they differ, by name, (points, ...), at the points of these numbers
Networks = Callable[[Tensor], Mapping[str, Tensor]]


class Points:
    """Measures one run's network at points of its parameter space, many of them side by side as the rows of a stack.

    The run of a stack is measured as it would be alone, to the bit.

    Args:
        part, samples: see `Probe.of`.
        statistics: batch normalization by the statistics of batches of one size, 1,024 samples at most, or by running
            averages.
    """

    def __init__(self, stack: Stack, run: int, part: Part, samples: int | None, statistics: Statistics) -> None:
        self.stack, self.run, self.statistics = stack, run, statistics
        probe = Probe.of(stack.select([run]), part, samples)
        x, y = (probe.x, probe.y) if probe.shared else (probe.x[0], probe.y[0])
        own = statistics == "batch" and stack.averages
        batches = -(-probe.samples // (BATCH if own else max(LANES, NUMBERS // x[0].numel())))
        self.samples, self.batches = probe.samples, list(zip(x.chunk(batches), y.chunk(batches), strict=True))

    @torch.no_grad()
    @memory_kept()
    def __call__(self, at: Networks, count: int, measured: Measuring = lambda done: None) -> dict[str, Tensor]:
        """At each of `count` points: `objective`, what training minimises, the mean loss plus penalties; `loss` and the
        main metric, if there is one, as they are reported; (count,) doubles on the CPU."""
        # beside so many samples that they are taken in parts, one network at a time keeps a core busy
        apart = len(self.batches) > 1 or self.stack.one_by_one()
        together = 1 if apart else CHUNK // self.batches[0][0].numel()
        most = max(1, min(count, together, PARAMETERS // self.stack.layout.params))
        rows = -(-count // -(-count // most))  # as many points in each pass, but for the last one
        points, programs = self.stack.select([self.run] * rows), dict[torch.Size, Program]()
        views = points.layout.views(points.theta)
        set_mode(points.model, self.statistics)
        measures = replace(points.measures, metrics=points.measures.metrics[:1])

        def sums(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
            outputs, targets = outputs_of(points, views, points.buffers, x, shared=True), y.expand(rows, *y.shape)
            minimised = measures.loss(outputs, targets)
            reported = minimised if measures.unit is None else measures.reported(outputs, targets)
            total = minimised.sum(1, dtype=torch.float64)
            return (torch.cat([total[:, None], measures.sums(reported, outputs, targets)], 1),)

        found = []
        for start in range(0, count, rows):
            places = torch.arange(start, start + rows).clamp(max=count - 1)
            for name, tensor in at(places).items():
                points.network[name].copy_(tensor)
            total: Tensor | float = 0.0
            for x, y in self.batches:
                if x.shape not in programs:
                    programs[x.shape] = Recording(sums, [x, y]).program()
                total = total + programs[x.shape](x, y)[0]
            means = torch.as_tensor(total) / self.samples
            penalty = points.penalty(points.theta)
            if penalty is not None:
                means[:, 0] += penalty.double()
            found.append(means.cpu()[: count - start])
            measured(min(start + rows, count))
        means = torch.cat(found)
        return {"objective": means[:, 0], **measures.values(means[:, 1:])}
