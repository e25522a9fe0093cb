"""Data made from a formula."""

from __future__ import annotations

import numpy as np

from dlrun.datasets.data import Samples


def linear(samples: int = 30, noise: float = 0.1, seed: int = 0) -> Samples:
    r"""A line with uniform noise; train, val and test are three fresh draws of `samples` points each.

    $$y = 3x + 2 + \mathcal{U}(-\text{noise}, \text{noise}), \quad x \sim \mathcal{U}(0, 1)$$

    inputs (3 samples, 1), targets (3 samples, 1). The lecture leaves the law of x open.

    Reference: lecture 002, N = 30 and noise = 0.1.
    """
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, (3 * samples, 1))
    y = 3 * x + 2 + rng.uniform(-noise, noise, x.shape)
    train, val, test = np.arange(3 * samples).reshape(3, samples)
    return Samples(x, y, "regression", ["x"], parts={"train": train, "val": val, "test": test})


def xor() -> Samples:
    """The four points of exclusive or, coded 0 and 1: train, val and test are the same four rows.

    Reference: lecture 002; Minsky & Papert 1969, Perceptrons.
    """
    inputs = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    rows = np.arange(4)
    parts = {"train": rows, "val": rows, "test": rows}
    return Samples(inputs, inputs[:, 0] ^ inputs[:, 1], "binary", ["a", "b"], ["0", "1"], parts)
