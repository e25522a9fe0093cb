"""What is said on the terminal: lines, lists, errors, and the table that closes a run."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.folder.names import LOG
from dlrun.terminal.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

STATUS = {
    "finished": "green",
    "stopped_early": "green",
    "pruned": "green",
    "interrupted": "yellow",
}  # anything else is red


def closing_table(summary: Mapping[str, Any], folder: str | Path, console: Console | None = None) -> None:
    """Print how a run ended, given the contents of its summary.json: at most 80 columns, but for folder and error."""
    from rich.console import Console
    from rich.table import Table

    console = console or Console()
    status = summary["status"]
    say_on(console, f"{summary['name']}: {status.replace('_', ' ')}", f"bold {STATUS.get(status, 'red')}")
    if summary.get("error"):
        say_on(console, summary["error"], "red")
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
        say_on(console, f"on the data there {'is' if len(data['notes']) == 1 else 'are'} {notes} in {LOG}", "dim")
    if summary.get("train_metrics") == "running":
        say_on(console, "train: averaged over the batches of an epoch, while the parameters moved", "dim")
    for note in filter(None, [left_out(summary), never_better(summary), worse_than_the_mean(summary)]):
        say_on(console, note, "yellow")
    if summary.get("suggested_lr"):
        say_on(console, f"the loss falls fastest around lr={summary['suggested_lr']:.2g}: a rate to start from")
    if "steps" in summary:
        say_on(
            console,
            f"{summary['steps']:,} steps in {summary['seconds']:.1f} s ({number(summary['steps_per_second'], ',.0f')} "
            f"per second), {summary['parameters']:,} parameters, {summary['device']}, seed {summary['seed']}",
        )
    say_on(console, str(folder))


def left_out(summary: Mapping[str, Any]) -> str | None:
    """What to tell of a run in 16 bits some of whose steps were not taken; or None."""
    count = summary.get("steps_left_out")
    if not count:
        return None
    return f"{count:,} of {summary['steps']:,} steps were left out, since precision=fp16 could not hold their gradients"


def never_better(summary: Mapping[str, Any]) -> str | None:
    """What to tell of a run whose best network is the one that it began with; or None."""
    if summary.get("best_epoch") != 0 or not summary.get("epochs"):
        return None
    return "the validation loss was never lower than before the training: best is the untrained network"


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

    say_on(Console(), text, indent=indent)


def error(message: str) -> None:
    """Print `dlrun: message` on standard error, in red on a terminal."""
    from rich.console import Console

    say_on(Console(stderr=True), f"dlrun: {message}", "red")


def number(value: float | None, form: str = "#.4g") -> str:
    """A number as people read it, four digits unless said otherwise; "-" where there is none."""
    return "-" if value is None else f"{value:{form}}".rstrip(".")


def counted(n: int, what: str) -> str:
    """`1 run`, `2 runs`, `1,000 runs`."""
    return f"{n:,} {what}{'s' * (n != 1)}"


def duration(seconds: float) -> str:
    """A time as people read it: `0.21 ms`, `12 s`, `3 min 20 s`, `5 h 10 min`, `2 d 7 h`."""
    if seconds < 99.5:
        return f"{_two_digits(1000 * seconds)} ms" if seconds < 0.9995 else f"{_two_digits(seconds)} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return (
        f"{whole // 3600} h {whole // 60 % 60} min" if whole < 86400 else f"{whole // 86400} d {whole // 3600 % 24} h"
    )


def amount(size: float) -> str:
    """Bytes as people read them: `12 B`, `3.5 kB`, `27 MB`, `1.2 GB`."""
    power, unit = next(((p, u) for p, u in ((9, " GB"), (6, " MB"), (3, " kB")) if size >= 10**p), (0, " B"))
    return _two_digits(size / 10**power) + unit


def _two_digits(number: float) -> str:
    return f"{number:.2g}" if number < 99.5 else f"{number:,.0f}"


def listing(rows: Mapping[str, str], console: Console | None = None) -> None:
    """Print names with a line on each; on a terminal, lines that are too long go on below where they began."""
    from rich.console import Console

    console = console or Console()
    width = max(map(len, rows), default=0)
    for name, text in rows.items():
        say_on(console, f"  {name:<{width}}  {text}", indent=width + 4)


def say_on(console: Console, text: str, style: str = "", indent: int = 0) -> None:
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
