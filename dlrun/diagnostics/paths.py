"""The ways that several runs took, over one surface: how optimizers part that begin at the same point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from dlrun.diagnostics.diagnostic import Found, OfFinished, Part, Row, Statistics, View, rows_of
from dlrun.diagnostics.directions import principal_axes
from dlrun.diagnostics.keeping import LARGEST
from dlrun.diagnostics.points import Points
from dlrun.diagnostics.spread import evenly
from dlrun.diagnostics.trajectory import CLOSEST, NARROW, around, usual
from dlrun.errors import ConfigError
from dlrun.files.opening import read_bytes
from dlrun.folder.names import arrays_of
from dlrun.folder.resume import read_config
from dlrun.matrix.seeds import DIRECTIONS, generator
from dlrun.terminal.printable import in_line
from dlrun.training.stack import Stack

KEPT = arrays_of("trajectory")
LETTERS = 100  #: of a run's name
SAME = 1e-6  #: of a path's first parameters, by which those of another may differ from them


class Way(NamedTuple):
    """A run's: step, (moments,), and theta, (moments, params)."""

    name: str
    step: Tensor
    theta: Tensor


class Paths(OfFinished):
    r"""The parameters of several runs at moments of their trainings, which `trajectory` kept, over this run's loss.

    The plane is that of the first two principal axes of all their moments, through where this run's network is:
    `pc_1` and `pc_2` are coordinates of $\theta - \theta_T$, `objective` is what this run minimises (of the whole
    `part`, penalties included and dropout off), `loss` and the main metric are as its metrics.csv reports them. A row
    per moment, with the `run` whose it is; `paths_surface.csv` has the same over the plane. The summary has the share
    of the variance that each axis explains, `explained_1` and `explained_2`, and `left_out`: which runs, and why. Those
    of other shapes, and those that begin elsewhere than the first, are not to be compared. `paths.gif`, and `paths.mp4`
    where ffmpeg is installed, shows them as they train, an equal number of steps from picture to picture.

    Args:
        of: folders of runs, or of sweeps, whose runs all count.
        moments: of each path, so many that lie evenly on it; the first and the last are among them.
        points: along each axis of the surface.
        part, samples: the samples looked at: so many of "train", "val" or "test"; None: all.
        statistics: batch normalization by these samples' own statistics, of 1,024 at a time at most, or by its running
            averages, those of this run.

    Reference: Li et al. 2018, arXiv:1712.09913 (section 7); lectures 003, 004 (animations by Radford 2014).
    """

    def __init__(
        self,
        of: Sequence[str] | None,
        moments: int,
        points: int,
        part: Part,
        samples: int | None,
        statistics: Statistics,
    ) -> None:
        self.of, self.moments, self.points = of, moments, points
        self.part, self.samples, self.statistics = part, samples, statistics

    def fits(self, stack: Stack) -> None:
        if not self.of:
            raise ConfigError(
                "it is for the paths of several runs: give diagnostics.paths.of=[FOLDER,...], sweeps or runs that had "
                "diagnostics=[trajectory]"
            )
        self._ways(stack)

    def look(self, view: View) -> list[Found]:
        ways, left_out = self._ways(view.stack)
        return [self._of_run(view, run, ways, left_out) for run in range(view.stack.runs)]

    def _ways(self, stack: Stack) -> tuple[list[Way], list[str]]:
        """What the folders have, and which of them were left out and why. ConfigError where fewer than two are left."""
        ways: list[Way] = []
        left_out: list[str] = []
        folders = [each for name in self.of or () for each in _runs(Path(name).expanduser())]
        several = len({folder.parent for folder in folders}) > 1
        for folder in {each.resolve(): each for each in folders}.values():
            name, saved, problem = _name(folder, several), _saved(folder), None
            shapes = {slot.name: tuple(slot.shape) for slot in stack.layout.slots}
            if saved is None:
                problem = f"no {KEPT}"
            elif {key: tuple(each.shape[1:]) for key, each in saved.items() if key != "step"} != shapes:
                problem = "another network"
            else:
                step = saved["step"]
                kept = torch.from_numpy(evenly(len(step), min(len(step), self.moments)))
                theta = torch.cat([saved[each][kept].flatten(1) for each in shapes], 1).to(stack.theta)
                way = Way(name, step[kept], theta)
                first = ways[0].theta[0] if ways else theta[0]
                if not theta.isfinite().all():
                    problem = "not finite"
                elif not torch.linalg.vector_norm(theta[0] - first) <= SAME * torch.linalg.vector_norm(first):
                    problem = "another beginning"
                else:
                    ways.append(way)
            if problem:
                left_out.append(f"{name}: {problem}")
        if len(ways) < 2:
            told = f"; left out: {', '.join(left_out)}" if left_out else ""
            raise ConfigError(f"of={','.join(self.of or ())}: paths of two runs or more are wanted{told}")
        return ways, left_out

    def _of_run(self, view: View, run: int, ways: Sequence[Way], left_out: Sequence[str]) -> Found:
        stack, centre = view.stack, view.stack.theta[run]
        points = Points(stack, run, self.part, self.samples, self.statistics)
        path = torch.cat([way.theta for way in ways])
        along = points(
            lambda places: {"theta": path[places]},
            len(path),
            lambda done: view.progress("points of the paths", done, len(path)),
        )
        near = usual(along["objective"])
        axes, shares = principal_axes(path[near], generator(stack.seeds[run], DIRECTIONS))
        places = torch.stack([(row - centre).double() @ axes.T for row in path])
        closest = CLOSEST * centre.double().norm().item()
        grid = around(places[near], closest, self.points, NARROW)
        here, directions = grid.to(stack.theta), axes.to(stack.theta)
        surface = points(
            lambda i: {"theta": torch.addmm(centre, here[i], directions)},
            len(grid),
            lambda done: view.progress("points of the surface", done, len(grid)),
        )
        rows: list[Row] = []
        columns = rows_of({"step": torch.cat([way.step for way in ways]), **along, **_coordinates(places)})
        names = [way.name for way in ways for _ in way.step]
        for name, row in zip(names, columns, strict=True):
            rows.append({"run": name, **row})
        told: dict[str, float | str] = {"explained_1": shares[0].item(), "explained_2": shares[1].item()}
        return Found(
            rows=rows,
            surface=rows_of({**_coordinates(grid), **surface}),
            summary=told | ({"left_out": ", ".join(left_out)} if left_out else {}),
        )


