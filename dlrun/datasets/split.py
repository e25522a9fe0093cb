"""Which rows train, which validate, which test."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dlrun.datasets.data import Samples
from dlrun.errors import ConfigError


def split(samples: Samples, fractions: Mapping[str, float], seed: int) -> dict[str, np.ndarray]:
    """Row numbers of "train", "val" and "test".

    Parts that the source fixes stay as they are. The others are drawn by the seed from the rows that no fixed part
    holds: each of `fractions` of those rows, rounded, and train gets the rest. Classes keep their shares in every
    part to within one row. Raises ConfigError where a part would be empty.
    """
    parts = {name: np.asarray(rows) for name, rows in samples.parts.items()}
    free = np.ones(len(samples.inputs), bool)
    for rows in parts.values():
        free[rows] = False
    rng = np.random.default_rng(seed)
    rest = rng.permutation(np.flatnonzero(free))
    # A regression is one class: its quota is then simply the first rows of the permutation.
    classes = np.zeros(len(free), np.int64) if samples.task == "regression" else samples.targets
    sizes = {name: round(fraction * len(rest)) for name, fraction in fractions.items() if name not in parts}
    for name, size in sizes.items():
        chosen = _quota(classes[rest], min(size, len(rest)), rng)
        parts[name], rest = rest[chosen], rest[~chosen]
    parts.setdefault("train", rest)
    for name in ("train", "val", "test"):
        if len(parts[name]) == 0:
            asked = ", ".join(f"dataset.{part}_fraction={fraction}" for part, fraction in fractions.items())
            raise ConfigError(f"empty split: {asked} of {np.count_nonzero(free)} rows leave no row for {name}")
    return parts


def _quota(classes: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A mask of `size` of the rows: the first of each class, by largest remainder, equal remainders by lot."""
    _, number, counts = np.unique(classes, return_inverse=True, return_counts=True)
    share, remainder = np.divmod(counts * size, max(len(classes), 1))
    share[np.lexsort((rng.random(len(counts)), -remainder))[: size - share.sum()]] += 1
    order = np.argsort(number, kind="stable")
    rank = np.empty(len(classes), np.int64)  # how many rows of the same class come before
    rank[order] = np.arange(len(classes)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank < share[number]
