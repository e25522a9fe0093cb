"""What was read, in numbers: the `dataset` of summary.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlrun.datasets.data import Samples
from dlrun.datasets.dataset import Dataset
from dlrun.terminal.description import Description
from dlrun.terminal.printable import in_line

LISTED = 20  #: features up to which all are named


def describe(samples: Samples, dataset: Dataset, train: np.ndarray, how: Mapping[str, Any]) -> Description:
    """What the samples are, and what was made of them.

    train: the rows of the training part. how: the keys that decided it, as `prepare` has them.
    """
    shape = list(samples.inputs.shape[1:])
    found: Description = {"task": samples.task, "rows": dict(dataset.sizes), "shape": shape}
    if samples.surface:
        return {**found, "features": samples.feature_names, "start": samples.inputs[0].tolist(), "notes": samples.notes}
    if 0 < len(samples.feature_names) <= LISTED:
        found["features"] = [in_line(name) for name in samples.feature_names]
    found |= {"scale": how["scale"], "split": _split(samples, how)}
    notes = list(samples.notes)
    if samples.task == "regression":
        values = samples.targets.reshape(len(samples.targets), -1).astype(np.float64)
        with np.errstate(over="ignore"):
            of = {name: getattr(values, name)(axis=0).tolist() for name in ("min", "max", "mean", "std")}
            found["target"] = {name: each[0] if len(each) == 1 else each for name, each in of.items()}
            found["target"]["standardised"] = how["scale_target"]
    else:
        names = dataset.classes
        parts = {part: dataset.targets[dataset.rows(part)].numpy().astype(np.int64) for part in dataset.sizes}
        counts = {part: np.bincount(labels, minlength=len(names)).tolist() for part, labels in parts.items()}
        found["classes"] = {part: dict(zip(names, numbers, strict=True)) for part, numbers in counts.items()}
        if how["label_noise"]:
            n = round(how["label_noise"] * len(train))
            notes.append(
                f"{n:,} of {len(train):,} training labels are replaced by another class "
                f"(dataset.label_noise={how['label_noise']})"
            )
    if how["train_size"] is not None:
        notes.append(f"{len(train):,} training rows are kept (dataset.train_size={how['train_size']})")
    return {**found, "notes": notes}


def _split(samples: Samples, how: Mapping[str, Any]) -> str:
    """How the rows came into their parts."""
    seed = f"dataset.split_seed={how['split_seed']}"
    if how["folds"] is not None:
        return f"fold {how['fold']} of {how['folds']}, {seed}"
    if "val" in samples.parts and "test" in samples.parts:
        return "parts as they come"
    return ", ".join([*(f"own {name}" for name in ("train", "val", "test") if name in samples.parts), seed])
