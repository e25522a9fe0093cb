"""Toy classifications in the plane, made from a formula: what a classifier does can be drawn.

Each makes `samples` fresh points for train, for val and for test, so inputs are (3 samples, 2). `noise` is the standard
deviation of the normal noise on both coordinates. Two classes are a binary task.
"""

from __future__ import annotations

import numpy as np

from dlrun.datasets.data import Samples, Task
from dlrun.datasets.synthetic import fresh_draws

TURNS = 1.5  #: of a spiral's arm around the centre


def moons(samples: int = 200, noise: float = 0.1, seed: int = 0) -> Samples:
    r"""Two half circles that reach into each other.

    $$x = (\cos t, \sin t) \text{ or } (1 - \cos t, \tfrac12 - \sin t), \quad t \sim \mathcal{U}(0, \pi)$$

    scikit-learn's curves; its points lie at equal steps of t, which would make the three parts the same.

    Reference: Pedregosa et al. 2011, scikit-learn, make_moons.
    """
    rng, classes = _start(samples, 2, seed)
    t = rng.uniform(0, np.pi, len(classes))
    x, y = np.cos(t), np.sin(t)
    points = np.where(classes == 0, (x, y), (1 - x, 0.5 - y))
    return _plane(points, classes, 2, noise, rng)


def circles(samples: int = 200, noise: float = 0.05, seed: int = 0) -> Samples:
    r"""A circle of radius 1 around one of radius 1/2.

    $$x = r\,(\cos t, \sin t), \quad r \in \{1, \tfrac12\}, \quad t \sim \mathcal{U}(0, 2\pi)$$

    Reference: Pedregosa et al. 2011, scikit-learn, make_circles with factor=0.5.
    """
    rng, classes = _start(samples, 2, seed)
    t = rng.uniform(0, 2 * np.pi, len(classes))
    return _plane(np.where(classes == 0, 1, 0.5) * (np.cos(t), np.sin(t)), classes, 2, noise, rng)


def spirals(samples: int = 400, classes: int = 2, noise: float = 0.02, seed: int = 0) -> Samples:
    r"""One arm of a spiral per class, each turning 1.5 times around the centre.

    $$x = r\,(\cos\varphi, \sin\varphi), \quad \varphi = 2\pi\,(1.5\, r + c / \text{classes}),
    \quad r^2 \sim \mathcal{U}(0, 1)$$

    The square root spreads the points along the arms instead of heaping them up in the centre, where the arms meet.

    Reference: Lang & Witbrock 1988, Learning to tell two spirals apart.
    """
    rng, numbers = _start(samples, classes, seed)
    r = np.sqrt(rng.uniform(0, 1, len(numbers)))
    angle = 2 * np.pi * (TURNS * r + numbers / classes)
    return _plane(r * (np.cos(angle), np.sin(angle)), numbers, classes, noise, rng)


def blobs(samples: int = 200, classes: int = 3, noise: float = 1.0, seed: int = 0) -> Samples:
    r"""A normal cloud per class c, around a centre that is drawn too.

    $$x \sim \mathcal{N}(\mu_c, \text{noise}^2 I), \quad \mu_c \sim \mathcal{U}([-10, 10]^2)$$

    Reference: Pedregosa et al. 2011, scikit-learn, make_blobs.
    """
    rng, numbers = _start(samples, classes, seed)
    centres = rng.uniform(-10, 10, (2, classes))
    return _plane(centres[:, numbers], numbers, classes, noise, rng)


def gaussian_quantiles(samples: int = 200, classes: int = 3, noise: float = 0.0, seed: int = 0) -> Samples:
    r"""A normal cloud cut into rings of equal probability around its centre, one per class.

    $$x \sim \mathcal{N}(0, I), \quad c = \lfloor \text{classes} \cdot (1 - e^{-\|x\|^2 / 2}) \rfloor$$

    Classes follow from the distribution function of the squared radius; scikit-learn ranks the points it drew.

    Reference: Zhu, Zou, Rosset & Hastie 2009, doi:10.4310/SII.2009.v2.n3.a8; scikit-learn, make_gaussian_quantiles.
    """
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(2, 3 * samples))
    share = -np.expm1(-np.square(points).sum(axis=0) / 2)
    numbers = np.minimum((classes * share).astype(np.int64), classes - 1)  # the share rounds to 1 far outside
    return _plane(points, numbers, classes, noise, rng)


def _start(samples: int, classes: int, seed: int) -> tuple[np.random.Generator, np.ndarray]:
    """A generator, and the rows' classes in turn, so that every part holds each as often."""
    return np.random.default_rng(seed), np.arange(3 * samples) % classes


def _plane(points: np.ndarray, numbers: np.ndarray, classes: int, noise: float, rng: np.random.Generator) -> Samples:
    """Points (2, rows) with noise, as samples of one of the classes each."""
    inputs = (points + rng.normal(0, noise, points.shape)).T
    task: Task = "binary" if classes == 2 else "multiclass"
    names = [str(c) for c in range(classes)]
    return Samples(inputs, numbers, task, ["x1", "x2"], names, fresh_draws(len(inputs) // 3))
