"""Scaling by statistics of the training part alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from dlrun.datasets.mapped import Values
from dlrun.errors import ConfigError

EPS, EPSILON = 1e-8, float(np.finfo(np.float64).eps)
CHUNK = 2048  # rows at a time, so that float64 is never held for all of MNIST
FEATURES = 3072  # of CIFAR's images; of larger ones fewer are taken at a time
WHITENED, MATRICES = 4096, 5  #: most features that ZCA takes, and how many matrices of 134 MB then; CIFAR has 3072


@dataclass(frozen=True)
class Scaling:
    """The map of values x (rows, columns...) to factor (x - offset) / divisor + shift; with a matrix, to
    (x - offset) matrix of the flattened values; without an offset, to x.

    offset, divisor: (1, ...), as they broadcast to the values. matrix: (features, features). They are arrays, or
    tensors for values that are tensors.
    """

    offset: np.ndarray | None = None
    divisor: np.ndarray | None = None
    factor: float = 1.0
    shift: float = 0.0
    matrix: np.ndarray | None = None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if self.offset is None:
            return x
        if self.matrix is not None:
            return ((x.reshape(x.shape[0], -1) - self.offset) @ self.matrix).reshape(x.shape)
        scaled = (x - self.offset) / self.divisor
        return scaled if self.factor == 1 else self.factor * scaled + self.shift

    def undone(self, scaled: np.ndarray) -> np.ndarray:
        """What values these are the map of; with a matrix, those among them that the training rows' directions span."""
        if self.offset is None:
            return scaled
        if self.matrix is not None:
            return (
                _flat(scaled) @ np.linalg.pinv(self.matrix, len(self.matrix) * EPSILON, hermitian=True) + self.offset
            ).reshape(scaled.shape)
        assert self.divisor is not None
        return (scaled.astype(np.float64) - self.shift) / self.factor * self.divisor + self.offset


def scaling(scale: str, values: Values, train: np.ndarray) -> Scaling:
    r"""The map that scales values (rows, columns...) by the statistics of their rows `train`.

    minmax $(x - \min) / (\max - \min + \epsilon)$, symmetric $2\,\text{minmax} - 1$,
    standard $(x - \mu) / (\sigma + \epsilon)$ with $\sigma^2$ the mean square deviation, $\epsilon = 10^{-8}$,
    each per column of a table, channel of images (rows, channels, height, width) and feature of sequences
    (rows, time, features); zca, see `whitening`.
    A column that is constant in `train` is divided by 1: by $\epsilon$ alone, any other value that val or test
    hold there would become a number of the order of $10^8$.

    Reference: lectures 002 (min-max, z-score, ZCA) and 004 (-1 to 1).
    """
    if scale == "none":
        return Scaling()
    if scale == "zca":
        return whitening(values, train)
    are_bytes = values.dtype == np.uint8 and values.ndim == 4
    low, high, moments = (_of_bytes if are_bytes else _of_numbers)(values, train)
    constant = high == low
    if scale == "standard":
        mean, variance = moments()
        offset, divisor = np.where(constant, low, mean), np.where(constant, 1, np.sqrt(variance) + EPS)
    else:
        offset, divisor = low, np.where(constant, 1, high - low + EPS)
    if scale == "symmetric":
        return Scaling(offset, divisor, 2.0, -1.0)
    return Scaling(offset, divisor)


Moments = tuple[np.ndarray, np.ndarray]  #: mean and variance
Statistics = tuple[np.ndarray, np.ndarray, Callable[[], Moments]]  #: the least and the greatest value, and these


def _of_numbers(values: Values, train: np.ndarray) -> Statistics:
    axes = (0, 1) if values.ndim == 3 else (0, *range(2, values.ndim))

    def moments() -> Moments:
        count = len(train) * np.prod([values.shape[axis] for axis in axes[1:]])
        mean = sum(x.sum(axes, np.float64, keepdims=True) for x in _chunks(values, train)) / count
        return mean, sum(np.square(x - mean).sum(axes, keepdims=True) for x in _chunks(values, train)) / count

    bounds = [(x.min(axes, keepdims=True), x.max(axes, keepdims=True)) for x in _chunks(values, train)]
    lows, highs = zip(*bounds, strict=True)
    return np.min(lows, axis=0).astype(np.float64), np.max(highs, axis=0).astype(np.float64), moments


