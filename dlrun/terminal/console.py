"""What a run shows on the terminal: its progress, a closing table, and errors."""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.folder.names import LOG
from dlrun.terminal.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Task

INTERVAL = 0.1  # seconds between two moves of the bar; each costs a millisecond, one per cent of the training
SETTLED = 3  # seconds of a sweep before they say how long it will take: at first its processes start
LINES = 48  # for a whole training, where there is no bar; an evaluation before it and one cut short come on top
STATUS = {"finished": "green", "stopped_early": "green", "interrupted": "yellow"}  # anything else is red


class Progress:
    """A bar on a terminal; elsewhere (a file, a cluster's log) plain lines, at most 50 for a training of any length.

    Args:
        total_steps: steps of the whole training.
        steps_per_epoch: in a training of less than two epochs, steps are counted instead.
        metric: what to show of the validation part besides its loss; "loss" where the task has no metric.
        console: where to print; standard output if None.
    """

    def __init__(self, total_steps: int, steps_per_epoch: int, metric: str, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.console = console or Console()
        self._total, self._val = total_steps, f"val_{metric}"
        self._unit, self._size = ("epoch", steps_per_epoch) if total_steps >= 2 * steps_per_epoch else ("step", 1)
        self._next_look = 0.0
        self._lines = -1  # of the LINES, how many the training has passed
        self._unprinted: Mapping[str, float] | None = None
        self._bar: Bar | None = None
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            texts = [TextColumn(f"{{task.fields[{name}]}}") for name in ("count", "values", "speed")]
            bar = BarColumn(bar_width=None)
            # Drawn by the training itself: a drawing thread would compete with it for the interpreter.
            self._bar = Bar(
                texts[0], bar, *texts[1:], TimeRemainingColumn(compact=True),
                console=self.console, auto_refresh=False, transient=True, expand=True,
            )  # fmt: skip
            self._task = self._bar.add_task("", total=total_steps, count=self._count(0), values="", speed="")
        self._shown = {"loss": "-", self._val: "-", "lr": "-"}

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()
        if self._unprinted:
            self._print(self._unprinted)

    def due(self) -> bool:
        """Whether it is time for a `step`; never, where there is no bar to move."""
        return self._bar is not None and time.monotonic() >= self._next_look

    def step(self, done: int, loss: float, lr: float) -> None:
        """Move the bar to `done` steps; meant to be called when `due`."""
        if self._bar is None:
            return
        self._shown |= {"loss": number(loss), "lr": f"{lr:.3g}"}
        self._bar.update(self._task, completed=done, count=self._count(done))
        values, speed = self._fitting(self._bar.tasks[0])
        self._bar.update(self._task, values=values, speed=speed)
        self._bar.refresh()
        self._next_look = time.monotonic() + INTERVAL

    def row(self, row: Mapping[str, float]) -> None:
        """Take an evaluation, the columns of metrics.csv, for the bar's next move, or print it if its turn has come."""
        self._shown[self._val] = number(row[self._val])
        lines = int(row["step"]) * LINES // self._total
        if self._bar is None and lines > self._lines:
            self._lines = lines
            self._print(row)
        elif self._bar is None:
            self._unprinted = row

    def note(self, text: str) -> None:
        """Print a line above the bar, broken between words where it is too long."""
        _say(self.console, text, indent=2)

    def _fitting(self, task: Task) -> tuple[str, str]:
        """The values and the speed, without those for which the screen is too narrow: cut off, they would mislead."""
        left = "0:00:00" if (task.time_remaining or 0) >= 3600 else "00:00"
        room = self.console.width - len(" ".join([task.fields["count"], "━━━━", left])) - 1
        values = ""
        for name, value in self._shown.items():
            more = f"{values}  {name} {value}".strip()
            values = more if len(more) <= room else values
        speed = f"{task.speed:,.0f}/s" if task.speed else ""
        return values, speed if len(values) + 1 + len(speed) <= room else ""

    def _print(self, row: Mapping[str, float]) -> None:
        self._unprinted = None
        names = dict.fromkeys(["train_loss", "val_loss", self._val])
        values = "  ".join(f"{name} {number(row[name]):<9}" for name in names)
        _say(self.console, f"{self._count(int(row['step']))}  {values}  lr {row['lr']:<8.3g}  {row['seconds']:.1f} s")

    def _count(self, done: int) -> str:
        total = f"{self._total / self._size:.1f}".removesuffix(".0")
        return f"{self._unit} {done // self._size:>{len(total)}}/{total}"


class SweepProgress:
    """A sweep's bar on a terminal; elsewhere a line now and then, ever more rarely.

    Args:
        total: runs to train.
        console: where to print; standard output if None.
    """

    def __init__(self, total: int, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        self.console = console or Console()
        self._total, self._counts, self._begun = total, dict[str, int](), time.monotonic()
        self._running, self._speed = 0, 0.0
        self._trained = 0.0  # runs, of those at work the parts that are done
        self.waiting = total  #: runs that no worker has begun
        self._last, self._next_line = (time.monotonic(), 0), time.monotonic() + 2
        self._bar: Bar | None = None
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            count, pace = (TextColumn(f"{{task.fields[{name}]}}") for name in ("count", "pace"))
            self._bar = Bar(
                count, BarColumn(bar_width=None), pace,
                console=self.console, auto_refresh=False, transient=True, expand=True,
            )  # fmt: skip
            self._task = self._bar.add_task("", total=total, count="", pace="")

    def __enter__(self) -> SweepProgress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()

    def working(self, stacks: Sequence[tuple[int, ...]]) -> None:
        """Take the stacks at work, their runs, steps done and, where they are known, steps in all; move the bar."""
        now, steps = time.monotonic(), sum(stack[0] * stack[1] for stack in stacks)
        then, before = self._last
        if now - then >= 1:
            if steps > before:  # less is told where a stack has ended
                self._speed = (steps - before) / (now - then)
            self._last = (now, steps)
        ended = sum(self._counts.values())
        self._running = sum(stack[0] for stack in stacks)
        self.waiting = self._total - self._running - ended
        self._trained = ended + sum(runs * done / total[0] for runs, done, *total in stacks if any(total))
        if self._bar:
            self._bar.update(self._task, completed=self._trained, count=self._count(), pace=self._pace())
            self._bar.refresh()
        elif now >= self._next_line:
            self._print()

    def done(self, status: str) -> None:
        """Count a run that has ended."""
        self._counts[status] = self._counts.get(status, 0) + 1
        if self._bar is None and sum(self._counts.values()) == self._total:
            self._running, self._speed, self._trained = 0, 0.0, self._total
            self._print()

    def _print(self) -> None:
        elapsed = time.monotonic() - self._begun
        _say(self.console, "  ".join(filter(None, [self._count(), self._pace(), f"{elapsed:.1f} s"])))
        self._next_line = time.monotonic() + max(2, elapsed / 20)

    def _count(self) -> str:
        good = sum(self._counts.get(status, 0) for status in ("finished", "stopped_early"))
        bad = [f", {n} {status}" for status, n in self._counts.items() if status not in ("finished", "stopped_early")]
        return f"{good}/{self._total} runs done, {self._running} running{''.join(bad)}"

    def _pace(self) -> str:
        """Steps per second of all runs together, and the time that is left if it goes on like this."""
        speed = f"{self._speed:,.0f} steps/s" if self._speed else ""
        elapsed = time.monotonic() - self._begun
        if elapsed < SETTLED or not 0 < self._trained < self._total:
            return speed
        left = round(elapsed * (self._total / self._trained - 1))
        return f"{speed}  {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left".strip()


class Working:
    """Shows what is done before the training begins: a line that changes on a terminal, a few lines elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self.console = console or Console()
        self._status = self.console.status("")
        self._shown = False
        self._tenths = -1

    def __call__(self, text: str, done: int, total: int) -> None:
        """Say what is done, and how much of how much."""
        tenths = 10 * done // total
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._status.update(f"{text}  {done}/{total}")
            if not self._shown:
                self._status.start()
            self._shown = True
        elif tenths > self._tenths:
            self._tenths = tenths
            _say(self.console, f"{text}  {done}/{total}")

    def __enter__(self) -> Working:
        return self

    def __exit__(self, *exception: object) -> None:
        self._status.stop()


def closing_table(summary: Mapping[str, Any], folder: str | Path, console: Console | None = None) -> None:
    """Print how a run ended, given the contents of its summary.json: at most 80 columns, but for folder and error."""
    from rich.console import Console
    from rich.table import Table

    console = console or Console()
    status = summary["status"]
    _say(console, f"{summary['name']}: {status.replace('_', ' ')}", f"bold {STATUS.get(status, 'red')}")
    if summary.get("error"):
        _say(console, summary["error"], "red")
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("parameters")
    table.add_column("")
    for part in ("train", "val", "test"):
        table.add_column(part, justify="right")
    names = [key.removeprefix("best_val_") for key in summary if key.startswith("best_val_")]
    quantities = [name for name in names if f"best_train_{name}" in summary]
    # Of what is measured beside the trained network, as ema_accuracy, the loss and the main metric.
    beside = [
        name for name in names if name not in quantities and name.endswith(tuple(f"_{q}" for q in quantities[:2]))
    ]
    data = summary.get("dataset", {"task": "none"})
    if data["task"] != "none":
        table.add_row("", "rows", *(f"{data['rows'][part]:,}" for part in ("train", "val", "test")))
    for which, epoch, prefix in (("best", "best_epoch", ""), ("last", "epochs", "last_")):
        for quantity in [*quantities, *beside]:
            keys = [f"{which}_train_{quantity}", f"{which}_val_{quantity}", f"{prefix}test_{quantity}"]
            label = f"{which} (epoch {number(summary.get(epoch), '.6g')})" if quantity == quantities[0] else ""
            table.add_row(label, quantity, *(number(summary.get(key)) for key in keys))
    if quantities:
        console.print(table)
    if data.get("notes"):
        notes = "a note" if len(data["notes"]) == 1 else f"{len(data['notes'])} notes"
        _say(console, f"on the data there {'is' if len(data['notes']) == 1 else 'are'} {notes} in {LOG}", "dim")
    if summary.get("train_metrics") == "running":
        _say(console, "train: averaged over the batches of an epoch, while the parameters moved", "dim")
    if note := worse_than_the_mean(summary):
        _say(console, note, "yellow")
    if summary.get("suggested_lr"):
        _say(console, f"the loss falls fastest around lr={summary['suggested_lr']:.2g}: a rate to start from")
    if "steps" in summary:
        _say(
            console,
            f"{summary['steps']:,} steps in {summary['seconds']:.1f} s ({number(summary['steps_per_second'], ',.0f')} "
            f"per second), {summary['parameters']:,} parameters, {summary['device']}, seed {summary['seed']}",
        )
    _say(console, str(folder))


def worse_than_the_mean(summary: Mapping[str, Any]) -> str | None:
    """What to tell of a regression whose network, at its best, predicts worse than a constant would; or None."""
    r2 = summary.get("test_r2")
    if r2 is None or r2 >= 0:
        return None
    data = summary["dataset"]
    ways = ["a lower or higher lr"]
    ways += ["dataset.scale=standard"] if data["scale"] in ("none", "minmax", "symmetric") else []
    target = data.get("target", {"standardised": True})  # an autoencoder's are its inputs
    ways += ["dataset.scale_target=true"] if not target["standardised"] else []
    return (
        f"test r2 is {number(r2)}: below 0, that is worse than predicting the mean. Train longer (epochs) while "
        f"val_loss still falls; else try {', or '.join(ways)}"
    )


def say(text: str, indent: int = 0) -> None:
    """Print text on standard output, as it is; on a terminal, lines that are too long go on below, indented."""
    from rich.console import Console

    _say(Console(), text, indent=indent)


def error(message: str) -> None:
    """Print `dlrun: message` on standard error, in red on a terminal."""
    from rich.console import Console

    _say(Console(stderr=True), f"dlrun: {message}", "red")


def number(value: float | None, form: str = "#.4g") -> str:
    """A number as people read it, four digits unless said otherwise; "-" where there is none."""
    return "-" if value is None else f"{value:{form}}".rstrip(".")


def counted(n: int, what: str) -> str:
    """`1 run`, `2 runs`, `1,000 runs`."""
    return f"{n:,} {what}{'s' * (n != 1)}"


def listing(rows: Mapping[str, str], console: Console | None = None) -> None:
    """Print names with a line on each; on a terminal, lines that are too long go on below where they began."""
    from rich.console import Console

    console = console or Console()
    width = max(map(len, rows), default=0)
    for name, text in rows.items():
        _say(console, f"  {name:<{width}}  {text}", indent=width + 4)


def _say(console: Console, text: str, style: str = "", indent: int = 0) -> None:
    """Print text as it is: brackets are no markup. On a terminal, lines that are too long are broken between words."""
    from rich.text import Text

    text = printable(text)
    if console.is_terminal:
        text = "\n".join(broken(line, console.width, indent) for line in text.splitlines())
    console.print(Text(text, style), soft_wrap=True)


def broken(line: str, width: int, indent: int = 0) -> str:
    """The line broken between words, further parts indented; what stands in backticks, to be copied, stays whole."""
    if len(line) <= width:
        return line
    whole = re.sub("`[^`]*`", lambda quoted: quoted[0].replace(" ", "\0"), line)
    parts = textwrap.wrap(
        whole, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False,
        replace_whitespace=False,
    )  # fmt: skip
    return "\n".join(parts).replace("\0", " ")
