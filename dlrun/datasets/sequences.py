"""Sequences whose answer waits until their end: what is read early has to be remembered."""

from __future__ import annotations

import numpy as np

from dlrun.datasets.bundled import digits
from dlrun.datasets.data import Samples
from dlrun.datasets.synthetic import fresh_draws


def sequences(samples: int = 2000, length: int = 50, seed: int = 0, rows_of_digits: bool = False) -> Samples:
    r"""The adding problem; train, val and test are three fresh draws of `samples` sequences each.

    $$y = \sum_{t=1}^{T} m_t x_t, \quad x_t \sim \mathcal{U}(0, 1), \quad m_t \in \{0, 1\}$$

    The marker m is 1 at one place of the first half and at one of the second. inputs (3 samples, length, 2) hold
    value and marker of each step, targets (3 samples, 1). Answering 1 always has a mean squared error of 1/6.

    Args:
        rows_of_digits: in place of it, the bundled digits read row by row: inputs (1797, 8 steps, 8 features),
            10 classes; samples, length and seed have no say.

    Reference: Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735, with the halves of Arjovsky, Shah & Bengio
    2016, arXiv:1511.06464; rows of digits: Le, Jaitly & Hinton 2015, arXiv:1504.00941; lectures 002, 004.
    """
    if rows_of_digits:
        images = digits()
        return Samples(images.inputs[:, 0], images.targets, "multiclass", class_names=images.class_names)
    rng = np.random.default_rng(seed)
    count = 3 * samples
    values, markers = rng.uniform(0, 1, (count, length)), np.zeros((count, length))
    markers[np.arange(count), rng.integers(0, length // 2, count)] = 1
    markers[np.arange(count), rng.integers(length // 2, length, count)] = 1
    targets = (values * markers).sum(axis=1, keepdims=True)
    inputs = np.stack([values, markers], axis=2)
    return Samples(inputs, targets, "regression", ["value", "marker"], parts=fresh_draws(samples))
