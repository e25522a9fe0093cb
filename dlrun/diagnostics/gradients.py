"""Gradients by layer: whether they vanish or explode on their way back through the network."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.diagnostics.diagnostic import DuringTraining, Found, Part, Statistics, View, long_form
from dlrun.diagnostics.layers import OUTPUT, kept_on_the_way, outputs_with
from dlrun.diagnostics.probe import Probe, set_mode
from dlrun.diagnostics.recorded import Recorded, Values
from dlrun.diagnostics.spread import flattened, share_of_zeros, spread
from dlrun.training.stack import Stack


class Gradients(DuringTraining):
    r"""Gradients of the objective L, the mean loss of the samples plus penalties, by layer.

    Of each parameter, such as `1.weight`: mean, std and percentiles of the entries of $\partial L / \partial \theta$
    (`mean`, `std`, `p15`, `p50`, `p85`), their Euclidean length (`norm`) and the share that is exactly 0 (`zero`).
    Of each layer of hidden units, such as `3 ReLU`: the same of what is propagated back to their outputs h,
    $\partial \ell_i / \partial h_i$ for every sample's own loss $\ell_i$, whatever the number of samples. A layer that
    is called at every time of a sequence has all times together.

    Before clipping, and without what changes minibatches: augmentation, mixup, label smoothing and dropout.

    Args:
        every: see `DuringTraining`.
        part, samples: the samples looked at: so many of "train", "val" or "test"; None: all.
        statistics: batch normalization by these samples' own statistics, or by its running averages.

    Reference: Glorot & Bengio 2010 (figures 6, 7); Hochreiter 1991; lectures 002, 004.
    """

    def __init__(self, every: float | str | None, part: Part, samples: int | None, statistics: Statistics) -> None:
        super().__init__(every)
        self.statistics = statistics
        self.recorded = Recorded(self._measure, part, samples)

    def look(self, view: View) -> list[Found]:
        return long_form(view, self.recorded(view.stack))

    @torch.enable_grad()
    def _measure(self, stack: Stack, probe: Probe) -> Values:
        set_mode(stack.model, self.statistics)
        calls = kept_on_the_way(stack, probe, lambda name, module, given, output: (output,))
        # Adding 0 to what a layer puts out, the gradient in the 0 is that in the layer's output. The zeros are made of
        # shapes alone, and not by `zeros_like`, so that no replay repeats the pass that told the shapes.
        added = {
            name: [torch.zeros(o.shape, dtype=o.dtype, device=o.device).requires_grad_() for (o,) in outputs]
            for name, outputs in calls.items()
            if outputs and name != OUTPUT
        }
        parameters = {name: view.detach().requires_grad_() for name, view in stack.layout.views(stack.theta).items()}
        losses = stack.measures.loss(outputs_with(stack, parameters, probe, added), probe.targets(stack.runs))
        back = [tensor for tensors in added.values() for tensor in tensors]
        leaves = [*parameters.values(), *back]
        found = iter(torch.autograd.grad(losses.mean(1).sum(), leaves, allow_unused=True, materialize_grads=True))
        penalty = stack.penalty_and_gradient(stack.theta)
        of_penalty = {} if penalty is None else stack.layout.views(penalty[1])
        values: Values = {}
        for name in parameters:
            gradient = next(found)
            told = _told(gradient + of_penalty[name] if of_penalty else gradient)
            values |= {(name, quantity): value for quantity, value in told.items()}
        for name, tensors in added.items():
            of_units = torch.stack([next(found) for _ in tensors], 1) * probe.samples
            values |= {(name, quantity): value for quantity, value in _told(of_units).items()}
        return values


def _told(gradient: Tensor) -> dict[str, Tensor]:
    gradient = flattened(gradient)
    return {**spread(gradient), "norm": torch.linalg.vector_norm(gradient, dim=1), "zero": share_of_zeros(gradient)}
