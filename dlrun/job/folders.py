"""The folders of a stack's runs: what is written into them from the first row to the last file."""

from __future__ import annotations

import os
import shlex
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from dlrun.config import typed
from dlrun.config.catalogue import default
from dlrun.config.moments import Moment
from dlrun.diagnostics.diagnostic import Found
from dlrun.diagnostics.during import During
from dlrun.diagnostics.finished import Progress, look, of_finished
from dlrun.diagnostics.keeping import conclude, keeping, packed
from dlrun.errors import ConfigError
from dlrun.folder import checkpoint
from dlrun.folder.checkpoint import Checkpoint, Interval, Record
from dlrun.folder.columns import columns
from dlrun.folder.environment import environment
from dlrun.folder.names import BEST, CHECKPOINT, CONFIG, LAST, METRICS, PRETRAINING, RANGE, kept_of, table_of
from dlrun.folder.reading import read_metrics
from dlrun.folder.records import Run, append_rows, yaml_text
from dlrun.folder.resume import COMPLETE, fingerprint
from dlrun.job.encoding import save_encoding
from dlrun.job.pausing import Pausing
from dlrun.job.summary import identity, summarize
from dlrun.schedules.lr_range import suggestion
from dlrun.terminal.console import left_out, never_better, worse_than_the_mean
from dlrun.terminal.description import told
from dlrun.terminal.exits import staying
from dlrun.terminal.printable import in_line
from dlrun.terminal.signals import Ended, unconverted
from dlrun.trackers.tracking import Tracking
from dlrun.training.components import Node, blamed, component
from dlrun.training.evaluation import Row, Snapshot
from dlrun.training.machine import not_compiled, pays, recurrent_times
from dlrun.training.stack import Stack
from dlrun.training.state import Tensors, joined
from dlrun.training.train import fit
from dlrun.training.watching import Outcome

MANY = 1000  #: times an optimizer's own rate, from which a rate is worth a remark

HEADER = """# Repeats this run: dlrun --config-dir {folder} --config-name config
defaults: [setup, _self_, override hydra/launcher: stack, override hydra/sweeper: dlrun]

"""


def continuing(folders: Sequence[Path]) -> tuple[Checkpoint | None, list[str]]:
    """Where the runs of a stack in these folders go on together, if they can; and what is wrong with checkpoints.

    From the stack's own checkpoint, else from those that the runs have by themselves, where they paused at one step.
    """
    begun, problems = checkpoint.read(folders[0] / CHECKPOINT, partial(_unusable, folders))
    if begun or len(folders) == 1:
        return begun, problems
    own = (checkpoint.read(folder / CHECKPOINT, partial(_unusable, [folder]))[0] for folder in folders)
    parts = [part for part in own if part and not part.record.get("taken")]
    if len(parts) < len(folders) or len({part.record["step"] for part in parts}) > 1:
        return None, problems
    try:
        together = joined(parts)
        lists = {key: [part.record[key][0] for part in parts] for key in ("files", "configs", "initialized")}
    except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as problem:
        return None, [*problems, f"the runs' own checkpoints do not go together ({problem!r})"]
    return Checkpoint(together.tensors, together.record | lists | {"runs": _members(folders)}), []


def _members(folders: Sequence[Path]) -> list[str]:
    """How a checkpoint in the first of these folders names them."""
    return [os.path.relpath(folder, folders[0]) for folder in folders]


def _unusable(folders: Sequence[Path], record: Record) -> str | None:
    """Why the runs in these folders cannot go on from a checkpoint, if they cannot."""
    if record.get("runs") != _members(folders):
        return "is of other runs"
    if not len(record.get("files", [])) == len(record.get("configs", [])) == len(folders):
        return "does not tell of all its runs"
    for folder, lengths in zip(folders, record["files"], strict=True):
        if METRICS not in lengths or not (folder / CONFIG).exists():
            return "is of a run that had no folder"
        for name, length in lengths.items():
            if not (folder / name).exists() or (folder / name).stat().st_size < length:
                return f"tells of more than is left of {name}"
    return None


