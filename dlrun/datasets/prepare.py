"""From a source's samples to the tensors that are trained on: split, fill, scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from dlrun.datasets.data import Dataset, Samples
from dlrun.datasets.split import split
from dlrun.errors import ConfigError

EPS = 1e-8
CHUNK = 2048  # rows at a time, so that float64 is never held for all of MNIST


def prepare(
    samples: Samples,
    *,
    scale: str,
    scale_target: bool,
    val_fraction: float,
    test_fraction: float,
    split_seed: int,
    dtype: torch.dtype = torch.float32,
) -> Dataset:
    """Split the samples, fill missing numbers (NaN) with their column's median, scale.

    Medians and scaling see the training part alone; they are taken per column of a table and per channel of
    images, and computed in float64.

    Args:
        scale: none, minmax, symmetric or standard, see `scaling`.
        scale_target: standardise the targets of a regression.
        val_fraction, test_fraction: of the rows that the source does not assign itself, see `split`.

    Raises ConfigError for an empty part, scaled classes, a column without any number in the training part, and
    values beyond what dtype holds.
    """
    if scale_target and samples.task != "regression":
        raise ConfigError(f"dataset.scale_target=true: only a regression's targets can be scaled, not {samples.task}")
    # Test before val, so that another val_fraction leaves the test part as it is.
    parts = split(samples, {"test": test_fraction, "val": val_fraction}, split_seed)
    train = parts["train"]
    rows = np.concatenate([train, parts["val"], parts["test"]])
    filled = fill_missing(samples.inputs, train, samples.feature_names)
    with np.errstate(over="ignore", invalid="ignore"):  # told below, with the columns' names
        inputs = _gather(filled, rows, scaling(scale, filled, train), dtype)
    if filled.dtype.kind == "f" and not bool(torch.isfinite(inputs).all()):
        good = torch.isfinite(inputs).movedim(1, 0).flatten(1).all(1).numpy()
        names = _columns(~good, samples.feature_names)
        raise ConfigError(f"dataset: values too large for {dtype}: {names}; dataset.scale=standard may bring them down")
    targets, outputs = _targets(samples, train, rows, scale_target, dtype)
    sizes = {name: len(parts[name]) for name in ("train", "val", "test")}
    return Dataset(inputs, targets, samples.task, sizes, outputs, samples.feature_names, samples.class_names)


def scaling(scale: str, values: np.ndarray, train: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    r"""The map that scales values (rows, columns...) by the statistics of their rows `train`.

    minmax $(x - \min) / (\max - \min + \epsilon)$, symmetric $2\,\text{minmax} - 1$,
    standard $(x - \mu) / (\sigma + \epsilon)$ with $\sigma^2$ the mean square deviation, $\epsilon = 10^{-8}$.
    A column that is constant in `train` is divided by 1: by $\epsilon$ alone, any other value that val or test
    hold there would become a number of the order of $10^8$.

    Reference: lectures 002 (min-max, z-score) and 004 (-1 to 1).
    """
    if scale == "none":
        return lambda x: x
    axes = (0, *range(2, values.ndim))

    def chunks() -> Iterator[np.ndarray]:
        return (values[train[start : start + CHUNK]] for start in range(0, len(train), CHUNK))

    low = np.min([x.min(axes, keepdims=True) for x in chunks()], axis=0).astype(np.float64)
    high = np.max([x.max(axes, keepdims=True) for x in chunks()], axis=0).astype(np.float64)
    constant = high == low
    if scale == "standard":
        count = len(train) * np.prod(values.shape[2:])
        mean = sum(x.sum(axes, np.float64, keepdims=True) for x in chunks()) / count
        variance = sum(np.square(x - mean).sum(axes, keepdims=True) for x in chunks()) / count
        offset, divisor = np.where(constant, low, mean), np.where(constant, 1, np.sqrt(variance) + EPS)
    else:
        offset, divisor = low, np.where(constant, 1, high - low + EPS)
    if scale == "symmetric":
        return lambda x: 2 * ((x - offset) / divisor) - 1
    return lambda x: (x - offset) / divisor


def fill_missing(inputs: np.ndarray, train: np.ndarray, names: list[str]) -> np.ndarray:
    """The inputs with NaN replaced by the median of the numbers that their column holds in the rows `train`."""
    if inputs.dtype.kind != "f" or not np.isnan(inputs).any():
        return inputs
    missing = np.isnan(inputs)
    empty = missing[train].all(axis=0)
    if empty.any():
        raise ConfigError(f"dataset: no number in the training part to fill with: {_columns(empty, names)}")
    return np.where(missing, np.nanmedian(inputs[train], axis=0), inputs)


def _columns(chosen: np.ndarray, names: list[str]) -> str:
    return ", ".join(names[i] if names else f"column {i}" for i in np.flatnonzero(chosen))


def _gather(
    values: np.ndarray, rows: np.ndarray, scaled: Callable[[np.ndarray], np.ndarray], dtype: torch.dtype
) -> Tensor:
    out = torch.empty((len(rows), *values.shape[1:]), dtype=dtype)
    for start in range(0, len(rows), CHUNK):
        chunk = scaled(values[rows[start : start + CHUNK]])
        out[start : start + len(chunk)] = torch.from_numpy(chunk)
    return out


def _targets(
    samples: Samples, train: np.ndarray, rows: np.ndarray, scale_target: bool, dtype: torch.dtype
) -> tuple[Tensor, int]:
    """The targets in the order of rows, and how many numbers a network has to put out for them."""
    if samples.task == "multiclass":
        outputs = len(samples.class_names) or int(samples.targets.max()) + 1
        return torch.from_numpy(samples.targets[rows]).long(), outputs
    if samples.task == "binary":
        return torch.from_numpy(samples.targets[rows]).to(dtype), 1
    targets = samples.targets.reshape(len(samples.targets), -1)
    scaled = scaling("standard" if scale_target else "none", targets, train)
    return _gather(targets, rows, scaled, dtype), targets.shape[1]
