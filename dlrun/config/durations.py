"""Durations as they are typed: 90s, 10min, 1.5h, or a plain number of seconds."""

from __future__ import annotations

import re

UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}
WRITTEN = re.compile(r"(?=.*[1-9])(\d+(?:\.\d+)?)(s|min|h)", re.ASCII)  #: with a unit, and longer than nothing


def seconds(duration: float | str) -> float:
    """The seconds of a duration, which is a number of them or a text that `WRITTEN` matches."""
    if not isinstance(duration, str):
        return float(duration)
    match = WRITTEN.fullmatch(duration)
    assert match is not None, f"{duration!r} is no duration"
    return float(match[1]) * UNITS[match[2]]


def written(duration: float | str) -> str:
    """A duration as one would type it."""
    return duration if isinstance(duration, str) else f"{duration:g}s"