class Folders:
    """The folders of a stack's runs, from their beginning to their summaries: an Observer that writes their rows, and
    the Keeper of their checkpoints.

    Args:
        begun: where the runs go on, from `continuing`.
        problems: what users should know of their checkpoints.
        until: the moment at which they pause, to go on later by themselves or in other stacks.

    Raises ConfigError if a folder holds a run already, or cannot be written, or the checkpoint is of other configs.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        folders: Sequence[Path],
        stack: Stack,
        begun: Checkpoint | None = None,
        problems: Sequence[str] = (),
        until: Moment | None = None,
    ) -> None:
        self.pausing = Pausing(nodes[0], stack, until)
        self.nodes, self.stack, self.begun = nodes, stack, begun
        self.place = folders[0] / CHECKPOINT
        self.interval = Interval(nodes[0]["checkpoint_every"], stack.steps_per_epoch)
        self.due = self.interval.due
        header = columns([metric.name for metric in stack.measures.metrics], list(stack.averaging))
        self.tables = [table_of(name) for name in stack.diagnostics]
        self.kept = [kept_of(name) for name in keeping(stack.diagnostics)]
        self.at_the_end = bool(self.kept or of_finished(stack.diagnostics))
        self.records: list[Run] = []
        self.data = [stack.variants[place] for place in stack.variant]
        self.steps: list[list[Row]] = [[] for _ in nodes]  #: single ones, where the schedule watches them
        resolved = [_resolved(node, stack, i) for i, node in enumerate(nodes)]
        trackers = [{name: component(part)[0] for name, part in node.get("tracker", {}).items()} for node in nodes]
        self.members: Record = {
            "runs": _members(folders),
            "configs": [fingerprint(node) for node in resolved],
            "versions": environment()["versions"],
            "data": stack.dataset.digest,
        }
        if begun:
            problems = [*problems, *self._go_on(begun, folders, header)]
        else:
            for i, folder in enumerate(folders):
                text = HEADER.format(folder=in_line(shlex.quote(str(folder)))) + yaml_text(resolved[i])
                self.records.append(Run.create(folder, header, text, self.tables, self.kept))
                append_rows(folder / PRETRAINING, stack.initializers[i].history)
            matrices: dict[str, Path] = {}
            for record, data in zip(self.records, self.data, strict=True):
                if data.encoding:
                    save_encoding(record.folder, data.encoding, matrices)
        self.read = [[] if begun else told(data.description) for data in self.data]  #: what a run's data are
        #: what else users should know of a run
        self.notes = [[*problems, *([] if begun else _notes(node, stack, i))] for i, node in enumerate(nodes)]
        for record, read, notes in zip(self.records, self.read, self.notes, strict=True):
            record.durable = stack.runs == 1
            record.note(*read, *notes)
        self.tracking = [
            Tracking(
                each,
                record.folder,
                node,
                cast(list[Row], read_metrics(record.folder).to_dict("records")) if begun else None,
                partial(self._untracked, i),
            )
            for i, (each, record, node) in enumerate(zip(trackers, self.records, resolved, strict=True))
        ]

    def _untracked(self, run: int, told: str) -> None:
        """A tracker has failed: for the log, and for whoever shows `notes`, before the training or after it."""
        self.records[run].note(told)
        self.notes[run].append(told)

    def _go_on(self, begun: Checkpoint, folders: Sequence[Path], header: list[str]) -> list[str]:
        """Put everything where it was at the checkpoint; returns what users should know of that."""
        then = begun.record
        if then["configs"] != self.members["configs"]:
            raise ConfigError(f"the checkpoint in {self.place} is of another config; delete it to begin again")
        if then.get("data", self.members["data"]) != self.members["data"]:
            raise ConfigError(
                f"the data have changed since the checkpoint in {self.place}: put them back as they were, "
                "or delete it to begin again"
            )
        for i, folder in enumerate(folders):
            self.records.append(Run.reopen(folder, header, then["files"][i], self.tables, self.kept))
            self.stack.initializers[i].report = then["initialized"][i]
            if (folder / RANGE).exists():
                self.steps[i] = read_metrics(folder, RANGE).to_dict("records")  # type: ignore[assignment]
        versions = ((name, then["versions"].get(name), now) for name, now in self.members["versions"].items())
        other = [f"{name} {before}, now {now}" for name, before, now in versions if before != now]
        other = [f"the checkpoint was written with {', '.join(other)}: the last digits may differ"] if other else []
        before, now = len(then.get("shares", [None])), self.stack.team.size
        if before != now:
            other.append(
                f"the checkpoint was written with processes {before}, now {now}: "
                "the last digits differ, and so does noise such as dropout's"
            )
        return [f"continuing after step {then['step']}", *other]

    def keep(self, tensors: Tensors, record: Record) -> None:
        """Write a checkpoint."""
        files = [each.lengths() for each in self.records]
        initialized = [each.report for each in self.stack.initializers]
        checkpoint.write(self.place, tensors, {**record, **self.members, "files": files, "initialized": initialized})
        self.interval.written()

    def over(self, step: int, epoch: float, seconds: float) -> bool:
        """Whether the runs pause at this evaluation."""
        return self.pausing.over(epoch, step, seconds)

    def keep_apart(self, parts: Mapping[int, tuple[Tensors, Record]]) -> None:
        """Write a checkpoint into the folder of each of these runs, in place of that of the stack."""
        for run in sorted(parts, reverse=True):  # the first one's folder has the stack's until all others have theirs
            tensors, record = parts[run]
            own: Record = {"runs": _members([self.records[run].folder]), "configs": [self.members["configs"][run]]}
            own |= {"files": [self.records[run].lengths()], "initialized": [self.stack.initializers[run].report]}
            place = self.records[run].folder / CHECKPOINT
            checkpoint.write(place, tensors, {**record, **self.members, **own}, kept=1, durable=self.stack.runs == 1)

    def __enter__(self) -> Folders:
        return self

    def __exit__(self, *exception: object) -> None:
        for record in self.records:
            record.close()

    def train(self, observer: Any, progress: Progress = lambda text, done, total: None) -> list[dict[str, Any]]:
        """Train the stack and complete the folders; returns what their summaries say.

        progress: told what is done after the training, and how much of how much.
        """
        with ExitStack() as until_saved:
            outcome = self._fit(observer, until_saved)
            if not self.at_the_end or "interrupted" in outcome.status:
                return self.save(outcome)
        # what may take long is no longer kept from signals: the checkpoint of the last step is there to go on from
        return self.save(outcome, self._look(outcome, progress))

    def _fit(self, observer: Any, until_saved: ExitStack) -> Outcome:
        try:
            with staying(), unconverted():
                return fit(
                    self.stack, observer, self, until_saved, During(self.stack.diagnostics, self.stack, self.found)
                )
        except OSError:  # the disk's fault: the run goes on from its checkpoint once there is room
            raise
        except Ended:
            for i, record in enumerate(self.records):
                record.finish({"status": "interrupted", **identity(self.nodes[i], self.stack, i), **environment()})
                self.tracking[i].close({"status": "interrupted"}, COMPLETE)
            raise
        except Exception as problem:
            for i, record in enumerate(self.records):
                record.note(traceback.format_exc())
                status = {"status": "failed", **identity(self.nodes[i], self.stack, i), "error": blamed(problem)}
                record.finish({**status, **environment()})
                self.tracking[i].close(status, COMPLETE)
            raise

    def _look(self, outcome: Outcome, progress: Progress) -> list[dict[str, Any]]:
        """Have the diagnostics of finished networks look at the best parameters; returns what summaries say of that."""
        outcome.best.restore()
        with unconverted():
            chosen, folders = of_finished(self.stack.diagnostics), [each.folder for each in self.records]
            moments = [(row["epoch"], int(row["step"])) for row in outcome.best.rows]
            told = look(self.stack, chosen, folders, progress, moments, "best")
            for summary, concluded in zip(told, conclude(self.stack, folders, progress), strict=True):
                summary |= concluded
        outcome.last.restore()
        return told

    def save(self, outcome: Outcome, seen: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
        """Write weights and summaries, and remove the checkpoint that they make needless.

        seen: what summaries say of diagnostics of the finished networks.
        """
        for i in range(self.stack.runs):
            self._save_weights(i, outcome)
        if self.stack.runs > 1:
            os.sync()  # once for all of them, in place of a wait for each file
        summaries = [self._summarize(i, outcome, each) for i, each in enumerate(seen or [{}] * self.stack.runs)]
        if self.stack.runs > 1:
            os.sync()
        if "interrupted" not in outcome.status:
            for record, status in zip(self.records, outcome.status, strict=True):
                if status != "paused":
                    checkpoint.remove(record.folder / CHECKPOINT)
                    record.drop_kept()
        return summaries

    def row(self, run: int, row: Row) -> None:
        """Append an evaluation to the run's metrics.csv, and tell its trackers."""
        self.records[run].append(row)
        self.tracking[run].row(row)

    def found(self, run: int, diagnostic: str, found: Found) -> None:
        """Append what a diagnostic saw of the run to its table, and what it keeps to its file."""
        self.records[run].add(table_of(diagnostic), found.rows)
        if found.kept is not None:
            self.records[run].keep(kept_of(diagnostic), packed(*found.kept))

    def trace(self, run: int, steps: list[Row]) -> None:
        """Append single steps to the run's lr_range.csv."""
        self.steps[run] += steps
        append_rows(self.records[run].folder / RANGE, steps)

    def _save_weights(self, run: int, outcome: Outcome) -> None:
        stack, record = self.stack, self.records[run]
        for name, snapshot in ((BEST, outcome.best), (LAST, outcome.last)):
            record.save_weights(name, weights(stack, snapshot, run), {"step": str(snapshot.rows[run]["step"])})
        for name, measured in zip(stack.averaging, outcome.measured[1:], strict=True):
            for cycle, tensors in members_of(stack, measured.last, run):
                file = f"{name}_{cycle}.safetensors" if cycle else f"{name}.safetensors"
                record.save_weights(file, tensors, {"step": str(measured.last.rows[run]["step"])})

    def _summarize(self, run: int, outcome: Outcome, seen: dict[str, Any]) -> dict[str, Any]:
        summary, steps = summarize(self.nodes[run], self.stack, outcome, run), self.steps[run]
        if outcome.status[run] == "paused":
            summary = self.pausing.told(summary)
            self.records[run].note(summary["reason"])
        if steps:
            summary["suggested_lr"] = suggestion([row["lr"] for row in steps], [row["smoothed"] for row in steps])
        for remark in self.stack.remarks:
            self.records[run].note(remark)
        tables = {name: {"table": table_of(name)} for name in self.stack.diagnostics if name not in seen}
        if tables or seen:
            summary["diagnostics"] = {**tables, **seen}
        for name, found in seen.items():
            if "failed" in found:
                self.records[run].note(f"diagnostics={name} failed: {found['failed']}")
        for note in filter(None, [left_out(summary), never_better(summary), worse_than_the_mean(summary)]):
            self.records[run].note(note)
        self.records[run].finish(summary)
        self.tracking[run].close(summary, COMPLETE)
        if self.tracking[run].failed:  # at their end, too: for whoever sees no more of a run than its summary
            summary["tracker"] = {name: {"failed": why} for name, why in self.tracking[run].failed.items()}
            self.records[run].finish(summary)
        return summary


