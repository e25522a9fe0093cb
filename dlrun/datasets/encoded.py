"""What encoding.json says, read back: how new rows become what a run's network takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load

from dlrun.datasets.data import Task
from dlrun.datasets.dataset import Dataset
from dlrun.datasets.scale import Scaling
from dlrun.datasets.tables.cells import DECIMALS, MISSING, PARTS
from dlrun.datasets.tables.columns import Column
from dlrun.errors import ConfigError
from dlrun.files.parsing import json_of
from dlrun.folder.contents import read, read_bytes
from dlrun.folder.names import ENCODING

KINDS = ("number", "boolean", "time", "date", "category")
LARGEST = 10**8  #: numbers of a row
MATRIX = 2**29  #: bytes of a file that holds one


@dataclass(frozen=True)
class Encoded:
    """How the rows of a source became a run's tensors, by its folder.

    shape: of a row of numbers. features: their names, if they have any. missing: what stands for a missing number, or
    None where none were missing. inputs, targets: the scaling of each. outputs: numbers that a regression predicts.
    columns: those of a table that the features are made of. form: how its file is written, in the words of the keys.
    image: how pictures become numbers; empty for other sources. target: the name of the column of a table that is
    predicted, "" for other sources.
    """

    shape: tuple[int, ...]
    features: list[str]
    missing: np.ndarray | None
    inputs: Scaling
    targets: Scaling
    task: Task
    classes: list[str]
    outputs: int
    precision: torch.dtype
    columns: list[Column]
    form: dict[str, Any]
    image: dict[str, Any]
    target: str

    def empty(self) -> Dataset:
        """The dataset without its samples."""
        sizes = {"train": 0, "val": 0, "test": 0}
        inputs = torch.empty(0, *self.shape, dtype=self.precision)
        count = 1 if self.task == "binary" else len(self.classes) or self.outputs
        targets = torch.empty(0, count, dtype=self.precision)
        data = Dataset(inputs, targets, self.task, sizes, count, self.features, self.classes)
        if self.targets.offset is not None and self.targets.divisor is not None:
            data.target_mean, data.target_std = map(torch.from_numpy, (self.targets.offset[0], self.targets.divisor[0]))
        return data


def read_encoding(folder: Path) -> Encoded:
    """What the encoding.json of a run's folder says, with the matrix that it names.

    Raises ConfigError where there is none, or it says something else.
    """
    file = folder / ENCODING
    try:
        text = read(folder, ENCODING)
    except FileNotFoundError as problem:
        raise ConfigError(f"{folder} has no {ENCODING}, which tells how new rows are encoded") from problem
    found = json_of(text, file)
    try:
        return _encoded(found, folder)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as problem:
        if isinstance(problem, ConfigError):
            raise
        raise ConfigError(f"{file} does not tell how rows are encoded: {problem!r}") from problem


def _encoded(found: Any, folder: Path) -> Encoded:
    source, inputs, targets = found["source"], found["inputs"], found["targets"]
    shape = tuple(_counts(inputs["shape"]))
    _require(0 < len(shape) <= 3 and 0 < prod(shape) <= LARGEST, "inputs.shape")
    features, task = _texts(inputs["features"]), targets["task"]
    _require(task in ("regression", "binary", "multiclass"), "targets.task")
    classes = _texts(targets.get("classes", []))
    if task == "binary":
        classes = classes or ["0", "1"]
    _require(len(classes) == 2 if task == "binary" else bool(classes) == (task == "multiclass"), "targets.classes")
    scaled = _scaling(targets, (-1,))
    outputs = targets.get("outputs", 1 if scaled.offset is None else scaled.offset.shape[1])
    _counts([outputs])
    _require(scaled.offset is None or scaled.offset.shape[1] == outputs, "targets.subtract")
    _require(found["precision"] in ("float32", "float64"), "precision")
    columns = [_column(each) for each in source.get("columns", [])]
    if columns:
        _require([name for column in columns for name in column.features] == features, "source.columns")
        _require(shape == (len(features),), "inputs.shape")
    elif len(shape) == 1 and len(features) == shape[0]:
        columns = [Column(name, "number") for name in features]
    return Encoded(
        shape=shape,
        features=features,
        missing=_numbers(inputs["missing"], shape)[0] if "missing" in inputs else None,
        inputs=_whitening(inputs, shape, folder) if "matrix" in inputs else _scaling(inputs, shape),
        targets=scaled,
        task=cast(Task, task),
        classes=classes,
        outputs=outputs,
        precision=getattr(torch, found["precision"]),
        columns=columns,
        form=_form(source.get("format", {})),
        image=_image(source.get("image", {}), shape),
        target=str(source.get("target", {}).get("name", "")),
    )


def _scaling(node: dict[str, Any], shape: tuple[int, ...]) -> Scaling:
    if "subtract" not in node:
        return Scaling()
    subtract, divide = _numbers(node["subtract"], shape), _numbers(node["divide"], shape)
    factor, shift = _numbers([node["multiply"], node["add"]], (2,))[0].tolist()
    _require(bool((divide != 0).all()) and factor != 0 and subtract.shape == divide.shape, "divide")
    return Scaling(subtract, divide, factor, shift)


def _whitening(node: dict[str, Any], shape: tuple[int, ...], folder: Path) -> Scaling:
    name, size = node["matrix"], prod(shape)
    _require(re.fullmatch(r"zca-[0-9a-f]+\.safetensors", name, re.ASCII) is not None, "inputs.matrix")
    try:
        matrix = load(read_bytes(folder, name, MATRIX))["matrix"]
    except (OSError, SafetensorError) as problem:
        raise ConfigError(f"{folder / name}, which encodes new rows, cannot be read ({problem})") from problem
    _require(matrix.shape == (size, size) and bool(np.isfinite(matrix).all()), "inputs.matrix")
    return Scaling(_numbers(node["subtract"], (size,))[0], matrix=matrix.astype(np.float64))


def _numbers(given: Any, shape: tuple[int, ...]) -> np.ndarray:
    """(1, ...) doubles that broadcast to rows of this shape, of which -1 is any."""
    found = np.asarray(given, np.float64)
    fits = found.ndim == len(shape) and all(n in (1, of) or of == -1 for n, of in zip(found.shape, shape, strict=True))
    _require(fits and bool(np.isfinite(found).all()), "numbers")
    return found[None]


def _column(given: dict[str, Any]) -> Column:
    texts: dict[str, Any] = {
        key: given[key] for key in ("name", "kind", "decimal", "unit", "form") if given.get(key) is not None
    }
    lists: dict[str, Any] = {key: tuple(_texts(given[key])) for key in ("parts", "categories") if key in given}
    _texts(list(texts.values()))
    _require(texts["kind"] in KINDS and set(lists.get("parts", ())) <= set(PARTS), "source.columns")
    _require(texts.get("decimal", ".") in DECIMALS.values(), "source.columns")
    return Column(**texts, **lists)


def _form(given: dict[str, Any]) -> dict[str, Any]:
    """separator, header, encoding, comment, missing and, without a header, width of a text file."""
    found = {key: given.get(key) for key in ("separator", "header", "encoding", "comment")}
    _texts([value for value in found.values() if value is not None and not isinstance(value, bool)])
    width = given.get("width")
    return {**found, "width": width and _counts([width])[0], "missing": _texts(given.get("missing", list(MISSING)))}


def _image(given: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """range, the side that is scaled to, and the order of the pixels, of a run on images."""
    if not given:
        return {}
    size, pixels = given.get("middle_square_scaled_to"), given.get("pixels")
    low, high = _numbers(given.get("range", [0, 255]), (2,))[0].tolist()
    _require(len(shape) == 3 and shape[0] in (1, 3) and (size is None or shape[1:] == (size, size)), "source.image")
    _require(pixels is None or sorted(_counts(pixels, 0)) == list(range(prod(shape[1:]))), "source.image.pixels")
    return {"range": (low, high), "size": size, "pixels": pixels}


def _counts(given: Any, least: int = 1) -> list[int]:
    _require(isinstance(given, list) and all(type(each) is int and each >= least for each in given), "whole numbers")
    return cast(list[int], given)


def _texts(given: Any) -> list[str]:
    _require(isinstance(given, list) and all(isinstance(each, str) for each in given), "texts")
    return cast(list[str], given)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)
