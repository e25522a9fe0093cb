"""The diagnostics of a training: who looks when, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from dlrun.diagnostics.diagnostic import Diagnostic, DuringTraining, Found, View
from dlrun.diagnostics.measuring import look_together
from dlrun.training.stack import Stack
from dlrun.training.state import State


class During:
    """A `training.watching.Looks` that has diagnostics look before the first step and at the steps that are theirs.

    Args:
        chosen: by name; those of finished networks do not look here.
        tell: told what a diagnostic found of a run, by the run's place in the whole stack and the diagnostic's name.
    """

    def __init__(self, chosen: Mapping[str, Diagnostic], stack: Stack, tell: Callable[[int, str, Found], None]) -> None:
        self.looking = {name: each for name, each in chosen.items() if isinstance(each, DuringTraining)}
        look_together(self.looking.values())
        self.steps = {name: each.steps(stack) for name, each in self.looking.items()}
        self.total, self.tell = stack.steps, tell
        self.before: Tensor | None = None

    def before_step(self, stack: Stack, state: State) -> None:
        """Keep theta for those who compare it with what it becomes."""
        if any(each.wants_before and self._due(name, state.step + 1) for name, each in self.looking.items()):
            self.before = stack.theta.clone()

    def look(self, stack: Stack, state: State) -> None:
        """Have those look whose step this is, at the runs that still train."""
        due = [name for name in self.looking if self._due(name, state.step)]
        if not due:
            return
        view = View(stack, state.step, self.before, state.taken, schedule=state.schedule)
        for name in due:
            for place, found in enumerate(self.looking[name].look(view)):
                if state.status[place] == "running":
                    self.tell(state.runs[place], name, found)
        self.before = None

    def _due(self, name: str, step: int) -> bool:
        at_evaluations = self.looking[name].every is None
        return step % self.steps[name] == 0 or (at_evaluations and step == self.total)