def _notes(node: Node, stack: Stack, run: int) -> Iterator[str]:
    data = stack.variants[stack.variant[run]]
    if data.target_mean is not None and data.target_std is not None:
        mean, std = (
            ", ".join(f"{number:.4g}" for number in each.tolist()) for each in (data.target_mean, data.target_std)
        )
        yield (
            f"the targets are standardised for the training (mean {mean}, standard deviation {std}), and what is "
            "reported is in their own unit; dataset.scale_target=false trains on them as they are"
        )
    lr, own = stack.rates["lr"][0, run].item(), default("optimizer", node["optimizer"]["_target_"], "lr")
    if own and lr >= MANY * own:
        yield f"lr={lr:g} is {lr / own:,.0f} times this optimizer's own rate, {own:g}: leave lr out to begin with that"
    for what, names in stack.initializers[run].report.items():
        yield f"initializer: {what} {', '.join(names) or 'nothing'}"
    size = node["batch_size"]
    if size != "full" and size > stack.train_size and not stack.dataset.surface:
        yield f"batch_size={size} exceeds the {stack.train_size} training samples: full batches"
    if node["steps"] is not None and any(word.lstrip("+").startswith("epochs=") for word in typed.words):
        yield f"steps={node['steps']} is the length of the training, in place of epochs={node['epochs']}"
    if stack.runs > 1:
        yield f"trained beside {stack.runs - 1} other runs: the same as alone but for rounding"
    if node["compile"] == "auto" and not stack.compile and pays(stack.steps, stack.theta.numel(), stack.theta.device):
        times = recurrent_times(stack.model, stack.dataset)
        yield f"compile=auto: not compiled, since {not_compiled(stack.theta.device, times)}"


