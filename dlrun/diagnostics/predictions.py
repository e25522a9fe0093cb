"""What finished networks say of the samples of a part."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.diagnostics.diagnostic import Statistics
from dlrun.diagnostics.probe import Probe, set_mode
from dlrun.errors import ConfigError
from dlrun.training.evaluation import chunk_size
from dlrun.training.objective import outputs_of
from dlrun.training.stack import Stack


def predictions(stack: Stack, probe: Probe, statistics: Statistics) -> Tensor:
    """What metrics compare with the targets of a probe, (runs, samples, outputs).

    The samples pass in chunks, as in an evaluation, but where batch normalization goes by their own statistics.
    """
    set_mode(stack.model, statistics)
    axis = 0 if probe.shared else 1
    size = probe.samples if statistics == "batch" else chunk_size(stack.runs, stack.dataset.inputs)
    parts = [
        outputs_of(stack, stack.layout.views(stack.theta), stack.buffers, x, probe.shared)
        for x in probe.x.split(size, axis)
    ]
    return stack.measures.loss.prediction(torch.cat(parts, 1))


def need_classes(stack: Stack, otherwise: str) -> None:
    """ConfigError unless the networks tell classes apart.

    otherwise: what to do instead.
    """
    if not stack.dataset.classes:
        raise ConfigError(f"it is for classes, and this dataset's task is {TASKS[stack.dataset.task]}: {otherwise}")


TASKS = {"regression": "a regression", "none": "a test function"}  #: those without classes, in words
