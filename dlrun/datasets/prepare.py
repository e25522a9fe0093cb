"""From a source's samples to the tensors that are trained on: split, fill, scale, replace labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dlrun.datasets.data import Samples
from dlrun.datasets.dataset import Dataset
from dlrun.datasets.describe import describe
from dlrun.datasets.encoding import Encoding
from dlrun.datasets.inputs import Inputs
from dlrun.datasets.mapped import Mapped, Values
from dlrun.datasets.numbers import Numbers
from dlrun.datasets.pixels import Pixels, stay_pixels
from dlrun.datasets.related import permuted, with_classes
from dlrun.datasets.scale import CHUNK, Scaling, scaling
from dlrun.datasets.split import split, subset
from dlrun.errors import ConfigError
from dlrun.matrix.seeds import NOISE, ORDER, seed_of

COLUMNS = 8  #: whose medians are sought at a time


def prepare(
    samples: Samples,
    *,
    scale: str,
    scale_target: bool | Literal["auto"],
    val_fraction: float,
    test_fraction: float,
    split_seed: int,
    label_noise: float = 0.0,
    train_size: int | float | None = None,
    folds: int | None = None,
    fold: int = 0,
    keep_classes: Sequence[int] | None = None,
    permute: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Dataset:
    """Split the samples, fill missing numbers (NaN) with their column's median, scale, replace labels.

    Medians and scaling see the training part alone and are computed in float64.

    Args:
        scale: none, minmax, symmetric, standard or zca, see `scaling`.
        scale_target: standardise the targets of a regression for the training; what is reported is in their own unit
            all the same. auto: where they are far from unit scale in the training part, `far_from_unit`.
        val_fraction, test_fraction: of the rows that the source does not assign itself, see `split`.
        label_noise: fraction of the training labels that are replaced, see `replace_labels`.
        train_size: rows, or fraction of the rows, of the training part that are kept, see `subset`; None is all.
        folds, fold: cross-validation in place of val_fraction, see `split`.
        keep_classes: the classes that are kept, see `with_classes`; None is all.
        permute: the seed of another order of an image's pixels, see `permuted`; None leaves them.

    Raises ConfigError for an empty part, scaled classes, noise on a regression's targets, a column without any number
    in the training part, and values beyond what dtype holds.
    """
    if keep_classes is not None:
        samples = with_classes(samples, keep_classes)
    if permute is not None:
        samples = permuted(samples, permute)
    if scale_target is True and samples.task != "regression":
        raise ConfigError(f"dataset.scale_target=true: only a regression's targets can be scaled, not {samples.task}")
    if label_noise and samples.task in ("regression", "none"):
        raise ConfigError(
            f"dataset.label_noise={label_noise}: only classes can be replaced, not a regression's targets"
        )
    if samples.surface:
        scale = "none"  # the input is the point to start from
    if folds is None and fold:
        raise ConfigError(f"dataset.fold={fold} needs dataset.folds, the number of folds")
    # Test before val, so that another val_fraction leaves the test part as it is.
    parts = split(samples, {"test": test_fraction, "val": val_fraction}, split_seed, folds, fold)
    if train_size is not None:
        parts["train"] = subset(samples, parts["train"], train_size, seed_of(split_seed, ORDER))
    train = parts["train"]
    rows = np.concatenate([train, parts["val"], parts["test"]])
    filled, medians = fill_missing(samples.inputs, train, samples.feature_names)
    scaled_targets = Scaling()
    with np.errstate(over="ignore", invalid="ignore"):  # told below, with the columns' names
        scaled = scaling(scale, filled, train)
        if isinstance(filled, Mapped) and scaled.matrix is None:
            inputs: Inputs = Numbers.of(filled, rows, scaled, dtype)
        elif isinstance(filled, np.ndarray) and stay_pixels(filled, scaled, dtype):
            inputs = Pixels.of(filled, rows, scaled, dtype)
        else:
            inputs = _gather(filled, rows, scaled, dtype)
    fine = False
    if isinstance(filled, Mapped) and isinstance(inputs, Numbers):  # what lies between finite bounds is finite
        fine = bool(_finite(inputs.maps[0](torch.from_numpy(filled.bounds)).to(dtype)).all())
    if filled.dtype.kind == "f" and not fine and not (good := _finite(inputs[:])).all():
        names = _columns(~good, samples.feature_names)
        raise ConfigError(f"dataset: values too large for {dtype}: {names}; dataset.scale=standard may bring them down")
    if samples.task in ("regression", "none"):
        numbers = samples.targets.reshape(len(samples.targets), -1)
        with np.errstate(over="ignore", invalid="ignore"):
            if scale_target == "auto":
                scale_target = samples.task == "regression" and far_from_unit(numbers[train])
            scaled_targets = Scaling(*center(numbers[train])) if scale_target else Scaling()
            targets = _gather(numbers, rows, scaled_targets, dtype)
        spread = 1 if scaled_targets.divisor is None else scaled_targets.divisor
        # a spread beyond what a double holds makes every target 0
        if not (bool(torch.isfinite(targets).all()) and np.isfinite(spread).all()):
            way = "give them in a larger unit" if scale_target else "dataset.scale_target=true may help"
            raise ConfigError(f"dataset: the targets hold values too large for {dtype}: {way}")
        outputs = inputs.shape[1] if samples.surface else numbers.shape[1]
    else:
        classes = 2 if samples.task == "binary" else len(samples.class_names) or int(samples.targets.max()) + 1
        labels = samples.targets[rows]
        labels[: len(train)] = replace_labels(labels[: len(train)], classes, label_noise, split_seed)
        targets = torch.from_numpy(labels).to(dtype if samples.task == "binary" else torch.int64)
        outputs = 1 if samples.task == "binary" else classes
    sizes = {name: len(parts[name]) for name in ("train", "val", "test")}
    dataset = Dataset(
        inputs,
        targets,
        samples.task,
        sizes,
        outputs,
        samples.feature_names,
        samples.class_names,
        samples.surface,
        samples.digest,
        encoding=None
        if samples.surface
        else Encoding(samples, medians, scaled, scaled_targets, str(dtype).removeprefix("torch.")),
    )
    if scaled_targets.offset is not None and scaled_targets.divisor is not None:
        dataset.target_mean = torch.from_numpy(scaled_targets.offset[0])
        dataset.target_std = torch.from_numpy(scaled_targets.divisor[0])
    how = {
        "scale": scale,
        "scale_target": scale_target,
        "split_seed": split_seed,
        "label_noise": label_noise,
        "train_size": train_size,
    }
    dataset.description = describe(samples, dataset, train, {**how, "folds": folds, "fold": fold})
    return dataset


def far_from_unit(targets: np.ndarray) -> bool:
    """Whether of any column of the targets (rows, outputs) the standard deviation is below 0.1, or the root mean square
    above 10: a network that begins with outputs around 0 and 1 would then be long in getting there, or see no more than
    their mean."""
    return bool((targets.std(0) < 0.1).any() or (np.square(targets.astype(np.float64)).mean(0) > 100).any())


def center(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation, (1, outputs), of the targets (rows, outputs); 1 for a column that is constant."""
    constant = targets.min(0) == targets.max(0)
    return np.where(constant, targets[0], targets.mean(0))[None], np.where(constant, 1, targets.std(0))[None]


