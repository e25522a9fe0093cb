"""Inputs in their own units, as the dataset had them before dataset.scale, and grids of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from dlrun.datasets.dataset import Dataset
from dlrun.diagnostics.probe import Probe
from dlrun.errors import ConfigError
from dlrun.terminal.printable import in_line
from dlrun.training.stack import Stack

MARGIN = 0.05  #: of the data's span, by which a grid goes beyond them on each side


def features_of(dataset: Dataset) -> list[str]:
    """The names of the inputs' features, each in one line; ConfigError where an input is no row of numbers."""
    shape = dataset.inputs.shape[1:]
    if dataset.encoding is None or len(shape) != 1:
        what = "a test function's" if dataset.surface else "images" if len(shape) == 3 else "sequences"
        raise ConfigError(f"it is for inputs that are rows of a table, and these are {what}: leave it out")
    return [in_line(name) for name in dataset.feature_names] or [f"x{i + 1}" for i in range(shape[0])]


def in_own_units(dataset: Dataset, x: Tensor) -> np.ndarray:
    """Scaled inputs (samples, features) as they were before."""
    assert dataset.encoding is not None
    return dataset.encoding.inputs.undone(x.cpu().numpy())


def grid(dataset: Dataset, columns: Sequence[int], count: int) -> tuple[np.ndarray, Tensor]:
    """A grid over what these features span in all parts and 5 % more on each side: the points in the features' own
    units, (points, columns), and the scaled inputs there, (points, features).

    The last column varies fastest; features that are none of the columns are at their mean over the training part.

    count: points along each column.
    """
    assert dataset.encoding is not None
    own = in_own_units(dataset, dataset.inputs[:])
    axes = []
    for column in columns:
        low, high = own[:, column].min(), own[:, column].max()
        margin = MARGIN * (high - low) or 1.0
        axes.append(np.linspace(low - margin, high + margin, count))
    points = np.array(list(product(*axes)))
    rows = np.repeat(own[: dataset.sizes["train"]].mean(0)[None], len(points), 0)
    rows[:, columns] = points
    return points, torch.from_numpy(dataset.encoding.inputs(rows)).to(dataset.inputs.device, dataset.inputs.dtype)


def grids(stack: Stack, columns: Sequence[int], count: int) -> tuple[list[np.ndarray], Probe]:
    """`grid` of each run: its points, and a probe of what lies there; their targets are 0."""
    found = [grid(dataset, columns, count) for dataset in stack.variants]
    points = [found[v][0] for v in stack.variant]
    x = torch.stack([found[v][1] for v in stack.variant]) if stack.separate else found[0][1]
    return points, Probe(x, x.new_zeros(x.shape[:-1]), not stack.separate)
