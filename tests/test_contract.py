"""What every choice of the registry keeps to: it trains, repeats itself, resumes, and stacks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import Rows, config
from fakes import EVERY, GROUPS, composed, files, typed  # noqa: F401
from omegaconf import DictConfig
from torch import Tensor

from dlrun.folder import checkpoint
from dlrun.training.batches import plan
from dlrun.training.build import build
from dlrun.training.evaluation import Row, Snapshot
from dlrun.training.objective import Step
from dlrun.training.state import State
from dlrun.training.step import prepare
from dlrun.training.train import collect, evaluate, fit, flushed_subnormals

SEEDS = range(3)


class Watch(Rows):
    """Rows, and the steps that a schedule watches, without the time they took."""

    def row(self, run: int, row: Row) -> None:
        super().row(run, {**row, "seconds": 0.0})

    def trace(self, run: int, steps: list[Row]) -> None:
        self.rows[run] += steps


class Training:
    """A training that is stepped by hand: `fit`'s inner loop with an evaluation after every step."""

    def __init__(self, configs: list[DictConfig], initialize: bool = True) -> None:
        self.stack = build(configs, initialize=initialize)
        self.state = State(self.stack)
        self.steps: dict[torch.Size, Step] = {}
        self.watch = Watch(self.stack.runs)

    @torch.no_grad()
    @flushed_subnormals()
    def run(self, stop: int) -> Training:
        """Train until `stop` steps are done."""
        stack, state = self.stack, self.state
        while state.step < stop:
            batch, *moving = next(plan(stack, state.schedule, state.step, state.step + 1))
            if batch.shape not in self.steps:
                self.steps[batch.shape], outputs, _ = prepare(stack, state, batch, moving, compiling=False)
            if state.step == 0:
                evaluate(stack, state, self.watch, [outputs], 0.0)
            outputs = self.steps[batch.shape](batch, *moving)
            assert all(output.isfinite().all() for output in outputs)
            state.step += 1
            if state.step in stack.moments:
                collect(stack, state)
            evaluate(stack, state, self.watch, [outputs], 0.0)
        return self

    def save(self, folder: Path) -> None:
        """Everything that the rest of the training depends on."""
        checkpoint.write(folder, self.state.tensors(), self.state.record())

    def load(self, folder: Path) -> Training:
        """Go on from where another training was saved."""
        found, problems = checkpoint.read(folder)
        assert found and not problems
        self.state.load(found.tensors, found.record)
        return self

    def select(self, runs: list[int]) -> Training:
        """Go on with some of the runs alone."""
        self.state, self.steps = self.state.select(runs), {}
        self.stack = self.state.stack
        return self

    def snapshots(self) -> list[Snapshot]:
        return [snapshot for measured in self.state.measured for snapshot in (measured.best, measured.last)]


def trained(configs: list[DictConfig], folder: Path) -> Training:
    """A finished training that `fit` repeats to the bit, and so does one that is interrupted after its first step."""
    training = Training(configs).run(1)
    training.save(folder)
    steps = training.stack.steps
    training.run(steps)
    resumed = Training(configs, initialize=False).load(folder).run(steps)
    whole, watch = build(configs), Watch(len(configs))
    outcome = fit(whole, watch)

    assert training.state.status == ["running"] * len(configs) and outcome.status == ["finished"] * len(configs)
    ours, theirs = (memories(each) for each in (training, resumed))
    assert all(tensor.isfinite().all() for tensor in ours.values())
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    for rest, rows in zip(resumed.watch.rows, training.watch.rows, strict=True):
        assert rest == rows[-len(rest) :]
    assert torch.equal(whole.theta, training.stack.theta)
    assert watch.rows == training.watch.rows
    return training


LARGE = tuple(f"architecture={name}" for name in ("densenet", "resnet", "resnet18", "stn"))
BEFORE = ("dataset=", "initializer=", "diagnostics=")  #: what does nothing in a step


@pytest.mark.parametrize(
    "choice",
    [pytest.param(each, marks=pytest.mark.slow) if each.startswith(LARGE + BEFORE) else each for each in EVERY],
)
def test_a_choice_trains_repeats_itself_resumes_and_stacks(choice: str, files: Path, tmp_path: Path) -> None:  # noqa: F811
    words = typed(choice)
    runs = [composed([*words, f"seed={seed}"], files) for seed in SEEDS]
    stack = build(runs[:1])
    if not stack.rule.stackable:
        assert type(stack.rule).stackable is False
        trained(runs[:1], tmp_path)
        return
    together = trained(runs, tmp_path / "together")
    own = choice.startswith("architecture=")  # alone some have kernels of their own
    alone = [trained(runs[:1], tmp_path / "alone") if own else Training(runs[:1]).run(stack.steps)]
    alone += [Training([run]).run(stack.steps) for run in runs[1:]]

    tensors = memories(together)
    for name, tensor in memories(Training(runs).run(1).select([0, 2]).run(stack.steps)).items():
        torch.testing.assert_close(tensor, tensors[name][[0, 2]], rtol=1e-9, atol=1e-12, msg=name)
    for i, run in enumerate(alone):
        for name, tensor in memories(run).items():
            torch.testing.assert_close(tensors[name][i], tensor[0], rtol=1e-9, atol=1e-12, msg=name)
        assert len(together.watch.rows[i]) == len(run.watch.rows[0])
        for got, wanted in zip(together.watch.rows[i], run.watch.rows[0], strict=True):
            assert got == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def memories(training: Training) -> dict[str, Tensor]:
    """Everything that a training changes, (runs, ...), whether or not it is saved; a schedule has runs as columns."""
    stack, state = training.stack, training.state
    parts = {
        "network": {**stack.buffers, "theta": stack.theta},
        "rule": state.memory,
        "schedule": {name: tensor.T for name, tensor in state.schedule.items()},
        **{f"regularizer {i}": memory for i, memory in enumerate(state.regularizers)},
        **{f"snapshot {i}": snapshot.kept for i, snapshot in enumerate(training.snapshots())},
    }
    return {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


@pytest.mark.parametrize("group", GROUPS)
def test_the_configs_here_are_those_of_the_command_line(group: str, files: Path) -> None:  # noqa: F811
    words = typed(next(choice for choice in reversed(EVERY) if choice.startswith(f"{group}=")))
    typed_words = [word.replace("{files}", str(files)) for word in words]
    assert composed(words, files) == config(*typed_words)
