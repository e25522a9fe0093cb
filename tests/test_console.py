"""The terminal: a bar where there is one, few plain lines where there is none, and tables that fit 80 columns."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from io import StringIO
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from dlrun.terminal import console as module
from dlrun.terminal.console import broken, closing_table, error, number
from dlrun.terminal.progress import Progress, SweepProgress, Working

SUMMARY = {
    "status": "finished", "name": "digits-mlp", "epochs": 30, "steps": 3000, "parameters": 26122, "seconds": 1.234,
    "steps_per_second": 2431.1, "device": "cpu", "seed": 7, "best_epoch": 26, "best_step": 2600,
    "best_train_loss": 0.011, "last_train_loss": 0.012, "best_val_loss": 0.013, "last_val_loss": 0.014,
    "best_train_accuracy": 0.95, "last_train_accuracy": 0.96, "best_val_accuracy": 0.97, "last_val_accuracy": 0.98,
    "test_loss": 0.015, "test_accuracy": 0.93, "last_test_loss": 0.016, "last_test_accuracy": 0.94,
    "error": None, "train_metrics": "measured",
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def plain_environment():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm")
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
            patch.delenv(name, raising=False)
        yield


def screen(terminal):
    return Console(file=StringIO(), force_terminal=terminal, width=80, color_system="standard" if terminal else None)


def written(console):
    return console.file.getvalue()


def row(step, epoch=0.0):
    return {
        "epoch": epoch, "step": step, "lr": 0.001, "train_loss": 0.5, "val_loss": 0.25, "train_accuracy": 0.75,
        "val_accuracy": step / 1e4, "grad_norm": 1.0, "seconds": 1.26,
    }  # fmt: skip


def lines_of(total, per_epoch, evaluated, metric="accuracy"):
    console = screen(terminal=False)
    with Progress(total, per_epoch, metric, console) as progress:
        for step in evaluated:
            assert not progress.due()
            progress.row(row(step))
    assert "\x1b" not in written(console) and "\r" not in written(console)
    return written(console).splitlines()


def test_a_plain_line_says_it_all():
    lines = lines_of(400, 100, [0, 100, 400])
    assert " ".join(lines[1].split()) == (
        "epoch 1/4 train_loss 0.5000 val_loss 0.2500 val_accuracy 0.01000 lr 0.001 1.3 s"
    )
    assert lines_of(400, 100, [0], metric="loss")[0].count("val_loss") == 1
    assert lines_of(150, 100, [0, 150])[1].startswith("step 150/150 ")
    assert lines_of(250, 100, [200])[0].startswith("epoch   2/2.5 ")


@settings(deadline=None, max_examples=40)
@given(total=st.integers(1, 10**6), every=st.integers(1, 1000), data=st.data())
def test_at_most_fifty_lines_with_the_first_and_the_last(total, every, data):
    steps = [*range(0, total, max(every, total // 300)), total]
    steps = steps[: data.draw(st.integers(1, len(steps)), label="evaluations until it was stopped")]
    shown = [int(re.match(r"step +(\d+)", line)[1]) for line in lines_of(total, 10**6, steps)]
    assert shown == sorted(set(shown)) and set(shown) <= set(steps)
    assert shown[0] == steps[0] and shown[-1] == steps[-1]
    assert len(shown) <= 50
    gap = max([b - a for a, b in pairwise(steps)], default=0)
    assert all(b - a < total / 48 + 2 * gap + 1 for a, b in pairwise(shown))


def test_all_of_a_few_evaluations_are_shown():
    assert len(lines_of(3000, 100, range(0, 3001, 100))) == 31


def test_the_bar_shows_everything_and_goes_away():
    console = screen(terminal=True)
    with Progress(400, 100, "accuracy", console) as progress:
        assert progress.due()
        progress.step(50, 0.5, 3e-4)
        progress.row(row(100))
        progress.step(250, 0.125, 3e-4)
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written(console)).split("\r")[-1]
        assert shown.startswith("epoch 2/4 ━")
        assert "loss 0.1250  val_accuracy 0.01000  lr 0.0003" in shown
        assert re.search(r" [\d,]+/s \d\d:\d\d$", shown.rstrip())  # speed and time left
        assert max(map(len, shown.splitlines())) <= 80
        progress.note("half [128,128] of :smile:")
        progress.note("words " * 20)
    assert "half [128,128] of :smile:\n" in written(console)
    assert "words\n  words words" in written(console)  # broken where a word ends
    assert written(console).endswith("\x1b[?25h\r\x1b[1A\x1b[2K")  # cursor back, line erased


@pytest.mark.parametrize("width", range(40, 161, 10))
def test_what_does_not_fit_beside_the_bar_is_left_out_and_not_cut_off(width):
    console = screen(terminal=True)
    console.width = width
    with Progress(40_000, 10, "accuracy", console) as progress:
        progress.step(500, 1.25e-7, 3e-4)
        progress.row(row(600))
        progress.step(1500, 1.25e-7, 3e-4)
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written(console)).split("\r")[-1].strip()
    assert "…" not in shown and shown.startswith("epoch  150/4000 ") and len(shown) <= width, shown
    assert ("loss 1.250e-07  val_accuracy 0.06000  lr 0.0003" in shown) == (width >= 80), shown


def test_the_bar_looks_at_the_loss_ten_times_a_second(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    looks = 0
    with Progress(10_000, 100, "loss", screen(terminal=True)) as progress:
        for step in range(10_000):
            now[0] += 0.001
            if progress.due():
                looks += 1
                progress.step(step, 0.5, 0.1)
            if step % 20 == 0:  # evaluations that are more frequent than looks do not displace them
                progress.row(row(step))
    assert 97 <= looks <= 100


def test_each_work_after_a_training_tells_its_tenths():
    console = screen(terminal=False)
    with Progress(10, 10, "loss", console) as progress, Working(console) as working:
        for tell in (progress.working, working):
            for text in ("first", "second"):
                for done in range(1, 41):
                    tell(text, done, 40)
    lines = console.file.getvalue().splitlines()
    assert lines == 2 * [f"{text}  {done}/40" for text in ("first", "second") for done in (1, *range(4, 41, 4))]


def test_the_terminal_is_given_back_when_training_fails():
    console = screen(terminal=True)
    with pytest.raises(RuntimeError), Progress(400, 100, "accuracy", console):
        raise RuntimeError
    assert written(console).rfind("\x1b[?25h") > written(console).rfind("\x1b[?25l")


def sweep_of(console, monkeypatch, words=()):
    """100 runs in stacks of 20, two at a time for 10 s each, 1,000 steps in all; the first stack's end by the words."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    waiting = []
    with SweepProgress(100, console) as progress:
        for first in (0, 40, 80):
            stacks = [20, 20] if first < 80 else [20]
            for tick in range(40):
                progress.working([(runs, tick * 25, 1000 if tick else 0) for runs in stacks])
                waiting.append(progress.waiting)
                now[0] += 0.25
            for word in [*words, *["finished"] * (sum(stacks) - len(words))]:
                progress.done(word)
            words = ()
    assert waiting == [60] * 40 + [20] * 40 + [0] * 40