def _coordinates(places: Tensor) -> dict[str, Tensor]:
    return dict(zip(("pc_1", "pc_2"), places.T, strict=True))


def _runs(folder: Path) -> list[Path]:
    """A run's folder, or those of a sweep's runs, in the order of their numbers."""
    if (folder / KEPT).exists():
        return [folder]
    found = [path.parent for path in folder.glob(f"*/{KEPT}")]
    return sorted(found, key=lambda path: (len(path.name), path.name)) or [folder]


def _saved(folder: Path) -> dict[str, Tensor] | None:
    """The tensors that a run's `trajectory` kept; None where there are none. ConfigError where they are damaged."""
    try:
        saved = load(read_bytes(folder, KEPT, LARGEST))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (SafetensorError, OSError) as problem:
        raise ConfigError(f"{folder / KEPT} cannot be read as safetensors ({problem})") from problem
    lengths = {len(each) if each.ndim else 0 for each in saved.values()}
    kinds = {name: each.is_floating_point() for name, each in saved.items() if name != "step"}
    if "step" not in saved or saved["step"].ndim != 1 or len(lengths) != 1 or 0 in lengths or not all(kinds.values()):
        raise ConfigError(f"{folder / KEPT} is not what diagnostics=[trajectory] leaves")
    return saved


def _name(folder: Path, several: bool) -> str:
    """A run, by its folder and what trained it: `3 (Adam, lr=0.001)`; of `several` sweeps, by these too."""
    place = f"{folder.parent.name}/{folder.name}" if several else folder.name
    try:
        config = read_config(folder)
    except ConfigError:
        return in_line(place)[:LETTERS]
    optimizer = config.get("optimizer")
    target = optimizer.get("_target_", "") if isinstance(optimizer, dict) else ""
    return in_line(f"{place} ({str(target).rpartition('.')[2]}, lr={config.get('lr')})")[:LETTERS]
