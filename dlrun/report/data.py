"""What the runs of a sweep were trained on, as their summaries tell."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dlrun.errors import ConfigError
from dlrun.folder.reading import read_summary
from dlrun.report.findings import Findings
from dlrun.terminal.console import counted
from dlrun.terminal.description import told

NAMED = 10  #: datasets that the page names
LOOKS = 10  #: summaries that are asked for one: those of runs that failed early do not tell
SAME = ("dataset.split_seed", "dataset.label_noise")  #: in these alone the runs of one dataset may differ


def failed_looks(found: Findings, runs: Mapping[str, Path]) -> list[str]:
    """A line for each diagnostic and each tracker that failed in some runs, with the first one's reason."""
    if not {"diagnostics", "tracker"} & {column.split(".")[0] for column in found.table.columns}:
        return []
    failed: dict[str, list[str]] = {}
    for run, folder in runs.items():
        with suppress(ConfigError, OSError, AttributeError):  # a stranger's file
            summary = read_summary(folder)
            for group in ("diagnostics", "tracker"):
                for name, told_of in summary.get(group, {}).items():
                    if "failed" in told_of:
                        failed.setdefault(f"{group}={name}", []).append(f"run {run}: {told_of['failed']}")
    return [f"{what} failed in {counted(len(reasons), 'run')} ({reasons[0]})" for what, reasons in failed.items()]


def data_of(found: Findings, runs: Mapping[str, Path]) -> list[str]:
    """A paragraph for each dataset of the runs, from the first that tells of it."""
    keys = [axis for axis in found.axes if axis.split(".")[0] == "dataset" and axis not in SAME]
    groups = found.table.groupby(keys, sort=False, dropna=False) if keys else [((), found.table)]
    texts: dict[str, None] = {}
    for _, table in groups:
        for run in table["run"].head(LOOKS):
            with suppress(
                ConfigError, OSError, ValueError, LookupError, TypeError, AttributeError
            ):  # a stranger's file
                text = "; ".join(told(read_summary(runs[run])["dataset"]))
                texts |= {text: None} if text else {}
                break
    rest = [f"and {len(texts) - NAMED} more"] if len(texts) > NAMED else []
    return [*list(texts)[:NAMED], *rest]
