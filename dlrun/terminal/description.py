"""What was read, in words, from what summary.json has of it: for the screen, the log and the report."""

from __future__ import annotations

from typing import Any

from dlrun.terminal.console import counted

WIDTH = 80  #: columns that a line takes at most where it has the choice
Description = dict[str, Any]  #: as summary.json has it


def told(found: Description) -> list[str]:
    """What was read, a line each: `summary`, then the notes."""
    return [*summary(found), *found["notes"]] if found else []


def summary(found: Description) -> list[str]:
    """What was read, in two lines (of a test function, one) of 80 columns mostly."""
    name = f"{found.get('name', 'dataset')}: "
    if found["task"] == "none":
        start = ", ".join(f"{n}={x:g}" for n, x in zip(found["features"], found["start"], strict=False))
        some = start if 0 < len(start) < WIDTH // 2 else counted(found["shape"][0], "number")
        return [f"{name}a test function of {counted(found['shape'][0], 'variable')}, from {some}"]
    rows = ", ".join(f"{n:,} {part}" for part, n in found["rows"].items())
    pairs = [f"{inputs}; {targets}" for targets in _targets(found) for inputs in _inputs(found)]
    return [f"{name}{rows} ({found['split']})", next((pair for pair in pairs if len(pair) <= WIDTH), pairs[-1])]


def _inputs(found: Description) -> list[str]:
    """What the inputs are, in ever fewer words."""
    shape, scaled = found["shape"], f"dataset.scale={found['scale']}"
    if len(shape) == 3:
        return [f"images of {' x '.join(map(str, shape))}, {scaled}"]
    if len(shape) == 2:
        long = f"sequences of {counted(shape[0], 'step')} of {counted(shape[1], 'feature')}"
        return [f"{long}, {scaled}", f"sequences of {shape[0]} x {shape[1]}, {scaled}"]
    plain = f"{counted(shape[0], 'feature')}, {scaled}"
    return [f"features {', '.join(found['features'])}, {scaled}", plain] if "features" in found else [plain]


def _targets(found: Description) -> list[str]:
    """What the targets are, in ever fewer words."""
    if found["task"] == "regression":
        low, high = found["target"]["min"], found["target"]["max"]
        scaled = ", standardised" if found["target"]["standardised"] else ""
        if isinstance(low, list):
            return [f"regression of {len(low)} numbers{scaled}"]
        span = f"{low:.4g} to {high:.4g}{scaled}"
        return [f"regression, target from {span}", f"regression, {span}"]
    counts = found["classes"]["train"]
    every = ", ".join(f"{name} ({n:,})" for name, n in counts.items())
    least, most = min(counts.values()), max(counts.values())
    share = f"{least:,}" if least == most else f"{least:,}-{most:,}"
    few = f"{len(counts)} classes, {share}"
    return [f"{len(counts)} classes: {every}", f"{few} train rows each", f"{few} each"]
