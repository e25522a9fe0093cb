"""Diagnostics as a user meets them: files beside metrics.csv, `dlrun diagnose` afterwards, and what is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import config
from matplotlib.figure import Figure
from safetensors.torch import load_file, save_file
from test_cli import Ended
from twins import module_of

from dlrun.command.cli import main
from dlrun.diagnostics.confusion import Confusion
from dlrun.errors import ConfigError
from dlrun.folder.reading import read_table
from dlrun.folder.records import write_rows
from dlrun.plots.diagnostics import activations, gradient_noise, gradient_norm, gradients, layers, updates, weights
from dlrun.plots.page import png
from dlrun.training.build import build, plain

SMALL = ["dataset=iris", "architecture.hidden=[4]", "epochs=3", "compile=false"]
ALL = "diagnostics=[activations,gradients,weights,updates,gradient_norm,gradient_noise]"
FIGURES: dict[str, Any] = {
    "activations": activations.figure,
    "gradients": gradients.figure,
    "weights": weights.figure,
    "updates": updates.figure,
    "gradient_norm": gradient_norm.figure,
    "gradient_noise": gradient_noise.figure,
}


def command(capfd: pytest.CaptureFixture[str], *words: str) -> Ended:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["dlrun", *words])
        with pytest.raises(SystemExit) as ended:
            main()
    return Ended(int(ended.value.code or 0), *capfd.readouterr())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with diagnostics, `looking`, the same without, `plain`, and a sweep of three, `sweep`."""
    folder = tmp_path_factory.mktemp("folders")
    for words in (
        [ALL, "hydra.run.dir=looking"],
        ["plots=none", "hydra.run.dir=plain"],
        ["-m", "normalization=batch", "seed=range(2)", "batch_size=8,16", "hydra.sweep.dir=sweep"],
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setattr(sys, "argv", ["dlrun", *SMALL, *words])
            with pytest.raises(SystemExit) as ended:
                main()
            assert not ended.value.code
    return folder


def test_a_run_leaves_a_table_and_a_picture_for_each(folders: Path) -> None:
    looking, plain = folders / "looking", folders / "plain"
    names = list(FIGURES)
    assert {f"{name}.{ending}" for name in names for ending in ("csv", "png")} <= {p.name for p in looking.iterdir()}
    for file in ("model.safetensors", "last.safetensors"):
        assert (looking / file).read_bytes() == (plain / file).read_bytes()
    one, other = (pd.read_csv(folder / "metrics.csv").drop(columns="seconds") for folder in (looking, plain))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    told = json.loads((looking / "summary.json").read_text())["diagnostics"]
    assert told == {name: {"table": f"{name}.csv"} for name in names}
    frame = pd.read_csv(looking / "activations.csv")
    assert list(frame.columns) == ["epoch", "step", "layer", "quantity", "value"]
    assert list(dict.fromkeys(frame["epoch"])) == [0, 1, 2, 3]
    assert list(dict.fromkeys(frame["layer"])) == ["3 ReLU", "output"]


def test_a_folder_says_whose_config_looks_elsewhere(folders: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ended = command(capfd, *SMALL, ALL, f"hydra.run.dir={folders / 'plain'}")
    assert ended.code == 2 and "diagnostics.activations" in ended.err


@pytest.mark.parametrize("which, file", [pytest.param("best", "model", marks=pytest.mark.slow), ("last", "last")])
def test_diagnose_looks_at_the_weights_of_a_finished_run(
    which: str, file: str, folders: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(folders / "plain", tmp_path / "run")
    ended = command(capfd, "diagnose", str(run), "diagnostics=[activations,weights]", f"which={which}")
    assert ended.code == 0, ended.err
    names = ("activations", "weights")
    assert re.findall(r"\w+\.(?:csv|png)", ended.out) == [
        f"{name}.{ending}" for ending in ("csv", "png") for name in names
    ]
    weight = load_file(run / f"{file}.safetensors")["1.weight"].numpy()
    table = read_table(run, "weights.csv").set_index(["layer", "quantity"])
    assert table.loc[("1.weight", "norm"), "value"] == pytest.approx(np.linalg.norm(weight), rel=1e-6)
    summary = json.loads((run / "summary.json").read_text())
    step = summary["best_step"] if which == "best" else summary["steps"]
    assert set(table["step"]) == {step}
    before = json.loads((folders / "plain" / "summary.json").read_text())
    assert summary.pop("diagnostics") == {
        name: {"table": f"{name}.csv", "which": which} for name in ("activations", "weights")
    }
    assert summary == before


def test_diagnose_of_a_sweep_gives_each_run_its_own(
    folders: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Runs are looked at in stacks of their structure, with the running averages of each."""
    sweep = shutil.copytree(folders / "sweep", tmp_path / "sweep")
    words = ["diagnostics=[activations]", "diagnostics.activations.statistics=running"]
    ended = command(capfd, "diagnose", str(sweep), *words, "diagnostics.activations.samples=null")
    assert ended.code == 0, ended.err
    for run in "0123":
        text = (sweep / run / "config.yaml").read_text()
        seed, batch = (text.split(f"\n{key}: ")[1].split()[0] for key in ("seed", "batch_size"))
        stack = build([config(*SMALL, "normalization=batch", f"seed={seed}", f"batch_size={batch}")])
        model = module_of(stack, 0, "running")
        model.load_state_dict(load_file(sweep / run / "model.safetensors"), strict=False)
        output = model(stack.dataset.part("train")[0])
        table = read_table(sweep / run, "activations.csv").set_index(["layer", "quantity"])
        assert table.loc[("output", "mean"), "value"] == pytest.approx(output.mean().item(), rel=1e-5)


def test_an_earlier_look_is_replaced_and_said_so(
    folders: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(folders / "plain", tmp_path / "run")
    assert command(capfd, "diagnose", str(run), "diagnostics=[weights]").code == 0
    ended = command(capfd, "diagnose", str(run), "diagnostics=[weights]", "which=last")
    assert ended.code == 0 and "weights.csv (in place of an earlier one)" in ended.out
    assert json.loads((run / "summary.json").read_text())["diagnostics"]["weights"]["which"] == "last"


def test_a_look_that_was_killed_is_taken_again(
    folders: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tables are there, and the summary does not tell of them."""
    run = shutil.copytree(folders / "plain", tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("dlrun.job.diagnose.write_summary", lambda *_: os._exit(9))
        child = os.fork()
        if not child:
            command(capfd, "diagnose", str(run), "diagnostics=[weights]")
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    (run / ".weights.csv.123.part").touch()
    assert (run / "weights.csv").exists()
    ended = command(capfd, "diagnose", str(run), "diagnostics=[weights]")
    assert ended.code == 0 and "weights.csv (in place of an earlier one)" in ended.out, ended.err
    assert json.loads((run / "summary.json").read_text())["diagnostics"]["weights"]["which"] == "best"
    assert not list(run.glob(".*.part"))


def test_a_folder_may_have_an_equals_sign_in_its_name(
    folders: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(folders / "plain", tmp_path / "seed=0")
    ended = command(capfd, "diagnose", str(run), "diagnostics=[weights]")
    assert ended.code == 0 and (run / "weights.csv").exists()


def test_nothing_is_written_where_one_run_is_refused(
    folders: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The runs are of two structures, and are looked at one after the other."""
    sweep = shutil.copytree(folders / "sweep", tmp_path / "sweep")
    changed(sweep / "3")
    ended = command(capfd, "diagnose", str(sweep), "diagnostics=[weights]")
    assert ended.code == 2 and f"{sweep / '3'}/model.safetensors is not of this run's network" in ended.err
    assert not list(sweep.rglob("weights.csv"))


def test_a_diagnostic_that_fails_is_told_and_ends_no_other(
    folders: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: object, view: object) -> None:
        raise RuntimeError("no luck")

    run = shutil.copytree(folders / "plain", tmp_path / "run")
    monkeypatch.setattr(Confusion, "look", fails)
    ended = command(capfd, "diagnose", str(run), "diagnostics=[confusion,calibration]")
    assert ended.code == 1 and "diagnostics=confusion failed: RuntimeError('no luck')" in ended.out
    words = ["diagnostics=[confusion,calibration]", f"hydra.run.dir={tmp_path / 'new'}"]
    trained = command(capfd, *SMALL, *words)
    assert trained.code == 0 and "diagnostics=confusion failed: RuntimeError('no luck')" in trained.out
    for folder in (run, tmp_path / "new"):
        told = json.loads((folder / "summary.json").read_text())["diagnostics"]
        assert told["confusion"] == {"failed": "RuntimeError('no luck')"} and told["calibration"]["ece"] > 0
        assert (folder / "calibration.png").exists() and not (folder / "confusion.csv").exists()
    assert "diagnostics=confusion failed" in (tmp_path / "new" / "dlrun.log").read_text()


def test_a_report_tells_what_failed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["-m", "seed=range(2)", "diagnostics=[confusion]", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    assert command(capfd, *SMALL, *words).code == 0
    for run in "01":
        file = tmp_path / "sweep" / run / "summary.json"
        failed = {"diagnostics": {"confusion": {"failed": "no luck"}}}
        file.write_text(json.dumps(json.loads(file.read_text()) | failed))
    ended = command(capfd, "report", str(tmp_path / "sweep"))
    assert "diagnostics=confusion failed in 2 runs (run 0: no luck)" in ended.out


def test_a_diagnostic_of_a_runs_own_name_is_refused() -> None:
    node = {"metrics": {"_target_": "dlrun.diagnostics.weights.Weights", "every": None}}
    with pytest.raises(ConfigError, match="diagnostics=metrics: a run has files of this name already"):
        build([{**plain(config(*SMALL)), "diagnostics": node}])


@pytest.mark.parametrize("name", ["weights", "gradient_norm"])
@pytest.mark.parametrize("damage", ["a column", "all rows", "twice"])
def test_a_damaged_table_ends_a_picture_in_a_message(
    name: str, damage: str, folders: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(folders / "looking", tmp_path / "run")
    header, *rows = (run / f"{name}.csv").read_text().splitlines()
    lines = {
        "a column": [line.partition(",")[0] for line in (header, *rows)],
        "all rows": [header],
        "twice": [header, *rows, *rows],
    }[damage]
    (run / f"{name}.csv").write_text("\n".join([*lines, ""]))
    ended = command(capfd, "plot", str(run))
    assert "Traceback" not in ended.err
    drawn_anyway = (name, damage) in (("gradient_norm", "twice"), ("gradient_norm", "all rows"))
    assert drawn_anyway or (ended.code == 2 and f"{name}.csv cannot be drawn" in ended.err)


def changed(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({name: torch.zeros(3) for name in tensors}, folder / "model.safetensors")


def of_another_kind(folder: Path) -> None:
    """An integer or a complex number would be taken for a weight, its imaginary part dropped."""
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor.to(torch.complex64) for name, tensor in tensors.items()}, folder / "model.safetensors")


def cut_short(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-100])


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def a_pipe(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")


def other_data(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"data": "other"}))


def interrupted(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"status": "interrupted"}))


def foreign(folder: Path) -> None:
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(re.sub(r"_target_: dlrun.optimizers\S+", "_target_: os.system", text))


def out_of_range(folder: Path) -> None:
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("batch_size: 64", "batch_size: -3"))


def linked(folder: Path) -> None:
    (folder / "weights.csv").symlink_to(folder.parent / "victim.csv")


MISTAKES: dict[str, tuple[list[str], Callable[[Path], None] | None, str]] = {
    "a typo": (["diagnostics=[weihgts]"], None, "did you mean weights"),
    "no diagnostics": ([], None, "'diagnostics=[NAME,...]'"),
    "a name without its key": (["landscape"], None, "'diagnostics=[landscape]'"),
    "several that are no list": (
        ["diagnostics=filters,weights"],
        None,
        "a list, in quotes: 'diagnostics=[filters,weights]'",
    ),
    "a key of the training": (["diagnostics=[weights]", "lr=1"], None, "diagnose lr=1: a finished run has its config"),
    "a value": (["diagnostics=[gradients]", "diagnostics.gradients.samples=0"], None, "must be null or int >= 1"),
    "other weights": (["diagnostics=[weights]", "which=worst"], None, "must be best or last"),
    "steps": (["diagnostics=[updates]"], None, "looks while it trains"),
    "weights of another network": (["diagnostics=[weights]"], changed, "is not of this run's network"),
    "other data": (["diagnostics=[weights]"], other_data, "the data have changed"),
    "not complete": (["diagnostics=[weights]"], interrupted, "resume"),
    "a stranger's code": (["diagnostics=[weights]"], foreign, "only dlrun's own code is run"),
    "a value in the folder": (["diagnostics=[weights]"], out_of_range, "batch_size=-3: must be"),
    "a link": (["diagnostics=[weights]"], linked, "weights.csv"),
    "weights of another kind": (["diagnostics=[weights]"], of_another_kind, "is not of this run's network"),
    "weights cut short": (["diagnostics=[weights]"], cut_short, "cannot be read as safetensors"),
    "weights that are a pipe": (["diagnostics=[weights]"], a_pipe, "is a pipe"),
    "no weights": (
        ["diagnostics=[weights]"],
        without("model.safetensors"),
        "has no weights: there is no model.safetensors",
    ),
    "no config": (["diagnostics=[weights]"], without("config.yaml"), "has no config.yaml: put it back"),
    "still training": (["diagnostics=[weights]"], without("summary.json"), "still trains or was ended"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_diagnose_refuses(mistake: str, folders: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words, damage, message = MISTAKES[mistake]
    run = shutil.copytree(folders / "plain", tmp_path / "run")
    if damage:
        damage(run)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    ended = command(capfd, "diagnose", str(run), *words)
    assert ended.code == 2 and message in ended.err and "Traceback" not in ended.err, ended.err
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    assert not (tmp_path / "victim.csv").exists()


def test_the_tables_of_a_training_are_not_overwritten(folders: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = (folders / "looking" / "weights.csv").read_bytes()
    ended = command(capfd, "diagnose", str(folders / "looking"), "diagnostics=[weights]")
    assert ended.code == 2 and "from its training, which is not overwritten" in ended.err
    assert (folders / "looking" / "weights.csv").read_bytes() == before


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "no header"),
        ("layer,layer\na,b\n", "no header"),
        ("step,layer\n1,a,b\n", "line 2 has 3 cells"),
        ("step,layer\nx,a\n", "could not convert"),
        ("step,layer\n1_0,a\n", "no plain number"),
        ('step,layer\n1,"a\n', "no table"),
    ],
)
def test_a_damaged_table_is_told(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "weights.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_table(tmp_path, "weights.csv")


def test_words_with_commas_and_quotes_come_back(tmp_path: Path) -> None:
    rows = [{"step": 1, "layer": 'a,"b"', "value": 0.1}, {"step": 2, "layer": "ü", "value": float("nan")}]
    write_rows(tmp_path / "it.csv", rows)
    frame = read_table(tmp_path, "it.csv")
    assert frame["layer"].tolist() == ['a,"b"', "ü"] and frame["value"].iloc[0] == 0.1


def test_names_that_a_spreadsheet_would_compute_are_guarded_and_come_back(tmp_path: Path) -> None:
    """Names of classes are those of a stranger's data."""
    names = ["=HYPERLINK(1)", "+a", "-1", "@x", "'=b", "plain"]
    write_rows(tmp_path / "it.csv", [{"true": name, "count": 1} for name in names])
    cells = [line.split(",")[0] for line in (tmp_path / "it.csv").read_text().splitlines()[1:]]
    assert cells == ["'=HYPERLINK(1)", "'+a", "-1", "'@x", "''=b", "plain"]
    assert read_table(tmp_path, "it.csv")["true"].tolist() == names


# Pictures


def drawn(figure: Figure) -> list[list[tuple[str, np.ndarray]]]:
    """For each panel of a picture, its lines' labels and values."""
    panels = [axes for axes in figure.axes if axes.get_lines()]
    return [[(str(line.get_label()), np.asarray(line.get_ydata())) for line in axes.get_lines()] for axes in panels]


@pytest.mark.parametrize("name", FIGURES)
def test_a_picture_draws_what_its_table_says(name: str, folders: Path) -> None:
    frame = read_table(folders / "looking", f"{name}.csv")
    figure = FIGURES[name](folders / "looking")
    assert figure.axes[0].get_ylabel()

    def of(layer: str, quantity: str) -> np.ndarray:
        return frame[(frame["layer"] == layer) & (frame["quantity"] == quantity)]["value"].to_numpy()

    wanted = {
        "activations": lambda: [[("3 ReLU", of("3 ReLU", "std"))], [("3 ReLU", 100 * of("3 ReLU", "saturated"))]],
        "gradients": lambda: [
            [("3 ReLU", of("3 ReLU", "std"))],
            [(layer, of(layer, "norm")) for layer in ("1.weight", "4.weight")],
        ],
        "weights": lambda: [[(layer, of(layer, "norm")) for layer in ("1.weight", "4.weight")]],
        "updates": lambda: [[(layer, of(layer, "ratio")) for layer in ("1.weight", "4.weight")]],
        "gradient_norm": lambda: [[("every step", frame["grad_norm"].to_numpy())]],
        "gradient_noise": lambda: [[("all", of("all", "noise_scale"))]],
    }[name]()
    for got, panel in zip(drawn(figure), wanted, strict=False):
        for (label, values), (layer, expected) in zip(got, panel, strict=False):
            assert label == layer
            np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("name", FIGURES)
def test_a_picture_of_a_lost_network_of_many_layers(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["architecture.depth=20", "architecture.width=3", "architecture.activation=identity", "optimizer=sgd"]
    words += ["dataset=diabetes", "epochs=3", "compile=false", "lr=1e6", f"diagnostics=[{name}]"]
    ended = command(capfd, *words, f"hydra.run.dir={tmp_path / 'run'}")
    assert ended.code == 1 and "diverged" in ended.out
    assert (tmp_path / "run" / f"{name}.png").stat().st_size > 10_000


def test_many_layers_have_a_bar_in_place_of_names() -> None:
    _, [axes, other] = layers.page(2)
    table = pd.DataFrame(np.ones((3, 7)), columns=list("abcdefg"))
    layers.lines(axes, table, "it")
    layers.lines(other, table[["a", "b"]], "it")
    assert axes.get_legend() is None and other.get_legend() is not None
    assert "layer of 7" in [each.get_ylabel() for each in axes.figure.axes]


def test_ticks_are_the_numbers_themselves_but_for_a_power_of_ten() -> None:
    """Of values that are alike, such as those of one moment, no tick is a distance from a number elsewhere."""
    page, panels = layers.page(2)
    alike = np.array([-1.86142e22, -1.86143e22])
    for axes, values in zip(panels, (alike, [1, 10_000]), strict=True):
        axes.plot([0, 1], values)
    panels[1].set_yscale("log")
    layers.finish(page, panels, "epoch", "it")
    png(page)
    power = panels[0].yaxis.get_offset_text()
    assert power.get_text() == "1e22" and power.get_fontsize() == panels[0].get_yticklabels()[0].get_fontsize()
    told = [float(label.get_text().replace("\N{MINUS SIGN}", "-")) for label in panels[0].get_yticklabels()]
    np.testing.assert_allclose(np.multiply(told, 1e22), panels[0].get_yticks(), rtol=1e-6)