def weights(stack: Stack, snapshot: Snapshot, run: int = 0) -> dict[str, torch.Tensor]:
    """A run's parameters and buffers by their names in the model."""
    kept = {name: snapshot.kept[name][run] for name in stack.network}
    return _named(stack, kept)


def members_of(stack: Stack, snapshot: Snapshot, run: int = 0) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
    """`weights` of each network that a regularizer keeps beside the trained one, and that counts, with the number of
    the cycle that it is of; 0 for a network that is of none."""
    kept = {name: snapshot.kept[name][run] for name in stack.network}
    counts = snapshot.kept["weight"][run] > 0 if "weight" in snapshot.kept else torch.ones(1)
    for i in counts.nonzero()[:, 0].tolist():
        cycle = int(snapshot.kept["cycle"][run, i]) if "cycle" in snapshot.kept else 0
        yield cycle, _named(stack, {name: tensor[i] for name, tensor in kept.items()})


def _named(stack: Stack, network: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    views = stack.layout.views(network["theta"][None])
    buffers = {name: tensor for name, tensor in network.items() if name != "theta"}
    return {**{name: view[0] for name, view in views.items()}, **buffers}


def _resolved(node: Node, stack: Stack, run: int) -> Node:
    """The config with every `auto` and default that this run decided written out."""
    return node | {
        "lr": stack.rates["lr"][0, run].item(),
        "train_metrics": "measured" if stack.measure_train else "running",
    }
