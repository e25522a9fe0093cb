"""Learning curves: the picture holds the folder's numbers, is the same every time, and survives every kind of run."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread

from dlrun.errors import ConfigError
from dlrun.folder.columns import columns
from dlrun.folder.names import RANGE
from dlrun.folder.reading import read_metrics
from dlrun.folder.records import Run, append_rows
from dlrun.plots import lr_range
from dlrun.plots.curves import figure
from dlrun.plots.page import png
from dlrun.plots.pictures import draw


def write(folder, rows, metrics=("accuracy",), summary=None):
    with Run.create(folder, columns(list(metrics)), "") as run:
        for index, values in enumerate(rows):
            row = dict.fromkeys(columns(list(metrics)), 0.5) | {"epoch": index, "step": 10 * index} | values
            run.append(row)
        if summary is not None:
            run.finish({"name": "digits", "status": "finished"} | summary)
    return folder


def falling(epochs, **others):
    return [
        {"train_loss": math.exp(-e), "val_loss": math.exp(-e / 2), "train_accuracy": e / 9, "val_accuracy": e / 10}
        | others
        for e in range(epochs)
    ]


BEST = {"best_epoch": 6, "best_step": 60, "best_val_loss": 0.25, "best_val_accuracy": 0.625}


def test_the_axes_hold_the_numbers_of_the_csv(tmp_path):
    rows = falling(9)
    page = figure(write(tmp_path, rows, summary=BEST))
    loss, accuracy, lr = page.axes
    for axes, quantity in ((loss, "loss"), (accuracy, "accuracy")):
        train, val, best, at = axes.lines
        for line, part in ((train, "train"), (val, "val")):
            assert line.get_label().startswith(part)
            np.testing.assert_array_equal(line.get_xdata(), range(9))
            np.testing.assert_array_equal(line.get_ydata(), [row[f"{part}_{quantity}"] for row in rows])
        assert (best.get_xdata()[0], best.get_ydata()[0]) == (6, BEST[f"best_val_{quantity}"])
        assert list(at.get_xdata()) == [6, 6]
        assert axes.get_ylabel() == quantity
    np.testing.assert_array_equal(lr.lines[0].get_ydata(), [0.5] * 9)
    assert (lr.get_ylabel(), lr.get_xlabel()) == ("lr", "epoch")
    assert page.get_suptitle() == "digits"
    legend = [text.get_text() for text in accuracy.get_legend().get_texts()]
    assert legend == ["train (last 0.8889)", "val (last 0.8000)", "best epoch 6: val 0.6250"]


def test_a_picture_of_projector_size_and_the_same_bytes_twice(tmp_path):
    folder = write(tmp_path, falling(9), summary=BEST)
    [path] = draw(folder)
    first = path.read_bytes()
    assert path == folder / "curves.png" and first.startswith(b"\x89PNG\r\n")
    height, width = imread(path).shape[:2]
    assert (width, height) == (1200, 900)
    assert draw(folder)[0].read_bytes() == first
    # Another process has another hash seed; and pyplot, with its global state, has no part in it.
    code = f"import dlrun.plots.pictures as c, sys; c.draw({str(folder)!r}); print('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
    assert path.read_bytes() == first


def test_reading_needs_only_the_csv(tmp_path):
    page = figure(write(tmp_path / "killed", falling(3)))
    assert page.get_suptitle() == "killed (no summary yet)"
    assert len(page.axes[0].lines) == 2  # no best epoch is known


@pytest.mark.parametrize(
    ("last", "unit"),
    [([0, 0.5, 1.5], "step"), ([0, 1], "step"), ([0, 1, 2], "epoch")],
    ids=["short", "two rows", "long"],
)
def test_a_run_of_less_than_two_epochs_is_drawn_over_steps(tmp_path, last, unit):
    page = figure(write(tmp_path, [{"epoch": epoch} for epoch in last], summary=BEST))
    assert page.axes[-1].get_xlabel() == unit
    assert page.axes[0].lines[-1].get_xdata()[0] == BEST[f"best_{unit}"]
    np.testing.assert_array_equal(page.axes[0].lines[0].get_xdata(), read_metrics(tmp_path)[unit])


@pytest.mark.parametrize(
    ("lowest", "scale"), [(10**-1.51, "log"), (10**-1.49, "linear"), (0.0, "linear"), (-1.0, "linear")]
)
def test_loss_is_logarithmic_from_one_and_a_half_decades(tmp_path, lowest, scale):
    rows = [{"train_loss": 1.0, "val_loss": 1.0}, {"train_loss": lowest, "val_loss": 1.0}, {"val_loss": 1.0}]
    assert figure(write(tmp_path, rows)).axes[0].get_yscale() == scale


@pytest.mark.parametrize("decades", [1.6, 2.9, 3, 5, 9])
def test_the_rates_of_a_logarithmic_panel_stand_apart(tmp_path, decades):
    rows = [{"lr": 0.3 * 10 ** (-decades * e / 19)} for e in range(20)]
    axes = figure(write(tmp_path, rows)).axes[-1]
    axes.figure.canvas.draw()
    low, high = axes.get_ylim()
    seen = [tick.label1.get_window_extent() for tick in axes.yaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    assert axes.get_yscale() == "log" and seen
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(seen))


def test_a_rate_that_is_low_for_a_moment_only_stays_on_a_linear_axis(tmp_path):
    """One cycle: three decades between its ends and its peak, near which it spends its time."""
    rows = [{"lr": 0.1 * max(1e-3, math.sin(math.pi * e / 29))} for e in range(30)]
    axes = figure(write(tmp_path, rows)).axes[-1]
    assert axes.get_yscale() == "linear" and axes.get_ylim()[0] == 0


def test_ticks_are_whole_epochs(tmp_path):
    axes = figure(write(tmp_path, falling(11))).axes[-1]
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_accuracy_is_never_logarithmic(tmp_path):
    rows = [{"train_accuracy": 0.01, "val_accuracy": 0.01}, {"train_accuracy": 0.9, "val_accuracy": 0.9}]
    assert figure(write(tmp_path, rows)).axes[1].get_yscale() == "linear"


def test_a_task_without_a_metric_has_no_middle_panel(tmp_path):
    folder = write(tmp_path, [{"train_loss": 2.0}, {}, {}], metrics=())
    assert [axes.get_ylabel() for axes in figure(folder).axes] == ["loss", "lr"]


def test_of_several_metrics_the_first_is_drawn(tmp_path):
    folder = write(tmp_path, [{}, {}, {}], metrics=("r2", "mae"))
    assert [axes.get_ylabel() for axes in figure(folder).axes] == ["loss", "r2", "lr"]


@pytest.mark.parametrize(("late", "bottom"), [(0.9, -1), (-5.0, -840)])
def test_a_hopeless_start_does_not_press_r2_flat(tmp_path, late, bottom):
    rows = [{"train_r2": r2, "val_r2": r2} for r2 in (-800.0, late, late)]
    low, high = figure(write(tmp_path, rows, metrics=("r2",))).axes[1].get_ylim()
    assert low == pytest.approx(bottom, rel=0.01) and high > late


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("bad", "finite_rows"), [(math.nan, 0), (math.inf, 1), (-math.inf, 5)])
def test_a_diverged_run_is_drawn_and_marked(tmp_path, bad, finite_rows):
    lost = dict.fromkeys(("train_loss", "val_loss", "train_accuracy", "val_accuracy", "grad_norm", "lr"), bad)
    best = {"status": "diverged"} | dict.fromkeys(BEST, None)
    folder = write(tmp_path, falling(finite_rows) + [lost] * 3, summary=best)
    page = figure(folder)
    loss = page.axes[0]
    (span,) = loss.patches
    assert span.get_x() == max(finite_rows - 1, 0) and span.get_label() == "not finite"
    assert np.isfinite(loss.lines[0].get_ydata()).sum() == finite_rows
    assert page.get_suptitle() == "digits (diverged)"
    page.canvas.draw()


def test_a_passing_spike_is_not_a_divergence(tmp_path):
    assert not figure(write(tmp_path, [{}, {"train_loss": math.inf}, {}])).axes[0].patches


def test_any_name_is_a_title(tmp_path):
    name = r"cost in $\lr of $x_1, " + "lr=0.1," * 20
    page = figure(write(tmp_path, falling(3), summary={"name": name}))
    page.canvas.draw()  # it is no formula either
    title = page.get_suptitle()
    assert title.replace("\n", "").replace(" ", "") == name.replace(" ", "")
    assert max(map(len, title.splitlines())) <= 60


def test_nothing_to_draw(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no run: it has no metrics\.csv"):
        draw(tmp_path)
    with pytest.raises(ConfigError, match="has no rows"):
        draw(write(tmp_path / "empty", []))
    assert not (tmp_path / "empty" / "curves.png").exists()


def test_networks_kept_beside_the_trained_one_have_curves_of_their_own(tmp_path):
    rows = [row | {"val_ema_loss": row["val_loss"] / 2, "val_ema_accuracy": 0.75} for row in falling(9)]
    header = columns(["accuracy"], ["ema"])
    with Run.create(tmp_path, header, "") as run:
        for index, row in enumerate(rows):
            run.append(dict.fromkeys(header, 0.5) | {"epoch": index, "step": index} | row)
    loss, accuracy, _ = figure(tmp_path).axes
    for axes, quantity in ((loss, "loss"), (accuracy, "accuracy")):
        assert axes.lines[2].get_label().startswith("ema (last")
        np.testing.assert_array_equal(axes.lines[2].get_ydata(), [row[f"val_ema_{quantity}"] for row in rows])


def test_a_range_test_has_a_picture_too(tmp_path):
    folder = write(tmp_path, falling(3), summary=BEST | {"suggested_lr": 0.03})
    steps = [{"step": i, "lr": 10.0 ** (i - 4), "loss": 2.0 - i / 4, "smoothed": 2.1 - i / 4} for i in range(1, 6)]
    append_rows(folder / RANGE, steps[:2])
    append_rows(folder / RANGE, steps[2:])
    assert [path.name for path in draw(folder)] == ["curves.png", "lr_range.png"]
    [axes] = lr_range.figure(folder).axes
    dots, average, at = axes.lines
    np.testing.assert_array_equal(dots.get_xydata(), [(row["lr"], row["loss"]) for row in steps])
    np.testing.assert_array_equal(average.get_ydata(), [row["smoothed"] for row in steps])
    assert list(at.get_xdata()) == [0.03, 0.03] and axes.get_xscale() == "log"


def test_a_picture_is_that_of_savefig(tmp_path):
    folder, file = write(tmp_path, falling(5), summary=BEST), BytesIO()
    figure(folder).savefig(file, format="png", dpi=100)
    file.seek(0)
    ours, theirs = imread(BytesIO(png(figure(folder)))), imread(file)
    assert (theirs[..., 3] == 1).all()  # nothing shines through
    np.testing.assert_array_equal(ours, theirs[..., :3])