@pytest.mark.parametrize("width", [80, 120])
def test_a_sweeps_bar_fits_and_says_it_all(width, monkeypatch):
    console = screen(terminal=True)
    console.width = width
    sweep_of(console, monkeypatch, ["diverged"] * 3 + ["failed"] * 2)
    drawn = [re.sub(r"\x1b\[[\d;?]*\w", "", line).strip() for line in re.split(r"[\r\n]+", written(console))]
    drawn = [line for line in drawn if line]
    assert max(map(len, drawn)) <= width
    # 4,000 steps a second: 2 stacks of 20 runs, 100 steps each; after 5 s, half of each, 20 of 100 runs are done
    at = drawn[20]
    assert at.startswith("0/100 runs done, 40 running ") and at.endswith("4,000 steps/s  0:00:20 left"), at
    last = drawn[-1]
    assert last.startswith("75/100 runs done, 20 running, 3 diverged, 2 failed "), last
    assert last.endswith("2,000 steps/s  0:00:00 left")


def test_a_sweeps_lines_become_rarer(monkeypatch):
    console = screen(terminal=False)
    sweep_of(console, monkeypatch, ["stopped_early", "diverged"])
    lines = written(console).splitlines()
    assert lines[0] == "0/100 runs done, 40 running  4,000 steps/s  2.0 s"
    assert "39/100 runs done, 40 running, 1 diverged  4,000 steps/s  0:00:13 left  12.0 s" in lines
    assert lines[-1] == "99/100 runs done, 0 running, 1 diverged  30.0 s"
    assert 10 <= len(lines) <= 16


