"""Numbers made from a formula: regressions in one variable, and exclusive or."""

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
    return Samples(x, y, "regression", ["x"], parts=fresh_draws(samples))


def sine(samples: int = 30, noise: float = 0.1, seed: int = 0) -> Samples:
    r"""A period of the sine with normal noise; train, val and test are three fresh draws of `samples` points each.

    $$y = \sin(2 \pi x) + \mathcal{N}(0, \text{noise}^2), \quad x \sim \mathcal{U}(0, 1)$$

    inputs (3 samples, 1), targets (3 samples, 1). Validation and test points are as noisy as the training points,
    so no network's mean squared error there is expected to fall below noise squared.

    Reference: lecture 002, N = 30; Bishop 2006, Pattern Recognition and Machine Learning, section 1.1.
    """
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, (3 * samples, 1))
    y = np.sin(2 * np.pi * x) + rng.normal(0, noise, x.shape)
    return Samples(x, y, "regression", ["x"], parts=fresh_draws(samples))


def sawtooth(samples: int = 500, k: int = 3, noise: float = 0.0, seed: int = 0) -> Samples:
    r"""A function of 2^k teeth on [0, 1); train, val and test are three fresh draws of `samples` points each.

    $$y = 1 - |2 \,\mathrm{frac}(2^k x) - 1| + \mathcal{N}(0, \text{noise}^2), \quad x \sim \mathcal{U}(0, 1)$$

    inputs (3 samples, 1), targets (3 samples, 1). Without noise it is the mirror map $m(x) = \min(2x, 2 - 2x)$
    applied k + 1 times, so k + 1 layers of two ReLU units hold it exactly, where one layer needs a unit per kink.

    Reference: Telgarsky 2015, arXiv:1509.08101; lecture 002.
    """
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, (3 * samples, 1))
    y = 1 - np.abs(2 * (2**k * x % 1) - 1) + rng.normal(0, noise, x.shape)
    return Samples(x, y, "regression", ["x"], parts=fresh_draws(samples))


def xor() -> Samples:
    """The four points of exclusive or, coded 0 and 1: train, val and test are the same four rows.

    Reference: lecture 002; Minsky & Papert 1969, Perceptrons.
    """
    inputs = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    rows = np.arange(4)
    parts = {"train": rows, "val": rows, "test": rows}
    return Samples(inputs, inputs[:, 0] ^ inputs[:, 1], "binary", ["a", "b"], ["0", "1"], parts)


def fresh_draws(samples: int) -> dict[str, np.ndarray]:
    """The parts of 3 samples rows that were drawn independently: each third is one."""
    return dict(zip(("train", "val", "test"), np.arange(3 * samples).reshape(3, samples), strict=True))
