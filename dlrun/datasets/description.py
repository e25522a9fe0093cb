"""What was read, in words and numbers: for the screen, the log, summary.json and the report. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dlrun.terminal.printable import in_line

if TYPE_CHECKING:
    import numpy as np

    from dlrun.datasets.data import Dataset, Samples

LISTED = 20  #: features up to which all are named
WIDTH = 80  #: columns that a line takes at most where it has the choice
Description = dict[str, Any]  #: as summary.json has it


def describe(samples: Samples, dataset: Dataset, train: np.ndarray, how: Mapping[str, Any]) -> Description:
    """What the samples are, and what was made of them.

    train: the rows of the training part. how: the keys that decided it, as `prepare` has them.
    """
    import numpy as np

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
        classes = 2 if samples.task == "binary" else dataset.outputs
        names = [in_line(name) for name in samples.class_names] or [str(number) for number in range(classes)]
        parts = {part: dataset.part(part)[1].numpy().astype(np.int64) for part in dataset.sizes}
        counts = {part: np.bincount(labels, minlength=classes).tolist() for part, labels in parts.items()}
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


def told(found: Description) -> list[str]:
    """What was read, a line each: `summary`, then the notes."""
    return [*summary(found), *found["notes"]] if found else []


def summary(found: Description) -> list[str]:
    """What was read, in two lines (of a test function, one) of 80 columns mostly."""
    name = f"{found.get('name', 'dataset')}: "
    if found["task"] == "none":
        start = ", ".join(f"{n}={x:g}" for n, x in zip(found["features"], found["start"], strict=False))
        some = start if 0 < len(start) < WIDTH // 2 else _counted(found["shape"][0], "number")
        return [f"{name}a test function of {_counted(found['shape'][0], 'variable')}, from {some}"]
    rows = ", ".join(f"{n:,} {part}" for part, n in found["rows"].items())
    pairs = [f"{inputs}; {targets}" for targets in _targets(found) for inputs in _inputs(found)]
    return [f"{name}{rows} ({found['split']})", next((pair for pair in pairs if len(pair) <= WIDTH), pairs[-1])]


def _inputs(found: Description) -> list[str]:
    """What the inputs are, in ever fewer words."""
    shape, scaled = found["shape"], f"dataset.scale={found['scale']}"
    if len(shape) == 3:
        return [f"images of {' x '.join(map(str, shape))}, {scaled}"]
    if len(shape) == 2:
        long = f"sequences of {_counted(shape[0], 'step')} of {_counted(shape[1], 'feature')}"
        return [f"{long}, {scaled}", f"sequences of {shape[0]} x {shape[1]}, {scaled}"]
    plain = f"{_counted(shape[0], 'feature')}, {scaled}"
    return [f"features {', '.join(found['features'])}, {scaled}", plain] if "features" in found else [plain]


def _targets(found: Description) -> list[str]:
    """What the targets are, in ever fewer words."""
    if found["task"] == "regression":
        low, high = found["target"]["min"], found["target"]["max"]
        scaled = ", standardised" if found["target"]["standardised"] else ""
        if isinstance(low, list):
            return [f"regression of {len(low)} numbers{scaled}"]
        span = f"{low:.4g} to {high:.4g}{scaled}"
        return [f"regression, target from {span}", f"regression, {span}"]
    counts = found["classes"]["train"]
    every = ", ".join(f"{name} ({n:,})" for name, n in counts.items())
    least, most = min(counts.values()), max(counts.values())
    share = f"{least:,}" if least == most else f"{least:,}-{most:,}"
    few = f"{len(counts)} classes, {share}"
    return [f"{len(counts)} classes: {every}", f"{few} train rows each", f"{few} each"]


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"
