"""How a sweep stands, from its folder and what Slurm says of its jobs: `dlrun status DIR`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dlrun.errors import ConfigError
from dlrun.files.opening import inside
from dlrun.folder import wellformed
from dlrun.folder.contents import exists, read
from dlrun.folder.names import METRICS, PLAN, SUMMARY, shell_command
from dlrun.folder.reading import read_summary
from dlrun.report.collect import find, overrides_of
from dlrun.report.grid import Cell, Grid
from dlrun.sweep.jobs import ended, holding, submissions
from dlrun.sweep.plan import Plan
from dlrun.terminal.console import counted, number, say

FRESH = 120  #: seconds since its last row in which a run that no job holds counts as running
MOST = 20  #: lines of the table
UNREADABLE = "unreadable"  #: a run of which a file is damaged
ORDER = (UNREADABLE, "failed", "running", "interrupted", "diverged")  #: of its runs


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
    planned = Plan(sweep, retry_failed=False).runs if (sweep / PLAN).exists() else {}
    found = {} if planned else find([sweep])  # a tuned sweep's runs are in two plans below
    tasks = holding(sweep)
    runs, overrides = list[Standing](), dict[str, dict[str, str]]()
    for name in planned or found:
        task = tasks.get(name, ("", ""))
        try:
            folder = found.get(name) or inside(sweep, name)
            overrides[name] = overrides_of(folder)
            runs.append(_standing(name, folder, *task))
        except ConfigError as problem:
            runs.append(Standing(name, UNREADABLE, task[0], error=str(problem)))
    values: dict[str, set[str]] = {}
    for key, value in (pair for typed in overrides.values() for pair in typed.items()):
        values.setdefault(key, set()).add(value)

    def setting(run: Standing) -> str:
        return " ".join(f"{k}={v}" for k, v in overrides.get(run.name, {}).items() if len(values[k]) > 1)

    return [replace(run, setting=setting(run)) for run in runs]


def show(sweep: Path) -> None:
    """Print how many runs are done, running, pending or failed, those that run or failed, and Slurm's jobs."""
    from rich.console import Console

    runs = standings(sweep)
    counts = Counter(run.status for run in runs)
    told = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in counts.most_common())
    say(f"{counted(len(runs), 'run')}: {told}")
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
        say(f"`{shell_command('resume', sweep)} --retry-failed` trains the failed runs again")
    for each in submissions(sweep):
        say(f"{ended(each)}; logs in {each.folder}")


def _standing(name: str, folder: Path, task: str, state: str) -> Standing:
    summary = read_summary(folder) if exists(folder, SUMMARY) else {}
    row, age = _last_row(folder)
    status, error = summary.get("status"), summary.get("error") or ""
    if status in (None, "interrupted"):
        if task:
            status = "running" if state == "RUNNING" and row and not status else "pending"
        elif status is None:
            status = "pending" if age is None else "running" if age < FRESH else "interrupted"
    return Standing(name, status, task, row, age, error.splitlines()[0] if error else "")


def _last_row(folder: Path) -> tuple[dict[str, str] | None, float | None]:
    """The last whole row of metrics.csv, and its age in seconds. Raises ConfigError where the file is damaged."""
    try:
        header, rows = wellformed.metrics(read(folder, METRICS), folder / METRICS, ("epoch", "val_loss"))
        age = time.time() - (folder / METRICS).stat().st_mtime
    except OSError:
        return None, None
    return dict(zip(header, rows[-1], strict=True)) if rows else None, age
