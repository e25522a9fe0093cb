"""What changes while a stack trains, and how it is saved and put back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from dlrun.folder.checkpoint import Checkpoint, Record
from dlrun.training.batches import averaging
from dlrun.training.evaluation import Evaluation, Measured, Snapshot
from dlrun.training.stack import Stack

Tensors = dict[str, Tensor]

SCALE = 2.0**16  #: of losses, to begin with, as torch.amp.GradScaler does


class State:
    """What changes while a stack trains, beside its theta and buffers.

    The state of a whole stack hands over to that of the runs which still train (`select`), and takes in again what
    became of them (`merge`).
    """

    def __init__(self, stack: Stack) -> None:
        stack.rule.bind(stack.layout, stack.theta)
        self.step = 0
        self.memory = stack.rule.init(stack.theta)
        self.schedule = stack.schedule.init(stack.runs)
        self.regularizers = [regularizer.init(stack.network) for regularizer in stack.regularizers]
        #: of a training whose gradients pass through 16 bits: by how much losses are multiplied, for how many steps all
        #: went well with that, and how many steps were left out, (runs,) each
        self.scaling: Tensors = {}
        if stack.scaled:
            zeros = torch.zeros_like(stack.theta[:, 0])
            self.scaling = {"scale": zeros + SCALE, "steps": zeros, "left_out": zeros.clone()}
        self.measured = [Measured("", stack.network, Evaluation(stack))]
        for name, place in stack.averaging.items():
            memory, regularizer = self.regularizers[place], averaging(stack, name)
            members = {key: memory[key] for key in stack.network}
            evaluation = Evaluation(stack, members, regularizer.weight(memory))
            self.measured.append(Measured(f"{name}_", memory, evaluation))
        self.status = ["running"] * stack.runs
        self.taken: list[tuple[Tensor, ...]] = []  #: what the steps since the last evaluation returned
        self.started, self.start = "", time.perf_counter()
        self.compile_seconds = 0.0
        self.stack = stack
        self.runs = list(range(stack.runs))  #: of the whole stack, those that still take steps

    def select(self, runs: Sequence[int]) -> State:
        """The state of some of this whole stack's runs, on a stack of their own."""
        if len(runs) == self.stack.runs:
            return self
        part = State(self.stack.select(runs))
        tensors, record = self.part(runs)
        part.load(tensors, record | {"runs_left": list(runs)})
        part.taken, part.start = self.taken, self.start
        return part

    def part(self, runs: Sequence[int]) -> tuple[Tensors, Record]:
        """`tensors` and `record` of some of this whole stack's runs, as those of a stack that they make.

        What the steps since the last evaluation returned is left out: at an evaluation there is nothing of that.
        """
        own = {name: t for name, t in self.tensors().items() if not name.startswith("taken")}
        record = self.record() | {
            "status": [self.status[run] for run in runs],
            "rows": [[snapshot.rows[run] for run in runs] for snapshot in self._snapshots()],
            "runs_left": list(range(len(runs))),
        }
        return {name: t.index_select(_axis(name), _index(runs, t)) for name, t in own.items()}, record

    def merge(self, part: State) -> None:
        """Take in the state of some of the runs, which `select` gave."""
        if part is self:
            return
        theirs = part.tensors()
        for name, tensor in self.tensors().items():
            if not name.startswith("taken"):
                tensor.index_copy_(_axis(name), _index(part.runs, tensor), theirs[name])
        for place, run in enumerate(part.runs):
            self.status[run] = part.status[place]
            for mine, own in zip(self._snapshots(), part._snapshots(), strict=True):
                mine.rows[run] = own.rows[place]
        self.runs, self.step, self.taken = part.runs, part.step, part.taken

    def tensors(self) -> Tensors:
        """The tensors that the rest of the training depends on, by name; `record` has the rest."""
        parts: dict[str, Tensors] = {
            "network": {**self.stack.buffers, "theta": self.stack.theta},
            "rule": self.memory,
            "schedule": self.schedule,
            "scaling": self.scaling,
            **{f"regularizer.{i}": memory for i, memory in enumerate(self.regularizers)},
        }
        for i, measured in enumerate(self.measured):
            parts |= {f"best.{i}": measured.best.kept, f"last.{i}": measured.last.kept}
        named = {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
        if self.taken:
            losses, norms, *running = zip(*self.taken, strict=True)
            named |= {"taken/losses": torch.stack(losses), "taken/norms": torch.stack(norms)}
            named |= {f"taken/{i}": torch.cat(parts, 1) for i, parts in enumerate(running)}
        return named

    def record(self) -> Record:
        """What the rest of the training depends on beside the `tensors`, and what it has told so far."""
        return {
            "step": self.step,
            "status": self.status,
            "rows": [snapshot.rows for snapshot in self._snapshots()],
            "taken": [parts[2].shape[1] if len(parts) > 2 else 0 for parts in self.taken],
            "started": self.started,
            "seconds": time.perf_counter() - self.start,
            "compile_seconds": self.compile_seconds,
            "runs_left": self.runs,
            "on_cpu": [name for name, tensor in self.memory.items() if tensor.device.type == "cpu"],
        }

    def load(self, tensors: Tensors, record: Record) -> None:
        """Put what a training like this one gave in the place of the present values."""
        present, device = self.tensors(), self.stack.theta.device
        taken = {name.removeprefix("taken/"): tensors[name] for name in tensors if name.startswith("taken/")}
        for name, tensor in tensors.items():
            if name in present:
                present[name].copy_(tensor)
            elif not name.startswith("taken/"):  # a rule of torch.optim makes its memory at its first step
                name = name.removeprefix("rule/")
                self.memory[name] = tensor.to("cpu" if name in record["on_cpu"] else device, copy=True)
        if taken:
            here = {name: tensor.to(device) for name, tensor in taken.items()}
            running = [here[str(i)].split(record["taken"], 1) for i in range(len(here) - 2)]
            self.taken = list(zip(here["losses"], here["norms"], *running, strict=True))
        for snapshot, rows in zip(self._snapshots(), record["rows"], strict=True):
            snapshot.rows = rows
        # one that was interrupted goes on: releases before 0.2 kept that word, and such a run ended again at once
        self.status = ["running" if status == "interrupted" else status for status in record["status"]]
        self.step, self.runs = record["step"], record["runs_left"]
        self.started, self.compile_seconds = record["started"], record["compile_seconds"]

    def _snapshots(self) -> list[Snapshot]:
        return [snapshot for measured in self.measured for snapshot in (measured.best, measured.last)]


def joined(parts: Sequence[Checkpoint]) -> Checkpoint:
    """The state of a stack whose runs `State.part` gave, after the same step of trainings of one structure.

    What is one number for all of them, such as the seconds, is the greatest.
    """
    records = [part.record for part in parts]
    tensors = {name: torch.cat([part.tensors[name] for part in parts], _axis(name)) for name in parts[0].tensors}
    record = {
        **{key: value for key, value in records[0].items() if key != "shares"},
        "status": [status for each in records for status in each["status"]],
        "rows": [list(chain(*rows)) for rows in zip(*(each["rows"] for each in records), strict=True)],
        "runs_left": list(range(sum(len(each["runs_left"]) for each in records))),
        "started": min(each["started"] for each in records),
        **{key: max(each[key] for each in records) for key in ("seconds", "compile_seconds")},
    }
    return Checkpoint(tensors, record)


def _axis(name: str) -> int:
    """Which axis of a tensor of `State.tensors` is the runs'."""
    return 1 if name.startswith("schedule/") else 0


def _index(runs: Sequence[int], tensor: Tensor) -> Tensor:
    return torch.tensor(runs, device=tensor.device)
