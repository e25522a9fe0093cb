"""The pictures of a sweep hold its numbers: means and bands, crosses where runs diverged, a cell for each pair."""

from __future__ import annotations

from itertools import combinations
from math import nan

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from dlrun.plots import comparison, effects, sensitivity
from dlrun.plots.page import apart, in_order

LONG = "architecture.hidden=[256,128,64] regularizer=[l2,dropout] regularizer.dropout.p_hidden=0.3 initializer=lsuv"


def curves(runs: dict[str, list[float]], metric: str = "val_accuracy", step: int = 10) -> pd.DataFrame:
    rows = [
        (run, epoch, step * epoch, metric, value) for run, values in runs.items() for epoch, value in enumerate(values)
    ]
    other = [(run, epoch, at, "val_other", -1.0) for run, epoch, at, *_ in rows]
    return pd.DataFrame(rows + other, columns=["run", "epoch", "step", "metric", "value"])


def band(collection: PolyCollection) -> tuple[list[float], list[float]]:
    """Lower and upper ends of a filled band at each of its places."""
    vertices = collection.get_paths()[0].vertices
    places = np.unique(vertices[:, 0])
    at = [vertices[vertices[:, 0] == place, 1] for place in places]
    return [y.min() for y in at], [y.max() for y in at]


def words(page: Figure) -> list[str]:
    return [text.get_text().replace("\u00a0", " ") for legend in page.legends for text in legend.get_texts()]


def sentence(page: Figure) -> str:
    return page.legends[0].get_title().get_text().replace("\n", " ")


def test_mean_and_band_over_seeds() -> None:
    runs = {"0": [0.1, 0.5, 0.7], "1": [0.2, 0.4, 0.9], "2": [0.6, 0.9, 0.8], "7": [0.1, 0.2, 0.3]}
    page = comparison.figure(curves(runs), {"lr=1": ["0", "1", "2"], "lr=2": ["7"]}, "val_accuracy", "sweep")
    [axes] = page.axes
    three, one = axes.lines
    values = np.array([runs[run] for run in "012"])
    np.testing.assert_allclose(three.get_xydata(), np.c_[range(3), values.mean(0)])
    np.testing.assert_array_equal(one.get_ydata(), runs["7"])
    [filled] = axes.collections
    np.testing.assert_allclose(band(filled), [values.min(0), values.max(0)])
    assert words(page) == ["lr=1 (n = 3)", "lr=2 (n = 1)"]
    assert sentence(page).startswith("line: mean over seeds, band: lowest to highest; ")
    assert (page.get_suptitle(), axes.get_xlabel(), axes.get_ylabel()) == ("sweep", "epoch", "val_accuracy")


def test_a_mean_ends_where_its_first_run_does() -> None:
    page = comparison.figure(
        curves({"a": [0.1, 0.2, 0.3, 0.9], "b": [0.3, 0.4]}), {"x": ["a", "b"]}, "val_accuracy", ""
    )
    np.testing.assert_allclose(page.axes[0].lines[0].get_xydata(), [[0, 0.2], [10, 0.3]] * np.array([0.1, 1]))


def test_runs_shorter_than_two_epochs_are_drawn_over_steps() -> None:
    [axes] = comparison.figure(curves({"a": [0.1, 0.2]}, step=7), {"x": ["a"]}, "val_accuracy", "").axes
    assert axes.get_xlabel() == "step" and axes.lines[0].get_xdata().tolist() == [0, 7]


def test_the_best_eight_are_drawn_and_the_picture_says_so() -> None:
    runs = {str(i): [0.1, i / 10, i / 10] for i in range(10)}
    page = comparison.figure(curves(runs), {f"k={i}": [i] for i in runs}, "val_accuracy", "")
    assert words(page) == [f"k={i} (n = 1)" for i in range(8)]
    assert sentence(page).startswith("the 8 best of 10 settings by validation; ")
    assert len({line.get_color() for line in page.axes[0].lines}) == 8


