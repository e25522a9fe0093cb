"""What an Optuna study has found, from the file that it left in the sweep's folder."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from pathlib import Path

from dlrun.errors import ConfigError
from dlrun.files.opening import read
from dlrun.folder import wellformed
from dlrun.report.grid import NOTHING, Cell, Grid
from dlrun.terminal.console import number

RESULTS = "optimization_results.yaml"


def study(folder: Path) -> Iterator[Grid]:
    """The study of the sweep in the folder as a table; of a sweep without one, nothing.

    Raises ConfigError where the file that tells of it is damaged.
    """
    if not (folder / RESULTS).exists():
        return
    found = wellformed.mapping(read(folder, RESULTS), folder / RESULTS)
    if "trials" not in found:  # another program's
        return
    if not all(isinstance(found.get(key, {}), dict) for key in ("trials", "best_params")) or not (
        isinstance(found.get("best_value"), float | int | None) and {"study", "direction", "objective"} <= found.keys()
    ):
        raise ConfigError(f"{folder / RESULTS} does not tell of a study's trials and the best of them")
    trials = ", ".join(f"{count} {'failed' if state == 'fail' else state}" for state, count in found["trials"].items())
    best = found.get("best_value")
    row = {
        "study": Cell(str(found["study"])),
        "objective": Cell(f"{found['direction']} {found['objective']}"),
        "trials": Cell(trials),
        "best trial": NOTHING if best is None else Cell(str(found.get("best_trial", ""))),
        "best value": NOTHING if best is None else Cell(number(best) if isfinite(best) else str(best)),
        "its values": Cell(", ".join(f"{key}={value}" for key, value in found.get("best_params", {}).items())),
    }
    words = [column not in ("best trial", "best value") for column in row]
    remark = "A trial is a run with one seed. One that diverged was told as the worst value, one that failed as none."
    yield Grid("Search", list(row), [list(row.values())], remark, words)
