"""What summary.json says of a run."""

from __future__ import annotations

from math import nan
from typing import Any

import torch

from dlrun.folder.columns import columns
from dlrun.folder.environment import environment
from dlrun.matrix.rows import keywords
from dlrun.training.components import Node
from dlrun.training.evaluation import Measured
from dlrun.training.stack import Stack
from dlrun.training.state import State
from dlrun.training.watching import Outcome

DIVERGED = "the loss or the gradient is no longer finite; a smaller lr may help"


def identity(node: Node, stack: Stack, run: int) -> dict[str, Any]:
    """What summary.json says of any run, also one that failed."""
    return {
        "name": node["name"],
        "seed": node["seed"],
        "parameters": stack.layout.params,
        "device": str(stack.theta.device),
        "threads": stack.threads,
        "width": stack.runs,
        "processes": stack.team.size,
        "data": stack.dataset.digest,
        "dataset": stack.variants[stack.variant[run]].description,
    }


def summarize(node: Node, stack: Stack, outcome: Outcome, run: int) -> dict[str, Any]:
    """The contents of a run's summary.json."""
    best, last = outcome.best.rows[run], outcome.last.rows[run]
    steps, status = int(last["step"]), outcome.status[run]
    report = stack.initializers[run].report
    return {
        "status": status,
        **identity(node, stack, run),
        **({"initialized": report} if report else {}),
        "epochs": last["epoch"],
        "steps": steps,
        "best_epoch": best["epoch"],
        "best_step": int(best["step"]),
        **{key: value for measured in outcome.measured for key, value in results(stack, measured, run).items()},
        "metrics": {metric.name: metric.better for metric in stack.measures.metrics},
        **_robbins_monro(node, stack),
        "train_metrics": "measured" if stack.measure_train else "running",
        "started": outcome.started,
        "seconds": last["seconds"],
        "steps_per_second": steps / last["seconds"] if steps else nan,
        "compile_seconds": outcome.compile_seconds,
        **({"steps_left_out": outcome.left_out[run]} if outcome.left_out else {}),
        "error": DIVERGED if status == "diverged" else None,
        **environment(),
    }


def expected(node: Node, stack: Stack) -> dict[str, Any]:
    """The summary that a run of this stack has if it comes to its end, with 0 for every number that training tells."""
    state, names = State(stack.select([0])), [metric.name for metric in stack.measures.metrics]
    row = dict.fromkeys(columns(names, list(stack.averaging)), 0.0)
    for measured in state.measured:
        measured.best.rows = measured.last.rows = [row]
        measured.best_test = measured.last_test = dict.fromkeys(["loss", *names], torch.zeros(1))
    outcome = Outcome(["finished"], state.measured, started="", seconds=0, compile_seconds=0)
    suggested = {"suggested_lr": 0.0} if stack.schedule.watches else {}
    return {**summarize(node, state.stack, outcome, 0), **suggested}


def results(stack: Stack, measured: Measured, run: int) -> dict[str, float]:
    """What summary.json says of the trained network, or of one that a regularizer keeps beside it."""
    best, last, label = measured.best.rows[run], measured.last.rows[run], measured.label
    names = ["loss", *(metric.name for metric in stack.measures.metrics)]
    measures = [f"{part}_{label}{name}" for name in names for part in ("train", "val")]
    return {
        **({f"best_{label}epoch": best["epoch"]} if label else {}),
        **{f"best_{column}": best[column] for column in measures if column in best},
        **{f"last_{column}": last[column] for column in measures if column in last},
        **{f"test_{label}{name}": value[run].item() for name, value in measured.best_test.items()},
        **{f"last_test_{label}{name}": value[run].item() for name, value in measured.last_test.items()},
    }


def _robbins_monro(node: Node, stack: Stack) -> dict[str, bool]:
    """Whether the schedule, continued for ever, fulfils the two conditions of `Schedule.robbins_monro`."""
    method = stack.schedule.robbins_monro
    infinite, finite = method(**{name: node["schedule"][name] for name in keywords(method)})
    return {"lr_sum_infinite": infinite, "lr_squared_sum_finite": finite}
