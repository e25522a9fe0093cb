"""Which rows train, which validate, which test."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dlrun.datasets.data import Samples
from dlrun.errors import ConfigError


def split(
    samples: Samples, fractions: Mapping[str, float], seed: int, folds: int | None = None, fold: int = 0
) -> dict[str, np.ndarray]:
    """Row numbers of "train", "val" and "test".

    Parts that the source fixes stay as they are. The others are drawn by the seed from the rows that no fixed part
    holds: each of `fractions` of those rows, rounded, and train gets the rest. Classes keep their shares in every
    part to within one row.

    folds: cross-validation; the rows that are not for testing, fixed parts or not, fall into this many folds of equal
        size and equal shares of the classes, both to within one row. Number `fold` is the validation part, the others
        train. The test part is the one drawn without folds.

    Raises ConfigError where a part would be empty, and for folds of rows that are for testing too.
    """
    parts = {name: np.asarray(rows) for name, rows in samples.parts.items()}
    if folds is not None:
        fractions = {name: fraction for name, fraction in fractions.items() if name != "val"}
    free = np.ones(len(samples.inputs), bool)
    for rows in parts.values():
        free[rows] = False
    rng = np.random.default_rng(seed)
    rest = rng.permutation(np.flatnonzero(free))
    classes = _classes(samples)
    sizes = {name: round(fraction * len(rest)) for name, fraction in fractions.items() if name not in parts}
    for name, size in sizes.items():
        chosen = _quota(classes[rest], min(size, len(rest)), rng)
        parts[name], rest = rest[chosen], rest[~chosen]
    if folds is not None:
        return _fold(parts, rest, classes, folds, fold, rng)
    parts.setdefault("train", rest)
    for name in ("train", "val", "test"):
        if len(parts[name]) == 0:
            asked = ", ".join(f"dataset.{part}_fraction={fraction}" for part, fraction in fractions.items())
            raise ConfigError(f"empty split: {asked} of {np.count_nonzero(free)} rows leave no row for {name}")
    return parts


def subset(samples: Samples, rows: np.ndarray, size: int | float, seed: int) -> np.ndarray:
    """`size` of the rows, a number or a fraction of them; by the same seed, a larger subset contains the smaller ones.

    Classes keep their shares to within one row or so. Raises ConfigError for more rows than there are, or none.
    """
    count = size if isinstance(size, int) else round(size * len(rows))
    if not 1 <= count <= len(rows):
        raise ConfigError(
            f"dataset.train_size={size}: there are {len(rows)} training rows: give a number from 1 to {len(rows)}, or "
            "a fraction that leaves one"
        )
    rng = np.random.default_rng(seed)
    rows = rng.permutation(rows)
    _, number, counts = np.unique(_classes(samples)[rows], return_inverse=True, return_counts=True)
    # Each class is spread evenly over [0, 1), so that whatever comes before a point holds its share of every class.
    place = (_rank(number) + 0.5) / counts[number]
    return rows[np.lexsort((rng.random(len(rows)), place))[:count]]


def _fold(
    parts: dict[str, np.ndarray],
    rest: np.ndarray,
    classes: np.ndarray,
    folds: int,
    fold: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    test = parts["test"]
    pool = rng.permutation(np.concatenate([rest, *(rows for name, rows in parts.items() if name != "test")]))
    if len(np.intersect1d(pool, test)) or len(np.unique(pool)) < len(pool):
        raise ConfigError(f"dataset.folds={folds}: this dataset's parts share rows: leave dataset.folds=null")
    if not (folds <= len(pool) and len(test)):
        raise ConfigError(
            f"dataset.folds={folds}: {len(test)} rows are for testing and {len(pool)} are left, where one or more are "
            "wanted in the test part and in every fold"
        )
    if fold >= folds:
        raise ConfigError(f"dataset.fold={fold}: the {folds} folds are numbered from 0 to {folds - 1}")
    # Dealt out like cards, class after class.
    dealt = pool[np.argsort(classes[pool], kind="stable")]
    chosen = np.arange(len(pool)) % folds == fold
    return {"train": rng.permutation(dealt[~chosen]), "val": dealt[chosen], "test": test}


def _classes(samples: Samples) -> np.ndarray:
    """Each row's class; a regression is one class: its quota is then simply the first rows of a permutation."""
    return np.zeros(len(samples.inputs), np.int64) if samples.task == "regression" else samples.targets


def _rank(number: np.ndarray) -> np.ndarray:
    """How many rows of the same class, which are numbered from 0 without gaps, come before each row."""
    counts = np.bincount(number)
    order = np.argsort(number, kind="stable")
    rank = np.empty(len(number), np.int64)
    rank[order] = np.arange(len(number)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank


def _quota(classes: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A mask of `size` of the rows: the first of each class, by largest remainder, equal remainders by lot."""
    _, number, counts = np.unique(classes, return_inverse=True, return_counts=True)
    share, remainder = np.divmod(counts * size, max(len(classes), 1))
    share[np.lexsort((rng.random(len(counts)), -remainder))[: size - share.sum()]] += 1
    return _rank(number) < share[number]
