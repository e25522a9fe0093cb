"""Gradients by layer: whether they vanish or explode on their way back through the network."""

from __future__ import annotations

import torch

from dlrun.diagnostics.measuring import Measuring, Values
from dlrun.diagnostics.passes import Pass
from dlrun.diagnostics.spread import quantities, spread


class Gradients(Measuring):
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

    def measure(self, passed: Pass) -> list[Values]:
        penalty = passed.stack.penalty_and_gradient(passed.stack.theta)
        of_penalty = {} if penalty is None else passed.stack.layout.views(penalty[1])
        tensors = {
            name: gradient + of_penalty[name] if of_penalty else gradient
            for name, gradient in passed.of_parameters.items()
        }
        for name, calls in passed.of_units.items():
            tensors[name] = torch.stack(calls, 1) if len(calls) > 1 else calls[0]
        told = [(name, quantity) for name in tensors for quantity in quantities(length=True)]
        return [Values(told, spread(list(tensors.values()), length=True))]
