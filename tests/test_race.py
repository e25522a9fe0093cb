"""Pictures of surfaces hold their tables: contours, cuts, lines and paths; and a race runs at an even pace."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.axes3d import Axes3D
from PIL import Image
from test_report import evaluations

from dlrun.command.cli import main
from dlrun.folder.reading import read_table
from dlrun.plots.comparison import COLOURS
from dlrun.plots.diagnostics import interpolation, landscape, paths, race, trajectory
from dlrun.plots.diagnostics.contours import LEVELS, label_of, levels_of, surface
from dlrun.plots.diagnostics.race import Racer
from dlrun.plots.film import gif, mp4
from dlrun.plots.page import png, seen
from dlrun.plots.pictures import draw_diagnostics
from dlrun.report import collect
from dlrun.report.findings import find
from dlrun.report.race import racers


def dlrun(*words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["dlrun", *words])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code


def table(folder: Path, name: str, frame: pd.DataFrame) -> Path:
    folder.mkdir(exist_ok=True)
    frame.to_csv(folder / f"{name}.csv", index=False, na_rep="nan")
    return folder


def plane(x: Sequence[float], y: Sequence[float], names: tuple[str, str] = ("theta_0", "theta_1")) -> pd.DataFrame:
    """A bowl around (1, 0) whose lowest value is 0.5, as a surface."""
    rows = [(a, b, 0.5 + (a - 1) ** 2 + b**2) for a in x for b in y]
    frame = pd.DataFrame(rows, columns=[*names, "objective"])
    return frame.assign(loss=frame["objective"])


def words(page: Figure) -> list[str]:
    return [text.get_text() for text in page.legends[0].get_texts()]


# Contours


def test_contours_lie_closer_where_it_is_lower() -> None:
    wide = 3 + np.geomspace(1e-4, 1e4, 400)
    levels = levels_of([np.append(wide, [np.nan, np.inf])])
    assert levels[0] == wide.min() and levels[-1] == wide.max() and len(levels) == LEVELS + 1
    ratios = np.diff(np.log(levels[1:] - levels[0]))
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-3)
    narrow = np.linspace(-2, 2, 50)
    np.testing.assert_allclose(
        levels_of([narrow[:20], 2 + narrow[:20]]), levels_of([np.r_[narrow[:20], 2 + narrow[:20]]])
    )
    spikes = np.append(wide, [1e12, np.inf])
    assert 0.8 * wide.max() < levels_of([spikes])[-1] <= wide.max()  # a spike leaves the contours to the rest
    near = np.linspace(5, 6, 3)
    np.testing.assert_allclose(levels_of([near]), np.linspace(5, 6, LEVELS + 1))
    assert not len(levels_of([np.full(4, 2.0)])) and not len(levels_of([np.full(4, np.nan)]))


def test_what_is_drawn_has_its_name() -> None:
    frame = pd.DataFrame({"objective": [1.0, np.nan], "loss": [1.0, np.nan]})
    assert label_of(frame) == "loss"
    assert label_of(frame.assign(loss=[0.5, np.nan])) == "objective that is minimised"


def test_a_landscape_and_its_cuts(tmp_path: Path) -> None:
    axis = [-1.0, -0.5, 0.0, 0.5, 1.0]
    frame = plane(axis, axis, ("alpha", "beta")).assign(accuracy=0.5)
    frame.loc[0, ["objective", "loss"]] = np.nan
    page = landscape.figure(table(tmp_path / "run", "landscape", frame))
    contours, cuts = page.axes[0], page.axes[1]
    assert [line.get_xydata().tolist() for line in contours.get_lines()] == [[[0, 0]]]
    along = {str(line.get_label()): line.get_xydata() for line in cuts.get_lines()}
    np.testing.assert_allclose(along["along α"], [(a, 0.5 + (a - 1) ** 2) for a in axis])
    np.testing.assert_allclose(along["along β"], [(b, 1.5 + b**2) for b in axis])
    np.testing.assert_allclose(along["the network"], [(0, 1.5)])
    assert words(page) == ["along α", "along β", "the network"]
    [bar] = [axes for axes in page.axes if axes.get_label() == "<colorbar>"]
    assert bar.get_ylabel() == "loss" and bar.get_ylim() == pytest.approx((0.5, 5.5))
    assert contours.get_xlabel() == "α" and page.get_suptitle().startswith("landscape: run")

    line = landscape.figure(table(tmp_path / "line", "landscape", frame[frame["beta"] == 0].drop(columns="beta")))
    [axes] = line.axes
    assert axes.get_ylabel() == "loss" and words(line) == ["the network"]
    np.testing.assert_allclose(axes.get_lines()[0].get_xydata(), [(a, 0.5 + (a - 1) ** 2) for a in axis])


def test_a_landscape_from_the_side_rises_as_its_colours_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axis = np.linspace(-1, 1, 5)
    frame = plane(axis, axis, ("alpha", "beta"))
    frame["objective"] = frame["loss"] = np.exp(3 * frame["alpha"]) + np.exp(4 * frame["beta"])
    frame.loc[3, ["objective", "loss"]] = np.nan
    surfaces = []
    plot = Axes3D.plot_surface
    monkeypatch.setattr(Axes3D, "plot_surface", lambda *given, **how: surfaces.append(given) or plot(*given, **how))
    page = landscape.figure(table(tmp_path / "run", "landscape", frame))
    [(side, x, y, height)] = surfaces
    z = np.exp(3 * x) + np.exp(4 * y)
    z[3, 0] = np.nan
    levels = levels_of([z])
    np.testing.assert_allclose(height, np.interp(z, levels, range(len(levels)), left=np.nan))
    assert np.isnan(height[3, 0]) and np.isfinite(height).sum() == 24
    assert side in page.axes and side.get_zlim() == (0, len(levels) - 1)
    lowest, *_, highest = side.get_zticklabels()
    assert (lowest.get_text(), highest.get_text()) == (f"{np.nanmin(z):.3g}", f"{np.nanmax(z):.3g}")
    assert len(png(page)) > 5000


def test_of_a_fine_landscape_some_points_are_seen_from_the_side(monkeypatch: pytest.MonkeyPatch) -> None:
    axis = np.linspace(0, 1, 201)
    z = np.add.outer(axis, axis)
    page = Figure()
    axes = page.add_subplot(projection="3d")
    monkeypatch.setattr(axes, "plot_surface", lambda x, y, height, **_: np.testing.assert_array_equal(height.shape, 81))
    surface(axes, axis, axis, z, levels_of([z]))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.nan, "not finite anywhere"),
        (np.inf, "not finite anywhere"),
        (2.0, "2 everywhere"),
        (1e300, "1e+300 everywhere"),
    ],
)
def test_a_landscape_without_any_height(value: float, told: str, tmp_path: Path) -> None:
    axis = [-1.0, 0.0, 1.0]
    frame = plane(axis, axis, ("alpha", "beta")).assign(objective=value, loss=value)
    page = landscape.figure(table(tmp_path / "run", "landscape", frame))
    assert page.axes[0].get_title() == told and len(png(page)) > 5000


def test_the_line_between_two_networks(tmp_path: Path) -> None:
    alpha = np.linspace(-0.25, 1.25, 7)
    columns = {f"{part}_{name}": alpha + i for i, (part, name) in enumerate(
        [("train", "loss"), ("train", "r2"), ("val", "loss"), ("val", "r2")]
    )}  # fmt: skip
    frame = pd.DataFrame({"alpha": alpha, **columns})
    frame.loc[6, "val_loss"] = np.inf
    page = interpolation.figure(table(tmp_path / "run", "interpolation", frame))
    for axes, name in zip(page.axes, ("loss", "r2"), strict=True):
        assert axes.get_ylabel() == name
        *ends, train, val = axes.get_lines()
        assert [line.get_xdata()[0] for line in ends] == [0, 1]
        np.testing.assert_array_equal(train.get_xydata(), frame[["alpha", f"train_{name}"]])
        np.testing.assert_array_equal(val.get_ydata(), frame[f"val_{name}"].replace(np.inf, np.nan))
    assert page.axes[0].get_yscale() == "linear"
    assert words(page) == ["ends of the line", "train", "val"]
    assert named(page) == {"0": "", "1": ""}  # there is no summary to say it


LINES = [
    ({"begin": "initial network", "end": "this run", "which": "best"}, "initial network", "this run, best"),
    ({"begin": "this run", "end": "outputs/b", "which": "last"}, "this run, last", "outputs/b"),
    ({"begin": "this run", "end": f"/{'x' * 99}/end$1$", "which": 3}, "this run", f"…{'x' * 20}/end$1$"),
    ({"begin": ["?"], "end": "a\nb\x1b"}, "", "a b\\x1b"),
    (["?"], "", ""),
]


@pytest.mark.parametrize(("told", "begin", "end"), LINES)
def test_the_ends_of_a_line_have_their_networks_names(told: object, begin: str, end: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"alpha": [-0.25, 0.5, 1.25], "train_loss": [1.0, 2, 3], "val_loss": [1.0, 2, 3]})
    folder = table(tmp_path / "run", "interpolation", frame)
    (folder / "summary.json").write_text(json.dumps({"status": "finished", "diagnostics": {"interpolation": told}}))
    page = interpolation.figure(folder)
    assert named(page) == {"0": begin, "1": end}
    assert len(png(page)) > 5000


def named(page: Figure) -> dict[str, str]:
    """What stands below the places 0 and 1 of a line."""
    labels = [text.get_text().split("\n") for text in page.axes[-1].get_xticklabels()]
    return {place: name for place, name in labels if place in ("0", "1")}


@pytest.mark.parametrize("names", [("theta_0", "theta_1"), ("pc_1", "pc_2")])
def test_a_path_over_its_surface(names: tuple[str, str], tmp_path: Path) -> None:
    x, y = np.linspace(-1, 3, 9), np.linspace(-2, 2, 9)
    table(tmp_path / "run", "trajectory_surface", plane(x, y, names))
    path = pd.DataFrame(
        {"epoch": range(4), "step": range(4), names[0]: [0, 0.5, 0.9, 1e9], names[1]: [1, 0.4, np.nan, 0]}
    )
    table(tmp_path / "run", "trajectory", path.assign(objective=1.0, loss=1.0))
    told = {"trajectory": {"explained_1": 0.75, "explained_2": None}}
    (tmp_path / "run" / "summary.json").write_text(json.dumps({"status": "finished", "diagnostics": told}))
    page = trajectory.figure(tmp_path / "run")
    axes = page.axes[0]
    edge, line, start, end = axes.get_lines()
    for drawn in (edge, line):
        np.testing.assert_array_equal(drawn.get_xydata(), path[[*names]])
    assert start.get_xydata().tolist() == [[0, 1]] and end.get_xydata().tolist() == [[1e9, 0]]
    assert axes.get_xlim() == (-1, 3) and axes.get_ylim() == (-2, 2)  # whatever has left it
    first = {"theta_0": "θ₀", "pc_1": "first principal axis, 75% of the variance"}[names[0]]
    assert axes.get_xlabel() == first and axes.get_ylabel() in ("θ₁", "second principal axis")
    assert words(page) == ["path, 4 moments", "start", "end"]


# Races


def racer(path: Sequence[tuple[float, float]], every: int = 1, reach: float = 2.0) -> Racer:
    frame = pd.DataFrame(path, columns=["theta_0", "theta_1"])
    frame = frame.assign(step=np.arange(len(path)) * every, objective=[0.5 + (x - 1) ** 2 + y**2 for x, y in path])
    axis = np.linspace(-reach, reach, 9)
    return Racer(frame, plane(axis, axis))


LEFT, RIGHT = [(-1.0, 1.0), (-0.5, 0.5), (0.0, 0.0)], [(-1.0, 1.0), (1.5, 1.0), (1.0, 0.5), (1.0, 0.1), (1.0, 0.0)]


def test_a_race_has_every_path_and_its_head() -> None:
    page = race.figure({"lr=$1$": racer(LEFT, every=2), "lr=2": racer(RIGHT)}, "sweep")
    axes = page.axes[0]
    starts = [line for line in axes.get_lines() if line.get_marker() == "s"]
    assert [line.get_xydata().tolist() for line in starts] == [[[-1, 1]], [[-1, 1]]]
    lines = [line for line in axes.get_lines() if line.get_color() in COLOURS and line not in starts]
    for (way, dot), path, colour in zip((lines[:2], lines[2:]), (LEFT, RIGHT), COLOURS, strict=False):
        assert way.get_color() == dot.get_color() == colour
        np.testing.assert_array_equal(way.get_xydata(), [*path, path[-1]])
        np.testing.assert_array_equal(dot.get_xydata(), [path[-1]])
    assert axes.get_xlim() == pytest.approx((-1.5, 2.0)) and axes.get_ylim() == pytest.approx((-0.2, 1.2))
    assert words(page) == ["lr=$1$: 1.500", "lr=2: 0.5000"]
    assert page.legends[0].get_title().get_text() == "loss after 4 steps"
    assert not page.legends[0].get_texts()[0].get_parse_math()
    short = race.figure({"a": racer(LEFT), "b": racer(RIGHT)}, "sweep")
    assert words(short) == ["a: 1.500 at step 2", "b: 0.5000"]


def test_of_more_than_eight_the_best_are_in_the_race() -> None:
    page = race.figure({f"lr={i}": racer(LEFT) for i in range(9)}, "sweep")
    assert len(words(page)) == 8 and "the 8 best of 9 settings" in page.get_suptitle()


def test_who_is_lost_or_far_away_does_not_hide_the_race() -> None:
    lost = racer([(-1.0, 1.0), (-1e30, 1e30), (np.nan, np.nan)])
    far = racer([(-1.0, 1.0), (900.0, -900.0)], reach=1000)
    page = race.figure({"a": racer(LEFT), "b": racer(RIGHT), "far": far, "lost": lost}, "sweep")
    low, high = page.axes[0].get_xlim()
    assert -3 < low < -1 and 1 < high < 4
    assert len(png(page)) > 5000 and words(page)[3] == "lost: nan at step 2"


@pytest.mark.slow
def test_every_step_of_an_animation_takes_as_long_and_heads_lie_on_their_paths() -> None:
    found = {"a": racer(LEFT, every=10), "b": racer(RIGHT, every=5)}
    content = gif(race.pictures(found, "sweep"), COLOURS)
    with Image.open(BytesIO(content)) as film:
        assert film.n_frames == 21 and film.size == (900, 675) and film.info["loop"] == 0
        durations = []
        for frame in range(film.n_frames):
            film.seek(frame)
            durations.append(film.info["duration"])
            picture = np.asarray(film.convert("RGB")).astype(int)
            for path, colour in ((LEFT, COLOURS[0]), (RIGHT, COLOURS[1])):
                steps = np.linspace(0, 20, len(path))
                at = [np.interp(frame, steps, [point[i] for point in path]) for i in (0, 1)]
                x, y = place(found, at)
                seen = picture[int(y), int(x)]
                if frame:  # at first both are in one place
                    assert np.abs(seen - 255 * np.array(to_rgb(colour))).max() <= 12, (frame, colour, seen)
    assert set(durations[:-1]) == {50} and durations[-1] == 2000


def test_an_mp4_where_ffmpeg_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in ffmpeg's place gets the pictures, with the last one for two seconds, and what it leaves is taken."""
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    pictures = [Image.new("RGB", (5, 3), colour) for colour in colours]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert mp4(pictures) is None
    fake = tmp_path / "ffmpeg"
    fake.write_text(
        f"#!{sys.executable}\nimport sys\nopen(sys.argv[-1], 'wb').write(sys.stdin.buffer.read())\n"
        "print(sys.argv, file=open(__file__ + '.log', 'w'))\n"
    )
    fake.chmod(0o755)
    content = mp4(pictures)
    assert content is not None
    frames = np.frombuffer(content, np.uint8).reshape(-1, 2, 4, 3)  # even sides
    assert [tuple(frame[1, 3]) for frame in frames] == colours[:2] + colours[2:] * 40
    assert "'4x2'" in (tmp_path / "ffmpeg.log").read_text() and "'20'" in (tmp_path / "ffmpeg.log").read_text()
    fake.write_text("#!/bin/sh\nexit 1\n")  # one without x264
    assert mp4(pictures) is None


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
def test_a_race_as_mp4() -> None:
    shown = race.pictures({"a": racer(LEFT), "b": racer(RIGHT)}, "sweep")
    content = mp4(shown)
    assert content is not None and content[4:8] == b"ftyp" and 5_000 < len(content) < 5 * 2**20
    assert mp4(shown) == content
    decode = [shutil.which("ffmpeg") or "", "-v", "error", "-i", "-", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    frames = subprocess.run(decode, input=content, capture_output=True, check=True).stdout
    film = np.frombuffer(frames, np.uint8).reshape(-1, 674, 900, 3)
    assert len(film) == len(shown) - 1 + 40
    for i in (0, len(shown) - 1):
        assert np.abs(film[i].astype(float) - np.asarray(shown[i])[:674]).mean() < 3


def place(found: dict[str, Racer], at: Sequence[float]) -> tuple[float, float]:
    """Where a point is in the picture."""
    page = race.figure(found, "sweep")
    page.set_dpi(race.DOTS)
    page.canvas.draw()
    x, y = page.axes[0].transData.transform(at)
    return x, 675 - y


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "sweep"
    dlrun(
        "-m", "dataset=beale", "architecture=point", "optimizer=sgd,momentum,lbfgs", "batch_size=full", "steps=12",
        "diagnostics=[trajectory]", "diagnostics.trajectory.points=9", "compile=false", "plots=none",
        f"hydra.sweep.dir={folder}",
    )  # fmt: skip
    return folder


def test_a_sweep_on_one_surface_has_a_race(sweep: Path) -> None:
    assert 5_000 < (sweep / "race.gif").stat().st_size < 5 * 2**20 and (sweep / "race.png").exists()
    page = (sweep / "report.html").read_text()
    assert '<img alt="race"' in page and '<a href="race.gif">' in page and "image/gif" not in page
    before = {name: (sweep / name).read_bytes() for name in ("race.gif", "race.png", "report.html")}
    dlrun("plot", str(sweep))
    dlrun("report", str(sweep))
    assert {name: (sweep / name).read_bytes() for name in before} == before


def contestants(folder: Path) -> dict[str, Racer]:
    runs = collect.find([folder])
    collect.write_tables([folder], folder)
    found = find(collect.table(folder), runs, evaluations(runs))
    return racers(found, runs, {setting: setting for setting in found.settings["setting"]})


def test_those_who_descend_the_same_surface_race(sweep: Path, tmp_path: Path) -> None:
    found = contestants(sweep)
    assert sorted(found) == ["optimizer=lbfgs", "optimizer=momentum", "optimizer=sgd"]
    pd.testing.assert_frame_equal(found["optimizer=sgd"].path, read_table(sweep / "0", "trajectory.csv"))

    other = shutil.copytree(sweep, tmp_path / "sweep")
    config = other / "1" / "config.yaml"
    config.write_text(config.read_text().replace("- 1.0\n", "- 1.5\n", 1))  # starts elsewhere
    assert len(contestants(other)) == 3
    config.write_text(config.read_text().replace("surfaces.beale", "surfaces.himmelblau"))
    assert not any("momentum" in name for name in contestants(other)) and len(contestants(other)) == 2
    (other / "0" / "trajectory.csv").write_text("no,table\n1\n")
    assert contestants(other) == {}
    assert contestants_of_nothing(tmp_path / "none") == {}


def contestants_of_nothing(folder: Path) -> dict[str, Racer]:
    dlrun(
        "-m", "dataset=iris", "architecture.hidden=[3]", "seed=0,1", "epochs=1", "compile=false",
        f"hydra.sweep.dir={folder}", "plots=none",
    )  # fmt: skip
    return contestants(folder)


# Long paths


def test_of_a_long_path_the_ways_are_drawn_that_lead_where_none_led_before() -> None:
    """Round and round a circle, then away: one round and the way out are drawn, with a gap between them."""
    turns, out = np.linspace(0, 2 * np.pi * 8, 8001)[:-1], np.linspace(1, 1.9, 1000)
    x, y = np.append(np.cos(turns), out), np.append(np.sin(turns), 0 * out)
    x[4321] = np.nan
    drawn = trajectory.seen_on_a_plane([x, y], (-2, 2), (-2, 2))
    kept = drawn.places[drawn.places >= 0]
    assert kept[0] == 0 and kept[-1] == 8999 and 4321 not in kept
    assert (kept <= 1000).sum() > 400 and (np.diff(np.unique(kept)) > 5000).any() and (kept > 7990).sum() > 50
    assert 1 <= (drawn.places == -1).sum() <= 3  # after the first round, and where rounding leads elsewhere
    every = np.stack([x, y], 1)[np.isfinite(x)]
    left = np.stack([x, y], 1)[kept]
    nearest = np.array([np.abs(left - point).sum(1).min() for point in every[::7]])
    assert nearest.max() < 2 * 4 / trajectory.CELLS  # nothing of the path is far from what is drawn
    line = drawn.line([x, y], 6000)
    assert [values[-1] for values in line] == [x[5999], y[5999]] and np.isnan(line[0]).sum() >= 1
    short = trajectory.seen_on_a_plane([x[:100], y[:100]], (-2, 2), (-2, 2))
    assert np.array_equal(short.places, np.arange(100)) and short.moments == 100


def test_of_a_long_line_every_peak_is_drawn_and_every_gap() -> None:
    values = np.random.default_rng(0).normal(size=60_000)
    values[[12_345, 54_321]] = 50, -50
    values[777], values[40_000:41_000] = np.nan, np.inf
    kept = seen(values)
    assert len(kept) <= 4000 and {0, 777, 12_345, 54_321, 59_999} <= set(kept.tolist())
    assert not np.isfinite(values[kept[(kept >= 40_000) & (kept < 41_000)]]).any()
    edges = np.linspace(0, 60_000, 1001).astype(int)
    for start, stop in pairwise(edges):
        of = values[start:stop][np.isfinite(values[start:stop])]
        own = values[kept[(kept >= start) & (kept < stop)]]
        assert not len(of) or {of.min(), of.max()} <= set(own.tolist())
    assert np.array_equal(seen(values[:3000]), np.arange(3000))


def test_paths_of_networks_are_drawn_over_one_surface(tmp_path: Path) -> None:
    """The run that ended lowest comes first, and what was left out is said."""
    moments = {"step": [0, 5, 9], "loss": [2.0, 1, 1]}
    ways = {"1 (SGD, lr=0.1)": ([0.0, 0.4, 0.8], 0.9), "0 (Adam, lr=0.01)": ([0.0, -0.5, -0.9], 0.6)}
    frames = [
        pd.DataFrame({"run": name, **moments, "objective": [2.0, 1, end], "pc_1": x, "pc_2": np.multiply(x, 2)})
        for name, (x, end) in ways.items()
    ]
    folder = table(tmp_path / "run", "paths", pd.concat(frames))
    table(folder, "paths_surface", plane([-1, 0, 1], [-2, 0, 2], ("pc_1", "pc_2")))
    told = {"paths": {"explained_1": 0.8, "explained_2": 0.15, "left_out": "2: another network"}}
    (folder / "summary.json").write_text(json.dumps({"status": "finished", "name": "it", "diagnostics": told}))
    page = paths.figure(folder)
    assert [text.partition(":")[0] for text in words(page)] == ["0 (Adam, lr=0.01)", "1 (SGD, lr=0.1)"]
    axes = page.axes[0]
    assert axes.get_xlabel() == "first principal axis, 80% of the variance"
    assert axes.get_title() == "left out: 2: another network"
    drawn = [line.get_xydata() for line in axes.get_lines() if line.get_linewidth() == 3.5]
    for line, (x, _) in zip(drawn, reversed(ways.values()), strict=True):
        np.testing.assert_allclose(np.asarray(line)[:3], np.stack([x, np.multiply(x, 2)], 1))

    written = draw_diagnostics(folder, ["paths"])
    assert [path.name for path in written][:2] == ["paths.png", "paths.gif"]
    page.set_dpi(race.DOTS)
    page.canvas.draw()
    with Image.open(folder / "paths.gif") as film:
        assert film.n_frames == 10  # steps 0 to 9, each of which takes as long
        film.seek(9)
        last = np.asarray(film.convert("RGB")).astype(float)
    whole = np.asarray(page.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
    assert (np.abs(last - whole).max(2) > 40).mean() < 0.01  # but for the clock, where the whole paths are
