"""Who watches a training and keeps its checkpoints, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from dlrun.folder.checkpoint import Checkpoint, Record
from dlrun.training.evaluation import Measured, Row, Snapshot
from dlrun.training.stack import Stack
from dlrun.training.state import State, Tensors


class Observer(Protocol):
    """Who watches a training."""

    def row(self, run: int, row: Row) -> None:
        """An evaluation of one run, with the columns of metrics.csv."""

    def trace(self, run: int, steps: list[Row]) -> None:
        """Rates and losses of single steps, where the schedule watches them."""

    def due(self) -> bool:
        """Whether it is time to show progress; reading a loss makes the device wait, so this is asked first."""

    def step(self, done: int, loss: float, lr: float) -> None:
        """Progress between evaluations."""


class Keeper(Protocol):
    """Who keeps checkpoints of a training."""

    begun: Checkpoint | None  #: where the training goes on; None: it begins
    at_the_end: bool  #: whether one is wanted when the last step is done, since there is more to do than to train

    def due(self, step: int) -> bool:
        """Whether to keep one now; asked after every step."""

    def keep(self, tensors: Tensors, record: Record) -> None:
        """Keep what `State.tensors` and `State.record` gave."""

    def over(self, step: int, epoch: float, seconds: float) -> bool:
        """Whether the training is to pause at this evaluation, before its last step; asked at each."""

    def keep_apart(self, parts: Mapping[int, tuple[Tensors, Record]]) -> None:
        """Keep what each of these runs goes on from by itself, as `State.part` gave it: the training pauses."""


class Looks(Protocol):
    """Who looks into the networks while they train, and changes nothing of them."""

    def before_step(self, stack: Stack, state: State) -> None:
        """A step is about to be taken."""

    def look(self, stack: Stack, state: State) -> None:
        """The training begins, or a step was taken; an evaluation or a checkpoint may follow."""


class Nobody:
    """Keeps nothing, and looks at nothing."""

    begun: Checkpoint | None = None
    at_the_end = False

    def due(self, step: int) -> bool:
        return False

    def keep(self, tensors: Tensors, record: Record) -> None:
        pass

    def over(self, step: int, epoch: float, seconds: float) -> bool:
        return False

    def keep_apart(self, parts: Mapping[int, tuple[Tensors, Record]]) -> None:
        pass

    def before_step(self, stack: Stack, state: State) -> None:
        pass

    look = before_step


NOBODY = Nobody()


@dataclass
class Outcome:
    """How the runs of a stack ended."""

    status: list[str]  #: finished, stopped_early, diverged, interrupted or paused
    measured: list[Measured]  #: the trained network, then what regularizers keep beside it
    started: str  #: UTC time of the first step
    seconds: float  #: from there to the last evaluation
    compile_seconds: float
    left_out: list[int] = field(default_factory=list)  #: steps of each run whose gradients 16 bits could not hold

    @property
    def best(self) -> Snapshot:
        """The trained network at its lowest validation loss."""
        return self.measured[0].best

    @property
    def last(self) -> Snapshot:
        """The trained network at its last evaluation."""
        return self.measured[0].last
