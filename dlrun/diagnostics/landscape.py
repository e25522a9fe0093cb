"""The loss around a trained network, along random directions."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.diagnostics.diagnostic import Found, OfFinished, Part, Statistics, View, rows_of
from dlrun.diagnostics.directions import filter_normalised
from dlrun.diagnostics.points import Points
from dlrun.errors import ConfigError
from dlrun.matrix.seeds import DIRECTIONS, generator
from dlrun.training.stack import Stack

ROUNDING = 8  #: times the precision of a loss, which a difference of losses may be by rounding alone


class Landscape(OfFinished):
    r"""The loss at $\theta + \alpha d_1 + \beta d_2$ around a trained network $\theta$, on a grid of points per run.

    The directions are random and filter-normalised: each filter of d has the norm of the network's own, so that a step
    of 1 changes every filter by as much as it is long, and landscapes of networks whose weights differ in scale can be
    compared. `objective` is what training minimises (penalties included, dropout off), `loss` and the main metric are
    what metrics.csv reports.

    The summary tells of roughness, over the points where all numbers needed are finite. `negative_curvature`: the share
    of inner points at which the second differences of the objective, in two dimensions the matrix

    $$\begin{pmatrix} \frac{f_{+0} - 2 f_{00} + f_{-0}}{h^2} & \frac{f_{++} - f_{+-} - f_{-+} + f_{--}}{4 h^2} \\
    \cdot & \frac{f_{0+} - 2 f_{00} + f_{0-}}{h^2} \end{pmatrix},$$

    have a negative eigenvalue, beyond what rounding makes of them. `variation`: the mean over the grid's lines of
    $\sum_i |f_{i+1} - f_i| / (\max_i f_i - \min_i f_i)$, which is 1 for a slope and at most 2 for a valley; each bump
    adds to it.

    Args:
        dimensions: 1, a line, or 2, a plane.
        points: along each axis, an odd number, of which the middle one is the network itself.
        range: the axes go from -range to range.
        biases: whether biases and the parameters of normalizations move too, each tensor as one filter.
        part, samples: the samples looked at: so many of "train", "val" or "test"; None: all.
        statistics: batch normalization by these samples' own statistics, of 1,024 at a time at most, or by its running
            averages.

    Reference: Li et al. 2018, arXiv:1712.09913; lecture 004.
    """

    def __init__(
        self,
        dimensions: int,
        points: int,
        range: float,
        biases: bool,
        part: Part,
        samples: int | None,
        statistics: Statistics,
    ) -> None:
        self.dimensions, self.points, self.range, self.biases = dimensions, points, range, biases
        self.part, self.samples, self.statistics = part, samples, statistics

    def fits(self, stack: Stack) -> None:
        if self.points % 2 == 0:
            raise ConfigError(
                f"points={self.points}: give an odd number, so that the network itself is the one in the middle"
            )
        if not self.biases and not stack.layout.mask("weight").any():
            raise ConfigError(
                "this network has no linear map whose weights could move; diagnostics.landscape.biases=true moves what "
                "else it has"
            )

    def look(self, view: View) -> list[Found]:
        return [self._of_run(view, run) for run in range(view.stack.runs)]

    def _of_run(self, view: View, run: int) -> Found:
        stack, centre = view.stack, view.stack.theta[run]
        random = generator(stack.seeds[run], DIRECTIONS)
        axes = torch.stack(
            [filter_normalised(stack.layout, centre, random, self.biases) for _ in range(self.dimensions)]
        )
        line = torch.linspace(-self.range, self.range, self.points, dtype=torch.float64)
        line[self.points // 2] = 0
        steps = torch.cartesian_prod(*[line] * self.dimensions).view(-1, self.dimensions)
        here = steps.to(axes)
        points, total = Points(stack, run, self.part, self.samples, self.statistics), stack.runs * len(steps)
        values = points(
            lambda places: {"theta": torch.addmm(centre, here[places], axes)},
            len(steps),
            lambda done: view.progress("points of the landscape", run * len(steps) + done, total),
        )
        grid = values["objective"].view([self.points] * self.dimensions)
        share, variation = negative_curvature(grid, precision=torch.finfo(centre.dtype).eps), total_variation(grid)
        return Found(
            rows=rows_of(dict(zip(("alpha", "beta"), steps.T, strict=False)) | values),
            summary={"negative_curvature": share, "variation": variation},
        )


def negative_curvature(f: Tensor, precision: float) -> float:
    """See `Landscape`; NaN where no inner point has finite numbers around it.

    f: values on a grid of one or two axes with equal steps. precision: of a value, relative to the largest beside it.
    """
    middle, before, after = slice(1, -1), slice(None, -2), slice(2, None)
    places = (before, middle, after)
    around = torch.stack([f[i] for i in places] if f.ndim == 1 else [f[i, j] for i in places for j in places])
    if f.ndim == 1:
        lowest = around[2] - 2 * around[1] + around[0]
    else:
        mm, mz, mp, zm, zz, zp, pm, pz, pp = around
        a, b, c = pz - 2 * zz + mz, zp - 2 * zz + zm, (pp - pm - mp + mm) / 4
        lowest = (a + b) / 2 - ((a - b).square() / 4 + c.square()).sqrt()
    rounding = ROUNDING * precision * around.abs().amax(0)
    return (lowest < -rounding)[around.isfinite().all(0)].double().mean().item()


def total_variation(f: Tensor) -> float:
    """See `Landscape`; lines that are level or not finite are left out, and NaN is where no other is left."""
    lines = f[None] if f.ndim == 1 else torch.cat([f, f.T])
    height = lines.amax(1) - lines.amin(1)
    usual = lines.isfinite().all(1) & (height > 0)
    return (lines.diff(dim=1).abs().sum(1) / height)[usual].mean().item()
