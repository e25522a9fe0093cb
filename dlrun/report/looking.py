"""How often a sweep was looked at: as it had been planned, with seed=until_decided, or by hand, which costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from dlrun.config.options import UNTIL
from dlrun.files.opening import read
from dlrun.folder import wellformed
from dlrun.folder.names import PLAN
from dlrun.report.comparison import EQUAL, OPEN
from dlrun.report.findings import Findings
from dlrun.report.judging import ALPHA, Looks, about
from dlrun.terminal.console import counted

NAMED = 3  #: comparisons that a note names at most
#: overrides that say how many seeds there are to be
SEEDS = ("seed=", "hydra.sweeper.looks=", "hydra.sweeper.margin=")


def plan_of(folder: Path) -> dict[str, Any]:
    """A sweep's plan.json; empty where there is none. Raises ConfigError for one that is damaged."""
    try:
        return wellformed.plan(read(folder, PLAN), folder / PLAN)
    except (FileNotFoundError, NotADirectoryError):
        return {}


def planned(plan: dict[str, Any]) -> Looks | None:
    """The looks of a sweep that was to have seeds until its comparisons are decided."""
    looks = plan.get("looks")
    return Looks(tuple(looks["seeds"]), float(looks["margin"])) if looks else None


def undecided(found: Findings) -> pd.DataFrame:
    """The comparisons that further seeds may settle."""
    return found.comparisons[found.comparisons["kind"].isin(OPEN)] if len(found.comparisons) else found.comparisons


def stopping(found: Findings, looks: Looks) -> str:
    """Where a sweep with planned looks has stopped, and why."""
    seeds = int(found.table.groupby("setting")["seed"].nunique().max())
    left, compared = undecided(found), len(found.comparisons)
    if not compared:
        return f"{UNTIL}: stopped at {counted(seeds, 'seed')}, since there is nothing to compare"
    if left.empty:
        return f"{UNTIL}: decided at {counted(seeds, 'seed')}, of {looks.seeds[-1]} at most"
    if seeds < looks.seeds[-1]:
        return (
            f"{UNTIL}: {seeds} of {looks.seeds[-1]} seeds at most, and {len(left)} of {compared} comparisons are open"
        )
    named = [f"{row['setting']} ({_still(row)})" for row in left.head(NAMED).to_dict("records")]
    more = f", and {len(left) - NAMED} more" if len(left) > NAMED else ""
    return f"{UNTIL}: the cap of {seeds} seeds is reached; undecided: {', '.join(named)}{more}"


def _still(row: dict[Any, Any]) -> str:
    if row["kind"] == EQUAL:
        return str(row["verdict"])
    if pd.isna(row["more"]):
        return "no number of seeds is in sight"
    return f"about {about(int(row['more']))} more seed{'s' * (row['more'] > 1)}"


def peeking(plan: dict[str, Any]) -> Iterator[str]:
    """What it costs that seeds were added by hand: commands for the folder that differ in their seeds alone.

    The chances that one look misses add up, however the looks depend on one another (union bound).
    """
    asked: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for command in plan.get("commands", []):
        rest = tuple(sorted(word for word in command if not word.startswith(("seed=", "hydra.", "hydra/"))))
        asked.setdefault(rest, set()).add(tuple(word for word in command if word.startswith(SEEDS)))
    looks = max(map(len, asked.values()), default=0)
    if looks > 1:
        yield (
            f"seeds were added to this sweep, which may have been looked at {looks} times: where each look errs in "
            f"{100 * ALPHA:g} %, the chance that one of them finds what is not there is up to "
            f"{min(100, 100 * ALPHA * looks):g} %; {UNTIL} plans its looks, and keeps {100 * ALPHA:g} %"
        )
