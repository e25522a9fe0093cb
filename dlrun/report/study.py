"""What an Optuna study has found, from the file that it left in the sweep's folder."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from pathlib import Path

import yaml

from dlrun.console import number
from dlrun.report.grid import NOTHING, Cell, Grid

RESULTS = "optimization_results.yaml"


def study(folder: Path) -> Iterator[Grid]:
    """The study of the sweep in the folder as a table; of a sweep without one, nothing."""
    if not (folder / RESULTS).exists():
        return
    found = yaml.safe_load((folder / RESULTS).read_text(encoding="utf-8"))
    if not isinstance(found, dict) or "trials" not in found:  # another program's
        return
    trials = ", ".join(f"{count} {'failed' if state == 'fail' else state}" for state, count in found["trials"].items())
    best = found.get("best_value")
    row = {
        "study": Cell(str(found["study"])),
        "objective": Cell(f"{found['direction']} {found['objective']}"),
        "trials": Cell(trials),
        "best trial": NOTHING if best is None else Cell(str(found["best_trial"])),
        "best value": NOTHING if best is None else Cell(number(best) if isfinite(best) else str(best)),
        "its values": Cell(", ".join(f"{key}={value}" for key, value in found.get("best_params", {}).items())),
    }
    words = [column not in ("best trial", "best value") for column in row]
    remark = "A trial is a run with one seed. One that diverged was told as the worst value, one that failed as none."
    yield Grid("Search", list(row), [list(row.values())], remark, words)
