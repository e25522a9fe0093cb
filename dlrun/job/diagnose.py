"""Diagnostics of finished runs, from their folders, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from dlrun.config.check import Rules, leaves, resolved
from dlrun.diagnostics.diagnostic import DuringTraining
from dlrun.diagnostics.finished import look
from dlrun.errors import ConfigError
from dlrun.folder.clearing import clear_parts, refuse_foreign_files
from dlrun.folder.contents import refuse_packed
from dlrun.folder.lock import locked
from dlrun.folder.names import CONFIG, SUMMARY, shell_command, table_of
from dlrun.folder.reading import read_summary
from dlrun.folder.records import write_summary
from dlrun.folder.resume import COMPLETE, read_config
from dlrun.job.weights import WEIGHTS, read_weights, refuse_unlike
from dlrun.terminal.console import say
from dlrun.terminal.progress import Working
from dlrun.training.build import build
from dlrun.training.components import Node, structure
from dlrun.training.stack import Stack

WIDTH = 16  #: runs that are looked at together, at most


def diagnose(runs: Sequence[Path], config: DictConfig, which: str) -> bool:
    """Have the diagnostics of `config` look at the runs in these folders, and add what they find to these.

    Returns whether all of them came to their end.

    config: as Hydra composes it, of which `diagnostics`, `device` and `threads` count. which: the parameters looked at,
    best or last.

    Raises ConfigError, with nothing written, for runs that are not complete, do not fit their files or their data, or
    have a table of the same name from their training.
    """
    asked = resolved(config)
    nodes = [_node(folder, asked, config) for folder in runs]
    groups: dict[str, list[int]] = {}
    for i, node in enumerate(nodes):
        groups.setdefault(repr(structure(node)), []).append(i)
    torch.set_num_threads(1)
    with ExitStack() as locks:
        for folder in runs:
            locks.enter_context(locked(folder))
            clear_parts(folder)
        parts = [part[i : i + WIDTH] for part in groups.values() for i in range(0, len(part), WIDTH)]
        given = [([runs[i] for i in part], [nodes[i] for i in part]) for part in parts]
        for each in given[1:]:  # before anything is written
            _stack(*each, which)
        return all([_look(*each, which) for each in given])


def _node(folder: Path, asked: Mapping[str, Any], config: DictConfig) -> Node:
    """The config of the run in a folder, with the diagnostics that are asked for."""
    refuse_packed(folder, "diagnose ")
    refuse_foreign_files(folder)
    if not (folder / SUMMARY).exists() and (folder / CONFIG).exists():
        raise ConfigError(
            f"{folder} holds no complete run: it has no {SUMMARY}, since it still trains or was ended; if it was, "
            f"`{shell_command('resume', folder)}` goes on"
        )
    summary = read_summary(folder)
    if summary["status"] not in COMPLETE:
        goes_on = "" if summary["status"] == "failed" else f"; `{shell_command('resume', folder)}` goes on"
        raise ConfigError(f"{folder} holds no complete run: {summary['status']}{goes_on}")
    own = read_config(folder)
    trained = own.get("diagnostics")
    for name in asked["diagnostics"]:
        # a table that neither the training nor the summary knows is of a look that was ended in the middle
        if (
            isinstance(trained, dict)
            and name in trained
            and (folder / table_of(name)).exists()
            and "which" not in _told(summary).get(name, {})
        ):
            raise ConfigError(
                f"{folder} has {table_of(name)} from its training, which is not overwritten: leave {name} out"
            )
    node = {**asked, **own, **{key: asked[key] for key in ("diagnostics", "tracker", "device", "threads")}}
    rules = Rules(node, config.hydra)
    if problems := [told for path, value in leaves(node) if (told := rules.problem(path, value))]:
        raise ConfigError("\n".join([f"{folder}/config.yaml:", *problems]))
    return node


def _told(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a summary says of diagnostics, by name; `which` is there for those that looked when training had ended."""
    found = summary.get("diagnostics")
    return {name: told for name, told in found.items() if isinstance(told, dict)} if isinstance(found, dict) else {}


def _stack(folders: Sequence[Path], nodes: Sequence[Node], which: str) -> Stack:
    """The networks of these runs."""
    stack = build(nodes, initialize=False)
    for name, each in stack.diagnostics.items():
        if isinstance(each, DuringTraining) and not each.of_a_moment:
            raise ConfigError(
                f"diagnostics={name} needs the steps of a training, and a finished run has none: leave it out; "
                f"`dlrun 'diagnostics=[{name}]' ...` looks while it trains"
            )
    for row, folder in enumerate(folders):
        if read_summary(folder).get("data") not in (None, stack.dataset.digest):
            raise ConfigError(f"the data have changed since {folder} was trained: put them back as they were")
        saved = read_weights(folder, WEIGHTS[which])
        refuse_unlike(folder / WEIGHTS[which], stack.unlike(saved))
        for name, tensor in stack.tensors.items():
            tensor[row].copy_(saved[name])
    return stack


def _look(folders: Sequence[Path], nodes: Sequence[Node], which: str) -> bool:
    stack, summaries = _stack(folders, nodes, which), [read_summary(folder) for folder in folders]
    moments = [_moment(summary, which) for summary in summaries]
    before = [{name for name in stack.diagnostics if (folder / table_of(name)).exists()} for folder in folders]
    torch.set_num_threads(stack.threads)
    with Working() as working:
        told = look(stack, stack.diagnostics, folders, working, moments, which)
    for folder, summary, found, replaced in zip(folders, summaries, told, before, strict=True):
        write_summary(folder, {**summary, "diagnostics": {**_told(summary), **found}})
        for name, each in found.items():
            again = " (in place of an earlier one)" if name in replaced else ""
            failed = f"{folder}: diagnostics={name} failed: {each.get('failed')}"
            say(failed if "failed" in each else f"{folder / table_of(name)}{again}")
    return not any("failed" in each for found in told for each in found.values())


def _moment(summary: Mapping[str, Any], which: str) -> tuple[float, int]:
    """Epoch and step of the parameters looked at."""
    step, epochs, steps = (summary.get(key) or 0 for key in ("best_step", "epochs", "steps"))
    if which == "last":
        return epochs, steps
    return summary.get("best_epoch") or 0, step
