"""What derivatives of a finished network's outputs by its inputs cost, in forward and in reverse mode."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from time import perf_counter, process_time
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp, vjp

from dlrun.diagnostics.diagnostic import Found, OfFinished, Part, Row, View
from dlrun.diagnostics.probe import Probe, set_mode
from dlrun.errors import ConfigError
from dlrun.matrix.theta import applied
from dlrun.training.stack import Stack

REPEATS = 3  #: timings of which the shortest counts, at least
LASTING = 0.1  #: seconds that all of them take, at least
LONGEST = 1.0  #: seconds that one timing may take, by the one before; beyond, nothing is tried


class Jacobian(OfFinished):
    r"""The Jacobian $J = \partial f / \partial x$ of m outputs by n inputs, and the time that its parts take.

    Forward mode gives a product $J v$ with the outputs, and so a column of J for every pass; reverse mode a product
    $J^\top u$, and so a row. All of J takes n passes forward or m passes in reverse, one after the other.

    A row per measurement: the `quantity` evaluation (of f alone), forward or reverse; `number`, how many columns or
    rows were computed: 1, 2, 4, ... up to all, or as far as a measurement takes about a second; `seconds`, the shortest
    of 3 measurements, or of as many as take a tenth of a second, since what makes one longer is another program. Times
    are the processor's, all its cores together, and a clock's where a GPU computes. They are those of one network by
    itself on this machine; of runs in a stack, which differ in numbers alone, they are those of the first.
    `jacobian.safetensors` holds J, (samples, m, n), at each sample, where it could be computed to its end. Batch
    normalization goes by its running averages.

    Args:
        part, samples: the samples at which it is computed, all in one pass.

    Raises ConfigError where outputs do not depend on inputs, and where PyTorch has no forward mode of a network.

    Reference: Griewank & Walther 2008, "Evaluating Derivatives", doi:10.1137/1.9780898717761; lecture 002.
    """

    def __init__(self, part: Part, samples: int | None) -> None:
        self.part, self.samples = part, samples

    def fits(self, stack: Stack) -> None:
        if stack.dataset.surface:
            raise ConfigError("a test function's outputs do not depend on inputs: leave it out")
        f, x = self._function(stack, 0)
        try:
            jvp(f, (x[:1],), (torch.ones_like(x[:1]),))
        except (RuntimeError, NotImplementedError) as problem:
            raise ConfigError(
                f"PyTorch {torch.__version__} has no forward mode of this network "
                f"({str(problem).splitlines()[0].rstrip('.')}): leave it out, or choose another architecture"
            ) from problem

    def look(self, view: View) -> list[Found]:
        stack, found = view.stack, []
        rows, size = self._times(stack, view)
        summary: dict[str, float | str] = {"inputs": size["forward"], "outputs": size["reverse"]}
        for row in rows:
            mode = str(row["quantity"])
            if row["number"] == size.get(mode, 1):
                summary[f"{mode}_seconds"] = row["seconds"]
        for run in range(stack.runs):
            f, x = self._function(stack, run)
            arrays = {}
            if "reverse_seconds" in summary:
                arrays["jacobian"] = reverse(f, x, size["reverse"])
            elif "forward_seconds" in summary:
                arrays["jacobian"] = forward(f, x, size["forward"])
            found.append(Found(rows, arrays=arrays, summary=summary))
        return found

    def _function(self, stack: Stack, run: int) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """One run's network, (samples, ...) to (samples, m), and its inputs."""
        probe = Probe.of(stack, self.part, self.samples)
        tensors: dict[str, Any] = {**stack.layout.views(stack.theta), **stack.buffers}
        own = {name: tensor[run].detach() for name, tensor in tensors.items()}
        set_mode(stack.model, "running")

        def f(x: Tensor) -> Tensor:
            return applied(stack.model, own, x).flatten(1)

        return f, probe.x if probe.shared else probe.x[run]

    def _times(self, stack: Stack, view: View) -> tuple[list[Row], dict[str, int]]:
        """The rows, and how many columns and rows the Jacobian has."""
        f, x = self._function(stack, 0)
        size = {"forward": prod(x.shape[1:]), "reverse": f(x).shape[1]}
        rows: list[Row] = [{"quantity": "evaluation", "number": 1, "seconds": seconds(f, x)}]
        for mode, of_mode in (("forward", forward), ("reverse", reverse)):
            number, taken = 0, 0.0
            while number < size[mode] and 2 * taken <= LONGEST:
                number = min(max(1, 2 * number), size[mode])
                view.progress(f"jacobian, {mode} mode", number, size[mode])
                taken = seconds(of_mode, f, x, number)
                rows.append({"quantity": mode, "number": number, "seconds": taken})
        return rows, size


def forward(f: Callable[[Tensor], Tensor], x: Tensor, columns: int) -> Tensor:
    """The first columns of J at each of the samples x, (samples, m, columns), a pass of forward mode for each."""
    found = []
    for column in range(columns):
        v = torch.zeros_like(x)
        v.flatten(1)[:, column] = 1
        found.append(jvp(f, (x,), (v,))[1])
    return torch.stack(found, 2)


def reverse(f: Callable[[Tensor], Tensor], x: Tensor, rows: int) -> Tensor:
    """The first rows of J at each of the samples x, (samples, rows, n), a pass of reverse mode for each."""
    found = []
    outputs, product = vjp(f, x)[:2]
    for row in range(rows):
        u = torch.zeros_like(outputs)
        u[:, row] = 1
        found.append(product(u)[0].flatten(1))
    return torch.stack(found, 1)


def seconds(work: Callable[..., object], *arguments: Any) -> float:
    """The shortest time that some work takes, once it has been done a first time, whatever else the machine does."""
    on_gpu = any(isinstance(each, Tensor) and each.is_cuda for each in arguments)
    clock = perf_counter if on_gpu else process_time
    taken: list[float] = []
    while len(taken) <= REPEATS or sum(taken[1:]) < LASTING:
        begun = clock()
        work(*arguments)
        if on_gpu:
            torch.cuda.synchronize()
        taken.append(clock() - begun)
    return min(taken[1:])
