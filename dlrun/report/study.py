"""What an Optuna study has found, from the file that it left in the sweep's folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path

from dlrun.errors import ConfigError
from dlrun.files.opening import read
from dlrun.folder import wellformed
from dlrun.report.grid import NOTHING, Cell, Grid
from dlrun.terminal.console import number

RESULTS = "optimization_results.yaml"


def directions_of(folder: Path, objectives: Sequence[str]) -> list[bool]:
    """Whether a search in the folder maximised each of these objectives; nothing where none had them all.

    Raises ConfigError where the file that tells of it is damaged.
    """
    found = wellformed.mapping(read(folder, RESULTS), folder / RESULTS) if (folder / RESULTS).exists() else {}
    directions = found.get("direction")
    if found.get("objective") != list(objectives) or not isinstance(directions, list):
        return []
    return [direction == "maximize" for direction in directions] if len(directions) == len(objectives) else []


def study(folder: Path) -> Iterator[Grid]:
    """The study of the sweep in the folder as a table; of a sweep without one, nothing.

    Raises ConfigError where the file that tells of it is damaged.
    """
    if not (folder / RESULTS).exists():
        return
    found = wellformed.mapping(read(folder, RESULTS), folder / RESULTS)
    if "trials" not in found:  # another program's
        return
    several = isinstance(found.get("objective"), list)
    if not all(isinstance(found.get(key, {}), dict) for key in ("trials", "best_params")) or not (
        {"study", "direction", "objective"} <= found.keys()
        and isinstance(found.get("direction"), list) == several
        and isinstance(found.get("best_trials", []), list)
        and isinstance(found.get("best_runs", []), list)
        and isinstance(found.get("best_value"), float | int | None)
    ):
        raise ConfigError(f"{folder / RESULTS} does not tell of a study's trials and the best of them")
    trials = ", ".join(f"{count} {'failed' if state == 'fail' else state}" for state, count in found["trials"].items())
    aims = (
        zip(found["direction"], found["objective"], strict=False)
        if several
        else [(found["direction"], found["objective"])]
    )
    row = {
        "study": Cell(str(found["study"])),
        "objective": Cell(", ".join(f"{direction} {name}" for direction, name in aims)),
        "trials": Cell(trials),
    }
    if several:
        row["on the front"] = Cell(str(len(found.get("best_trials", []))))
    else:
        best = found.get("best_value")
        row |= {
            "best trial": NOTHING if best is None else Cell(str(found.get("best_trial", ""))),
            "its runs": Cell(", ".join(map(str, found.get("best_runs", [])))),
            "best value": NOTHING if best is None else Cell(number(best) if isfinite(best) else str(best)),
            "its values": Cell(", ".join(f"{key}={value}" for key, value in found.get("best_params", {}).items())),
        }
    words = [column not in ("on the front", "best trial", "best value") for column in row]
    remark = (
        "A trial is a point with all of its seeds, folds and splits, told as their mean. One of which a run diverged "
        "was told as the worst value, one of which a run failed or has no value of the objective as none: it failed."
    )
    yield Grid("Search", list(row), [list(row.values())], remark, words)
