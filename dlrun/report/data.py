"""What the runs of a sweep were trained on, as their summaries tell."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dlrun.errors import ConfigError
from dlrun.folder.reading import read_summary
from dlrun.report.findings import Findings
from dlrun.terminal.description import told

NAMED = 10  #: datasets that the page names
LOOKS = 10  #: summaries that are asked for one: those of runs that failed early do not tell
SAME = ("dataset.split_seed", "dataset.label_noise")  #: in these alone the runs of one dataset may differ


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
