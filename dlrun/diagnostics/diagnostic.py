"""What every diagnostic is: it looks into the networks of a stack and changes nothing of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from dlrun.errors import ConfigError
from dlrun.training.batches import learning_rates
from dlrun.training.stack import Stack

Part = Literal["train", "val", "test"]
Statistics = Literal["batch", "running"]
Row = dict[str, float | str]


@dataclass
class Found:
    """What a diagnostic tells of one run.

    rows: of its table, `<name>.csv`. surface: of that over which these lie, `<name>_surface.csv`. arrays: what is
    too large for a table, in `<name>.safetensors`. summary: numbers for summary.json. kept: see `Keeping`.
    """

    rows: Sequence[Row] = ()
    surface: Sequence[Row] = ()
    arrays: Mapping[str, Tensor] = field(default_factory=dict)
    summary: Mapping[str, float | str] = field(default_factory=dict)
    kept: tuple[int, Tensor] | None = None


@dataclass
class View:
    """What there is to be seen of a stack at one moment.

    step: steps done. before: theta before the last of them, (runs, params), where the diagnostic asked for it.
    taken: what the steps since the last evaluation returned, see `State.taken`.
    progress: told what is done, and how much of how much, where it may take long.
    schedule: the memory of the learning rate's schedule; None of a finished network.
    shared: what diagnostics that look at this moment have computed together, by who computes it.
    """

    stack: Stack
    step: int
    before: Tensor | None = None
    taken: Sequence[tuple[Tensor, ...]] = ()
    progress: Callable[[str, int, int], None] = lambda text, done, total: None
    schedule: Mapping[str, Tensor] | None = None
    shared: dict[Any, Any] = field(default_factory=dict)

    @property
    def norms(self) -> list[Tensor]:
        """Of the gradients of these steps, (runs,) each."""
        return [norms for _, norms, *_ in self.taken]

    @property
    def lr(self) -> Tensor | None:
        """The learning rate of the step that comes next, or of the last one where none comes; (runs,)."""
        if self.schedule is None:
            return None
        return learning_rates(self.stack, dict(self.schedule), min(self.step, self.stack.steps - 1), 1)[0]

    @property
    def epoch(self) -> float:
        """Passes over the training set."""
        return self.step / self.stack.steps_per_epoch


class Diagnostic:
    """Looks into networks. Its `_target_` stands in conf/diagnostics/, its keys are the arguments of `__init__`."""

    def fits(self, stack: Stack) -> None:
        """ConfigError, without the name of the diagnostic, where there is nothing to be seen in these networks."""

    def look(self, view: View) -> list[Found]:
        """What is seen of each run of the stack."""
        raise NotImplementedError


class DuringTraining(Diagnostic):
    """A diagnostic that looks again and again while a network trains.

    Args:
        every: epochs between looks, or steps as in `16steps`; None: at every evaluation.

    Raises ConfigError for a text that is no such number of steps.
    """

    wants_before = False  #: whether it compares theta with what it was before the last step
    of_a_moment = True  #: whether what it tells is a matter of the networks as they are, and of no steps

    def __init__(self, every: float | str | None) -> None:
        self.every = every
        if isinstance(every, str) and not re.fullmatch(r"0*[1-9]\d* ?steps?", every):
            raise ConfigError(f"every={every}: write epochs, such as 1 or 0.1, or steps, such as 16steps")

    def steps(self, stack: Stack) -> int:
        """Steps between two looks."""
        if self.every is None:
            return stack.eval_every
        if isinstance(self.every, str):
            return int(self.every.partition("s")[0])
        return max(1, round(self.every * stack.steps_per_epoch))


class Keeping(DuringTraining):
    """A diagnostic that keeps the parameters at each look, and tells at the end what they show.

    `Found.kept`: the steps done, and the run's parameters, (params,).
    """

    of_a_moment = False

    def look(self, view: View) -> list[Found]:
        return [Found(kept=(view.step, row)) for row in view.stack.theta]

    def conclude(self, view: View, run: int, steps: Tensor, path: Tensor) -> Found:
        """What is seen of one run of the stack, whose best parameters this has, when its training has ended.

        steps: (looks,) steps done at each look. path: (looks, params), the run's parameters at each.
        """
        raise NotImplementedError


class OfFinished(Diagnostic):
    """A diagnostic of finished networks: after a training, or by `dlrun diagnose`."""


def long_form(view: View, values: Mapping[tuple[str, str], Tensor]) -> list[Found]:
    """Rows `epoch,step,layer,quantity,value` of every run, from (runs,) values by layer and quantity."""
    return by_quantity(view, list(values), torch.stack([value.double() for value in values.values()], 1).tolist())


def by_quantity(view: View, names: Sequence[tuple[str, str]], numbers: Sequence[Sequence[float]]) -> list[Found]:
    """The same from layers and quantities, and the values of each run."""
    epoch, step = view.epoch, view.step
    return [
        Found([
            {"epoch": epoch, "step": step, "layer": layer, "quantity": quantity, "value": value}
            for (layer, quantity), value in zip(names, row, strict=True)
        ])
        for row in numbers
    ]  # fmt: skip


def rows_of(columns: Mapping[str, Tensor]) -> list[Row]:
    """A row per entry of the columns, (rows,) each, by name."""
    numbers = zip(*[column.tolist() for column in columns.values()], strict=True)
    return [dict(zip(columns, row, strict=True)) for row in numbers]
