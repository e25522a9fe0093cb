"""What stands in a run's folder, and whether a command may go on there; without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlrun.config.check import leaves
from dlrun.config.durations import seconds
from dlrun.config.escapes import quoted, unescaped
from dlrun.errors import ConfigError
from dlrun.files.opening import inside
from dlrun.folder import wellformed
from dlrun.folder.contents import read, refuse_packed
from dlrun.folder.names import CONFIG, holds_run, shell_command
from dlrun.folder.reading import read_summary, status_of

COMPLETE = ("finished", "stopped_early", "pruned", "diverged")  #: statuses of runs for which nothing is left to do
#: keys that change nothing of what a run computes
FREE = (
    *("name", "plots", "plot", "objective", "checkpoint_every", "max_time", "allow_targets", "tracker"),
    *("note", "tags", "on_end"),
)


def standing(folder: Path, config: Mapping[str, Any]) -> str:
    """`new`, where there is no run; `begun`, where one of this config was left; or the status of its complete run.

    config: resolved. Raises ConfigError where the folder holds another run, with what differs key by key.
    """
    refuse_packed(folder, "hydra.run.dir=")
    if not holds_run(folder):
        return "new"
    if not (folder / CONFIG).exists():
        raise ConfigError(
            f"the folder {folder} already holds a run, and no {CONFIG} tells which; "
            "choose another with hydra.run.dir=..., or delete it"
        )
    differ = differences(read_config(folder), config)
    if differ:
        raise ConfigError(
            f"the folder {folder} already holds a run of another config; choose another folder with hydra.run.dir=..., "
            f"or go on with that run by `{shell_command('resume', folder)}`. What differs:\n"
            + "\n".join(f"  {d}" for d in differ)
        )
    status = status_of(folder)
    return status if status in COMPLETE and not has_more_time(folder, config.get("max_time")) else "begun"


def has_more_time(folder: Path, max_time: float | str | None) -> bool:
    """Whether a run stopped since its time was over, and goes on with this max_time, if any."""
    try:
        summary = read_summary(folder)
    except (ConfigError, OSError):
        return False
    budget = summary.get("budget") if summary["status"] == "finished" else None
    return budget is not None and (max_time is None or seconds(max_time) > max(budget, summary.get("seconds") or 0))


def told_of_complete(folder: Path) -> str:
    """What to say to a command for a run that is complete."""
    summary = read_summary(folder)
    why = f" ({summary['reason']})" if summary.get("reason") else ""
    more = f"; `{shell_command('resume', folder)} max_time=...` goes on" if has_more_time(folder, None) else ""
    return f"{folder} holds this run already: {str(summary['status']).replace('_', ' ')}{why}{more}"


def differences(there: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """A line for each key with another value in a run's config.yaml than in a config that a command gives.

    What the run decided by itself, where it was left to it, is no difference.
    """
    old, new = ({".".join(path): value for path, value in leaves(dict(config))} for config in (there, asked))
    if new.get("lr") is None:
        new["lr"] = new.get("optimizer.lr")
    if new.get("train_metrics") == "auto":
        new["train_metrics"] = old.get("train_metrics")
    old, new = ({k: v for k, v in each.items() if k.split(".")[0] not in FREE} for each in (old, new))
    return unlike(old, new)


def unlike(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """A line for each key that has another value in a command than it has where something is already."""
    absent = "no such key"
    return [
        f"{key}: {old.get(key, absent)} there, {new.get(key, absent)} in this command"
        for key in {**old, **new}
        if old.get(key, absent) != new.get(key, absent)
    ]


def fingerprint(config: Mapping[str, Any], without: Sequence[str] = FREE) -> str:
    """What a resolved config amounts to, but for some of its keys."""
    content = {key: value for key, value in config.items() if key not in without}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def read_config(folder: Path) -> dict[str, Any]:
    """A run's config.yaml, without what it tells Hydra. Raises ConfigError where it cannot be read."""
    try:
        config = wellformed.mapping(read(folder, CONFIG), folder / CONFIG)
    except (ConfigError, OSError) as problem:
        told = f"{folder} has no {CONFIG}" if isinstance(problem, FileNotFoundError) else problem
        raise ConfigError(f"{told}: put it back as it was, or move the folder away to begin again") from problem
    return {key: unescaped(value) for key, value in config.items() if key != "defaults"}


def command(folder: Path) -> list[str]:
    """What to type to go on with the run in a folder. Raises ConfigError where there is none, or a link."""
    inside(folder, CONFIG)
    if not (folder / CONFIG).is_file():
        if not folder.exists():
            raise ConfigError(f"{folder} is not there; give the folder of a run or a sweep")
        raise ConfigError(f"{folder} is no sweep's folder and no run's: it has neither plan.json nor {CONFIG}")
    place = f"hydra.run.dir={quoted(str(folder))}"
    return ["--config-dir", str(folder.absolute()), "--config-name", Path(CONFIG).stem, place]
