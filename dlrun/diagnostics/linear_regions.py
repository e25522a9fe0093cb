"""Into how many linear pieces a finished network cuts its inputs, counted exactly on lines and in a plane."""

from __future__ import annotations

from math import nan, prod

import numpy as np
import torch
from torch import Generator, Tensor

from dlrun.diagnostics.diagnostic import Found, OfFinished, Part, Row, View
from dlrun.diagnostics.probe import Probe
from dlrun.diagnostics.regions import Array, in_plane, on_line
from dlrun.diagnostics.switches import Switches, refuse_curved
from dlrun.errors import ConfigError
from dlrun.matrix.seeds import LINES, generator
from dlrun.training.stack import Stack

UNITS = 2**14  #: up to which they are followed
MOST = 50_000  #: regions of the plane up to which they are followed
MARGIN = 0.1  #: of the samples' distance from the plane's middle, by which its window goes beyond them
EXACT = 1e-6  #: of the outputs' span on a line, by which a piece may bend before it counts as none


class LinearRegions(OfFinished):
    r"""The regions of input space in each of which a network of ReLUs and the like is one affine function.

    A region is where no unit switches: no input of a ReLU, leaky or parametric ReLU changes its sign, and no other
    entry becomes the largest of a pooling window. (Two neighbours may happen to have the same affine function.)
    They are counted on lines between pairs of samples, and in a plane through three samples, over a square around
    them; of two inputs, over a rectangle around all samples; of one, not at all. Everything is found by following the
    places where units switch, in double precision and layer by layer, not by trying points; what is
    narrower than about $10^{-9}$ of a unit's largest input is not seen. Inputs are as dataset.scale leaves them, and
    batch normalization goes by its running averages.

    Rows of `quantity` line: its `number`, its `regions` and its `length`; and corner: the `number` of the plane's
    region that has a corner at `x`, `y`. Above 50,000 the plane's are not followed. summary.json has the mean over
    the lines, `regions_on_lines`, the number of the plane's, `regions_in_plane`, and the `units` that switch.

    Args:
        part, samples: the samples looked at: so many of "train", "val" or "test"; None: all.
        lines: between pairs of them, which the run's seed draws.

    Raises ConfigError for networks that are not piecewise linear, or have more than 16,384 units that switch.

    Reference: Montúfar et al. 2014, arXiv:1402.1869; Hanin & Rolnick 2019, arXiv:1901.09021 (lines, planes).
    """

    def __init__(self, part: Part, samples: int | None, lines: int) -> None:
        self.part, self.samples, self.lines = part, samples, lines

    def fits(self, stack: Stack) -> None:
        refuse_curved(stack.model)
        probe = Probe.of(stack, self.part, self.samples)
        if probe.samples < 2:
            raise ConfigError("a line needs two samples: give more samples")
        x = probe.x if probe.shared else probe.x[0]
        units = sum(Switches(stack, 0).places(x.double()))
        if units > UNITS:
            raise ConfigError(
                f"{units:,} units of this network switch, and at most {UNITS:,} are followed: choose a smaller one"
            )

    def look(self, view: View) -> list[Found]:
        stack, probe = view.stack, Probe.of(view.stack, self.part, self.samples)
        found = []
        for run in range(stack.runs):
            x = (probe.x if probe.shared else probe.x[run]).double()
            random = generator(stack.seeds[run], LINES)
            found.append(self._of_run(view, run, x, random))
        return found

    def _of_run(self, view: View, run: int, x: Tensor, random: Generator) -> Found:
        network = Switches(view.stack, run)
        places = network.places(x)
        rows: list[Row] = []
        for line in range(self.lines):
            view.progress("linear regions", run * (self.lines + 1) + line, view.stack.runs * (self.lines + 1))
            start, end = x[torch.randperm(len(x), generator=random)[:2]]
            rows.append({
                **dict.fromkeys(("quantity", "number", "regions", "length", "x", "y"), nan),
                "quantity": "line",
                "number": line,
                "regions": count_on_line(network, len(places), start, end),
                "length": float((end - start).norm()),
            })  # fmt: skip
        summary: dict[str, float | str] = {
            "units": sum(places),
            "regions_on_lines": float(np.mean([row["regions"] for row in rows])),
        }
        if prod(x.shape[1:]) > 1:
            origin, axes, window = plane(x, random)

            def values(points: Array, place: int) -> Array:
                return network.values(origin + _span(points, axes), place).cpu().numpy()

            regions = in_plane(values, len(places), window, MOST) if np.isfinite(rows[0]["regions"]) else []
            summary["regions_in_plane"] = f"more than {MOST:,}" if regions is None else len(regions) or nan
            rows += [
                {"quantity": "corner", "number": i, "regions": nan, "length": nan, "x": corner[0], "y": corner[1]}
                for i, region in enumerate(regions or ())
                for corner in region.tolist()
            ]
        return Found(rows, summary=summary)


