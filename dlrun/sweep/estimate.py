"""The plan before the training, `--plan`: what would be trained, and about how long, with how much memory and disk."""

from __future__ import annotations

import heapq
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dlrun.errors import ConfigError
from dlrun.sweep import beginning
from dlrun.sweep.compose import named
from dlrun.sweep.halving import REPEATS
from dlrun.sweep.packing import FEW, MANY, TOGETHER
from dlrun.sweep.rehearsal import Takes, Unrehearsed, rehearsed
from dlrun.sweep.trainers import Foreseen, Trainer, start_method
from dlrun.sweep.width import peak
from dlrun.sweep.workers import Task
from dlrun.terminal.console import amount, counted, duration, say
from dlrun.training.build import build
from dlrun.training.components import structure

#: seconds of what comes after the training, tables and report, of each run and of each row of metrics.csv: on a core at
#: 2.5 GHz, of 4 runs with 6 rows, 300 with 101 and 1,000 with 11
AFTER, AFTER_RUN, AFTER_ROW = 1.5, 2.3e-3, 2.5e-5
STARTING = 0.1  #: seconds until a worker process is at work
FILES, OF_HYDRA = 8, 3  #: of a sweep itself, and of a run in .hydra, which a sweep's tasks bring along
OF_RUN, OF_NUMBER = 1500, 45  #: bytes in them of a run, and of each number of an evaluation
IN_PACK = 3  #: files
SHOWN = 12  #: structures that are told of one by one


@dataclass(frozen=True)
class Estimate:
    """What training some stacks will take. Seconds, bytes."""

    parts: tuple[float, ...]  #: training, of each part that has places of its own
    after: float  #: tables and report
    memory: int  #: beyond that of the process which starts them
    files: int
    size: int
    at_work: int = 0  #: files beyond these, in the folders of stacks that are not packed yet


def makespan(seconds: Sequence[float], places: int) -> float:
    """When all are done that begin in this order, each at the place that is free first."""
    free = [0.0] * places
    for each in seconds:
        heapq.heapreplace(free, free[0] + each)
    return max(free)


def estimated(parts: Sequence[Sequence[tuple[int, Takes]]], places: int, packed: bool = False) -> Estimate:
    """What the stacks take.

    parts: stacks in the order in which they begin, by their runs and what each of them takes.
    places: of each part, at which one stack trains at a time.
    packed: whether complete stacks are packed, in three files a pack.
    """
    stacks = [stack for part in parts for stack in part]
    runs, rows = sum(n for n, _ in stacks), sum(n * takes.evaluations for n, takes in stacks)
    numbers = sum(n * takes.evaluations * (takes.columns - 1) for n, takes in stacks)
    largest = [sorted((takes.memory for _, takes in part), reverse=True)[:places] for part in parts]
    files = [[n * takes.files for n, takes in part] for part in parts]
    busiest = sum(sum(sorted(part, reverse=True)[:places]) for part in files)
    alike: dict[int, list[int]] = {}
    for n, takes in stacks:
        alike.setdefault(id(takes), []).append(n)
    in_packs = IN_PACK * sum(map(_packs, alike.values()))
    return Estimate(
        parts=tuple(makespan([takes.seconds + STARTING for _, takes in part], places) for part in parts),
        after=AFTER + AFTER_RUN * runs + AFTER_ROW * rows,
        memory=max(map(sum, largest)),
        files=FILES + (in_packs if packed else sum(map(sum, files))),
        size=numbers * OF_NUMBER + sum(n * (takes.size + OF_RUN) for n, takes in stacks),
        at_work=busiest if packed else 0,
    )


