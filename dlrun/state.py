"""What changes while a stack trains, and how it is saved and put back."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from dlrun.checkpoint import Record
from dlrun.evaluation import Evaluation, Measured, Snapshot
from dlrun.plan import averaging
from dlrun.stack import Stack

Tensors = dict[str, Tensor]


class State:
    """What changes while a stack trains, beside its theta and buffers."""

    def __init__(self, stack: Stack) -> None:
        stack.rule.bind(stack.layout, stack.theta)
        self.step = 0
        self.memory = stack.rule.init(stack.theta)
        self.schedule = stack.schedule.init(stack.runs)
        self.regularizers = [regularizer.init(stack.network) for regularizer in stack.regularizers]
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

    def tensors(self) -> Tensors:
        """The tensors that the rest of the training depends on, by name; `record` has the rest."""
        parts: dict[str, Tensors] = {
            "network": {**self.stack.buffers, "theta": self.stack.theta},
            "rule": self.memory,
            "schedule": self.schedule,
            **{f"regularizer.{i}": memory for i, memory in enumerate(self.regularizers)},
        }
        for i, measured in enumerate(self.measured):
            parts |= {f"best.{i}": measured.best.kept, f"last.{i}": measured.last.kept}
        named = {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
        if self.taken:
            losses, norms, *running = zip(*self.taken, strict=True)
            named |= {"taken/losses": torch.stack(losses), "taken/norms": torch.stack(norms)}
            named |= {f"taken/{i}": torch.cat(parts, 1) for i, parts in enumerate(running)}
        if self.stack.theta.is_cuda:
            named["noise_cuda"] = torch.cuda.get_rng_state(self.stack.theta.device)
        return {**named, "noise": torch.get_rng_state()}

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
            "on_cpu": [name for name, tensor in self.memory.items() if tensor.device.type == "cpu"],
        }

    def load(self, tensors: Tensors, record: Record) -> None:
        """Put what a training like this one gave in the place of the present values."""
        present, device = self.tensors(), self.stack.theta.device
        taken = {name.removeprefix("taken/"): tensors[name] for name in tensors if name.startswith("taken/")}
        for name, tensor in tensors.items():
            if name == "noise":
                torch.set_rng_state(tensor)
            elif name == "noise_cuda":
                torch.cuda.set_rng_state(tensor, device)
            elif name in present:
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
        self.step, self.status = record["step"], record["status"]
        self.started, self.compile_seconds = record["started"], record["compile_seconds"]

    def _snapshots(self) -> list[Snapshot]:
        return [snapshot for measured in self.measured for snapshot in (measured.best, measured.last)]
