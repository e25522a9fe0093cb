"""A sweep on a cluster: its stacks packed into the tasks of one Slurm job array, followed by their folders alone."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dlrun.config.moments import Moment
from dlrun.errors import ConfigError
from dlrun.folder.contents import exists
from dlrun.folder.names import METRICS, shell_command
from dlrun.folder.reading import status_of
from dlrun.folder.resume import COMPLETE
from dlrun.report.collect import append_run
from dlrun.sweep.halving import at
from dlrun.sweep.jobs import ASK, JOBS, Submission, ended, held, holding, numbered, submissions
from dlrun.sweep.part import Part, write_part
from dlrun.sweep.plan import Plan
from dlrun.sweep.workers import Task
from dlrun.terminal.console import counted, duration, say
from dlrun.terminal.progress import SweepProgress

POLL = 1.0  # seconds between two looks at the runs' folders
OWN = {"tasks", "workers", "wait", "max_num_timeout"}  #: options that are not for sbatch
SHARED = {"name", "timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb"}  #: submitit's, for any kind of cluster


class Slurm:
    """A cluster as the trainer of a sweep.

    Args:
        options: those of `conf/hydra/launcher/stack_slurm.yaml`, those for submitit among them.

    Raises ConfigError where there are no commands of Slurm's.
    """

    remote, pauses = True, False  #: a task has its own end, not the command's

    def __init__(self, options: dict[str, Any]) -> None:
        if find_spec("submitit") is None:
            raise ConfigError("hydra/launcher=stack_slurm needs submitit: pip install 'dlrun[cluster]'")
        missing = [name for name in ("sbatch", "srun", "squeue") if not shutil.which(name)]
        if missing:
            raise ConfigError(
                f"hydra/launcher=stack_slurm needs Slurm, and {missing[0]} is not found: type the command on a "
                "machine of the cluster that takes jobs, or leave hydra/launcher=stack"
            )
        self.options = options
        self.compares = bool(options["wait"])
        self.workers = options["workers"] or options["gpus_per_node"] or options["cpus_per_task"]  #: of a task

    def places(self, device: str) -> int:
        """As many as the workers of all tasks."""
        return int(self.options["tasks"]) * int(self.workers)

    def train(self, stacks: Sequence[Sequence[Task]], plan: Plan, device: str, end: float = math.inf) -> bool:
        """Submit the stacks, and follow them and what was submitted before; Ctrl-C leaves them to Slurm."""
        runs = set(held(plan.folder))
        if stacks:
            made = self._submit(stacks, plan.folder)
            own = {name for part in made.parts for name in part}
            size = f"{counted(len(own), 'run')} in {counted(len(made.parts), 'task')}"
            say(f"Slurm's job {made.id}: {size}; logs in {made.folder}")
            runs |= own
        try:
            if self.options["wait"]:
                follow(plan.folder, runs, next((task.until for stack in stacks for task in stack), None))
                return True
        except KeyboardInterrupt:
            say(_how_to_go_on(plan.folder))
            raise
        say(_how_to_go_on(plan.folder))
        return False

    def parts(self, stacks: Sequence[Sequence[Task]], device: str = "") -> tuple[list[list[Sequence[Task]]], int]:
        """One for each task of the job array."""
        return packed(stacks, min(self.options["tasks"], math.ceil(len(stacks) / self.workers))), self.workers

    def foreseen(self, parts: Sequence[float], around: float) -> str:
        """Tasks and hours; of GPUs nothing can be known where there are none."""
        tasks = counted(len(parts), "task")
        if self.options["gpus_per_node"]:
            return f"{tasks}, whose times their GPUs decide, and this machine does not know"
        longest, limit = max(parts), 60 * self.options["timeout_min"]
        again = f", {math.ceil(longest / limit)} times hydra.launcher.timeout_min" if longest > limit else ""
        return (
            f"{tasks}, about {duration(longest)} the longest{again}, {sum(parts) / 3600:.2g} node-hours where each has "
            f"a node to itself, if their cores are as fast as this machine's"
        )

    def _submit(self, stacks: Sequence[Sequence[Task]], sweep: Path) -> Submission:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        numbers = numbered(sweep)
        folder = sweep / JOBS / str(1 + max(numbers, default=0))
        folder.mkdir(parents=True)
        parts, _ = self.parts(stacks)
        for index, part in enumerate(parts):
            write_part(folder, index, part)
        given = {key: value for key, value in self.options.items() if value is not None and key not in OWN}
        given["additional_parameters"] = {"requeue": True, **given["additional_parameters"]}
        # srun no longer takes over sbatch's --cpus-per-task, since Slurm 22.05
        given["srun_args"] = [f"--cpus-per-task={given['cpus_per_task']}"]
        try:
            executor = submitit.AutoExecutor(folder, "slurm", slurm_max_num_timeout=self.options["max_num_timeout"])
            executor.update_parameters(**{k if k in SHARED else f"slurm_{k}": value for k, value in given.items()})
            jobs = executor.map_array(Part(str(folder), self.options["workers"]), range(len(parts)))
        except (FailedJobError, FailedSubmissionError) as problem:
            shutil.rmtree(folder if numbers else folder.parent)
            reason = [line for line in str(problem).splitlines() if line.startswith("sbatch: ")] or [str(problem)]
            raise ConfigError(f"Slurm refuses the job: {' '.join(reason)}; see hydra.launcher.*") from problem
        names = [[str(task.folder.relative_to(sweep)) for stack in part for task in stack] for part in parts]
        made = Submission(folder, jobs[0].job_id.partition("_")[0], names)
        made.save()
        return made


def packed(stacks: Sequence[Sequence[Task]], count: int) -> list[list[Sequence[Task]]]:
    """The stacks in this many parts of about as many runs each."""
    parts: list[list[Sequence[Task]]] = [[] for _ in range(count)]
    for stack in sorted(stacks, key=len, reverse=True):
        min(parts, key=lambda part: sum(map(len, part))).append(stack)
    return parts


def follow(sweep: Path, names: set[str], until: Moment | None = None) -> None:
    """Show how these runs of a sweep end, and add them to sweep.csv, until no job of Slurm's holds any of them.

    What the folders say counts: a job whose node died cannot tell anything.

    until: where runs wait for the others, in a sweep that prunes; they are submitted again only once none is held.
    """
    going = dict.fromkeys(sorted(names))
    with SweepProgress(len(going)) as progress:
        asked, over, said = -math.inf, False, set[str]()
        while going and not over:
            if time.monotonic() > asked + ASK:
                asked = time.monotonic()
                with suppress(ConfigError):  # where Slurm does not answer, it is taken to hold them still
                    tasks = {name: each for name, each in holding(sweep).items() if name in going}
                    over = not tasks
                    pending = {task for task in tasks.values() if task[1].startswith("PENDING (")}
                    waiting = {f"Slurm's job {task.partition('_')[0]}: {state}" for task, state in pending}
                    for line in sorted(waiting - said):
                        say(line)
                    said = waiting
            time.sleep(POLL)  # after the question: a file system may tell late
            told = {name: status_of(sweep / name) for name in going}
            for name, word in told.items():
                # a failure may be that of a whole stack, which is then cut in two and trained again
                if word in COMPLETE or (word == "failed" and over):
                    del going[name]
                    progress.done(str(word))
                    append_run(sweep, sweep / name)
                elif until and word == "interrupted" and at(sweep / name, until).waits:
                    del going[name]
                    progress.done("waiting")
            running = [name for name in going if not told[name] and exists(sweep / name, METRICS)]
            progress.working([(len(running), 0)])
    while until and names & set(held(sweep)):
        time.sleep(POLL)
    for each in submissions(sweep):
        if any(name in going for part in each.parts for name in part):
            say(f"{ended(each)}; logs in {each.folder}")


def _how_to_go_on(sweep: Path) -> str:
    ids = " ".join(dict.fromkeys(held(sweep).values()))
    if not ids:
        return f"Slurm has ended the job: `{shell_command('resume', sweep)}` completes the sweep"
    return (
        f"the runs go on in Slurm's job {ids}: `{shell_command('status', sweep)}` shows them, "
        f"`{shell_command('resume', sweep)}` follows them, "
        f"`scancel {ids}` ends them"
    )