def test_a_setting_has_one_colour_on_all_datasets_and_their_order_is_told() -> None:
    runs = {"0": [0.1, 0.2, 0.3], "1": [0.5, 0.6, 0.7], "2": [3.0, 2.0, 1.0]}
    both = pd.concat([curves({run: runs[run] for run in "01"}), curves({"2": runs["2"]}, "val_loss")])
    shown = {"iris": ("val_accuracy", {"a": ["0"], "b": ["1"]}), "sine": ("val_loss", {"b": ["2"]})}
    page = comparison.on_datasets(both, shown, "x", ["b", "a"], "by rank", {"a on sine": "1 of 1 diverged"})
    iris, sine = page.axes
    assert [axes.get_title() for axes in (iris, sine)] == ["iris", "sine"]
    assert {line.get_color(): line.get_ydata().tolist() for line in iris.lines} == {
        comparison.COLOURS[0]: runs["1"], comparison.COLOURS[1]: runs["0"],
    }  # fmt: skip
    assert [line.get_color() for line in sine.lines] == [comparison.COLOURS[0]] and sine.get_ylabel() == "val_loss"
    assert words(page) == ["b", "a", "a on sine: 1 of 1 diverged"] and sentence(page).startswith("settings by rank; ")


def test_of_many_seeds_the_band_holds_the_middle_half() -> None:
    """Lowest and highest of 50 would only tell of the rarest."""
    values = np.random.default_rng(0).normal(size=(50, 3))
    runs = {str(i): list(row) for i, row in enumerate(values)}
    page = comparison.figure(curves(runs), {"x": list(runs), "y": ["0", "1"]}, "val_accuracy", "")
    filled = page.axes[0].collections[0]
    np.testing.assert_allclose(band(filled), np.quantile(values, [0.25, 0.75], axis=0))
    assert sentence(page).startswith("line: mean over seeds, band: the middle half of them; ")


def test_settings_that_end_close_to_each_other_are_shown_closer() -> None:
    """30 curves from 0.1 to about 0.98, and one that stays at the bottom: a second panel has what the frame holds."""
    rise = 1 - 0.9 * np.exp(-np.arange(21) / 3)
    runs = {str(i): list(rise * (0.97 + i / 3000)) for i in range(7)} | {"bad": [0.1] * 21}
    page = comparison.figure(curves(runs), {f"k={i}": [i] for i in runs}, "val_accuracy", "sweep")
    whole, closer = page.axes
    late = np.array([runs[str(i)][10:] for i in range(7)])
    low, high = closer.get_ylim()
    assert low < late.min() and late.max() < high and high - low < 1.3 * np.ptp(late)
    left, right = closer.get_xlim()
    assert 9 < left <= 10 and 20 <= right < 21
    [frame] = whole.patches
    np.testing.assert_allclose(frame.get_bbox().extents, [left, low, right, high])
    assert whole.get_ylim()[0] < 0.1 and closer.get_title() == "framed: its second half (1 outside)"
    assert [line.get_label() for line in closer.lines] == [line.get_label() for line in whole.lines]


def test_curves_that_stand_apart_need_no_second_panel() -> None:
    runs = {"a": [0.1, 0.4, 0.5], "b": [0.1, 0.8, 0.9]}
    assert len(comparison.figure(curves(runs), {"x": ["a"], "y": ["b"]}, "val_accuracy", "").axes) == 1
    assert len(comparison.figure(curves({"a": [0.1, 0.9, 0.91, 0.92]}), {"x": ["a"]}, "val_accuracy", "").axes) == 1


def test_a_loss_is_shown_closer_where_its_decades_are_close() -> None:
    fall = 10.0 ** -np.linspace(0, 4, 21)
    runs = {"a": list(fall), "b": list(1.1 * fall), "lost": [1e30] * 21}
    whole, closer = comparison.figure(curves(runs, "val_loss"), {n: [n] for n in runs}, "val_loss", "").axes
    assert whole.get_yscale() == closer.get_yscale() == "log"  # two decades are left
    assert closer.get_ylim()[0] < fall[-1] < 1.1 * fall[10] < closer.get_ylim()[1] < 0.1


