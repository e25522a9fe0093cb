"""From configs to finished folders: one job by itself, or the runs of a stack."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from dlrun.build import Node, build, plain
from dlrun.console import Progress, Working, closing_table
from dlrun.evaluation import Measured, Row, Snapshot
from dlrun.records import BEST, LAST, PRETRAINING, RANGE, Run, append_rows, columns, environment, yaml_text
from dlrun.rows import keywords
from dlrun.schedules.lr_range import suggestion
from dlrun.stack import Stack
from dlrun.train import Outcome, fit

DIVERGED = "the loss or the gradient is no longer finite; a smaller lr may help"
HEADER = """# Repeats this run: dlrun --config-dir {folder} --config-name config
defaults: [setup, _self_, override hydra/launcher: stack, override hydra/sweeper: dlrun]

"""


def run(config: DictConfig, folder: Path) -> str:
    """Train what the config says and leave its folder complete; returns the run's status.

    Raises ConfigError, with nothing left in the folder, where the config cannot be trained.
    """
    node = plain(config)
    torch.set_num_threads(1)
    with Working() as working:
        stack = build([node], working)
    torch.set_num_threads(stack.threads)
    metric = [*(metric.name for metric in stack.metrics), "loss"][0]
    with (
        Folders([node], [folder], stack) as folders,
        Progress(stack.steps, stack.steps_per_epoch, metric) as progress,
    ):
        for note in folders.notes[0]:
            progress.note(note)
        [summary] = folders.train(Watch(folders, progress))
    if node["plots"] != "none":
        from dlrun.plots.pictures import draw

        draw(folder)
    closing_table(summary, folder)
    return str(summary["status"])


class Folders:
    """The folders of a stack's runs, from their beginning to their summaries; an Observer that writes their rows.

    Raises ConfigError if a folder holds a run already, or cannot be written.
    """

    def __init__(self, nodes: Sequence[Node], folders: Sequence[Path], stack: Stack) -> None:
        self.nodes, self.stack = nodes, stack
        header = columns([metric.name for metric in stack.metrics], list(stack.averaging))
        self.records: list[Run] = []
        self.steps: list[list[Row]] = [[] for _ in nodes]  #: single ones, where the schedule watches them
        self.notes = [list(_notes(node, stack, i)) for i, node in enumerate(nodes)]  #: what users should know of a run
        for i, folder in enumerate(folders):
            text = HEADER.format(folder=folder) + yaml_text(_resolved(nodes[i], stack, i))
            self.records.append(Run.create(folder, header, text))
            append_rows(folder / PRETRAINING, stack.initializers[i].history)
            for note in self.notes[i]:
                self.records[i].note(note)

    def __enter__(self) -> Folders:
        return self

    def __exit__(self, *exception: object) -> None:
        for record in self.records:
            record.close()

    def train(self, observer: Any) -> list[dict[str, Any]]:
        """Train the stack and complete the folders; returns what their summaries say."""
        try:
            outcome = fit(self.stack, observer)
        except Exception as problem:
            for i, record in enumerate(self.records):
                record.note(traceback.format_exc())
                status = {"status": "failed", **identity(self.nodes[i], self.stack), "error": repr(problem)}
                record.finish({**status, **environment()})
            raise
        return [self._finish(i, outcome) for i in range(self.stack.runs)]

    def row(self, run: int, row: Row) -> None:
        """Append an evaluation to the run's metrics.csv."""
        self.records[run].append(row)

    def trace(self, run: int, steps: list[Row]) -> None:
        """Append single steps to the run's lr_range.csv."""
        self.steps[run] += steps
        append_rows(self.records[run].folder / RANGE, steps)

    def _finish(self, run: int, outcome: Outcome) -> dict[str, Any]:
        stack, record, steps = self.stack, self.records[run], self.steps[run]
        summary = summarize(self.nodes[run], stack, outcome, run)
        if steps:
            summary["suggested_lr"] = suggestion([row["lr"] for row in steps], [row["smoothed"] for row in steps])
        for name, snapshot in ((BEST, outcome.best), (LAST, outcome.last)):
            record.save_weights(name, weights(stack, snapshot, run), {"step": str(snapshot.rows[run]["step"])})
        for name, measured in zip(stack.averaging, outcome.measured[1:], strict=True):
            members = list(members_of(stack, measured.last, run))
            for i, tensors in enumerate(members):
                file = f"{name}.safetensors" if len(members) == 1 else f"{name}_{i + 1}.safetensors"
                record.save_weights(file, tensors, {"step": str(measured.last.rows[run]["step"])})
        record.finish(summary)
        return summary