def fill_missing(inputs: Values, train: np.ndarray, names: list[str]) -> tuple[Values, np.ndarray | None]:
    """The inputs with NaN replaced by the median of the numbers that their column holds in the rows `train`, and these
    medians; None where no number is missing."""
    holed = inputs.holed if isinstance(inputs, Mapped) else inputs.dtype.kind == "f" and np.isnan(inputs).any()
    if not holed:
        return inputs, None
    blocks = [slice(i, i + COLUMNS) for i in range(0, inputs.shape[1], COLUMNS)]  # of a large table not all at once
    empty = np.concatenate([np.isnan(inputs[train, block]).all(axis=0) for block in blocks])
    if empty.any():
        raise ConfigError(f"dataset: no number in the training part to fill with: {_columns(empty, names)}")
    medians = np.concatenate([np.nanmedian(inputs[train, block], axis=0) for block in blocks])
    if isinstance(inputs, Mapped):
        return Mapped(inputs.stored, inputs.bounds, inputs.holed, medians), medians
    return np.where(np.isnan(inputs), medians, inputs), medians


def replace_labels(labels: np.ndarray, classes: int, fraction: float, seed: int) -> np.ndarray:
    """The labels (rows,) with round(fraction rows) of them, drawn by the seed, replaced by one of the other classes.

    Each of the others is as likely. By the same seed, a larger fraction replaces what a smaller one does, and by the
    same classes.

    Reference: Nakkiran et al. 2020, arXiv:1912.02292; lecture 003 (double descent, 15 %).
    """
    rng = np.random.default_rng(seed_of(seed, NOISE))
    replaced = rng.permutation(len(labels))[: round(fraction * len(labels))]
    others = (labels + rng.integers(1, classes, len(labels))) % classes
    noisy = labels.copy()
    noisy[replaced] = others[replaced]
    return noisy


def _columns(chosen: np.ndarray, names: list[str]) -> str:
    return ", ".join(names[i] if names else f"column {i}" for i in np.flatnonzero(chosen))


def _finite(inputs: Tensor) -> np.ndarray:
    """Of each column, channel or feature whether all its numbers are finite, (columns,)."""
    return torch.isfinite(inputs).movedim(-1 if inputs.ndim == 3 else 1, 0).flatten(1).all(1).numpy()


def _gather(values: Values, rows: np.ndarray, scaled: Scaling, dtype: torch.dtype) -> Tensor:
    out = torch.empty((len(rows), *values.shape[1:]), dtype=dtype)
    for start in range(0, len(rows), CHUNK):
        chunk = scaled(values[rows[start : start + CHUNK]])
        out[start : start + len(chunk)] = torch.from_numpy(chunk)
    return out