def test_what_became_of_runs_that_are_not_drawn_is_told() -> None:
    fates = {"lr=1": "1 of 3 diverged"} | {f"lr={i}": "3 of 3 diverged" for i in (10, 20, 30, 40, 50)}
    page = comparison.figure(curves({"a": [0.1, 0.2, 0.3]}), {"lr=1": ["a"]}, "val_accuracy", "", fates)
    assert words(page) == [
        "lr=1 (n = 1; 1 of 3 diverged)", *(f"lr={i}: 3 of 3 diverged" for i in (10, 20, 30)),
        "and 2 more with unfinished runs",
    ]  # fmt: skip


def test_ticks_are_whole_epochs() -> None:
    [axes] = comparison.figure(curves({"a": [0.1] * 21}), {"x": ["a"]}, "val_accuracy", "").axes
    ticks = axes.get_xticks()
    assert len(ticks) > 3 and all(tick == round(tick) for tick in ticks)
    axes.figure.canvas.draw()
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"{tick:.0f}" for tick in ticks]


@pytest.mark.parametrize(("metric", "scale"), [("val_loss", "log"), ("val_rate", "linear")])
def test_only_a_loss_that_falls_far_is_logarithmic(metric: str, scale: str) -> None:
    [axes] = comparison.figure(curves({"a": [1.0, 0.1, 0.001]}, metric), {"x": ["a"]}, metric, "").axes
    assert axes.get_yscale() == scale


def test_a_hopeless_setting_does_not_press_the_others_flat() -> None:
    data = curves({"a": [-800.0, 0.1, 0.5], "b": [-9.0, -8.0, -7.0]}, "val_r2")
    [axes] = comparison.figure(data, {"x": ["a"], "y": ["b"]}, "val_r2", "").axes
    assert axes.get_ylim() == (-1, 1.05) and axes.get_ylabel() == "val_r2 (cut at -1)"


def test_dollars_are_no_formula() -> None:
    page = comparison.figure(curves({"a": [0.1, 0.2, 0.3]}), {r"name=$\frac$": ["a"]}, "val_accuracy", r"$\frac$")
    page.canvas.draw()


def found() -> pd.DataFrame:
    rows = [
        ("adam", 0.1, 0.5, 0.4, 0.6, 0), ("sgd", 0.01, 0.6, 0.5, 0.7, 0), ("adam", 0.01, 0.9, 0.8, 0.95, 0),
        ("sgd", 10.0, np.nan, np.nan, np.nan, 3), ("sgd", 0.1, 0.8, 0.7, 0.9, 1),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["optimizer", "lr", "mean", "low", "high", "diverged"])
    return frame.assign(runs=3, line="optimizer=" + frame["optimizer"])


def test_a_result_over_the_learning_rate() -> None:
    lines = ["optimizer=adam", "optimizer=sgd"]
    page = sensitivity.figure(found(), lines, "last val_accuracy", "sweep")
    [axes] = page.axes
    adam, sgd, crosses = axes.lines
    np.testing.assert_array_equal(adam.get_xydata(), [[0.01, 0.9], [0.1, 0.5]])
    np.testing.assert_array_equal(sgd.get_xydata(), [[0.01, 0.6], [0.1, 0.8], [10, np.nan]])
    assert crosses.get_xdata().tolist() == [0.1, 10] and crosses.get_color() == sgd.get_color()
    np.testing.assert_array_equal(band(axes.collections[0]), [[0.8, 0.4], [0.95, 0.6]])
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "lr" and words(page) == lines
    assert sentence(page).endswith("cross: runs that diverged")
    assert [(text.get_text(), text.xy[0]) for text in axes.texts] == [("1 of 3", 0.1), ("3 of 3", 10)]