class Watch:
    """Passes what the trainer reports to the run's folder and to the terminal."""

    def __init__(self, folders: Folders, progress: Progress) -> None:
        self.folders = folders
        self.progress = progress
        self.due: Callable[[], bool] = progress.due
        self.step = progress.step
        self.trace = folders.trace

    def row(self, run: int, row: Row) -> None:
        """To both."""
        self.folders.row(run, row)
        self.progress.row(row)


def _notes(node: Node, stack: Stack, run: int) -> Iterator[str]:
    for what, names in stack.initializers[run].report.items():
        yield f"initializer: {what} {', '.join(names) or 'nothing'}"
    size = node["batch_size"]
    if size != "full" and size > stack.train_size and not stack.dataset.surface:
        yield f"batch_size={size} exceeds the {stack.train_size} training samples: full batches"


def weights(stack: Stack, snapshot: Snapshot, run: int = 0) -> dict[str, torch.Tensor]:
    """A run's parameters and buffers by their names in the model."""
    kept = {name: snapshot.kept[name][run] for name in stack.network}
    return _named(stack, kept)


def members_of(stack: Stack, snapshot: Snapshot, run: int = 0) -> Iterator[dict[str, torch.Tensor]]:
    """`weights` of each network that a regularizer keeps beside the trained one, and that counts."""
    kept = {name: snapshot.kept[name][run] for name in stack.network}
    counts = snapshot.kept["weight"][run] > 0 if "weight" in snapshot.kept else torch.ones(1)
    for i in counts.nonzero()[:, 0].tolist():
        yield _named(stack, {name: tensor[i] for name, tensor in kept.items()})


def _named(stack: Stack, network: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    views = stack.layout.views(network["theta"][None])
    buffers = {name: tensor for name, tensor in network.items() if name != "theta"}
    return {**{name: view[0] for name, view in views.items()}, **buffers}


def identity(node: Node, stack: Stack) -> dict[str, Any]:
    """What summary.json says of any run, also one that failed."""
    return {
        "name": node["name"],
        "seed": node["seed"],
        "parameters": stack.layout.params,
        "device": str(stack.theta.device),
        "threads": stack.threads,
        "width": stack.runs,
    }


def summarize(node: Node, stack: Stack, outcome: Outcome, run: int) -> dict[str, Any]:
    """The contents of a run's summary.json."""
    best, last = outcome.best.rows[run], outcome.last.rows[run]
    steps, status = int(last["step"]), outcome.status[run]
    report = stack.initializers[run].report
    return {
        "status": status,
        **identity(node, stack),
        **({"initialized": report} if report else {}),
        "epochs": last["epoch"],
        "steps": steps,
        "best_epoch": best["epoch"],
        "best_step": int(best["step"]),
        **{key: value for measured in outcome.measured for key, value in results(stack, measured, run).items()},
        "metrics": {metric.name: metric.better for metric in stack.metrics},
        **_robbins_monro(node, stack),
        "train_metrics": "measured" if stack.measure_train else "running",
        "started": outcome.started,
        "seconds": last["seconds"],
        "steps_per_second": steps / last["seconds"] if steps else nan,
        "compile_seconds": outcome.compile_seconds,
        "error": DIVERGED if status == "diverged" else None,
        **environment(),
    }


def results(stack: Stack, measured: Measured, run: int) -> dict[str, float]:
    """What summary.json says of the trained network, or of one that a regularizer keeps beside it."""
    best, last, label = measured.best.rows[run], measured.last.rows[run], measured.label
    names = ["loss", *(metric.name for metric in stack.metrics)]
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


def _resolved(node: Node, stack: Stack, run: int) -> Node:
    """The config with every `auto` and default that this run decided written out."""
    return node | {
        "lr": stack.rates["lr"][0, run].item(),
        "train_metrics": "measured" if stack.measure_train else "running",
    }
