"""How any sweep ends, whichever its launcher and sweeper, when all its batches are over: its tables and its report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dlrun.config.options import estimating
from dlrun.errors import ConfigError
from dlrun.folder.names import shell_command
from dlrun.folder.reading import summary_of
from dlrun.report.collect import find, write_tables
from dlrun.sweep.beginning import OWN, begun, ended
from dlrun.sweep.foreseen import compared, remember
from dlrun.sweep.tuning import FINAL, TARGET, TUNING, common_target
from dlrun.terminal.console import counted, say
from dlrun.terminal.exits import statuses

SHOWN = 3  #: kinds of failures that are told on the terminal


def complete_all() -> None:
    """Complete the folders of the sweep that has come to its end; of none, nothing.

    Where launcher and sweeper are both of others, all runs that are there are taken.
    """
    for config, started in begun:
        if not any(config.hydra[part]._target_.startswith(OWN) for part in ("launcher", "sweeper")):
            folder = Path(config.hydra.sweep.dir).absolute()
            ended[folder] = list(find([folder]).values())
        for folder, runs in ended.items():
            tuned = folder.name == FINAL and folder.with_name(TUNING) in ended
            trials = folder.name == TUNING and folder.with_name(FINAL) in ended
            complete(folder, runs, started, common_target(runs) if tuned else None, trials)
        if estimating():
            remember(config)
        elif told := compared(config, started):
            say(told)


def complete(
    folder: Path, runs: Sequence[Path], started: float, target: tuple[str, float] | None = None, trials: bool = False
) -> None:
    """Write the tables and the report of a sweep that has ended, whoever trained it, and say how its runs ended.

    Args:
        folder: the sweep's.
        runs: the folders of the runs that the command asked for; its exit code tells of these.
        started: `time.perf_counter()` at the command's beginning.
        target: what `tuning.common_target` found of the runs, for a sweep that was tuned.
        trials: whether the runs try rates, of which some may well be too high.
    """
    counts, failures, timed = Counter[str](), Counter[str](), 0
    for run in runs:
        summary = summary_of(run)
        counts[summary["status"]] += 1
        if summary["status"] == "failed":
            failures[str(summary.get("error"))] += 1
        timed += "budget" in summary
    statuses.extend(status for status in counts.elements() if not (trials and status == "diverged"))
    said = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in counts.most_common())
    aside = " (rates that were tried and are too high; none of them is taken)" if trials and counts["diverged"] else ""
    say(f"{counted(len(runs), 'run')}: {said}{aside}; {time.perf_counter() - started:.1f} s")
    for why, count in failures.most_common(SHOWN):
        say(f"{count} failed: {why}", indent=2)
    if len(failures) > SHOWN:
        say(f"and {len(failures) - SHOWN} more ways to fail, in sweep.csv's column error", indent=2)
    if timed:
        again = f"{shell_command('resume', folder)} max_time=..."
        say(f"max_time ended {timed} of them before their last epoch: `{again}` goes on with more")
    if len(find([folder])) == 1:
        write_tables([folder], folder)
        for tracker, told in summary_of(runs[0]).get("tracker", {}).items() if runs else ():
            say(f"tracker={tracker} failed: {told.get('failed')}")
        say(str(folder))
    else:
        from dlrun.report.report import report

        try:
            report([folder], target=target, notes=[TARGET.format(f"{target[0]}={target[1]:.4g}")] if target else [])
        except ConfigError:  # such as a picture that is not to be overwritten: the tables are there even so
            write_tables([folder], folder)
            raise
