"""What diagnostics saw, side by side for a sweep's settings: the means of the tables, on axes that all share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from test_report import evaluations, write_run

from dlrun.errors import ConfigError
from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table
from dlrun.folder.wellformed import COLUMNS
from dlrun.plots import beside
from dlrun.plots.comparison import DRAWN, SEEDS
from dlrun.plots.diagnostics import calibration
from dlrun.plots.diagnostics.activations import figure as figure_of_activations
from dlrun.plots.page import png
from dlrun.report import beside as chosen
from dlrun.report import collect, pictures
from dlrun.report.findings import find


def long(values: dict[tuple[str, str], Sequence[float]], epochs: Sequence[float] = (0, 1, 2)) -> pd.DataFrame:
    """A table of values over the epochs, by layer and quantity, in the order of a training."""
    rows = [
        (epoch, int(10 * epoch), layer, quantity, each[i])
        for i, epoch in enumerate(epochs)
        for (layer, quantity), each in values.items()
    ]
    return pd.DataFrame(rows, columns=["epoch", "step", "layer", "quantity", "value"])


def activations(middle: float, *, spread: float = 1.0, layer: str = "6 ReLU") -> pd.DataFrame:
    """What the last of two layers takes in has these percentiles, rising by 1 an epoch; all others are 100."""
    others = {
        (name, f"{kind}p{p}"): [100.0] * 3
        for name in ("3 ReLU", layer) for kind in ("", "input_") for p in (15, 50, 85)
    }  # fmt: skip
    found = {
        (layer, f"input_p{p}"): [middle + off + epoch for epoch in range(3)]
        for p, off in ((15, -spread), (50, 0), (85, spread))
    }
    return long(others | found | {("output", f"p{p}"): [100.0] * 3 for p in (15, 50, 85)})


def lines(page: Figure) -> list[list[list[float]]]:
    """What is drawn in each panel that is shown."""
    return [
        [np.asarray(line.get_ydata()).tolist() for line in axes.get_lines()]
        for axes in page.axes
        if axes.get_title() and axes.get_visible()
    ]


def sentence(page: Figure) -> str:
    return page.legends[0].get_title().get_text().replace("\n", " ")


def test_percentiles_of_the_last_hidden_layers_inputs_are_means_over_seeds() -> None:
    page = beside.figure(
        "activations", {"a=$1$": [activations(0), activations(1)], "a=2": [activations(-3, layer="8 ReLU")]}, "sweep"
    )
    first, second = lines(page)
    assert first == [[-0.5, 0.5, 1.5], [1.5, 2.5, 3.5], [0.5, 1.5, 2.5]]  # 15th, 85th and, on top of them, 50th
    assert second == [[-4, -3, -2], [-2, -1, 0], [-3, -2, -1]]
    one, two = page.axes[:2]
    assert one.get_ylim() == two.get_ylim() == pytest.approx((-4 - 0.05 * 7.5, 3.5 + 0.05 * 7.5))
    assert one.get_title() == "a=$1$" and not one.title.get_parse_math()
    assert one.get_xlabel() == "epoch" and page.get_supylabel() == "last hidden layer's inputs"
    assert sentence(page) == "15th, 50th and 85th percentile, mean over seeds"


def test_units_without_inputs_show_what_they_put_out() -> None:
    frame = activations(0)
    gates = frame[~frame["quantity"].str.startswith("input_")].assign(value=lambda rows: rows["value"] + 1)
    [panel] = lines(beside.figure("activations", {"all runs": [gates]}, "sweep"))
    assert panel == [[101] * 3] * 3


def test_a_mean_ends_where_the_first_of_its_seeds_does() -> None:
    whole = activations(0)
    short = whole[whole["epoch"] < 2]
    [panel] = lines(beside.figure("activations", {"all runs": [whole, short]}, "sweep"))
    assert panel[2] == [0, 1]
    few = short.assign(epoch=short["epoch"] / 10)
    page = beside.figure("activations", {"all runs": [few]}, "sweep")
    assert page.axes[0].get_xlabel() == "step" and page.axes[0].get_lines()[0].get_xdata().tolist() == [0, 10]


def test_norms_and_ratios_have_a_line_for_each_weight() -> None:
    values = {"1.weight": [8.0, 4.0, 2.0], "1.bias": [7.0] * 3, "4.weight": [800.0, 400.0, 0.0]}
    table = {(layer, quantity): each for layer, each in values.items() for quantity in ("norm", "ratio", "std")}
    table = {key: [2 * x for x in each] if key[1] == "std" else each for key, each in table.items()}
    frame = long(table | {("all", "ratio"): [5.0] * 3, ("3 ReLU", "norm"): [6.0] * 3})
    for name in ("gradients", "updates"):
        page = beside.figure(name, {"a": [frame], "b": [frame]}, "sweep")
        np.testing.assert_array_equal(lines(page), [[[8, 4, 2], [800, 400, np.nan]]] * 2)
        assert page.axes[0].get_yscale() == "log" and sentence(page) == "mean over seeds; a gap where it is 0"
    ends = {
        (layer, f"p{p}"): [float(p + i)] * 3 for i, layer in enumerate(("1.weight", "4.weight")) for p in (15, 50, 85)
    }
    [panel] = lines(beside.figure("weights", {"a": [long(ends)]}, "sweep"))
    assert panel == [[15] * 3, [85] * 3, [50] * 3]


def test_one_that_is_far_off_does_not_press_the_others_flat() -> None:
    found = {"a": [activations(0)], "b": [activations(1)], "far": [activations(1e30)], "lost": [activations(np.nan)]}
    page = beside.figure("activations", found, "sweep")
    assert page.axes[0].get_ylim() == pytest.approx((-1.25, 4.25), abs=0.1)
    assert "of 1 not all is in view" in sentence(page)
    assert [text.get_text() for axes in page.axes for text in axes.texts] == ["not finite"]
    assert len(png(page)) > 5000


@pytest.mark.parametrize("settings", [1, 2, 5, 7, 40])
def test_every_panel_has_its_axes_and_the_name_above_it_room(settings: int) -> None:
    name = "architecture.hidden=[512,512] optimizer=adam initializer=xavier_normal normalization=batch lr="
    page = beside.figure("activations", {f"{name}{i}": [activations(i)] for i in range(settings)}, "sweep")
    page.set_dpi(100)
    page.canvas.draw()
    shown = [axes for axes in page.axes if axes.get_visible()]
    assert len(shown) == min(settings, DRAWN)
    boxes = [axes.title.get_window_extent() for axes in shown]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(box.x0 >= 0 and box.x1 <= 1200 and box.y1 <= 900 for box in boxes)
    lowest = {round(axes.get_position().x0, 3): axes for axes in sorted(shown, key=lambda a: -a.get_position().y0)}
    for axes in lowest.values():
        assert axes.get_xlabel() == "epoch" and any(t.get_text() and t.get_visible() for t in axes.get_xticklabels())


def test_what_a_single_run_has_at_one_moment_alone_is_seen(tmp_path: Path) -> None:
    quantities = ("std", "saturated", "dead", *(f"{kind}p{p}" for kind in ("", "input_") for p in (15, 50, 85)))
    values = {("3 ReLU", quantity): [float(i + 1), np.nan] for i, quantity in enumerate(quantities)}
    long(values, epochs=(0, 2)).to_csv(tmp_path / "activations.csv", index=False, na_rep="nan")
    *_, percentiles = figure_of_activations(tmp_path).axes
    drawn = {line.get_ydata()[0] for line in percentiles.get_lines() if line.get_marker() in ("o", "_")}
    assert drawn == {4, 5, 6, 7, 8, 9}
    long({key: [np.nan] * 2 for key in values}, epochs=(0, 2)).to_csv(
        tmp_path / "activations.csv", index=False, na_rep="nan"
    )
    first = figure_of_activations(tmp_path).axes[0]
    assert [text.get_text() for text in first.texts] == ["not finite"]


def test_tables_that_are_too_large_are_refused(tmp_path: Path) -> None:
    names = ",".join(f"c{i}" for i in range(COLUMNS + 1))
    (tmp_path / "fit.csv").write_text(f"{names}\n")
    with pytest.raises(ConfigError, match=r"it has 10,001 columns"):
        read_table(tmp_path, "fit.csv")
    (tmp_path / "fit.csv").write_text(f"layer\n{'x' * 1001}\n")
    with pytest.raises(ConfigError, match=r"line 2: layer has 1,001 letters"):
        read_table(tmp_path, "fit.csv")
    row = {"low": 0.0, "high": 1.0, "samples": 1.0, "accuracy": 1.0, "confidence": 1.0, "share": 1.0}
    pd.DataFrame([row] * 10_001).to_csv(tmp_path / "calibration.csv", index=False)
    with pytest.raises(ConfigError, match="10,001 bins, too many to be drawn"):
        calibration.figure(tmp_path)


# Which tables these are


def run(folder: Path, *overrides: str, table: pd.DataFrame | str | None, **options: object) -> None:
    write_run(folder, *overrides, **options)  # type: ignore[arg-type]
    if isinstance(table, str):
        (folder / table_of("activations")).write_text(table)
    elif table is not None:
        table.to_csv(folder / table_of("activations"), index=False, na_rep="nan")


def seen(folder: Path) -> chosen.Seen:
    runs = collect.find([folder])
    collect.write_tables([folder], folder)
    found = find(collect.table(folder), runs, evaluations(runs))
    return chosen.seen("activations", found, runs, {name: f"<{name}>" for name in found.settings["setting"]})


def test_the_best_settings_that_have_a_table_and_their_finished_runs(tmp_path: Path) -> None:
    for i in range(12):
        table = None if i == 11 else activations(i)
        run(tmp_path / f"{i}", f"lr={i}", "seed=0", table=table, accuracy=0.01 * i)
    run(tmp_path / "12", "lr=10", "seed=1", table=activations(99), status="diverged")
    found = seen(tmp_path)
    assert list(found.tables) == [f"<lr={i}>" for i in (9, 8, 7, 6, 5, 4, 3, 2)]  # some of lr=10 have diverged
    assert found.left_out == "the 8 best of 11 settings by validation" and not found.damaged
    pd.testing.assert_frame_equal(found.tables["<lr=9>"][0], activations(9).astype({"epoch": float, "step": float}))


def test_a_setting_that_has_only_diverged_shows_how(tmp_path: Path) -> None:
    run(tmp_path / "0", "lr=1", "seed=0", table=activations(1))
    run(tmp_path / "1", "lr=2", "seed=0", table=activations(2), status="diverged")
    run(tmp_path / "2", "lr=1", "seed=1", table=activations(3), status="diverged")
    found = seen(tmp_path)
    assert {name: len(tables) for name, tables in found.tables.items()} == {"<lr=1>": 1, "<lr=2>": 1}


def test_of_very_many_seeds_the_first_are_read(tmp_path: Path) -> None:
    for seed in range(SEEDS + 1):
        run(tmp_path / str(seed), f"seed={seed}", table=activations(seed))
    found = seen(tmp_path)
    assert [table["value"].iloc[3] for table in found.tables["<>"]] == [100.0] * SEEDS
    assert found.left_out == "the first 10 seeds of each"


DAMAGED: dict[str, Callable[[Path], object]] = {
    "no table": lambda file: file.write_text("epoch,step\n0,0\n"),
    "no rows": lambda file: file.write_text("epoch,step,layer,quantity,value\n"),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "a link": lambda file: (file.rename(file.with_suffix(".x")), file.symlink_to(file.with_suffix(".x"))),
    "no number": lambda file: file.write_text("epoch,step,layer,quantity,value\n0,0,a,p50,=1+1\n"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_table_is_named_and_the_others_are_shown(damage: str, tmp_path: Path) -> None:
    for i in range(2):
        run(tmp_path / str(i), f"lr={i}", "seed=0", table=activations(i))
    DAMAGED[damage](tmp_path / "1" / "activations.csv")
    found = seen(tmp_path)
    assert list(found.tables) == ["<lr=0>"]
    [line] = found.damaged
    assert line.startswith("left out of the picture: ") and str(tmp_path / "1" / "activations.csv") in line


def test_a_table_that_cannot_be_drawn_costs_its_picture_alone(tmp_path: Path) -> None:
    run(tmp_path / "0", "lr=1", "seed=0", table=activations(0))
    twice = pd.concat([activations(0), activations(1)])
    run(tmp_path / "1", "lr=2", "seed=0", table=twice)
    runs = collect.find([tmp_path])
    collect.write_tables([tmp_path], tmp_path)
    found = find(collect.table(tmp_path), runs, evaluations(runs))
    drawn = pictures.draw(found, evaluations(runs), "sweep", runs)
    assert [*drawn.shown] == ["comparison", "sensitivity"]
    assert any(note.startswith("there is no picture of activations: activations.csv cannot") for note in found.notes)
