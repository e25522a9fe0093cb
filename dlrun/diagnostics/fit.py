"""The function that a finished regression network is, beside the data that it was fitted to."""

from __future__ import annotations

from math import nan

import numpy as np
from torch import Tensor

from dlrun.architectures.rbf import RBF
from dlrun.datasets.dataset import Dataset
from dlrun.diagnostics.diagnostic import Found, OfFinished, Part, Row, View
from dlrun.diagnostics.inputs import features_of, grids, in_own_units
from dlrun.diagnostics.predictions import predictions
from dlrun.diagnostics.probe import Probe
from dlrun.errors import ConfigError
from dlrun.training.stack import Stack

POINTS = {1: 401, 2: 61}  #: of the grid, along each of so many inputs


class Fit(OfFinished):
    r"""f(x) of one or two inputs on a grid, the samples, and the kernels of an RBF network.

    Inputs and targets are in their own units, before dataset.scale and dataset.scale_target. The grid spans the
    samples of all parts and 5 % more. Batch normalization goes by its running averages.

    Rows of `quantity` grid, with the `output` f(x) at `x` (and `y`, of two inputs); of train, val or test, a sample
    with its `target` beside; of kernel, a Gaussian $w \exp(-\sum_i (x_i - \mu_i)^2 / (2 \sigma_i^2))$ with its centre
    $\mu$ in `x` (and `y`), its `width` $\sigma_x$ (and `width_y`) and its `weight` w in the output. Where
    dataset.scale=zca turns the axes, widths are those along them through the centre.

    Args:
        part, samples: the samples shown: so many of "train", "val" or "test"; None: all.
        points: of the grid, along each input; None: 401 of one input, 61 of two.

    Raises ConfigError for other than a regression of one number on one or two.

    Reference: lecture 002; Broomhead & Lowe 1988 (kernels).
    """

    def __init__(self, part: Part, samples: int | None, points: int | None) -> None:
        self.part, self.samples, self.points = part, samples, points

    def fits(self, stack: Stack) -> None:
        data = stack.dataset
        if data.task != "regression":
            instead = "" if data.surface else ", or look at diagnostics=decision_boundary"
            what = "is a test function" if data.surface else "has classes"
            raise ConfigError(f"it is for a regression, and this dataset {what}: leave it out{instead}")
        names = features_of(data)
        if len(names) > 2 or data.outputs > 1:
            raise ConfigError(
                f"it draws one number over one or two inputs, and these are {data.outputs} over {len(names)}: "
                "leave it out"
            )

    def look(self, view: View) -> list[Found]:
        stack = view.stack
        names = features_of(stack.dataset)
        points, lattice = grids(stack, range(len(names)), self.points or POINTS[len(names)])
        probe = Probe.of(stack, self.part, self.samples)
        over, at = (predictions(stack, each, "running") for each in (lattice, probe))
        found = []
        for run in range(stack.runs):
            data = stack.variants[stack.variant[run]]
            x, y = (each if probe.shared else each[run] for each in (probe.x, probe.y))
            kernels = _kernels(stack, run, data)
            columns = ["quantity", *"xy"[: len(names)], "target", "output", *(kernels[0] if kernels else ())]
            empty: Row = dict.fromkeys(dict.fromkeys(columns), nan)
            rows = [
                {**empty, "quantity": "grid", **_place(place), "output": output}
                for place, output in zip(points[run], _own(data, over[run]), strict=True)
            ]
            rows += [
                {**empty, "quantity": self.part, **_place(place), "target": target, "output": output}
                for place, target, output in zip(in_own_units(data, x), _own(data, y), _own(data, at[run]), strict=True)
            ]
            rows += [{**empty, "quantity": "kernel", **each} for each in kernels]
            found.append(Found(rows, summary=dict(zip("xy", names, strict=False))))
        return found


def _own(data: Dataset, numbers: Tensor) -> list[float]:
    """Targets or outputs (samples, 1) in the targets' own unit."""
    own = numbers.double().cpu()
    if data.target_std is not None and data.target_mean is not None:
        own = own * data.target_std + data.target_mean
    values: list[float] = own.flatten().tolist()
    return values


def _place(point: np.ndarray) -> Row:
    return dict(zip("xy", point.tolist(), strict=False))


def _kernels(stack: Stack, run: int, data: Dataset) -> list[Row]:
    """A row for each kernel of an RBF network; none of another."""
    if not isinstance(stack.model, RBF):
        return []
    views = {name: view[run].double().cpu() for name, view in stack.layout.views(stack.theta).items()}
    centres, sigmas, weights = views["centres"], views["log_widths"].exp().numpy(), views["head.weight"][0]
    if data.target_std is not None:
        weights = weights * data.target_std
    own = in_own_units(data, centres)
    assert data.encoding is not None
    # how far a step of 1 along each own axis leads in the scaled inputs
    zero = np.zeros((1, own.shape[1]))
    steps = data.encoding.inputs(np.eye(own.shape[1])) - data.encoding.inputs(zero)
    widths = sigmas[:, None] / np.linalg.norm(steps, axis=1)
    columns = ("width", "width_y")[: own.shape[1]]
    return [
        {**_place(place), **dict(zip(columns, width.tolist(), strict=True)), "weight": weight}
        for place, width, weight in zip(own, widths, weights.tolist(), strict=True)
    ]
