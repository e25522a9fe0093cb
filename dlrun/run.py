"""One job: from a config to a finished folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from math import nan
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from dlrun.build import build
from dlrun.console import Progress, Working, closing_table
from dlrun.records import BEST, LAST, PRETRAINING, RANGE, Run, append_rows, columns, environment
from dlrun.rows import keywords
from dlrun.schedules.lr_range import suggestion
from dlrun.stack import Stack
from dlrun.train import Measured, Outcome, Row, Snapshot, fit

DIVERGED = "the loss or the gradient is no longer finite; a smaller lr may help"
HEADER = "# Repeats this run: dlrun --config-dir {folder} --config-name config\ndefaults: [setup, _self_]\n\n"


def run(config: DictConfig, folder: Path) -> str:
    """Train what the config says and leave its folder complete; returns the run's status.

    Raises ConfigError, with nothing left in the folder, where the config cannot be trained.
    """
    torch.set_num_threads(1)
    with Working() as working:
        stack = build([config], working)
    torch.set_num_threads(stack.threads)
    metrics, kept = [metric.name for metric in stack.metrics], list(stack.averaging)
    text = HEADER.format(folder=folder) + OmegaConf.to_yaml(_resolved(config, stack))
    with (
        Run.create(folder, columns(metrics, kept), text) as record,
        Progress(stack.steps, stack.steps_per_epoch, [*metrics, "loss"][0]) as progress,
    ):
        watch = Watch(record, progress)
        append_rows(folder / PRETRAINING, stack.initializers[0].history)
        for what, names in stack.initializers[0].report.items():
            watch.warn(f"initializer: {what} {', '.join(names) or 'nothing'}")
        if config.batch_size != "full" and config.batch_size > stack.train_size and not stack.dataset.surface:
            watch.warn(f"batch_size={config.batch_size} exceeds the {stack.train_size} training samples: full batches")
        try:
            outcome = fit(stack, watch)
        except Exception as problem:
            record.finish({"status": "failed", **identity(config, stack), "error": repr(problem), **environment()})
            raise
        summary = summarize(config, stack, outcome)
        if watch.steps:
            summary["suggested_lr"] = suggestion(
                [row["lr"] for row in watch.steps], [row["smoothed"] for row in watch.steps]
            )
        record.finish(summary)
        for name, snapshot in ((BEST, outcome.best), (LAST, outcome.last)):
            record.save_weights(name, weights(stack, snapshot), {"step": str(snapshot.rows[0]["step"])})
        for name, measured in zip(kept, outcome.measured[1:], strict=True):
            members = list(members_of(stack, measured.last))
            for i, tensors in enumerate(members):
                file = f"{name}.safetensors" if len(members) == 1 else f"{name}_{i + 1}.safetensors"
                record.save_weights(file, tensors, {"step": str(measured.last.rows[0]["step"])})
    if config.plots != "none":
        from dlrun.plots.pictures import draw

        draw(folder)
    closing_table(summary, folder)
    return str(summary["status"])


class Watch:
    """Passes what the trainer reports to the run's folder and to the terminal."""

    def __init__(self, record: Run, progress: Progress) -> None:
        self.record = record
        self.progress = progress
        self.due = progress.due
        self.step = progress.step
        self.steps: list[Row] = []  #: single ones, where the schedule watches them

    def row(self, run: int, row: Row) -> None:
        self.record.append(row)
        self.progress.row(row)

    def trace(self, run: int, steps: list[Row]) -> None:
        self.steps += steps
        append_rows(self.record.folder / RANGE, steps)

    def warn(self, text: str) -> None:
        logging.getLogger("dlrun").warning(text)  # to the run's log file
        self.progress.note(text)


def weights(stack: Stack, snapshot: Snapshot) -> dict[str, torch.Tensor]:
    """The single run's parameters and buffers by their names in the model."""
    buffers = {name: tensor for name, tensor in snapshot.kept.items() if name in stack.network and name != "theta"}
    rows = {**stack.layout.views(snapshot.kept["theta"]), **buffers}
    return {name: tensor[0] for name, tensor in rows.items()}


def members_of(stack: Stack, snapshot: Snapshot) -> Iterator[dict[str, torch.Tensor]]:
    """`weights` of each network that a regularizer keeps beside the trained one, and that counts."""
    kept = {name: snapshot.kept[name] for name in stack.network}
    counts = snapshot.kept.get("weight", torch.ones(1, kept["theta"].shape[1]))[0] > 0
    for i in counts.nonzero()[:, 0].tolist():
        views = stack.layout.views(kept["theta"][:, i])
        yield {name: tensor[0] for name, tensor in views.items()} | {
            name: tensor[0, i] for name, tensor in kept.items() if name != "theta"
        }


def identity(config: DictConfig, stack: Stack) -> dict[str, Any]:
    """What summary.json says of any run, also one that failed."""
    return {
        "name": config.name,
        "seed": config.seed,
        "parameters": stack.layout.params,
        "device": str(stack.theta.device),
        "threads": stack.threads,
        **({"initialized": stack.initializers[0].report} if stack.initializers[0].report else {}),
    }


def summarize(config: DictConfig, stack: Stack, outcome: Outcome) -> dict[str, Any]:
    """The contents of summary.json for the stack's single run."""
    best, last = outcome.best.rows[0], outcome.last.rows[0]
    steps, status = int(last["step"]), outcome.status[0]
    return {
        "status": status,
        **identity(config, stack),
        "epochs": last["epoch"],
        "steps": steps,
        "best_epoch": best["epoch"],
        "best_step": int(best["step"]),
        **{key: value for measured in outcome.measured for key, value in results(stack, measured).items()},
        **_robbins_monro(config, stack),
        "train_metrics": "measured" if stack.measure_train else "running",
        "started": outcome.started,
        "seconds": outcome.seconds,
        "steps_per_second": steps / outcome.seconds if steps else nan,
        "compile_seconds": outcome.compile_seconds,
        "error": DIVERGED if status == "diverged" else None,
        **environment(),
    }


def results(stack: Stack, measured: Measured) -> dict[str, float]:
    """What summary.json says of the trained network, or of one that a regularizer keeps beside it."""
    best, last, label = measured.best.rows[0], measured.last.rows[0], measured.label
    names = ["loss", *(metric.name for metric in stack.metrics)]
    columns = [f"{part}_{label}{name}" for name in names for part in ("train", "val")]
    return {
        **({f"best_{label}epoch": best["epoch"]} if label else {}),
        **{f"best_{column}": best[column] for column in columns if column in best},
        **{f"last_{column}": last[column] for column in columns if column in last},
        **{f"test_{label}{name}": value[0].item() for name, value in measured.best_test.items()},
        **{f"last_test_{label}{name}": value[0].item() for name, value in measured.last_test.items()},
    }


def _robbins_monro(config: DictConfig, stack: Stack) -> dict[str, bool]:
    """Whether the schedule, continued for ever, fulfils the two conditions of `Schedule.robbins_monro`."""
    numbers = OmegaConf.to_container(config.schedule, resolve=True)
    assert isinstance(numbers, dict)
    method = stack.schedule.robbins_monro
    infinite, finite = method(**{name: numbers[name] for name in keywords(method)})
    return {"lr_sum_infinite": infinite, "lr_squared_sum_finite": finite}


def _resolved(config: DictConfig, stack: Stack) -> DictConfig:
    """The config with every `auto` and default that this run decided written out."""
    resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    assert isinstance(resolved, DictConfig)
    resolved.lr = stack.rates["lr"].item()
    resolved.train_metrics = "measured" if stack.measure_train else "running"
    return resolved