def _packs(widths: Sequence[int]) -> int:
    """How many hold the runs of stacks of one structure: small ones are joined in the end, where there are many."""
    small = [n for n in widths if n <= FEW]
    large = sum(math.ceil(n / TOGETHER) for n in widths if n > FEW)
    full, rest = divmod(len(small), TOGETHER // max(small, default=1))
    return large + full + (rest if rest < MANY else 1)


def tell(config: DictConfig, stacks: Sequence[Sequence[Task]], trainer: Trainer, device: str) -> None:
    """Rehearse a stack of each structure, and say what the sweep of this config is and what it will take.

    Raises ConfigError where the launcher does not tell how it goes about its stacks.
    """
    if not isinstance(trainer, Foreseen):
        name = config.hydra.runtime.choices["hydra/launcher"]
        raise ConfigError(
            f"--plan: hydra/launcher={name} decides itself how its jobs run, each alone; what can be told before is "
            "what hydra/launcher=stack and stack_slurm take"
        )
    if not stacks:
        return
    whole, began = beginning.begun[0]
    before = time.perf_counter() - began
    parts, places = trainer.parts(stacks, device)
    own: dict[str, list[Sequence[Task]]] = {}
    for stack in stacks:
        own.setdefault(_key(stack), []).append(stack)
    runs = [task for stack in stacks for task in stack]
    settings = {tuple(each for each in task.overrides if not each.lstrip("+").startswith(REPEATS)) for task in runs}
    say(f"the plan of {Path(config.hydra.sweep.dir).absolute()}, in which nothing is written:")
    say(
        f"{counted(len(runs), 'run')} of {counted(len(settings), 'setting')} and "
        f"{counted(len(own), 'structure')}, in {counted(len(stacks), 'stack')} of {_widths(stacks)}"
    )
    found: dict[str, Takes] = {}
    local = "cpu" if trainer.remote else device
    together = min(places, max(map(len, parts)), len(os.sched_getaffinity(0)) if local == "cpu" else places)
    try:
        for key, mine in own.items():
            tasks = list(map(_here, mine[0])) if trainer.remote else mine[0]
            found[key] = rehearsed(tasks, together, start_method(local))
            if len(found) <= SHOWN:
                numbers = named(task.number for stack in mine for task in stack)
                say(f"  {numbers if len(own) > 1 else 'each stack'}: {told_of(found[key])}", indent=4)
    except Unrehearsed as problem:
        say(f"what it takes is not known, since its rehearsal failed: {problem}")
        return
    beginning.begun[0] = (whole, time.perf_counter())  # of a command with several plans, the next
    if len(own) > SHOWN:
        say(f"  and {counted(len(own) - SHOWN, 'more structure')}", indent=4)
    packed = config.hydra.sweeper.get("keep") == "packed"
    estimate = estimated([[(len(stack), found[_key(stack)]) for stack in part] for part in parts], places, packed)
    needs = estimate.memory + (peak() if local == "cpu" else 0)
    disk = f"{counted(estimate.files, 'file')} of {'at most ' * packed}{amount(estimate.size)}"
    if packed:
        disk += f" once all are packed, and up to {estimate.at_work:,} more while stacks train"
    each_task = " in a task" if trainer.remote else ""
    around = before + estimate.after
    if not trainer.remote:  # whose end this command may not see, and queues are not foreseen
        beginning.parts.append(beginning.Part(len(runs), sum(estimate.parts) + around))
    say(f"{trainer.foreseen(estimate.parts, around)}; {amount(needs)} of memory{each_task}; {disk}")
    for told in remarks(list(found.values()), config.hydra.sweeper):
        say(told)


def tell_run(node: dict[str, Any]) -> None:
    """Rehearse a run that is no sweep's, and say what it will take.

    Raises ConfigError where the config cannot be trained.
    """
    import torch

    torch.set_num_threads(1)  # a process that is forked has none of the threads that were at work before
    device = build([node], initialize=False).theta.device.type
    try:
        takes = rehearsed([Task(0, node, Path(), {})], 1, start_method(device), alone=True)
    except Unrehearsed as problem:
        say(f"what it takes is not known, since its rehearsal failed: {problem}")
        return
    memory = amount(takes.memory + (peak() if device == "cpu" else 0))
    say(f"{told_of(takes)}; {memory} of memory; {counted(takes.files + OF_HYDRA, 'file')} of {amount(takes.size)}")
    for told in remarks([takes]):
        say(told)


def told_of(takes: Takes) -> str:
    """A line on a stack: what its seconds are the sum of."""
    steps, evaluations = takes.steps * takes.step, takes.evaluations * takes.evaluation
    parts = [
        f"{duration(takes.begin)} to begin",
        f"{counted(takes.steps, 'step')} of {duration(takes.step)} ({duration(steps)})",
        f"{counted(takes.evaluations, 'evaluation')} of {duration(takes.evaluation)} ({duration(evaluations)})",
        f"{duration(takes.looks)} of diagnostics" if takes.looks else "",
        f"{duration(takes.end)} to end",
    ]
    ended = f", training for max_time={duration(takes.limit)} alone" if takes.is_limited else ""
    return f"{' + '.join(filter(None, parts))} = {duration(takes.seconds)}{ended}"


def remarks(found: Sequence[Takes], sweeper: Mapping[str, Any] | None = None) -> list[str]:
    """What an estimate leaves out. sweeper: options of a sweep's."""
    given = [f"hydra.sweeper.{key}" for key in ("prune", "max_time") if (sweeper or {}).get(key) is not None]
    told = [f"{' and '.join(given)} may leave off some of it"] if given else []
    if any(takes.stops for takes in found):
        told.append("runs may stop early, and take less")
    if names := sorted({name for takes in found for name in takes.uncounted}):
        told.append(f"not counted: diagnostics of the finished networks, {', '.join(names)}")
    return told


def _key(stack: Sequence[Task]) -> str:
    return repr(structure(dict(stack[0].node)))


def _here(task: Task) -> Task:
    """A run of a cluster's as this machine rehearses it, which may have neither its GPU nor its compiler."""
    return replace(task, node={**task.node, "device": "cpu", "compile": False})


def _widths(stacks: Sequence[Sequence[Task]]) -> str:
    few, many = min(map(len, stacks)), max(map(len, stacks))
    return counted(many, "run") if few == many else f"{few} to {many} runs"