def count_on_line(network: Switches, places: int, start: Tensor, end: Tensor) -> float:
    """The regions on the way from one input to another; no number where outputs are none.

    Raises ConfigError where the network bends within one, and so is not what its modules made of it.
    """

    def inputs(points: Array) -> Tensor:
        shares = torch.from_numpy(points.reshape(-1)).to(start)
        return start + shares.view(-1, *[1] * start.ndim) * (end - start)

    points = on_line(lambda points, place: network.values(inputs(points), place).cpu().numpy(), places)
    at, between = network.outputs(inputs(points)), network.outputs(inputs((points[1:] + points[:-1]) / 2))
    if not bool(torch.isfinite(at).all()):
        return nan
    bend = (between - (at[1:] + at[:-1]) / 2).abs().amax()
    if bend > EXACT * (at.amax() - at.amin()).clamp(min=at.abs().amax() * EXACT):
        raise ConfigError("this network bends where none of its units switches: it has no linear regions")
    return len(points) - 1


def plane(x: Tensor, random: Generator) -> tuple[Tensor, Tensor, Array]:
    """A plane's origin and its two axes of length 1, each like one of the inputs x (samples, ...), and the corners of
    the window in it, (4, 2)."""
    flat = x.flatten(1)
    if flat.shape[1] == 2:
        low, high = flat.amin(0), flat.amax(0)
        margin = MARGIN / 2 * (high - low)
        (left, bottom), (right, top) = (low - margin).tolist(), (high + margin).tolist()
        origin, axes = torch.zeros_like(x[0]), torch.eye(2, dtype=x.dtype, device=x.device)
    else:
        three = flat[torch.randperm(len(flat), generator=random)[:3]]
        middle = three.mean(0)
        # beside the samples' own directions some drawn ones, in case they are the same or lie on a line
        drawn = torch.randn(2, flat.shape[1], generator=random, dtype=torch.float64).to(x)
        directions = torch.cat([three[1:] - three[0], drawn])
        axes = _orthonormal(directions)
        origin = middle.view(x.shape[1:])
        right = top = (1 + MARGIN) * float(((three - middle) @ axes.T).abs().amax() or 1)
        left = bottom = -right
    window = np.array([[left, bottom], [right, bottom], [right, top], [left, top]])
    return origin, axes.view(2, *x.shape[1:]), window


def _orthonormal(directions: Tensor) -> Tensor:
    """The first two that lie in no common line, (2, features), by Gram and Schmidt."""
    axes: list[Tensor] = []
    for direction in directions:
        rest = direction - sum((direction @ axis * axis for axis in axes), torch.zeros_like(direction))
        if len(axes) < 2 and rest.norm() > EXACT * direction.norm():
            axes.append(rest / rest.norm())
    return torch.stack(axes)


def _span(points: Array, axes: Tensor) -> Tensor:
    """(points, ...) from coordinates (points, 2)."""
    return torch.tensordot(torch.from_numpy(points).to(axes), axes, dims=1)
