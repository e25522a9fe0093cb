"""The column that a table's rows are to predict: numbers, or classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np

from dlrun.datasets.data import Task
from dlrun.datasets.tables.columns import Column, Raw
from dlrun.errors import ConfigError

CLASSES = 20  #: different whole numbers that are taken as classes, at most
REPEATED = 5  #: and how often each occurs then, on average
FEW = 10  #: different texts that are taken as classes even if there are nearly as many rows


@dataclass
class Target:
    """values (rows,): float64 of a regression, int64 from 0 of classes, which have names; notes: what was guessed."""

    values: np.ndarray
    task: Task
    class_names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def target_of(column: Column, raw: Raw, task: str, file: Path, asked: bool = False) -> Target:
    """The targets of a column without missing cells.

    Texts and booleans are classes; so are 0 and 1, and at most 20 whole numbers that occur 5 times each on average.
    Other numbers are a regression.

    asked: whether the user says that the column holds categories.

    Raises ConfigError where the task that was asked for does not fit, for a column with a single value, and for texts
    that are more than half as many as the rows, unless asked for.
    """
    name = column.name
    if column.kind == "category":
        distinct, codes = np.arange(len(column.categories)), column.codes(raw)
        class_names, whole, few = list(column.categories), True, True
        if task == "auto" and not asked and len(class_names) > max(FEW, len(codes) / 2):
            raise ConfigError(
                f"{file}: the target {name!r} holds {len(class_names)} different texts in {len(codes)} rows, such as "
                f"{class_names[0]!r}: these are names, most likely; choose another dataset.target, or take them as "
                "classes by dataset.task=multiclass"
            )
    else:
        values = column.numbers(raw).astype(np.float64)
        distinct, codes = np.unique(values, return_inverse=True)
        whole = bool((distinct == np.floor(distinct)).all())
        class_names = [f"{value:.0f}" for value in distinct] if whole else []
        if column.kind == "boolean":
            class_names = [("False", "True")[int(value)] for value in distinct]
        repeated = len(distinct) <= CLASSES and len(values) >= REPEATED * len(distinct)
        few = whole and (repeated or set(distinct) == {0, 1})
    if len(distinct) < 2:
        only = class_names[0] if class_names else distinct[0]
        raise ConfigError(f"{file}: the target {name!r} is {only} in every row: there is nothing to learn")
    numeric, notes = column.kind in ("number", "time"), []
    if task == "auto":
        task = "regression" if not few else "binary" if len(class_names) == 2 else "multiclass"
        if numeric and whole and len(distinct) < len(codes):
            taken = "classes; dataset.task=regression takes them as numbers"
            if not few:
                taken = "numbers; dataset.task=multiclass takes them as classes"
            notes.append(
                f"the target {name!r} holds {len(distinct)} whole numbers in {len(codes)} rows, taken as {taken}"
            )
    if task == "regression":
        if not numeric:
            kind = "texts" if column.kind == "category" else "booleans"
            raise ConfigError(f"dataset.task=regression: the target {name!r} of {file} holds {kind}, not numbers")
        return Target(values, "regression", [], notes)
    if not whole:
        raise ConfigError(f"dataset.task={task}: the target {name!r} of {file} holds fractions, no classes")
    if task == "binary" and len(class_names) != 2:
        raise ConfigError(f"dataset.task=binary: the target {name!r} of {file} has {len(class_names)} classes, not 2")
    return Target(codes.astype(np.int64), cast(Task, task), class_names, notes)
