"""The Slurm jobs of a sweep's folder: which runs they hold, and what Slurm says of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dlrun.errors import ConfigError
from dlrun.files.opening import inside, read
from dlrun.files.replacing import replacing
from dlrun.folder import wellformed

JOBS = ".slurm"  #: in a sweep's folder; it has a folder for each submission, with what its tasks need and their logs
JOB = "job.json"
PUBLIC = ".submitit"  #: where Hydra's public launcher has submitit keep a folder for each job
ASK = 10.0  # seconds between two questions to Slurm
OVER = set("BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED TIMEOUT UNKNOWN".split())


@dataclass(frozen=True)
class Submission:
    """A job array, or the single job, that was submitted for a sweep."""

    folder: Path
    id: str  #: Slurm's, without the index of a task
    parts: list[list[str]]  #: the names of each task's runs

    def save(self) -> None:
        """Write what `submissions` reads."""
        with replacing(self.folder / JOB) as part:
            part.write_text(json.dumps({"id": self.id, "parts": self.parts}), encoding="utf-8")


def submissions(sweep: Path) -> list[Submission]:
    """All that were made for a sweep, the first first. Raises ConfigError for a file of theirs that is damaged."""
    return [
        Submission(folder, **wellformed.submission(read(folder, JOB), folder / JOB))
        for folder in map(inside(sweep, JOBS).joinpath, map(str, numbered(sweep)))
        if (folder / JOB).exists()
    ]


def numbered(sweep: Path) -> list[int]:
    """The numbers of the folders that submissions have left, the first first; what else is there is not dlrun's."""
    names = [each.name for each in inside(sweep, JOBS).glob("*")]
    return sorted(int(name) for name in names if re.fullmatch(r"[1-9]\d{0,8}", name, re.ASCII))


def states(ids: Iterable[str]) -> dict[str, dict[int, str]]:
    """What Slurm's queue says of each task of these jobs, by its index: RUNNING, PENDING (Priority).

    A job that is long over is missing.

    Raises ConfigError where Slurm does not answer. On a machine without Slurm nothing is known of any job.
    """
    told: dict[str, dict[int, str]] = {}
    for each in ids if shutil.which("squeue") else ():
        command = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={each}", "--format=%K %T %r"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode and "Invalid job id" not in done.stderr:
            raise ConfigError(f"Slurm does not answer: {done.stderr.strip()}")
        lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
        if lines:
            told[each] = {int(index) if index.isdecimal() else 0: _reasoned(*state) for index, *state in lines}
    return told


def _reasoned(state: str, reason: str) -> str:
    return f"{state} ({reason})" if state == "PENDING" and reason != "None" else state


def _accounted(id: str) -> dict[int, str]:
    """How the tasks of a job ended, by Slurm's accounting; nothing where there is none."""
    if not shutil.which("sacct"):
        return {}
    command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={id}", "--format=JobID,State"]
    rows = [line.split("|") for line in subprocess.run(command, capture_output=True, text=True).stdout.splitlines()]
    indices = [(job.partition("_")[2], state.split()[0]) for job, state in rows]
    return {int(index or 0): state for index, state in indices if index.isdecimal() or not index}


def ended(submission: Submission) -> str:
    """How the tasks of a job ended, or where they are: `Slurm's job 12: 3 COMPLETED, 1 TIMEOUT`."""
    told = states([submission.id]).get(submission.id) or _accounted(submission.id)
    counts = Counter(told.get(index, "UNKNOWN") for index in range(len(submission.parts)))
    return f"Slurm's job {submission.id}: {', '.join(f'{count} {state}' for state, count in counts.items())}"


def outlast(sweep: Path) -> None:
    """Wait until Slurm holds no job of the public launcher's, which gives up when the first died or was requeued."""
    named = (re.match(r"(\d{1,20})(_|$)", each.name, re.ASCII) for each in inside(sweep, PUBLIC).glob("[0-9]*"))
    ids = {match[1] for match in named if match}
    while any(state not in OVER for tasks in states(ids).values() for state in tasks.values()):
        time.sleep(ASK)


def held(sweep: Path) -> dict[str, str]:
    """The runs of a sweep that a job of Slurm's holds, queued or running: the job's id by the run's name.

    Raises ConfigError where Slurm does not answer.
    """
    return {name: task.partition("_")[0] for name, (task, _) in holding(sweep).items()}


def holding(sweep: Path) -> dict[str, tuple[str, str]]:
    """The same runs with the task that holds each, 12_3, and its state.

    Raises ConfigError where Slurm does not answer.
    """
    made = submissions(sweep)
    told = states(each.id for each in made)
    return {
        name: (f"{each.id}_{index}", state)
        for each in made
        for index, state in told.get(each.id, {}).items()
        if state not in OVER and index < len(each.parts)
        for name in each.parts[index]
    }
