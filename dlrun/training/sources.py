"""From configs to datasets: what a source gives, prepared, and what the architecture makes of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dlrun.datasets.data import Samples
from dlrun.datasets.dataset import Dataset
from dlrun.datasets.mapped import Mapped
from dlrun.datasets.numbers import Numbers
from dlrun.datasets.pixels import Pixels
from dlrun.datasets.prepare import prepare
from dlrun.errors import ConfigError
from dlrun.matrix.rows import keywords
from dlrun.terminal.printable import in_line
from dlrun.training.components import Node, made, named
from dlrun.training.machine import dtype_of, give_back


def datasets_of(nodes: Sequence[Node]) -> tuple[list[Dataset], list[int]]:
    """The different datasets of these runs, and for each run which one is its own."""
    found: dict[str, Dataset] = {}
    order = []
    for node in nodes:
        key = repr(node["dataset"])
        if key not in found:
            found[key] = task_of(node, _dataset(node))
        order.append(list(found).index(key))
    return list(found.values()), order


def _dataset(node: Node) -> Dataset:
    options = {key: value for key, value in node["dataset"].items() if key != "_target_"}
    common = {key: options.pop(key) for key in keywords(prepare) & options.keys()}
    target = node["dataset"]["_target_"]
    samples = _samples(target, options)
    key = repr((node["dataset"], node["precision"]))
    if key in _prepared:
        return _prepared[key]
    dataset = prepare(samples, **common, dtype=dtype_of(node["precision"]))
    file = Path(str(options["path"])).name if options.get("path") else ""
    dataset.description = {
        "name": " ".join(filter(None, [re.split("[.:]", target)[-1], in_line(file)])),
        **dataset.description,
    }
    if isinstance(dataset.inputs, Numbers) or (isinstance(dataset.inputs, Pixels) and dataset.inputs.file):
        _prepared[key] = dataset
        while len(_prepared) > PREPARED:
            del _prepared[next(iter(_prepared))]
    return dataset


#: what was made of the last samples, if these stay in a file: it takes little memory, and a while; workers find it
_prepared: dict[str, Dataset] = {}
PREPARED = 16  #: of them
_last_samples: dict[str, Samples] = {}


def _samples(target: str, options: Node) -> Samples:
    """What the source gives; the last ones are kept, since the runs of a sweep ask for them again and again."""
    key = repr((target, sorted(options.items())))
    if key not in _last_samples:
        _last_samples.clear()
        _prepared.clear()
        source = named(target)
        try:
            samples = made(target, source, **options)
            if not isinstance(samples, Samples):
                what = type(samples).__name__
                raise ConfigError(f"dataset: {target} gives a {what}, and dlrun.datasets.data.Samples is wanted")
            _last_samples[key] = samples
            if isinstance(samples.inputs, Mapped):  # before they were in their file, they were in the memory
                give_back()
        except (OSError, MemoryError) as problem:  # a folder that may not be read, data larger than the memory
            raise ConfigError(f"dataset: {str(problem) or 'there is too little memory for it'}") from problem
    return _last_samples[key]


def task_of(node: Node, dataset: Dataset) -> Dataset:
    """What the architecture makes of the dataset; ConfigError where it can make nothing of it."""
    cls = named(node["architecture"]["_target_"])
    point = getattr(cls, "tasks", ()) == ("none",)
    if dataset.surface and not point:
        raise ConfigError("this dataset is a test function, whose variables are trained themselves: architecture=point")
    if point and not dataset.surface:
        raise ConfigError("architecture=point is for test functions, such as dataset=beale; data need another one")
    return dataset.reconstruction() if getattr(cls, "reconstructs", False) else dataset
