"""What a sweep's folder holds: its runs by what their configs amount to, so that none is trained twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dlrun.errors import ConfigError
from dlrun.records import SUMMARY, clear, holds_run, read_summary, replacing
from dlrun.sweep.compose import Job
from dlrun.sweep.workers import Task

PLAN = "plan.json"  #: each run's number and fingerprint, by its folder; and the commands that asked for them
OWN = ("hydra.sweep.dir=", "hydra.mode=", "hydra.launcher.retry_failed=")  #: not what a command asks for
COMPLETE = ("finished", "stopped_early", "diverged")  #: statuses of runs for which nothing is left to do


class Plan:
    """The runs of a sweep's folder.

    Args:
        folder: the sweep's.
        retry_failed: take a run that failed as one that is to be trained again.

    Raises ConfigError for a folder with runs that no plan tells of.
    """

    def __init__(self, folder: Path, retry_failed: bool) -> None:
        self.folder = folder
        self.complete = COMPLETE if retry_failed else (*COMPLETE, "failed")
        content = _read(folder)
        self.runs: dict[str, dict[str, Any]] = content.get("runs", {})
        self.commands: list[list[str]] = content.get("commands", [])
        if not self.runs and folder.exists() and any(holds_run(each) for each in folder.iterdir() if each.is_dir()):
            raise ConfigError(f"the folder {folder} holds runs that are no sweep's: choose another hydra.sweep.dir")
        self.free: dict[str, list[str]] = {}  # folders of this fingerprint that no job of this sweep has yet
        for name, each in self.runs.items():
            self.free.setdefault(each["config"], []).append(name)
        for names in self.free.values():
            names.sort(key=self._is_complete, reverse=True)

    def place(self, job: Job, renumbered: Callable[[Job, int], Job]) -> tuple[Job, bool]:
        """The job in its folder, and whether that holds its complete run; `save` clears an incomplete one away.

        The folder is that of a run with the same config, or the job's own, or one with a number that is free.
        renumbered: the job with another number.
        """
        config = fingerprint(job.config)
        if self.free.get(config):
            name = self.free[config].pop(0)
            if name != self._name(job):
                job = renumbered(job, self.runs[name]["number"])
            if self._is_complete(name):
                return job, True
        elif self._name(job) in self.runs:
            job = renumbered(job, 1 + max(each["number"] for each in self.runs.values()))
            if self._name(job) in self.runs:
                raise ConfigError(
                    f"hydra.sweep.subdir gives {self._name(job)} to several runs: put the job's number in it"
                )
        self.runs[self._name(job)] = {"number": job.number, "config": config}
        return job, False

    def save(self, tasks: Sequence[Task], config: DictConfig) -> None:
        """Write what the folder will hold, and clear what is left there of the runs that are to be trained."""
        typed = [*config.hydra.overrides.task, *config.hydra.overrides.hydra]
        command = [override for override in typed if not override.lstrip("+").startswith(OWN)]
        if command not in self.commands:
            self.commands.append(command)
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / PLAN) as part:
            text = json.dumps({"commands": self.commands, "runs": self.runs}, indent=1)
            part.write_text(text, encoding="utf-8")
        for task in tasks:
            clear(task.folder)

    def _name(self, job: Job) -> str:
        return str(job.folder.relative_to(self.folder))

    def _is_complete(self, name: str) -> bool:
        folder = self.folder / name
        return (folder / SUMMARY).exists() and read_summary(folder)["status"] in self.complete


def commands(folder: Path) -> list[list[str]]:
    """The overrides of each command that was given for a sweep's folder; ConfigError where there was none."""
    found: list[list[str]] = _read(folder).get("commands", [])
    if not found:
        raise ConfigError(f"{folder} is no sweep's folder: it has no {PLAN}")
    return found


def _read(folder: Path) -> dict[str, Any]:
    path = folder / PLAN
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as problem:
        raise ConfigError(f"{path} cannot be read ({problem})") from problem


def fingerprint(config: dict[str, Any]) -> str:
    """What a resolved config amounts to, whatever it is called."""
    content = {key: value for key, value in config.items() if key != "name"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
