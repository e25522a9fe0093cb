"""Which runs of a sweep share a stack, each checked before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from dlrun.errors import ConfigError, out_of_memory
from dlrun.folder import checkpoint
from dlrun.folder.names import CHECKPOINT, LOG
from dlrun.folder.reading import summary_of
from dlrun.sweep.compose import Job, named
from dlrun.sweep.limits import stacked_runs
from dlrun.sweep.objective import refuse_unknown
from dlrun.sweep.trainers import Trainer, start_method
from dlrun.sweep.width import expected, width_for
from dlrun.sweep.workers import Task
from dlrun.terminal.console import say
from dlrun.terminal.description import told

DATASETS = 3  #: that are told of on the terminal


def stacked(
    tasks: Sequence[Task],
    width: int | None,
    trainer: Trainer,
    whole: Sequence[Sequence[int]] = (),
    paused: Mapping[int, int] | None = None,
    data: Mapping[str, str] | None = None,
    tells: bool = True,
) -> tuple[list[list[Task]], str]:
    """The runs as stacks, and the type of the device that they train on.

    Runs whose configs have the same `build.structure` share stacks; all settings of each, whatever their seeds and
    rates, are built, but not initialized, to refuse what does not fit before anything is trained.

    width: runs of a stack at most; by default as many as `width` finds best.
    whole: the numbers of the runs of each stack that goes on from a checkpoint, and stays as it is.
    paused: the steps after which runs paused, by their numbers; those of one step share stacks.
    data: what the folder's runs were trained with, see `digests`; other data are refused.
    tells: whether to say what was read.
    """
    import torch

    from dlrun.training.build import build
    from dlrun.training.components import structure

    torch.set_num_threads(1)
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(repr(structure(dict(task.node))), []).append(task)
    numbered = {task.number: task for task in tasks}
    problems, stacks, device = [], [[numbered[number] for number in stack] for stack in whole], "cpu"
    going_on = {number for stack in whole for number in stack}
    read: dict[str, list[str]] = {}  #: what is told of each dataset
    for key, group in groups.items():
        settings = {repr({**task.node, "seed": 0, "name": "", "lr": None}): task for task in group}
        try:
            nodes = [dict(task.node) for task in settings.values()]
            if trainer.remote:  # its devices and compilers are not this machine's
                nodes = [{**node, "device": "cpu", "compile": False} for node in nodes]
            stack = build(nodes, initialize=False)
            refuse_unknown(nodes, stack)
        except ConfigError as mistake:
            problems.append(f"{named(task.number for task in group)}: {mistake}")
            continue
        except Exception as problem:
            if not out_of_memory(problem):
                raise
            stacks += [[task] for task in group if task.number not in going_on]  # one by one there may be enough
            continue
        if (data or {}).get(_source(group[0].node), stack.dataset.digest) != stack.dataset.digest:
            problems.append(
                f"{named(task.number for task in group)}: the data have changed since other runs in this folder were "
                "trained: put them back as they were, or choose another hydra.sweep.dir"
            )
            continue
        several = f"; the first of {len(stack.variants)} versions" if len(stack.variants) > 1 else ""
        first, *others = told(stack.dataset.description)
        read.setdefault(_source(group[0].node), [first + several, *others])
        device = stack.theta.device.type
        fresh = [task for task in group if task.number not in going_on]
        if fresh:
            places, params = trainer.places(device), stack.layout.params
            if not stack.rule.stackable:
                widest = 1
            elif width:
                widest = width
            elif trainer.remote:
                widest = expected(len(fresh), params, places, device)
            else:
                runs = [task.node for task in fresh]
                widest = width_for(runs, key, stack.steps, params, places, device, start_method(device))
            together: dict[int, list[Task]] = {}
            for task in fresh:
                together.setdefault((paused or {}).get(task.number, 0), []).append(task)
            for part in together.values():
                share = math.ceil(len(part) / places)  # so that no worker is idle
                stacks += _parts(part, math.ceil(len(part) / min(widest, share, stacked_runs())))
    if problems:
        raise ConfigError("\n".join(problems))
    for lines in list(read.values())[:DATASETS] if tells else ():
        for line in lines:
            say(line, indent=2)
    if len(read) > DATASETS and tells:
        say(f"and {len(read) - DATASETS} more datasets, or folds and versions of one, of which each run's {LOG} tells")
    if len(groups) > 1 and tells:
        say(f"{len(tasks)} runs of {len(groups)} structures in {len(stacks)} stacks")
    return sorted(stacks, key=len, reverse=True), device


def digests(placed: Sequence[tuple[Job, bool]]) -> dict[str, str]:
    """The digests of the data that runs were trained with, complete ones and those with a checkpoint, by `_source`."""
    found = {}
    for job, complete in placed:
        record = summary_of(job.folder) if complete else checkpoint.newest(job.folder / CHECKPOINT)
        if digest := record.get("data"):
            found[_source(job.config)] = digest
    return found


def _source(node: Mapping[str, Any]) -> str:
    """Runs in which this is the same have the same samples."""
    return repr({key: value for key, value in node["dataset"].items() if key not in ("split_seed", "label_noise")})


def _parts(tasks: Sequence[Task], count: int) -> list[list[Task]]:
    """The tasks in this many parts whose sizes differ by one at most."""
    cuts = [len(tasks) * i // count for i in range(count + 1)]
    return [list(tasks[a:b]) for a, b in pairwise(cuts)]
