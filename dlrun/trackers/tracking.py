"""The trackers of one run: told of each row once, whatever ended the run and however it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dlrun.errors import reason
from dlrun.trackers.tracker import Tracker, flat

NUMBERS = ("best_", "last_", "test_", "parameters", "suggested_lr")  #: how the summary's numbers begin
Row = Mapping[str, float]


class Tracking:
    """Hands a run's rows to its trackers.

    A tracker that fails is told of in a line, and gets nothing more: the numbers of a run are in its folder.

    Args:
        trackers: by their names.
        config: of the run, resolved.
        rows: that metrics.csv has already; None where the run begins.
        told: what to do with a line for the user.

    Attributes:
        failed: why, by the name of each tracker that did.
    """

    def __init__(
        self,
        trackers: Mapping[str, Tracker],
        folder: Path,
        config: Mapping[str, Any],
        rows: Sequence[Row] | None,
        told: Callable[[str], None],
    ) -> None:
        self._trackers, self._told = dict(trackers), told
        self.failed: dict[str, str] = {}
        self._last: dict[str, int] = {}  #: steps that each has
        name = str(config.get("name", folder.name))
        self._each(lambda key, each: self._last.update({key: each.open(folder, name, flat(config), rows is None)}))
        for row in rows or ():
            self.row(row)

    def row(self, row: Row) -> None:
        """Copy a row of metrics.csv where it is not there yet."""
        step = int(row["step"])
        values = {column: float(value) for column, value in row.items() if column != "step"}
        self._each(partial(self._log, step, values))

    def _log(self, step: int, values: Row, key: str, each: Tracker) -> None:
        if step > self._last[key]:
            each.log(step, values)
            self._last[key] = step

    def close(self, summary: Mapping[str, Any], complete: Iterable[str]) -> None:
        """The run has ended, with what its summary says. complete: statuses of runs that go on no more."""
        numbers = {
            key: float(value)
            for key, value in summary.items()
            if key.startswith(NUMBERS) and isinstance(value, int | float) and not isinstance(value, bool)
        }
        status = str(summary["status"])
        final = numbers if status in complete else None
        self._each(lambda key, each: each.close(status, max(self._last[key], 0), final))
        self._trackers.clear()

    def _each(self, do: Callable[[str, Tracker], None]) -> None:
        for key, each in list(self._trackers.items()):
            try:
                do(key, each)
            except (Exception, SystemExit) as problem:  # a store that is full, broken or of another version
                del self._trackers[key]
                self.failed[key] = reason(problem)
                self._told(f"tracker={key} failed, and the run goes on without it: {self.failed[key]}")