def test_a_pair_of_values_has_a_cell() -> None:
    page = sensitivity.heatmap(found(), ("optimizer", "lr"), "last val_accuracy", "sweep", larger_is_better=True)
    axes, bar = page.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("lr", "optimizer")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.01", "0.1", "10"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["adam", "sgd"]
    cells = axes.images[0].get_array().filled(np.nan)
    np.testing.assert_array_equal(cells, [[0.9, 0.5, np.nan], [0.6, 0.8, np.nan]])
    texts = {text.xy: text.get_text() for text in axes.texts}
    assert texts[0, 0] == "0.900" and texts[1, 1] == "0.800\n1 of 3\ndiverged" and texts[2, 1] == "3 of 3\ndiverged"
    assert (2, 0) not in texts  # adam was not tried there
    assert bar.get_ylabel() == "last val_accuracy, mean over seeds"


def test_points_that_were_drawn_lie_where_their_numbers_are() -> None:
    place = np.random.default_rng(0)
    lr, momentum = 10 ** place.uniform(-4, 0, 40), place.uniform(0, 1, 40)
    means = np.where(np.arange(40) < 2, np.nan, place.uniform(0, 1, 40))
    frame = pd.DataFrame({"momentum": momentum, "lr": lr, "mean": means, "low": means, "high": means})
    frame = frame.assign(runs=1, diverged=np.isnan(means).astype(int), line=[f"momentum={m}" for m in momentum])
    page = sensitivity.heatmap(frame, ("momentum", "lr"), "m", "", larger_is_better=True)
    axes, bar = page.axes
    [dots] = [each for each in axes.collections if len(each.get_offsets()) == 38]
    best_last = frame[2:].sort_values("mean")
    np.testing.assert_array_equal(dots.get_offsets(), best_last[["lr", "momentum"]])
    np.testing.assert_array_equal(dots.get_array(), best_last["mean"])
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), frame[:2][["lr", "momentum"]])
    assert axes.get_xscale() == "log" and axes.get_yscale() == "linear" and not axes.images
    assert axes.get_title() == "cross: no run finished" and bar.get_ylabel() == "m, mean over seeds"
    lines = frame.sort_values("mean", ascending=False)["line"].tolist()
    page = sensitivity.figure(frame, lines, "m", "")
    grey = page.axes[0].lines[0]
    assert len(grey.get_xdata()) == 40 and "8 best of 40 settings by validation, and the others in grey" in sentence(
        page
    )


def test_numbers_come_in_their_order_and_words_after_them() -> None:
    cells = [{"batch_size": size, "lr": lr, "mean": 0.5, "runs": 1, "diverged": 0}
             for size in ("64", "full", "8", "256", "16", "auto") for lr in (1, 0.1)]  # fmt: skip
    page = sensitivity.heatmap(pd.DataFrame(cells), ("batch_size", "lr"), "m", "", larger_is_better=True)
    assert [tick.get_text() for tick in page.axes[0].get_yticklabels()] == ["8", "16", "64", "256", "full", "auto"]


@pytest.mark.parametrize(
    ("means", "shown"),
    [
        ([0.97, 0.978, 0.9], ["0.970", "0.978", "0.900"]),
        ([0.97, 0.9781, 0.9779], ["0.9700", "0.9781", "0.9779"]),
        ([1.0, 0.5, 0.97], ["1.000", "0.500", "0.970"]),
        ([54.7, 120.0, 81.0], ["55", "120", "81"]),
        ([1e-5, 0.1, 3.0], ["1e-05", "0.1", "3"]),
    ],
)
def test_all_numbers_of_a_picture_have_the_same_decimals(means: list[float], shown: list[str]) -> None:
    cells = [{"x": i, "y": "a", "mean": mean, "runs": 1, "diverged": 0} for i, mean in enumerate(means)]
    page = sensitivity.heatmap(pd.DataFrame(cells), ("x", "y"), "m", "", larger_is_better=False)
    assert [text.get_text() for text in page.axes[0].texts] == shown


