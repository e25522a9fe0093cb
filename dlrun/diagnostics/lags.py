"""Gradients by lag: how much a recurrent network's loss still depends on what came long before its end."""

from __future__ import annotations

import torch

from dlrun.architectures.recurrent import Layer
from dlrun.diagnostics.diagnostic import Found, Part, View
from dlrun.diagnostics.measuring import Measuring, Values
from dlrun.diagnostics.passes import Pass
from dlrun.errors import ConfigError
from dlrun.training.stack import Stack


class Lags(Measuring):
    r"""How long the gradient is that reaches the inputs of each time of a sequence, by how far that is from its end.

    $$\frac1n \sum_i \left\| \frac{\partial \ell_i}{\partial x_{i, T - \text{lag}}} \right\|, \quad
    \text{lag} = 0, \dots, T - 1$$

    for every sample's own loss $\ell_i$ and its inputs x at the T times of its sequence, as dataset.scale leaves them.
    Rows have `epoch`, `step`, `lag` and this mean `norm`. Where it falls by the same factor from lag to lag, what came
    long ago cannot be learned.

    Refused for networks without recurrent layers.

    Args:
        every: see `DuringTraining`.
        part, samples: the samples looked at: so many of "train", "val" or "test"; None: all.

    Reference: Hochreiter 1991; Bengio, Simard & Frasconi 1994, doi:10.1109/72.279181; Pascanu et al. 2013,
    arXiv:1211.5063; lectures 002, 004.
    """

    def __init__(self, every: float | str | None, part: Part, samples: int | None) -> None:
        super().__init__(every, part, samples, "running")

    def fits(self, stack: Stack) -> None:
        if not any(isinstance(module, Layer) for module in stack.model.modules()):
            raise ConfigError(
                "this network has no recurrent layers, and so no lags: choose architecture=rnn, lstm or gru"
            )

    def look(self, view: View) -> list[Found]:
        _, norms = self.together(view, self)
        return [
            Found([{"epoch": view.epoch, "step": view.step, "lag": lag, "norm": norm} for lag, norm in enumerate(row)])
            for row in norms
        ]

    def measure(self, passed: Pass) -> list[Values]:
        # Times stand before last, of sequences (time, features) and of images (channels, rows, columns) alike.
        by_time = passed.of_inputs().movedim(-2, 2).flatten(3)
        norms = torch.linalg.vector_norm(by_time, dim=3).mean(1)
        return [Values([("lag", str(lag)) for lag in range(norms.shape[1])], norms.flip(1).double())]
