"""What every tracker is: a copy of metrics.csv and of the summary's numbers where another program shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlrun.config.check import leaves


class Tracker:
    """A copy of one run's rows. Its `_target_` stands in conf/tracker/, in a module with the name of the package that
    it needs, and of dlrun's extra for it.

    What is copied has the names that it has in metrics.csv and summary.json. Any method may raise anything: the run
    goes on without the tracker.
    """

    def open(self, folder: Path, name: str, config: Mapping[str, str | float | bool], anew: bool) -> int:
        """Begin, or go on with what was copied of the run in this folder; returns the last step that is there, or -1.

        config: as `flat` has it. anew: the run begins, and what is there is of another attempt.
        """
        raise NotImplementedError

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Copy an evaluation after this many steps."""
        raise NotImplementedError

    def close(self, status: str, step: int, values: Mapping[str, float] | None) -> None:
        """End, or pause.

        values: the summary's numbers, of a run that is complete; None for one that was ended, and may go on.
        """
        raise NotImplementedError


def flat(config: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """A config with its keys as they are typed, `optimizer.lr`; lists and nothing are texts."""
    plain = {".".join(path): value for path, value in leaves(dict(config))}
    return {key: value if isinstance(value, str | int | float | bool) else str(value) for key, value in plain.items()}
