"""Rings around each other, a class each."""

from __future__ import annotations

import numpy as np

from dlrun.datasets.data import Samples
from dlrun.datasets.synthetic import fresh_draws


def rings(
    samples: int = 300,  # int >= 1; in each of train, val and test
    classes: int = 3,  # int >= 2; rings
    noise: float = 0.1,  # >= 0; standard deviation of the radius
    seed: int = 0,  # int >= 0; of the data, apart from the run's
) -> Samples:
    r"""Points on rings of radius 1, 2, ..., a class each.

    $$x = (c + 1 + \varepsilon)(\cos t, \sin t), \quad \varepsilon \sim \mathcal{N}(0, \text{noise}^2)$$

    inputs (3 samples, 2): train, val and test are three fresh draws.
    """
    rng = np.random.default_rng(seed)
    ring = rng.integers(classes, size=3 * samples)
    angle, radius = rng.uniform(0, 2 * np.pi, len(ring)), ring + 1 + rng.normal(0, noise, len(ring))
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    task = "binary" if classes == 2 else "multiclass"
    return Samples(points, ring, task, ["x", "y"], [str(c) for c in range(classes)], fresh_draws(samples))