def _of_bytes(values: Values, train: np.ndarray) -> Statistics:
    """Of images (rows, channels, height, width): all from how often each byte occurs, (256, channels, 1, 1), since they
    may lie in a file larger than the memory. It is read once, from its beginning to its end."""
    counts = torch.zeros(256, values.shape[1], dtype=torch.int64)
    for x in _chunks(values, np.sort(train)):
        for channel in range(values.shape[1]):
            counts[:, channel] += torch.bincount(torch.from_numpy(x[:, channel]).flatten(), minlength=256)
    n, level = counts.numpy()[:, :, None, None], np.arange(256.0)[:, None, None, None]

    def moments() -> Moments:
        mean = (n * level).sum(0, keepdims=True) / n.sum(0, keepdims=True)
        return mean, (n * np.square(level - mean)).sum(0, keepdims=True) / n.sum(0, keepdims=True)

    return np.where(n, level, 255).min(0, keepdims=True), np.where(n, level, 0).max(0, keepdims=True), moments


def whitening(values: Values, train: np.ndarray) -> Scaling:
    r"""ZCA: uncorrelated features of variance 1 that stay as near to the given ones as they can; images are flattened.

    $$\hat X = U \Lambda^{-1/2} U^\top (X - \mu), \quad
    U \Lambda U^\top = \tfrac{1}{n - 1} (X - \mu)(X - \mu)^\top, \quad
    \tfrac{1}{n - 1} \hat X \hat X^\top = I$$

    The statistics are those of the n rows `train`. A direction in which these do not vary but by rounding (standard
    deviation at most max(n, features) 2e-16 of the largest; there are some whenever n does not exceed the number of
    features, or a feature follows from others) has no variance to divide by and becomes 0, in all parts:
    $\Lambda^{-1/2}$ is a pseudo-inverse. All others get variance 1, however little they vary. U and $\Lambda$ come
    from X itself: its squares keep half of the digits, and none of a direction $10^8$ times narrower than another.

    Raises ConfigError above 4,096 features, with the memory that they would take.

    Reference: Bell & Sejnowski 1997, doi:10.1016/S0042-6989(97)00121-1; Chan 1982, doi:10.1145/355984.355990 (the
    decomposition, of the triangle from a QR of the rows); lecture 002.
    """
    features = int(np.prod(values.shape[1:]))
    if features > WHITENED:
        raise ConfigError(
            f"dataset.scale=zca: {features} features need matrices of {features} x {features} numbers, about "
            f"{MATRICES * 8 * features**2 / 1e9:.1f} GB in all; at most {WHITENED} are whitened: choose "
            "dataset.scale=standard, or smaller images"
        )

    first = _flat(values[train[:1]])  # so that what is constant differs from its mean by nothing, not by rounding
    mean = first + np.sum([(_flat(x) - first).sum(axis=0) for x in _chunks(values, train)], axis=0) / len(train)
    triangle: np.ndarray = np.empty((0, features))  # R of X = QR has X's singular values and right singular vectors
    for x in _chunks(values, train):
        triangle = np.asarray(np.linalg.qr(np.vstack([triangle, _flat(x) - mean]), mode="r"))
    if not np.isfinite(triangle).all():
        raise ConfigError("dataset.scale=zca: there are values too large to be added up: choose dataset.scale=standard")
    _, lengths, vectors = np.linalg.svd(triangle, full_matrices=False)
    varies = lengths > lengths[0] * max(len(train), features) * np.finfo(np.float64).eps
    matrix = (vectors[varies].T * (np.sqrt(len(train) - 1) / lengths[varies])) @ vectors[varies]
    return Scaling(mean, matrix=matrix)


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1).astype(np.float64)


def _chunks(values: Values, rows: np.ndarray) -> Iterator[np.ndarray]:
    size = max(1, min(CHUNK, CHUNK * FEATURES // max(values[0].size, 1)))
    return (values[rows[start : start + size]] for start in range(0, len(rows), size))
