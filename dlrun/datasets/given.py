"""Samples that the user types: worked examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlrun.datasets.data import Samples
from dlrun.errors import ConfigError


def given(inputs: Sequence[Any], targets: Sequence[Any]) -> Samples:
    """A regression on a few samples, which are train, val and test at once.

    Args:
        inputs: a list of numbers per sample.
        targets: a number per sample, or a list of numbers.

    Raises ConfigError for what are no numbers, lists of different lengths, and targets for other than all samples.

    Reference: lecture 003 (the backpropagation example).
    """
    x, y = (_numbers(rows, key) for rows, key in ((inputs, "inputs"), (targets, "targets")))
    if x.ndim != 2:
        raise ConfigError(f"dataset.inputs={list(inputs)}: give a list of numbers per sample, as in [[1,2],[3,4]]")
    if y.ndim not in (1, 2) or len(y) != len(x):
        raise ConfigError(
            f"dataset.targets={list(targets)}: give a number, or a list of numbers, for each of the {len(x)} samples"
        )
    rows = np.arange(len(x))
    names = [f"x{i + 1}" for i in range(x.shape[1])]
    return Samples(x, y, "regression", names, parts={"train": rows, "val": rows, "test": rows})


def _numbers(rows: Sequence[Any], key: str) -> np.ndarray:
    try:
        found = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.zeros(0)
    if not found.size or not np.isfinite(found).all():
        raise ConfigError(f"dataset.{key}={list(rows)}: give numbers, as many for each sample")
    return found
