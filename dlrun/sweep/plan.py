"""What a sweep's folder holds: its runs by what their configs amount to, so that none is trained twice.

plan.json has each run's number and fingerprint, by its folder; the commands that asked for them; and, of a sweep with
seed=until_decided, the looks that were planned.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from dlrun.config.options import UNTIL_DECIDED
from dlrun.errors import ConfigError
from dlrun.files.opening import inside, read
from dlrun.files.replacing import replacing
from dlrun.folder import checkpoint, wellformed
from dlrun.folder.clearing import clear, clear_parts, refuse_present
from dlrun.folder.contents import exists, holds_run
from dlrun.folder.environment import keep
from dlrun.folder.lock import locked
from dlrun.folder.names import CONFIG, LOCK, PLAN, shell_command
from dlrun.folder.packs import PACKED, folders_of_packs
from dlrun.folder.reading import status_of
from dlrun.folder.resume import COMPLETE, FREE, differences, fingerprint, has_more_time, read_config
from dlrun.sweep.compose import Job
from dlrun.sweep.packing import drop
from dlrun.sweep.tuning import FINAL, TUNING
from dlrun.sweep.workers import PATIENCE, Task
from dlrun.terminal.console import say

#: overrides that are not what a command asks for
OWN = (
    "hydra.sweep.dir=",
    "hydra.mode=",
    "hydra.launcher.retry_failed=",
    "hydra.sweeper.retry_failed=",
    "hydra.launcher.wait=",
    "hydra.sweeper.max_time=",
)


class Plan:
    """The runs of a sweep's folder.

    Args:
        folder: the sweep's.
        retry_failed: take a run that failed as one that is to be trained again.
        patience: seconds to wait for a worker that lost its parent, and still trains some of the runs.
        prunes: whether runs that were pruned are complete; a command that prunes nothing trains them anew.

    Raises ConfigError for a folder with runs that no plan tells of.
    """

    def __init__(self, folder: Path, retry_failed: bool, patience: float = 0, prunes: bool = True) -> None:
        self.folder = folder
        anew = {"failed": retry_failed, "pruned": not prunes}
        self.complete = [status for status in (*COMPLETE, "failed") if not anew.get(status)]
        self.begun: set[Path] = set()  #: folders of runs that go on from checkpoints
        content = _read(folder)
        self.runs: dict[str, dict[str, Any]] = content.get("runs", {})
        self.commands: list[list[str]] = content.get("commands", [])
        self.looks: dict[str, Any] | None = content.get("looks")  #: of a sweep with seed=until_decided
        if (
            not self.runs
            and folder.exists()
            and (folders_of_packs(folder) or any(holds_run(each) for each in folder.iterdir() if each.is_dir()))
        ):
            raise ConfigError(f"the folder {folder} holds runs that are no sweep's: choose another hydra.sweep.dir")
        for name in self.runs:
            if patience and (folder / name / LOCK).exists():  # which a process that was killed leaves, too
                with locked(inside(folder, name), patience, say):
                    pass
        self.free: dict[str, list[str]] = {}  # folders of this fingerprint that no job of this sweep has yet
        for name, each in self.runs.items():
            self.free.setdefault(each["config"], []).append(name)
        self._above = {above: name for name in self.runs for above in _above(name)}  # a run in each folder between
        for names in self.free.values():
            names.sort(key=self._is_complete, reverse=True)

    def place(self, job: Job, renumbered: Callable[[Job, int], Job]) -> tuple[Job, bool]:
        """The job in its folder, and whether that holds its complete run; `save` clears an incomplete one away.

        The folder is that of a run with the same config, whatever hydra.sweep.subdir says now, or the job's own, or one
        with a number that is free. Where folders are named by `name`, that is a part of the config, too.
        renumbered: the job with another number.

        Raises ConfigError where the folder is another run's, or does not lie in the sweep's.
        """
        own = self._name(job)
        named = own == job.config["name"]  # a folder that is the name's own is no other name's
        config = fingerprint(job.config, [key for key in FREE if key != "name" or not named])
        if self.free.get(config):
            name = self.free[config].pop(0)
            if name != own:
                job = renumbered(job, self.runs[name]["number"])
                job.folder, own = self.folder / name, name
            if self.holds(job):
                return job, True
        elif own in self.runs and not named:
            job = renumbered(job, 1 + max(each["number"] for each in self.runs.values()))
            own = self._name(job)
            if own in self.runs:
                raise ConfigError(
                    f"hydra.sweep.subdir gives {own} to several runs: put all that they differ in, or the "
                    "job's number, in it"
                )
        try:
            self._refuse_others(job, own)
        except OSError as problem:  # a name that is too long, as hydra.job.override_dirname may be
            raise ConfigError(
                f"hydra.sweep.subdir={own}: {problem.strerror}: choose another, such as ${{hydra.job.num}}"
            ) from problem
        self.runs[own] = {"number": job.number, "config": config}
        return job, False

    def _refuse_others(self, job: Job, name: str) -> None:
        """Raise ConfigError unless the job's folder, of this name, is free, or was left by the same run."""
        if other := self._above.get(name) or next((above for above in _above(name) if above in self.runs), None):
            raise ConfigError(f"hydra.sweep.subdir gives {name} to a run, {other} to another: one lies in the other")
        self._above |= dict.fromkeys(_above(name), name)
        held = holds_run(job.folder)
        if not held and name not in self.runs:
            refuse_present(job.folder, job.config.get("diagnostics") or (), job.config.get("regularizer") or ())
        if not held or (name in self.runs and not exists(job.folder, CONFIG)):
            return
        there, asked = read_config(job.folder) if exists(job.folder, CONFIG) else {}, dict(job.config)
        if asked["threads"] == "auto":  # which crowded processes, such as joblib's, decide for themselves
            asked["threads"] = there.get("threads")
        differ = differences(there, asked) if there else [f"there is no {CONFIG} there"]
        if differ:
            raise ConfigError(
                f"the folder {job.folder} holds another run than this sweep's run {job.number}, which would take its "
                "place: choose another hydra.sweep.dir or hydra.sweep.subdir, or move it away. What differs:\n"
                + "\n".join(f"  {each}" for each in differ)
            )

    def holds(self, job: Job) -> bool:
        """Whether the job's folder holds its complete run, which goes on no more with the max_time that it has now."""
        return self._is_complete(self._name(job)) and not has_more_time(job.folder, job.config.get("max_time"))

    def unfinished(self, placed: Sequence[tuple[Job, bool]]) -> tuple[list[list[Job]], dict[int, int]]:
        """The jobs that go on from checkpoints. `save` leaves their folders alone.

        First those that go on by stacks, each with the runs that it had: a checkpoint is that of a whole stack,
        complete runs among them. Then those that paused, by the job's number the step at which it did: they go on in
        any stack.

        placed: jobs in their folders, and whether those hold complete runs. A stack that lacks one of its runs begins
        anew.
        """
        jobs = {job.folder: job for job, _ in placed}
        stacks, paused = checkpoint.checkpointed({job.folder: complete for job, complete in placed})
        self.begun = {folder for stack in stacks for folder in stack} | paused.keys()
        return [[jobs[folder] for folder in stack] for stack in stacks], {jobs[f].number: n for f, n in paused.items()}

    def save(self, tasks: Sequence[Task], config: DictConfig) -> None:
        """Write what the folder will hold, and clear what is left there of the runs that are to be trained."""
        overrides = cast(DictConfig, OmegaConf.to_container(config.hydra.overrides))  # `${...}` as it was typed
        typed = [*overrides["task"], *overrides["hydra"]]
        command = [override for override in typed if not override.lstrip("+").startswith(OWN)]
        if _asking(command) not in map(_asking, self.commands):
            self.commands.append(command)
        else:  # the same, which may keep its runs otherwise now
            self.commands[list(map(_asking, self.commands)).index(_asking(command))] = command
        if config.seed == UNTIL_DECIDED:
            self.looks = {"seeds": list(config.hydra.sweeper.looks), "margin": config.hydra.sweeper.margin or 0}
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / PLAN) as part:
            looks = {"looks": self.looks} if self.looks else {}
            text = json.dumps({"commands": self.commands, **looks, "runs": self.runs}, indent=1)
            part.write_text(text, encoding="utf-8")
        clear_parts(self.folder)
        keep(self.folder)
        for task in tasks:
            if task.folder not in self.begun and task.folder.exists():
                with locked(task.folder, PATIENCE, say):
                    clear(task.folder)
        drop(self.folder, {self._named(task.folder) for task in tasks})

    def _name(self, job: Job) -> str:
        """The folder of a job, within the sweep's. Raises ConfigError where it lies elsewhere, or behind a link."""
        name = self._named(job.folder)
        if name.split(os.sep)[0] == PACKED:
            raise ConfigError(
                f"hydra.sweep.subdir gives run {job.number} the folder {PACKED}, in which packed runs lie"
            )
        if any(part.startswith(".") for part in name.split(os.sep)):
            raise ConfigError(
                f"hydra.sweep.subdir gives run {job.number} the folder {job.folder}, which does not lie in "
                f"{self.folder}, the sweep's, or is hidden: put the job's number in it, without .. or a leading / or ."
            )
        inside(self.folder, name)
        return name

    def _named(self, folder: Path) -> str:
        return os.path.relpath(folder, self.folder)

    def _is_complete(self, name: str) -> bool:
        return status_of(self.folder / name) in self.complete


def _asking(command: Sequence[str]) -> list[str]:
    """What a command asks for, but for how long each run may take, and how they are kept."""
    return [word for word in command if not word.lstrip("+").startswith(("max_time=", "hydra.sweeper.keep="))]


def _above(name: str) -> list[str]:
    """The folders between the sweep's and a run's."""
    return [str(above) for above in PurePath(name).parents][:-1]


def commands(folder: Path) -> list[list[str]]:
    """The overrides of each command that was given for a sweep's folder; ConfigError where there was none."""
    found: list[list[str]] = _read(folder).get("commands", [])
    if folder.name in (TUNING, FINAL) and (folder.parent / PLAN).exists():
        raise ConfigError(f"{folder} is a part of a tuned sweep: {shell_command('resume', folder.parent)}")
    if not found:
        raise ConfigError(f"{folder} is no sweep's folder: it has no {PLAN}")
    return found


def _read(folder: Path) -> dict[str, Any]:
    try:
        return wellformed.plan(read(folder, PLAN), folder / PLAN)
    except (FileNotFoundError, NotADirectoryError):
        return {}
