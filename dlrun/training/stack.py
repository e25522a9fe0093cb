"""What a training needs, for all runs of a stack at once, and what it computes: losses, gradients, metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.architectures.recurrent import LSTMLayer
from dlrun.datasets.dataset import Dataset
from dlrun.datasets.inputs import Inputs
from dlrun.initializers.initializer import Initializer
from dlrun.matrix.graphs import captured
from dlrun.matrix.rows import call, over_rows, over_single_row
from dlrun.matrix.theta import Layout, applied, computes_in, unlike
from dlrun.matrix.trace import Program
from dlrun.optimizers.rule import Rule, State
from dlrun.regularizers.regularizer import Regularizer
from dlrun.schedules.schedule import Schedule
from dlrun.training.ahead import Ahead
from dlrun.training.measures import Measures
from dlrun.training.team import Alone

Rows = Mapping[str, Tensor]


@dataclass
class Stack:
    """The runs that train together: one structure, one row of numbers per run.

    theta: (runs, params). buffers: what layers remember or are told beside their parameters, (runs, ...).
    hyper, penalties: the rows of the update rule and of each regularizer, (runs, 1).
    rates: the rows of the schedule, lr among them, (1, runs).
    """

    dataset: Dataset  #: the first run's; the others' differ at most in which samples stand where, and in labels
    variants: list[Dataset]  #: the different ones, each with as many samples, whose tensors are views of these:
    inputs: Inputs
    targets: Tensor
    variant: list[int]  #: each run's place in `variants`
    model: nn.Module
    layout: Layout
    theta: Tensor
    buffers: dict[str, Tensor]
    averages: set[str]  #: the buffers that a training step changes
    measures: Measures
    rule: Rule
    hyper: Rows
    moving: list[str]  #: what differs from step to step: lr, what else of `hyper` the schedule moves, phases' `trained`
    phases: list[Tensor]  #: (params,) of 1 where a phase of the training trains the parameter; none: one phase, all
    schedule: Schedule
    rates: Rows
    regularizers: list[Regularizer]
    averaging: dict[str, int]  #: by the name that its columns get, the place of each that keeps other parameters
    penalties: list[Rows]
    masks: list[Tensor]  #: (params,), which parameters each regularizer penalises
    seeds: list[int]
    batch_size: int
    steps: int
    warmup: int
    eval_every: int  #: steps between evaluations
    clip_norm: Tensor | None  #: (runs, 1)
    clip_value: Tensor | None  #: (runs, 1)
    measure_train: bool
    compile: bool
    scaled: bool  #: whether gradients pass through numbers so small in range that losses are scaled
    threads: int
    initializers: list[Initializer]  #: each run's own, for what it reports of its work
    starts: list[Callable[[], State]]  #: each run's network at its beginning, theta (params,) and running averages
    diagnostics: dict[str, Any] = field(default_factory=dict)  #: by name, of `diagnostics.diagnostic.Diagnostic`
    remarks: list[str] = field(default_factory=list)  #: what the log is to tell of how it was trained
    moments: dict[int, dict[str, Tensor]] = field(default_factory=dict)  #: see `batches.moments`
    ahead: Ahead | None = field(default=None, init=False)  #: of the minibatches, where a GPU would wait for them
    team: Alone = field(default_factory=Alone)  #: the processes that share every minibatch and evaluation

    def __post_init__(self) -> None:
        self.g = torch.zeros_like(self.theta)

    @property
    def runs(self) -> int:
        """Rows of theta."""
        return self.theta.shape[0]

    def one_by_one(self, twice: bool = False) -> bool:
        """Whether networks are computed fastest one after the other, by the kernels for a network alone.

        Those round otherwise, and are worth it for convolutions and, on a CPU, an LSTM; an LSTM's are not compiled.

        twice: whether they are to be differentiated twice, as an LSTM's cannot be.
        """
        lstm, convolution = (
            any(isinstance(module, kind) for module in self.model.modules())
            for kind in (LSTMLayer, nn.modules.conv._ConvNd)
        )
        cpu = self.theta.device.type == "cpu"
        worth_it = cpu and not self.compile and not twice if lstm else convolution
        return worth_it and self.team.size == 1

    def captured(self, program: Program, moving: Sequence[Tensor]) -> Program:
        """A recorded program of this stack's as one call of the device, where it can be; see `matrix.graphs`."""
        if self.team.size > 1:  # whose messages are not the device's alone
            return program
        return captured(program, moving, self._refused)

    def _refused(self, why: str) -> None:
        remark = f"its operations are asked for one by one, which is slower than as a CUDA graph, since {why}"
        if remark not in self.remarks:
            self.remarks.append(remark)

    def over_networks(self, rows: int, twice: bool = False) -> Callable[..., Any]:
        """How so many rows of networks are computed: together, or a single one as `one_by_one` says."""
        if rows > 1 or not self.one_by_one(twice):
            return over_rows
        # with the channels last PyTorch is fastest, but for a GPU's own float32, which its tensor cores do not take
        slower = self.theta.device.type == "cuda" and not (computes_in(self.model) or torch.backends.cudnn.allow_tf32)
        if slower or any(map(_overruns, self.model.modules())):
            return partial(over_single_row, channels_last=False)
        return over_single_row

    def select(self, runs: Sequence[int]) -> Stack:
        """The stack of some of the runs alone, with theta and buffers of its own."""
        index = torch.tensor(runs)
        here = index.to(self.theta.device)

        def rows(numbers: Rows) -> dict[str, Tensor]:
            return {name: tensor[here] for name, tensor in numbers.items()}

        return replace(
            self,
            variant=[self.variant[run] for run in runs],
            theta=self.theta[here],
            buffers=rows(self.buffers),
            hyper=rows(self.hyper),
            rates={name: row[:, index] for name, row in self.rates.items()},
            penalties=[rows(numbers) for numbers in self.penalties],
            measures=self.measures.select(here),
            seeds=[self.seeds[run] for run in runs],
            clip_norm=None if self.clip_norm is None else self.clip_norm[here],
            clip_value=None if self.clip_value is None else self.clip_value[here],
            initializers=[self.initializers[run] for run in runs],
            starts=[self.starts[run] for run in runs],
            moments={step: rows(due) for step, due in self.moments.items()},
        )

    @property
    def train_size(self) -> int:
        """Training samples of one run."""
        return self.dataset.sizes["train"]

    @property
    def steps_per_epoch(self) -> int:
        """Minibatches in one pass over the training set, the last one possibly smaller."""
        return -(-self.train_size // self.batch_size)

    @property
    def separate(self) -> bool:
        """Whether the runs' samples differ."""
        return len(self.variants) > 1

    def chunks(self, part: str, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's share of the inputs and targets of "train", "val" or "test", (chunk, ...), or
        (runs, chunk, ...) where runs' differ."""
        share, first = self.team.share(self.dataset.sizes[part]), self.dataset.rows(part).start
        for start in range(first + share.start, first + share.stop, size):
            chunk = slice(start, min(start + size, first + share.stop))
            if not self.separate:
                yield self.dataset.inputs[chunk], self.dataset.targets[chunk]
            else:
                pairs = [(data.inputs[chunk], data.targets[chunk]) for data in self.variants]
                x, y = (torch.stack([pairs[v][i] for v in self.variant]) for i in (0, 1))
                yield x, y

    @property
    def network(self) -> State:
        """What a run's network is: its row of theta, and the buffers that a model file holds, (runs, ...)."""
        saved = [name for name in self.model.state_dict() if name in self.buffers]
        return {"theta": self.theta, **{name: self.buffers[name] for name in saved}}

    @property
    def tensors(self) -> State:
        """`network` by the names in a model file: each parameter and those buffers, (runs, ...), as views."""
        buffers = {name: tensor for name, tensor in self.network.items() if name != "theta"}
        return {**self.layout.views(self.theta), **buffers}

    def unlike(self, saved: Rows) -> list[str]:
        """The names that a run's network or a saved one has alone, in another shape, or of another kind of numbers."""
        return unlike({name: tensor[0] for name, tensor in self.tensors.items()}, saved)

    def minibatch(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs and targets to train on, and the data's own targets, (runs, batch, ...).

        batch: (runs, batch) row numbers of `inputs`.
        """
        x, y = (
            samples.index_select(0, batch.flatten()).unflatten(0, batch.shape)
            for samples in (self.inputs, self.targets)
        )
        own_y = y
        for regularizer, rows in zip(self.regularizers, self.penalties, strict=True):
            x, y = call(regularizer.transform, x, y, self.dataset.outputs, rows=rows)
        return x, y, own_y

    def penalty(self, theta: Tensor) -> Tensor | None:
        """What the regularizers add to each row's loss, (runs,), if anything."""
        parts = [
            call(regularizer.penalty, theta, mask, rows=rows)
            for regularizer, mask, rows in zip(self.regularizers, self.masks, self.penalties, strict=True)
        ]
        values = [part for part in parts if part is not None]
        return reduce(add, values) if values else None

    def outputs_of_row(self, parameters: Rows, buffers: Rows, x: Tensor) -> Tensor:
        """One run's network at these of its tensors, by name, in the mode in which the model is; they do not change."""
        averages = {name: buffers[name].clone() for name in self.averages}  # layers change theirs in place
        return applied(self.model, {**parameters, **buffers, **averages}, x)

    @torch.enable_grad()
    def penalty_and_gradient(self, theta: Tensor) -> tuple[Tensor, Tensor] | None:
        """What the regularizers add to each row's loss, (runs,), and its gradient, (runs, params), if anything."""
        leaf = theta.detach().requires_grad_()
        penalty = self.penalty(leaf)
        return None if penalty is None else (penalty.detach(), torch.autograd.grad(penalty.sum(), leaf)[0])

    @torch.enable_grad()
    def gradient(self, point: Tensor, batch: Tensor, scale: Tensor | None = None) -> tuple[Any, ...]:
        """Each row's objective, its mean loss on its minibatch plus penalties, (runs,), the objective's gradient at
        `point`, (runs, params), the mean loss alone as it is reported, (runs,), and new running averages.

        Without measure_train also what `Measures.sums` takes: losses, outputs and the data's own targets,
        (runs, batch, ...), of this process's share of the minibatch.

        scale: (runs,), by which losses are multiplied on the way back, so that what is small is no zero in 16 bits.
        """
        x, y, own_y = self.minibatch(self.team.of_batch(batch))
        changed = y is not own_y
        parameters = {name: view.detach().requires_grad_() for name, view in self.layout.views(point).items()}

        def outputs_of_row(parameters: Any, buffers: Any, x: Tensor) -> Any:
            averages = {name: buffers[name].clone() for name in self.averages}  # layers change theirs in place
            return applied(self.model, {**parameters, **buffers, **averages}, x), averages

        self.model.train()
        outputs, averages = self.over_networks(self.runs)(outputs_of_row)(parameters, self.buffers, x)
        by_sample = self.measures.loss(outputs, y)
        losses = by_sample.sum(1) / batch.shape[1]
        reported = by_sample if self.measures.unit is None else self.measures.reported(outputs, y)
        measured = []
        if not self.measure_train:
            own_losses = self.measures.reported(outputs, own_y) if changed else reported
            measured = [own_losses.detach(), outputs.detach(), own_y]
        # a sum, since autograd imports all of SymPy to look at the gradients that it is given for several outputs
        total = losses.sum() if scale is None else (losses * scale).sum()
        gradients = torch.autograd.grad(total, list(parameters.values()))
        if self.compile:  # whose compiler fuses this with the update, and masks every part of a write to parts
            g = torch.cat([part.flatten(1) for part in gradients], 1)
        else:
            g = self.g  # one piece of memory, whose views a recorded step has at hand
            for view, part in zip(self.layout.views(g).values(), gradients, strict=True):
                view.copy_(part)
        if scale is not None:
            g = g / scale[:, None]
        g, objective, loss = self.team.total(g, losses.detach(), reported.detach().sum(1) / batch.shape[1])
        penalised = self.penalty_and_gradient(point)
        if penalised is not None:
            objective, g = objective + penalised[0], g + penalised[1]
        return objective, g, loss, averages, *measured

    def clip(self, g: Tensor, norm: Tensor) -> Tensor:
        r"""Clip by norm, $g \min(1, c / \|g\|)$, then by value, to [-c, c] (Pascanu et al. 2013; lecture 002)."""
        if self.clip_norm is not None:
            g = g * (self.clip_norm / norm[:, None]).clamp(max=1)
        if self.clip_value is not None:
            g = torch.maximum(torch.minimum(g, self.clip_value), -self.clip_value)
        return g


def _overruns(module: nn.Module) -> bool:
    """Whether a layer is one of which oneDNN (PyTorch 2.13, AVX2) writes gradients beyond their memory, channels last:
    a convolution 1 x 1 that skips pixels, of fewer channels than a vector has numbers."""
    if not isinstance(module, nn.Conv2d):
        return False
    skips = module.kernel_size == (1, 1) and max(module.stride) > 1
    return skips and module.in_channels // module.groups < 8
