"""A sweep in Python, from its folder alone: its tables, and its settings with their statistics."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from pathlib import Path

import pandas as pd

from dlrun.errors import ConfigError
from dlrun.loading.run import LoadedRun, Which
from dlrun.report import collect, findings
from dlrun.report.evaluations import Evaluations


class LoadedSweep:
    """A sweep's folder, of which each table is read when it is first asked for.

    Raises ConfigError for a folder without runs; and wherever a table is missing or damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        self._folders = collect.find([self.folder])

    def __repr__(self) -> str:
        return f"<sweep {self.folder}: {len(self._folders)} runs>"

    @cached_property
    def runs(self) -> pd.DataFrame:
        """sweep.csv: a row per run, with its overrides, how it ended, and what it reached."""
        return collect.table(self.folder)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """curves.csv: a row per run, evaluation and column of its metrics.csv."""
        return collect.curves(self.folder)

    def settings(self, metric: str | None = None) -> pd.DataFrame:
        """A row per setting, the best by validation first, as the report has it.

        Its keys that differ from other settings'; of the test metric over seeds the mean, std, 95 % interval (low,
        high), median and best; runs, how many ended well (n), failed or diverged; `val`, the mean by which it was
        ranked. Runs are one setting if their whole configs and data agree but for the seed.

        Args:
            metric: accuracy, loss, ...; None takes the task's main one.

        Raises ConfigError for a metric that the runs have not.
        """
        found = findings.find(self.runs, self._folders, Evaluations(), metric)
        return found.settings

    def run(self, name: str, which: Which = "best", allow_targets: Collection[str] = ()) -> LoadedRun:
        """The run of this name, as the column `run` has it; what it takes and raises is `dlrun.load`'s."""
        if str(name) not in self._folders:
            raise ConfigError(f"{self.folder} has no run {name}; there are {', '.join(list(self._folders)[:10])}")
        return LoadedRun(self._folders[str(name)], which, allow_targets)
