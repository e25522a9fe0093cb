"""Diagnostics of a pass over a probe, recorded once for a stack, and computed together where they look together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dlrun.diagnostics.diagnostic import DuringTraining, Found, Part, Statistics, View, by_quantity
from dlrun.diagnostics.passes import Pass
from dlrun.diagnostics.probe import Probe
from dlrun.matrix.trace import Program, Recording
from dlrun.training.stack import Stack

Names = list[tuple[str, str]]


class Values(NamedTuple):
    """What is measured: layers and quantities, and their values, (runs, names) doubles."""

    names: Names
    numbers: Tensor


class Measuring(DuringTraining):
    """A diagnostic that measures a pass of the networks over a probe.

    Args:
        every: see `DuringTraining`.
        part, samples: see `Probe.of`.
        statistics: see `Pass`.
    """

    groups = 1  #: see `Pass`

    def __init__(self, every: float | str | None, part: Part, samples: int | None, statistics: Statistics) -> None:
        super().__init__(every)
        self.part, self.samples, self.statistics = part, samples, statistics
        self.together = Together([self])  #: with which others it is computed

    def measure(self, passed: Pass) -> list[Values]:
        """What is measured, which is recorded: the same quantities whatever the networks' parameters."""
        raise NotImplementedError

    def look(self, view: View) -> list[Found]:
        return by_quantity(view, *self.together(view, self))


class Together:
    """Computes what diagnostics measure that look at the same samples, in a program in which each pass is made once."""

    def __init__(self, members: Sequence[Measuring]) -> None:
        self.members = members
        self.stack: Stack | None = None  #: that it is recorded for; a narrower one takes its place
        self.program: Program
        self.probe: Probe
        self.names: list[Names] = []

    def __call__(self, view: View, member: Measuring) -> tuple[Names, list[list[float]]]:
        """What one of them measures of the networks that the view shows: names, and of each run their values."""
        found = view.shared.get(self)
        if found is None:
            found = view.shared[self] = self._computed(view.stack)
        place = self.members.index(member)
        start = sum(map(len, self.names[:place]))
        return self.names[place], [row[start : start + len(self.names[place])] for row in found]

    @torch.no_grad()
    def _computed(self, stack: Stack) -> list[list[float]]:
        """The values of all of them, of each run."""
        if stack is not self.stack:
            self._record(stack)
        (values,) = self.program(self.probe.x, self.probe.y)
        numbers: list[list[float]] = values.tolist()
        return numbers

    def _record(self, stack: Stack) -> None:
        first = self.members[0]
        self.stack, self.probe = stack, Probe.of(stack, first.part, first.samples)

        def recorded(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
            passes = self._passes(stack, Probe(x, y, self.probe.shared))
            found = [each.measure(passed) for each, passed in zip(self.members, passes, strict=True)]
            named = [_by_layer(own) for own in found]
            self.names = [names for names, _ in named]
            return (torch.cat([numbers for _, numbers in named], 1),)

        self.program = Recording(recorded, [self.probe.x, self.probe.y]).program()

    def _passes(self, stack: Stack, probe: Probe) -> list[Pass]:
        """A pass for each of them, the same one where it has what they want.

        Samples that do not depend on each other may as well be in groups.
        """
        made: list[Pass] = []

        def of(each: Measuring) -> Pass:
            for passed in made:
                alike = passed.statistics == each.statistics or not stack.averages
                apart = passed.statistics == "running" or not stack.averages
                whole = passed.size * passed.groups == probe.samples
                if alike and (passed.groups == each.groups or (each.groups == 1 and apart and whole)):
                    return passed
            made.append(Pass(stack, probe, each.statistics, each.groups))
            return made[-1]

        for each in sorted(self.members, key=lambda each: -each.groups):
            of(each)
        return [of(each) for each in self.members]


def _by_layer(found: Sequence[Values]) -> Values:
    """All of it, layer by layer."""
    names, numbers = [name for each in found for name in each.names], torch.cat([each.numbers for each in found], 1)
    layers = list(dict.fromkeys(layer for layer, _ in names))
    order = sorted(range(len(names)), key=lambda place: layers.index(names[place][0]))
    return Values([names[place] for place in order], numbers[:, torch.tensor(order).to(numbers.device)])


def look_together(diagnostics: Iterable[DuringTraining]) -> None:
    """Have those compute together what they look at the same moments at the same samples."""
    alike: dict[tuple[object, ...], list[Measuring]] = {}
    for each in diagnostics:
        if isinstance(each, Measuring):
            alike.setdefault((each.every, each.part, each.samples), []).append(each)
    for members in alike.values():
        together = Together(members)
        for each in members:
            each.together = together
