"""What a sweeper optimises: a number of a run's summary, better where it is lower, or higher for some metrics."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

from dlrun.check import did_you_mean
from dlrun.errors import ConfigError

DEFAULT = "best_val_loss"
HIGHER = ("accuracy", "top5", "r2")  #: more is better; for where no summary says so, as `Metric.better` does


def maximised(objective: str | None) -> bool:
    """Whether more of it is better."""
    return any(objective == metric or str(objective).endswith(f"_{metric}") for metric in HIGHER)


def value_of(summary: Mapping[str, Any], objective: str | None) -> float | None:
    """What a sweeper is told of a run: of one that diverged the worst, and nothing of one that has no result.

    Raises ConfigError where the summary of a run that came to its end has no such number.
    """
    if summary["status"] == "diverged":  # it tells where not to look, as a run that a full disk ended does not
        return -inf if maximised(objective) else inf
    if summary["status"] not in ("finished", "stopped_early"):
        return None
    name = objective or DEFAULT
    known = [key for key, value in summary.items() if isinstance(value, int | float) and not isinstance(value, bool)]
    if name not in known:
        raise ConfigError(
            f"objective={name}: a run's summary has no such number{did_you_mean(name, known)}; "
            f"there are {', '.join(known)}"
        )
    return float(summary[name])
