"""The diagnostics of finished networks: after their training, or later by `dlrun diagnose`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dlrun.diagnostics.diagnostic import Diagnostic, OfFinished, View
from dlrun.errors import ConfigError, reason
from dlrun.folder.names import arrays_of, table_of
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
    which are the best or the last, as `which` says.
    """
    told: list[dict[str, Any]] = [{} for _ in folders]
    for name, each in chosen.items():
        try:
            found = each.look(View(stack, stack.steps, progress=progress))
        except OSError:  # the disk's fault
            raise
        except Exception as problem:
            why = str(problem) if isinstance(problem, ConfigError) else reason(problem)
            for summary in told:
                summary[name] = {"failed": why}
            continue
        for folder, of_run, summary, (epoch, step) in zip(folders, found, told, moments, strict=True):
            at = {"epoch": epoch, "step": step}
            rows = [{key: at.get(key, value) for key, value in row.items()} for row in of_run.rows]
            write_rows(folder / table_of(name), rows)
            summary[name] = {"table": table_of(name), "which": which, **of_run.summary}
            if of_run.arrays:
                write_arrays(folder / arrays_of(name), of_run.arrays)
                summary[name]["arrays"] = arrays_of(name)
    return told
