"""The way that parameters take while they are trained, over the surface that they descend."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.diagnostics.diagnostic import Found, Keeping, Part, Statistics, View, rows_of
from dlrun.diagnostics.directions import principal_axes
from dlrun.diagnostics.keeping import LARGEST
from dlrun.diagnostics.points import Points
from dlrun.errors import ConfigError
from dlrun.matrix.seeds import DIRECTIONS, generator
from dlrun.training.stack import Stack

WIDE, NARROW = 0.5, 0.2  #: of the path's extent, what the surface has around it: of two parameters, of a plane
NARROWEST = 0.25  #: of the longer side of the surface, its shorter one
CLOSEST = 1e-3  #: of the length of theta, what a surface has to each side: on a smaller one there is but rounding
FAR = 10.0  #: times the height of the start, above which a path has exploded
FINE, COARSE = 101, 25  #: points along each axis of a surface: of two parameters, of a plane among more


class Trajectory(Keeping):
    r"""The parameters $\theta_t$ at moments of the training, and the surface that they descend around their path.

    Of two parameters (a test function, a neuron with a weight and a bias) the table has these, `theta_0` and `theta_1`;
    of more it has `pc_1` and `pc_2`, the coordinates of $\theta_t - \theta_T$ along the first two principal axes of the
    path, and the summary the share of the path's variance that each of these explains: `explained_1`, `explained_2`.
    Of random walks in many dimensions, too, they explain most (Antognini & Sohl-Dickstein 2018, arXiv:1806.08805).

    `objective` is what training minimises, of the whole `part`, penalties included and dropout off; `loss` and the main
    metric are as metrics.csv reports them. `trajectory_surface.csv` has the same over the plane through $\theta_T$, and
    `trajectory.safetensors` the parameters themselves, with the step of each. Moments at which the objective is not
    finite, or has exploded, are `left_out` of axes and surface: where it is higher above the lowest than 10 times what
    the start is above the lowest, or from 0.

    Args:
        every: see `DuringTraining`.
        most: moments that are kept; of more, every second, every third and so on.
        points: along each axis of the surface; None: 101 for two parameters, 25 for more.
        part, samples: the samples looked at: so many of "train", "val" or "test"; None: all.
        statistics: batch normalization by these samples' own statistics, of 1,024 at a time at most, or by its running
            averages, those of the best parameters.

    Reference: Li et al. 2018, arXiv:1712.09913 (section 7); lectures 003, 004 (animations by Radford 2014).
    """

    def __init__(
        self,
        every: float | str | None,
        most: int,
        points: int | None,
        part: Part,
        samples: int | None,
        statistics: Statistics,
    ) -> None:
        super().__init__(every)
        self.most, self.points = most, points
        self.part, self.samples, self.statistics = part, samples, statistics

    def fits(self, stack: Stack) -> None:
        if stack.layout.params < 2:
            raise ConfigError("this network has one parameter, and a plane needs two: `val_loss` shows its descent")
        moments = stack.steps // self.steps(stack) + 2
        size = moments * stack.layout.params * stack.theta.element_size()
        if size > LARGEST:
            raise ConfigError(
                f"{moments:,} times {stack.layout.params:,} parameters are {size / 2**30:.1f} GiB, and it keeps "
                f"{LARGEST / 2**30:.0f} of a run: set diagnostics.trajectory.most="
                f"{max(2, LARGEST // stack.layout.params // stack.theta.element_size() - 2)}"
            )

    def steps(self, stack: Stack) -> int:
        steps = super().steps(stack)
        return steps * -(-(stack.steps // steps + 1) // self.most)

    def conclude(self, view: View, run: int, steps: Tensor, path: Tensor) -> Found:
        stack, two = view.stack, path.shape[1] == 2
        points = Points(stack, run, self.part, self.samples, self.statistics)
        along = points(
            lambda places: {"theta": path[places]},
            len(path),
            lambda done: view.progress("points of the path", done, len(path)),
        )
        near = usual(along["objective"]) & path.isfinite().all(1)
        if two:
            axes, origin, names = torch.eye(2, dtype=torch.float64), torch.zeros(2), ("theta_0", "theta_1")
            told = {}
        else:
            axes, shares = principal_axes(path[near], generator(stack.seeds[run], DIRECTIONS))
            origin, names = path[near][-1], ("pc_1", "pc_2")
            told = {"explained_1": shares[0].item(), "explained_2": shares[1].item()}
        places = torch.stack([(row.double() - origin) @ axes.T for row in path])
        closest = CLOSEST * path[near][-1].double().norm().item()
        grid = around(places[near], closest, self.points or (FINE if two else COARSE), WIDE if two else NARROW)
        centre, directions = origin.to(stack.theta), axes.to(stack.theta)
        here = grid.to(stack.theta)
        surface = points(
            lambda i: {"theta": torch.addmm(centre, here[i], directions)},
            len(grid),
            lambda done: view.progress("points of the surface", done, len(grid)),
        )
        moments = {"epoch": steps.double() / stack.steps_per_epoch, "step": steps}
        return Found(
            rows=rows_of(moments | along | dict(zip(names, places.T, strict=True))),
            surface=rows_of(dict(zip(names, grid.T, strict=True)) | surface),
            arrays={"step": steps, **stack.layout.views(path)},
            summary={**told, "moments": len(path), "left_out": int((~near).sum())},
        )


def usual(objective: Tensor) -> Tensor:
    """Where a path has not exploded, (moments,); see `Trajectory`."""
    if not objective.isfinite().any():
        raise ConfigError("the objective is finite nowhere on the path")
    height = objective - objective[objective.isfinite()].min()
    start = torch.maximum(height[0], objective[0].abs())
    limit = FAR * start if start > 0 else torch.inf
    return objective.isfinite() & (height <= limit)


def around(places: Tensor, closest: float, points: int, margin: float) -> Tensor:
    """A grid over the plane around a path on it, (points * points, 2)."""
    low, high = places.amin(0), places.amax(0)
    middle, half = (low + high) / 2, (high - low) / 2
    half = half.clamp(min=max(NARROWEST * half.max().item(), closest or 1)) * (1 + 2 * margin)
    x, y = (torch.linspace(-1, 1, points, dtype=torch.float64) * half[i] + middle[i] for i in (0, 1))
    return torch.cartesian_prod(x, y)
