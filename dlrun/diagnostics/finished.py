"""The diagnostics of finished networks: after their training, or later by `dlrun diagnose`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dlrun.diagnostics.diagnostic import Diagnostic, DuringTraining, Found, OfFinished, View
from dlrun.errors import ConfigError, reason
from dlrun.folder.names import arrays_of, surface_of, table_of
from dlrun.folder.records import write_arrays, write_rows
from dlrun.training.stack import Stack

Progress = Callable[[str, int, int], None]


def of_finished(chosen: Mapping[str, Diagnostic]) -> dict[str, OfFinished]:
    """Those of them that look at finished networks."""
    return {name: each for name, each in chosen.items() if isinstance(each, OfFinished)}


@torch.no_grad()
def look(
    stack: Stack,
    chosen: Mapping[str, Diagnostic],
    folders: Sequence[Path],
    progress: Progress,
    moments: Sequence[tuple[float, int]],
    which: str,
) -> list[dict[str, Any]]:
    """Have diagnostics look at the stack as it is, and write what they find into the runs' folders.

    Returns what each run's summary says of them: the files, and numbers; or why one failed, which ends no other.

    progress: told what is done, and how much of how much. moments: epoch and step of each run's parameters,
    which are the best or the last, as `which` says, in the rows of what looks at a moment of a training.
    """
    told: list[dict[str, Any]] = [{} for _ in folders]
    for name, each in chosen.items():
        try:
            found = each.look(View(stack, stack.steps, progress=progress))
        except OSError:  # the disk's fault
            raise
        except (Exception, SystemExit) as problem:
            for summary in told:
                summary[name] = {"failed": why(problem)}
            continue
        for folder, of_run, summary, (epoch, step) in zip(folders, found, told, moments, strict=True):
            at = {"epoch": epoch, "step": step} if isinstance(each, DuringTraining) else {}
            rows = [{key: at.get(key, value) for key, value in row.items()} for row in of_run.rows]
            summary[name] = {"which": which, **write(folder, name, replace(of_run, rows=rows))}
    return told


def why(problem: BaseException) -> str:
    """What went wrong, in a line."""
    return str(problem) if isinstance(problem, ConfigError) else reason(problem)


def write(folder: Path, name: str, found: Found) -> dict[str, Any]:
    """Write what a diagnostic found of a run into its folder; returns what the summary says of it."""
    told: dict[str, Any] = {**found.summary}
    if found.rows:
        write_rows(folder / table_of(name), found.rows)
        told["table"] = table_of(name)
    if found.surface:
        write_rows(folder / surface_of(name), found.surface)
        told["surface"] = surface_of(name)
    if found.arrays:
        write_arrays(folder / arrays_of(name), found.arrays)
        told["arrays"] = arrays_of(name)
    return told