def test_one_that_is_far_off_does_not_make_the_others_look_alike() -> None:
    cells = [{"x": i, "y": "a", "mean": mean, "runs": 1, "diverged": 0}
             for i, mean in enumerate([0.83, 0.80, 0.81, 0.82, -771])]  # fmt: skip
    image = sensitivity.heatmap(pd.DataFrame(cells), ("x", "y"), "m", "", larger_is_better=True).axes[0].images[0]
    assert (image.norm.vmin, image.norm.vmax) == (0.8, 0.83)
    assert image.colorbar.extend == "min" and image.cmap(image.norm(-771)) != image.cmap(image.norm(0.8))


def labels_of(axes: Axes) -> list[Text]:
    """The labels of both axes that are seen."""
    ends = {axes.xaxis: sorted(axes.get_xlim()), axes.yaxis: sorted(axes.get_ylim())}
    ticks = [(tick, low, high) for axis, (low, high) in ends.items() for tick in axis.get_major_ticks()]
    return [tick.label1 for tick, low, high in ticks if low <= tick.get_loc() <= high and tick.label1.get_text()]


def collisions(texts: list[Text]) -> list[tuple[str, str]]:
    """Pairs of texts that lie on one another once the page is laid out."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    return [(a, b) for (a, one), (b, other) in combinations(boxes, 2) if one.overlaps(other)]


@pytest.mark.parametrize("names", [["sgd"], ["a=1 b=2"] * 24, [f"{LONG} optimizer=o{i} lr={i}" for i in range(24)]])
def test_names_of_any_length_leave_half_of_the_page_to_the_curves(names: list[str]) -> None:
    runs = {str(i): [0.1, 0.5, 0.9] for i in range(len(names))}
    settings = {f"{name} seed{i}": [str(i)] for i, name in enumerate(names)}
    page = comparison.figure(curves(runs), settings, "val_accuracy", "sweep")
    page.canvas.draw()
    [legend], [axes] = page.legends, page.axes
    box = legend.get_window_extent()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= page.bbox.width
    assert axes.get_window_extent().height >= 0.4 * page.bbox.height
    assert [text.replace("\n", " ") for text in words(page)] == [f"{name} (n = 1)" for name in list(settings)[:8]]


def test_no_two_lines_look_alike_on_a_projector() -> None:
    runs = {str(i): [0.1, 0.5, 0.9] for i in range(8)}
    page = comparison.figure(curves(runs), {run: [run] for run in runs}, "val_accuracy", "sweep")
    shades = [(np.dot(to_rgb(line.get_color()), (0.3, 0.59, 0.11)), line) for line in page.axes[0].lines]
    dark = [line for shade, line in shades if shade < 0.36 and np.ptp(to_rgb(line.get_color())) < 0.1]
    assert len(dark) == 2 and len({line.get_linestyle() for line in dark}) == 2  # black and grey


@pytest.mark.parametrize(
    "rates", [[0.02, 0.05], [0.03, 0.04], [0.1], np.geomspace(1e-5, 1, 7), np.geomspace(1e-4, 1, 40)]
)
def test_swept_rates_are_on_the_axis(rates: list[float]) -> None:
    rows = {"lr": rates, "mean": 0.5, "low": 0.4, "high": 0.6, "runs": 1, "diverged": 0, "line": ""}
    page = sensitivity.figure(pd.DataFrame(rows), [""], "last val_accuracy", "sweep")
    page.canvas.draw()
    [axes] = page.axes
    low, high = axes.get_xlim()
    shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert shown == list(rates) if len(rates) < 9 else 5 <= len(shown) <= 10 and set(shown) <= set(rates)
    assert not collisions(labels_of(axes))


@pytest.mark.parametrize(
    ("across", "up"),
    [
        (["sgd", "adam"], [0.1, 0.01]),
        ([f"[l2,dropout,label_smoothing,early_stopping{i}]" for i in range(8)], [f"[512,256,{i}]" for i in range(7)]),
        (list(np.geomspace(1e-5, 1, 20)), list(range(12))),
        (list(np.geomspace(1e-5, 1, 12)), list(range(10))),
    ],
)
def test_no_word_of_a_heat_map_lies_on_another(across: list[object], up: list[object]) -> None:
    cells = [{"x": x, "y": y, "mean": 0.000123, "runs": 10, "diverged": 10} for x in across for y in up]
    page = sensitivity.heatmap(pd.DataFrame(cells), ("x", "y"), "m", "heading " * 20, larger_is_better=True)
    page.canvas.draw()
    axes = page.axes[0]
    assert len(labels_of(axes)) == len(across) + len(up)
    assert not collisions([*labels_of(axes), *axes.texts])
    heading = page.texts[0].get_window_extent()
    assert heading.x0 >= 0 and heading.x1 <= page.bbox.width


def test_the_brighter_the_better() -> None:
    for better, best in ((True, 0.9), (False, 0.5)):
        page = sensitivity.heatmap(found(), ("lr", "optimizer"), "m", "", larger_is_better=better)
        image = page.axes[0].images[0]
        brightness = {mean: sum(image.cmap(image.norm(mean))[:3]) for mean in (0.5, 0.6, 0.8, 0.9)}
        assert max(brightness, key=lambda mean: brightness[mean]) == best


@pytest.mark.parametrize(("lowest", "wide"), [(0.01, True), (0.1, False)])
def test_colours_follow_decades_where_there_are_many(lowest: float, wide: bool) -> None:
    frame = found().assign(mean=[lowest, 0.6, 0.9, np.nan, 0.8])
    image = sensitivity.heatmap(frame, ("lr", "optimizer"), "m", "", larger_is_better=False).axes[0].images[0]
    assert isinstance(image.norm, LogNorm) == wide


def test_bands_without_a_height_are_not_spoken_of() -> None:
    equal = comparison.figure(curves({"a": [0.1, 0.2], "b": [0.1, 0.2]}), {"x": ["a", "b"]}, "val_accuracy", "")
    apart = comparison.figure(curves({"a": [0.1, 0.2], "b": [0.1, 0.3]}), {"x": ["a", "b"]}, "val_accuracy", "")
    assert "band" not in sentence(equal) and "band: lowest to highest" in sentence(apart)
    row = {"line": "", "mean": 0.5, "low": 0.5, "high": 0.5, "runs": 2, "diverged": 0}
    frame = pd.DataFrame([{**row, "lr": lr} for lr in (0.1, 0.2)])
    assert "band" not in sentence(sensitivity.figure(frame, [""], "m", ""))


def test_lists_of_numbers_have_their_order_and_close_ticks_are_left_out() -> None:
    assert in_order(["[16]", "relu", "[4]", "2", "10", "[4,8]"]) == ["2", "10", "[4]", "[4,8]", "[16]", "relu"]
    assert apart([1, 1.1, 10, 100, 99]) == [1, 10, 99]
    rates = [0.001, 0.0011, 0.01, 0.5, 0.51, *np.geomspace(0.02, 0.9, 9)]
    for last in (5, None):
        means = {"lr": [(f"{rate:.4g}", rate) for rate in sorted(rates[:last])]}
        page = effects.figure({"": effects.Shown([effects.Bar("lr", 1, nan, nan, 1)], means, {"lr"}, "m")}, "", "")
        page.canvas.draw()
        labels = [text for text in page.axes[1].get_xticklabels() if text.get_text()]
        ends = [page.axes[1].transData.transform((float(text.get_text()), 1))[0] for text in labels]
        slanted = labels[0].get_rotation() == 45
        assert len(labels) > 2 and (slanted or not collisions(labels))
        assert min(np.diff(ends)) * 0.5**0.5 > labels[0].get_fontsize() * page.dpi / 72  # between slanted lines
