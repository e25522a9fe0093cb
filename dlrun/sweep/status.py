"""How a sweep stands, from its folder and what Slurm says of its jobs: `dlrun status DIR`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dlrun.console import number, say
from dlrun.records import METRICS, SUMMARY, read_summary
from dlrun.report.collect import find, overrides_of
from dlrun.report.grid import Cell, Grid
from dlrun.sweep.jobs import ended, holding, submissions
from dlrun.sweep.plan import PLAN, Plan

FRESH = 120  #: seconds since its last row in which a run that no job holds counts as running
MOST = 20  #: lines of the table
ORDER = ("failed", "running", "interrupted", "diverged")  #: of its runs


@dataclass(frozen=True)
class Standing:
    """How a run stands.

    status: of its summary; without one, running, interrupted, or pending where it has not begun or waits in a queue.
    setting: its overrides in which runs of the sweep differ.
    task: of Slurm's that holds it, 12_3.
    age: seconds since its last row.
    """

    name: str
    status: str
    task: str = ""
    row: dict[str, str] | None = None
    age: float | None = None
    error: str = ""
    setting: str = ""


def standings(sweep: Path) -> list[Standing]:
    """The runs of a sweep. Raises ConfigError for a folder that is none, or where Slurm does not answer."""
    planned = (sweep / PLAN).exists()
    folders = {name: sweep / name for name in Plan(sweep, retry_failed=False).runs} if planned else find([sweep])
    tasks = holding(sweep)
    runs = [_standing(name, folder, *tasks.get(name, ("", ""))) for name, folder in folders.items()]
    overrides = {name: overrides_of(folder) for name, folder in folders.items()}
    values: dict[str, set[str]] = {}
    for key, value in (pair for typed in overrides.values() for pair in typed.items()):
        values.setdefault(key, set()).add(value)
    return [
        replace(run, setting=" ".join(f"{k}={v}" for k, v in overrides[run.name].items() if len(values[k]) > 1))
        for run in runs
    ]


def show(sweep: Path) -> None:
    """Print how many runs are done, running, pending or failed, those that run or failed, and Slurm's jobs."""
    from rich.console import Console

    runs = standings(sweep)
    counts = Counter(run.status for run in runs)
    told = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in counts.most_common())
    say(f"{len(runs)} runs: {told}")
    shown = sorted((run for run in runs if run.status in ORDER), key=lambda run: ORDER.index(run.status))
    cells: dict[str, Callable[[Standing], str]] = {
        "run": lambda run: run.name,
        "setting": lambda run: run.setting,
        "status": lambda run: run.status,
        "task": lambda run: run.task,
        "epoch": lambda run: run.row["epoch"] if run.row else "",
        "val loss": lambda run: number(float(run.row["val_loss"])) if run.row else "",
        "last row": lambda run: "" if run.age is None else f"{run.age:.0f} s ago",
        "error": lambda run: run.error,
    }
    cells = {name: cell for name, cell in cells.items() if any(map(cell, shown[:MOST]))}
    if shown:
        rows = [[Cell(cell(run)) for cell in cells.values()] for run in shown[:MOST]]
        Grid("", list(cells), rows, text=[name in ("setting", "error") for name in cells]).show(Console(), MOST)
    if len(shown) > MOST:
        say(f"and {len(shown) - MOST} more")
    if counts["failed"]:
        say(f"`dlrun resume {sweep} --retry-failed` trains the failed runs again")
    for each in submissions(sweep):
        say(f"{ended(each)}; logs in {each.folder}")


def _standing(name: str, folder: Path, task: str, state: str) -> Standing:
    summary = read_summary(folder) if (folder / SUMMARY).exists() else {}
    status, error = summary.get("status"), summary.get("error") or ""
    row, age = _last_row(folder / METRICS)
    if status in (None, "interrupted"):
        if task:
            status = "running" if state == "RUNNING" and row and not status else "pending"
        elif status is None:
            status = "pending" if age is None else "running" if age < FRESH else "interrupted"
    return Standing(name, status, task, row, age, error.splitlines()[0] if error else "")


def _last_row(file: Path) -> tuple[dict[str, str] | None, float | None]:
    """The last whole row of metrics.csv, and its age in seconds."""
    try:
        lines, age = file.read_text(encoding="utf-8").split("\n")[:-1], time.time() - file.stat().st_mtime
    except OSError:
        return None, None
    if len(lines) < 2:
        return None, age
    return dict(zip(lines[0].split(","), lines[-1].split(","), strict=True)), age