def table(**changes):
    console = screen(terminal=False)
    closing_table(SUMMARY | changes, "outputs/2026-01-01/10-00-00-digits-mlp", console)
    return written(console)


def test_closing_table():
    text = table()
    cells = [line.split() for line in text.splitlines()]
    assert cells[0] == ["digits-mlp:", "finished"]
    assert cells[1] == ["parameters", "train", "val", "test"]
    assert cells[2] == ["best", "(epoch", "26)", "loss", "0.01100", "0.01300", "0.01500"]
    assert cells[3] == ["accuracy", "0.9500", "0.9700", "0.9300"]
    assert cells[4] == ["last", "(epoch", "30)", "loss", "0.01200", "0.01400", "0.01600"]
    assert cells[5] == ["accuracy", "0.9600", "0.9800", "0.9400"]
    assert text.splitlines()[6] == "3,000 steps in 1.2 s (2,431 per second), 26,122 parameters, cpu, seed 7"
    assert text.splitlines()[7] == "outputs/2026-01-01/10-00-00-digits-mlp"
    assert "averaged" not in text and "averaged" in table(train_metrics="running")
    data = {"task": "multiclass", "rows": {"train": 1257, "val": 270, "test": 27}, "notes": ["one", "two"]}
    text = table(dataset=data)
    assert text.splitlines()[2].split() == ["rows", "1,257", "270", "27"]
    assert "on the data there are 2 notes in dlrun.log" in text.splitlines()


def test_closing_table_of_a_diverged_run_fits():
    worst = {key: -1.23456e-100 for key in SUMMARY if key.endswith(("_loss", "_accuracy"))}
    text = table(**worst, status="diverged", error="the loss is NaN at step [12]")
    assert max(map(len, text.splitlines())) <= 80 and text.count("-1.235e-100") == 12
    assert text.splitlines()[:2] == ["digits-mlp: diverged", "the loss is NaN at step [12]"]
    nothing = dict.fromkeys([*worst, "best_epoch", "best_step", "steps_per_second"])
    assert "best (epoch -)" in table(**nothing, status="diverged")


def test_closing_table_of_a_run_that_failed_at_once():
    console = screen(terminal=False)
    closing_table({"status": "failed", "name": "x", "error": "out of memory"}, "folder", console)
    assert written(console) == "x: failed\nout of memory\nfolder\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.97, "0.9700"), (1.0, "1.000"), (1234.0, "1234"), (1e10, "1.000e+10"), (None, "-"), (float("nan"), "nan")],
)
def test_number(value, text):
    assert number(value) == text


def test_errors_go_to_standard_error_and_are_red_on_a_terminal(capsys, monkeypatch):
    message = "lr=[-1] is out of range: " + "x" * 100
    error(message)
    assert capsys.readouterr() == ("", f"dlrun: {message}\n")
    monkeypatch.setenv("FORCE_COLOR", "1")
    error("no")
    assert capsys.readouterr().err == "\x1b[31mdlrun: no\x1b[0m\n"


@given(st.lists(st.text("abc/-", min_size=1, max_size=70), max_size=30), st.integers(20, 160))
def test_long_lines_are_broken_between_words_on_a_terminal(words, width):
    line = " ".join(words)
    parts = broken(line, width).split("\n")
    assert " ".join(parts) == line
    assert all(len(part) <= width or " " not in part for part in parts)


def test_what_is_to_be_copied_stays_whole():
    command = "`dlrun resume outputs/a long name`"
    console = screen(terminal=True)
    console.width = 40
    module.say_on(console, f"the run was interrupted in the middle of it; {command} goes on, or the same command again")
    assert command in written(console) and max(map(len, written(console).splitlines())) <= 40
    plain = screen(terminal=False)
    module.say_on(plain, "word " * 40)
    assert written(plain).count("\n") == 1


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_a_listing_goes_on_below_where_it_began(width):
    console = screen(terminal=True)
    console.width = width
    module.listing({"a": "short", "longer": "word " * 50}, console)
    first, second, *rest = written(console).splitlines()
    assert first == "  a       short" and second.startswith("  longer  word word")
    assert rest and all(line.startswith(" " * 10 + "word") and len(line) <= width for line in rest)


def test_importing_console_is_cheap():
    code = "import dlrun.terminal.console, sys; print({'torch', 'rich', 'rich.console', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
