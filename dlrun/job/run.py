"""From configs to finished folders: one job by itself, or the runs of a stack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from dlrun.folder import checkpoint
from dlrun.folder.clearing import clear, refuse_foreign_files
from dlrun.folder.environment import keep
from dlrun.folder.lock import locked
from dlrun.folder.names import CHECKPOINT, curves_of, form_of, shell_command
from dlrun.folder.resume import COMPLETE, has_more_time, standing, told_of_complete
from dlrun.job.folders import Folders, continuing
from dlrun.processes.parallel import lead
from dlrun.terminal.console import closing_table, say
from dlrun.terminal.exits import statuses
from dlrun.terminal.progress import Progress, Working
from dlrun.training.build import build, plain
from dlrun.training.components import Node
from dlrun.training.evaluation import Row


def run(config: DictConfig, folder: Path, sweeping: bool = False) -> str:
    """Train what the config says and leave its folder complete; returns the run's status.

    A folder that was left with a run of this config goes on from its last checkpoint, to the same results.

    sweeping: whether it is one of a sweep's, which has told already what was read.

    Raises ConfigError, with the folder as it was, where the config cannot be trained or the folder holds another run.
    """
    node = plain(config)
    refuse_foreign_files(folder)
    with locked(folder):
        status = standing(folder, node)
        if status in COMPLETE:
            if not has_more_time(folder, None):
                checkpoint.remove(folder / CHECKPOINT)
            say(told_of_complete(folder))
            summary = None
        else:
            summary = _train(node, folder, status == "begun", sweeping)
            status = str(summary["status"])
        if node["plots"] != "none" and (summary or not (folder / curves_of(node)).exists()):
            from dlrun.plots.pictures import drawn

            if not drawn(folder, form_of(node)):
                statuses.append("undrawn")
        if summary:
            closing_table(summary, folder)
            for name, told in summary.get("diagnostics", {}).items():
                if "failed" in told:
                    say(f"diagnostics={name} failed: {told['failed']}", indent=2)
            if reason := summary.get("reason"):
                say(f"{reason}; `{shell_command('resume', folder)} max_time=...` goes on with more")
            if status == "interrupted":
                say(f"`{shell_command('resume', folder)}` goes on")
    return status


def _train(node: Node, folder: Path, resuming: bool, sweeping: bool) -> dict[str, Any]:
    """Train one run in its folder; returns what its summary says."""
    torch.set_num_threads(1)
    begun, problems = continuing([folder]) if resuming else (None, [])
    with Working() as working:
        stack = build([node], working, initialize=begun is None)
    lead(node, stack, begun)
    torch.set_num_threads(stack.threads)
    if resuming and begun is None:
        clear(folder)
        problems = [*problems, "beginning again: there is no checkpoint to go on from"]
    metric = [*(metric.name for metric in stack.measures.metrics), "loss"][0]
    with (
        Folders([node], [folder], stack, begun, problems) as folders,
        Progress(stack.steps, stack.steps_per_epoch, metric) as progress,
    ):
        if not sweeping:  # whose folder has it once for all runs
            keep(folder)
        before = [*folders.notes[0]]
        for note in [*([] if sweeping else folders.read[0]), *before]:
            progress.note(note)
        [summary] = folders.train(Watch(folders, progress), progress.working)
        for note in folders.notes[0][len(before) :]:
            progress.note(note)
    return summary


class Watch:
    """Passes what the trainer reports to the run's folder and to the terminal."""

    def __init__(self, folders: Folders, progress: Progress) -> None:
        self.folders = folders
        self.progress = progress
        self.due: Callable[[], bool] = progress.due
        self.step = progress.step
        self.trace = folders.trace

    def row(self, run: int, row: Row) -> None:
        """To both."""
        self.folders.row(run, row)
        self.progress.row(row)
