"""How far a command is, shown while it works: a bar that moves on a terminal, a few lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlrun.terminal.console import number, say_on

if TYPE_CHECKING:
    from typing import Self

    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import ProgressColumn, Task


INTERVAL = 0.1  # seconds between two moves of the bar; each costs a millisecond, one per cent of the training
GOOD = ("finished", "stopped_early", "pruned", "waiting")  #: ends of runs of which nothing has to be told
SETTLED = 3  # seconds of a sweep before they say how long it will take: at first its processes start
LINES = 48  # for a whole training, where there is no bar; an evaluation before it and one cut short come on top


class Tenths:
    """Whether a further tenth of some work is done, or other work begun; for lines where there is no bar."""

    def __init__(self) -> None:
        self._last = (-1, 0)

    def passed(self, done: int, total: int) -> bool:
        """Asked again and again while the work goes on."""
        before, self._last = self._last, (10 * done // total, total)
        return self._last != before


class Live:
    """A bar on a terminal that can draw one; elsewhere none.

    It is drawn by the work itself: a drawing thread would compete with it for the interpreter.
    """

    _bar: Bar | None = None

    def __init__(self, console: Console | None) -> None:
        from rich.console import Console

        self.console = console or Console()

    def _begin(self, total: int, *columns: ProgressColumn, **texts: Any) -> None:
        """Make the bar, where there is to be one, of these columns, which show these texts among others."""
        from rich.progress import Progress as Bar

        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._bar = Bar(*columns, console=self.console, auto_refresh=False, transient=True, expand=True)
            self._task = self._bar.add_task("", total=total, **texts)

    def note(self, text: str) -> None:
        """Print a line above the bar, broken between words where it is too long."""
        say_on(self.console, text, indent=2)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()


class Progress(Live):
    """A bar on a terminal; elsewhere (a file, a cluster's log) plain lines, at most 50 for a training of any length.

    Args:
        total_steps: steps of the whole training.
        steps_per_epoch: in a training of less than two epochs, steps are counted instead.
        metric: what to show of the validation part besides its loss; "loss" where the task has no metric.
        console: where to print; standard output if None.
    """

    def __init__(self, total_steps: int, steps_per_epoch: int, metric: str, console: Console | None = None) -> None:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

        super().__init__(console)
        self._total, self._val = total_steps, f"val_{metric}"
        self._unit, self._size = ("epoch", steps_per_epoch) if total_steps >= 2 * steps_per_epoch else ("step", 1)
        self._next_look = 0.0
        self._lines = -1  # of the LINES, how many the training has passed
        self._tenths = Tenths()  # of what is done after the training
        self._unprinted: Mapping[str, float] | None = None
        count, values, speed = (TextColumn(f"{{task.fields[{name}]}}") for name in ("count", "values", "speed"))
        columns = [count, BarColumn(bar_width=None), values, speed, TimeRemainingColumn(compact=True)]
        self._begin(total_steps, *columns, count=self._count(0), values="", speed="")
        self._shown = {"loss": "-", self._val: "-", "lr": "-"}

    def __exit__(self, *exception: object) -> None:
        super().__exit__()
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

    def working(self, text: str, done: int, total: int) -> None:
        """Say what is done after the training, and how much of how much."""
        if self._bar is None:
            if self._tenths.passed(done, total):
                say_on(self.console, f"{text}  {done}/{total}")
        elif time.monotonic() >= self._next_look:
            self._bar.update(
                self._task, completed=done, total=total, count=f"{text}  {done}/{total}", values="", speed=""
            )
            self._bar.refresh()
            self._next_look = time.monotonic() + INTERVAL

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
        say_on(self.console, f"{self._count(int(row['step']))}  {values}  lr {row['lr']:<8.3g}  {row['seconds']:.1f} s")

    def _count(self, done: int) -> str:
        total = f"{self._total / self._size:.1f}".removesuffix(".0")
        return f"{self._unit} {done // self._size:>{len(total)}}/{total}"


class SweepProgress(Live):
    """A sweep's bar on a terminal; elsewhere a line now and then, ever more rarely.

    Args:
        total: runs to train.
        console: where to print; standard output if None.
    """

    def __init__(self, total: int, console: Console | None = None) -> None:
        from rich.progress import BarColumn, TextColumn

        super().__init__(console)
        self._total, self._counts, self._begun = total, dict[str, int](), time.monotonic()
        self._running, self._speed = 0, 0.0
        self._trained = 0.0  # runs, of those at work the parts that are done
        self.waiting = total  #: runs that no worker has begun
        self._last, self._next_line = (time.monotonic(), 0), time.monotonic() + 2
        count, pace = (TextColumn(f"{{task.fields[{name}]}}") for name in ("count", "pace"))
        self._begin(total, count, BarColumn(bar_width=None), pace, count="", pace="")

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
        say_on(self.console, "  ".join(filter(None, [self._count(), self._pace(), f"{elapsed:.1f} s"])))
        self._next_line = time.monotonic() + max(2, elapsed / 20)

    def _count(self) -> str:
        good = sum(self._counts.get(status, 0) for status in GOOD)
        bad = [f", {n} {status}" for status, n in self._counts.items() if status not in GOOD]
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
        self._tenths = Tenths()

    def __call__(self, text: str, done: int, total: int) -> None:
        """Say what is done, and how much of how much."""
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._status.update(f"{text}  {done}/{total}")
            if not self._shown:
                self._status.start()
            self._shown = True
        elif self._tenths.passed(done, total):
            say_on(self.console, f"{text}  {done}/{total}")

    def __enter__(self) -> Working:
        return self

    def __exit__(self, *exception: object) -> None:
        self._status.stop()
