"""A sweep's tables, findings and report, from folders written by hand, against plain arithmetic on the same numbers."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from rich.cells import cell_len
from rich.console import Console

from dlrun.command.cli import main
from dlrun.errors import ConfigError
from dlrun.folder import formulas
from dlrun.report import collect, pictures
from dlrun.report.drawn import drawn
from dlrun.report.evaluations import Evaluations
from dlrun.report.findings import Findings, find
from dlrun.report.grid import Cell, Grid
from dlrun.report.grids import MOST, _time, grids, runs_grid
from dlrun.report.judging import Looks
from dlrun.report.report import _html as page_of
from dlrun.report.report import _print as print_report
from dlrun.report.report import redraw, report
from dlrun.report.survival import Median
from dlrun.sweep.beginning import of_all

METRICS = "epoch,step,lr,train_loss,val_loss,train_accuracy,val_accuracy,grad_norm,seconds"


def write_run(
    folder: Path,
    *overrides: str,
    accuracy: float = 0.5,
    test: float = 0.5,
    status: str = "finished",
    curve: tuple[float, ...] = (0.1, 0.5),
    config: str = "seed: 0\n",
    **summary: Any,
) -> Path:
    """A run's folder as a run leaves it; its validation accuracy follows `curve`."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    (folder / "config.yaml").write_text(config)
    rows = [f"{i},{10 * i},0.1,1.0,{1 - a},{a},{a},2.0,{i / 10}" for i, a in enumerate(curve)]
    (folder / "metrics.csv").write_text("\n".join([METRICS, *rows, ""]))
    seed = next((int(item[5:]) for item in overrides if item.startswith("seed=")), 0)
    results = {"best_epoch": 1.0, "best_step": 10, "best_val_loss": 1 - accuracy, "best_val_accuracy": accuracy}
    last = {"last_val_loss": 1 - accuracy, "last_val_accuracy": accuracy, "test_loss": 1 - test, "test_accuracy": test}
    if status in ("failed", "diverged"):
        results, last = {}, {}
    times = {"epochs": 1.0, "steps": 10, "parameters": 7, "seconds": 0.25, "error": None}
    (folder / "summary.json").write_text(
        json.dumps({"status": status, "seed": seed} | times | results | last | {"versions": {"a": "b"}} | summary)
    )
    return folder


VAL = {("sgd", 0.01): 0.6, ("sgd", 0.1): 0.7, ("adam", 0.01): 0.9, ("adam", 0.1): 0.8}
TEST = {("sgd", 0.01): 0.95, ("sgd", 0.1): 0.7, ("adam", 0.01): 0.85, ("adam", 0.1): 0.8}
SPREAD = [0.0, 0.01, 0.03]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two optimizers, two rates, three seeds; adam at 0.01 is the best by validation, sgd at 0.01 by test."""
    folder, number = tmp_path / "sweep", 0
    for (optimizer, lr), val in VAL.items():
        for seed, off in enumerate(SPREAD):
            write_run(
                folder / str(number), f"optimizer={optimizer}", f"lr={lr}", f"seed={seed}", "epochs=5",
                accuracy=val + off, test=TEST[optimizer, lr] - off, curve=(0.1, val - 0.1, val + off),
                lr_sum_infinite=True, lr_squared_sum_finite=False,
            )  # fmt: skip
            number += 1
    return folder


def evaluations(runs: Mapping[str, Path]) -> Evaluations:
    """Those of a report, whose tables go elsewhere."""
    with TemporaryDirectory() as place:
        return collect.write(runs, Path(place))[1]


def findings(*folders: Path, **options: Any) -> Findings:
    collect.write_tables(folders, folders[0])
    return find(collect.table(folders[0]), (runs := collect.find(folders)), evaluations(runs), **options)


def printed(*folders: Path, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=300)
    report(folders, console=console, **options)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_plot_draws_a_sweeps_pictures_again(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(sweep)
    first = {name: (sweep / f"{name}.png").read_bytes() for name in ("comparison", "sensitivity", "heatmap", "effects")}
    for name in first:
        (sweep / f"{name}.png").unlink()
    monkeypatch.setattr(sys, "argv", ["dlrun", "plot", str(sweep)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0 and {name: (sweep / f"{name}.png").read_bytes() for name in first} == first
    assert capsys.readouterr().out.split() == [str(sweep / f"{name}.png") for name in first]
    (sweep / "sweep.csv").unlink()
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and f"`dlrun report {sweep}` makes it" in capsys.readouterr().err


def test_pictures_without_a_report_are_drawn_anew_only_where_they_are_known_to_be_dlruns(sweep: Path) -> None:
    collect.write_tables([sweep], sweep)
    pictures = redraw(sweep)
    with pytest.raises(ConfigError, match=r"comparison.png is none of dlrun's reports, and is not overwritten"):
        redraw(sweep)
    assert pictures == redraw(sweep, ours=True)
    (sweep / "measured.csv").write_text("setting,mine\n")
    with pytest.raises(ConfigError, match="none of dlrun's"):
        redraw(sweep)
    (sweep / "measured.csv").write_text("setting,seed,measure,value\n")  # a claim's folder
    assert pictures == redraw(sweep)


# Tables


@given(st.text("'=+-@\t\r 1a", max_size=5) | st.text())
def test_no_cell_is_a_formula_and_all_are_read_back(text: str) -> None:
    cell = formulas.guarded(text)
    assert formulas.unguarded(cell) == text
    if cell[:1] in ("=", "+", "-", "@", "\t", "\r"):
        float(cell)


def test_formulas_in_a_sweeps_tables(tmp_path: Path) -> None:
    formula = '=HYPERLINK("http://x")'
    run = write_run(tmp_path / "=1+1", f"name='{formula}'", "lr=-0.5", "momentum=@x", "seed=1", error="-oh")
    collect.append_run(tmp_path, run)
    collect.write_tables([tmp_path], tmp_path)
    [row] = csv.DictReader((tmp_path / "sweep.csv").open())
    assert (
        row["run"] == "'=1+1" and row["name"] == f"'{formula}" and row["momentum"] == "'@x" and row["error"] == "'-oh"
    )
    assert row["lr"] == "-0.5"
    read = collect.table(tmp_path).iloc[0]
    assert (read["run"], read["name"], read["lr"]) == ("=1+1", formula, -0.5)
    assert set(collect.curves(tmp_path)["run"]) == {"=1+1"}


def test_what_is_typed_stands_in_the_table_without_hydras_escapes(tmp_path: Path) -> None:
    write_run(tmp_path / "0", r"lr=$\{optimizer.lr\}", r"name=a\,b", r"dataset.path='C:\x'")
    row = collect.read_run(tmp_path / "0")
    assert (row["lr"], row["name"], row["dataset.path"]) == ("${optimizer.lr}", "a,b", r"C:\x")


def test_a_row_per_run_whatever_became_of_it(tmp_path: Path) -> None:
    (tmp_path / "10" / ".hydra").mkdir(parents=True)  # died before it began
    (tmp_path / "10" / ".hydra" / "overrides.yaml").write_text("- lr=1\n- seed=4\n")
    write_run(tmp_path / "2", "lr=1e-2", "seed=1", status="failed", error="out of memory,\nsorry", accuracy=0.1)
    write_run(tmp_path / "9", "lr=0.5", "+optimizer.beta='a b'", config="seed: 3\n", status="stopped_early")
    (tmp_path / "2" / "config.yaml").write_text("optimizer: {beta: [1, 0.5, null, true]}\n")
    (tmp_path / "9" / "summary.json").unlink()  # killed, or not at its end yet
    collect.write_tables([tmp_path], tmp_path)
    assert (tmp_path / "sweep.csv").read_text() == (
        "run,lr,seed,optimizer.beta,status,last_epoch,last_step,parameters,seconds,error\n"
        '2,0.01,1,"[1,0.5,null,true]",failed,1.0,10,7,0.25,"out of memory,\nsorry"\n'
        "9,0.5,3,a b,interrupted,,,,,\n"
        "10,1,4,,interrupted,,,,,\n"
    )
    table = collect.table(tmp_path)
    assert table["lr"].tolist() == [0.01, 0.5, 1] and table["seed"].tolist() == [1, 3, 4]
    assert table["run"].tolist() == ["2", "9", "10"] and table["error"].tolist()[1:] == ["", ""]
    pd.testing.assert_frame_equal(table, collect.collect([tmp_path]))


def test_results_have_their_order_and_overrides_keep_their_names(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "epochs=5", "seed=2", lr_sum_infinite=True)
    row = collect.read_run(tmp_path / "0")
    assert " ".join(row) == (
        "run epochs seed status best_epoch best_step best_val_loss best_val_accuracy last_epoch last_step "
        "last_val_loss last_val_accuracy test_loss test_accuracy parameters seconds lr_sum_infinite error"
    )
    assert row["epochs"] == "5" and row["last_epoch"] == "1.0" and row["lr_sum_infinite"] == "true"


def test_a_choice_that_nobody_typed_has_its_name(tmp_path: Path) -> None:
    config = "optimizer: {_target_: dlrun.optimizers.adam.Adam, beta1: 0.9}\nlr: null\n"
    folder = write_run(tmp_path / "0", config=config)
    (folder / ".hydra" / "hydra.yaml").write_text("hydra: {runtime: {choices: {optimizer: adam}}}")
    write_run(tmp_path / "1", "optimizer=sgd", "optimizer.beta1=0.5", "lr=2", "seed=1")
    table = collect.collect([tmp_path])
    assert table["optimizer"].tolist() == ["adam", "sgd"] and table["optimizer.beta1"].tolist() == [0.9, 0.5]
    assert table["lr"].tolist() == ["null", "2"]  # a word among them: none is a number


def test_equal_values_are_one_setting_however_they_were_typed(tmp_path: Path) -> None:
    typed = [("lr=1e-2", "architecture.hidden=[64, 64]"), ("lr=0.01", "architecture.hidden=[64,64]")]
    for seed, overrides in enumerate(typed):
        write_run(tmp_path / str(seed), *overrides, f"seed={seed}")
    write_run(tmp_path / "2", "seed=2", config="lr: 1.0e-02\narchitecture: {hidden: [64, 64]}\n")
    found = findings(tmp_path)
    assert found.axes == [] and found.settings["n"].tolist() == [3]
    assert found.constant == {"lr": 0.01, "architecture.hidden": "[64,64]"}


def test_evaluations_are_those_of_curves_csv(sweep: Path) -> None:
    runs = collect.find([sweep])
    collect.write_tables([sweep], sweep)
    table, found = collect.curves(sweep), evaluations(runs)
    assert found.metrics() == table["metric"].unique().tolist() and found.last_epoch == table["epoch"].max()
    for metric in found.metrics():
        pd.testing.assert_frame_equal(
            found.long([metric]),
            table[table["metric"] == metric].reset_index(drop=True),
            check_dtype=False,
            check_categorical=False,
            check_like=True,
        )
    assert found.long(["none"]).empty and found.metrics([]) == []


def test_curves_are_the_metrics_melted(sweep: Path) -> None:
    with (sweep / "3" / "metrics.csv").open("a") as file:
        file.write("3,30,0.1,0.00")  # cut short by a crash
    collect.write_tables([sweep], sweep)
    found = pd.read_csv(sweep / "curves.csv")
    assert found.columns.tolist() == ["run", "epoch", "step", "seconds", "metric", "value"]
    expected = pd.concat(
        pd.read_csv(sweep / str(run) / "metrics.csv").dropna().assign(run=run).melt(["run", "epoch", "step", "seconds"])
        for run in range(12)
    ).rename(columns={"variable": "metric"})
    order = ["run", "epoch", "metric"]
    pd.testing.assert_frame_equal(
        found.sort_values(order, ignore_index=True), expected.sort_values(order, ignore_index=True), check_dtype=False
    )


def test_the_same_runs_give_the_same_bytes(sweep: Path) -> None:
    collect.write_tables([sweep], sweep)
    first = [(sweep / name).read_bytes() for name in ("sweep.csv", "curves.csv")]
    collect.write_tables([sweep], sweep)
    assert [(sweep / name).read_bytes() for name in ("sweep.csv", "curves.csv")] == first
    assert not list(sweep.glob(".*"))


def test_the_table_grows_as_runs_end(tmp_path: Path) -> None:
    """A failed run has no results: the first finished one brings the columns."""
    config = "optimizer: {beta1: 0.9}\nseed: 0\n"
    for number, status in enumerate(["failed", "finished", "diverged", "finished"]):
        more = ["optimizer.beta1=0.5"] if number == 3 else []
        write_run(tmp_path / str(number), f"seed={number}", *more, status=status, accuracy=0.1 + number, config=config)
        collect.append_run(tmp_path, tmp_path / str(number))
        assert collect.table(tmp_path)["seed"].tolist() == list(range(number + 1))
    grown = (tmp_path / "sweep.csv").read_text()
    collect.write_tables([tmp_path], tmp_path)
    assert grown == (tmp_path / "sweep.csv").read_text()
    assert collect.table(tmp_path)["optimizer.beta1"].tolist() == [0.9, 0.9, 0.9, 0.5]


@settings(max_examples=30, deadline=None)
@given(
    st.floats(allow_nan=False),
    st.integers(-(10**9), 10**9),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="'\"[]\\"), min_size=1),
)
def test_any_value_is_read_back_as_it_was(tmp_path_factory: Any, real: float, whole: int, text: str) -> None:
    folder = tmp_path_factory.mktemp("sweep")
    text = f"x{text}x"
    write_run(folder / "0", f"a={real!r}", f"b={whole}", f"c={text}", error=text, test_loss=real)
    collect.write_tables([folder], folder)
    row = collect.table(folder).iloc[0]
    assert (row["a"], row["b"], row["c"], row["error"], row["test_loss"]) == (real, whole, text, text, real)


def test_runs_are_named_by_their_place(tmp_path: Path) -> None:
    for name in ("day/one/1", "day/one/lr=0.1,seed=3", "day/two/1", "day/single"):
        write_run(tmp_path / name)
    day = tmp_path / "day"
    assert list(collect.find([day / "one"])) == ["1", "lr=0.1,seed=3"]
    assert list(collect.find([day / "two", day / "one"])) == ["two/1", "one/1", "one/lr=0.1,seed=3"]
    assert list(collect.find([day / "single"])) == ["single"]
    assert list(collect.find([day, day / "one"])) == ["one/1", "one/lr=0.1,seed=3", "single", "two/1"]
    collect.write_tables([day / "one"], tmp_path)
    with (tmp_path / "curves.csv").open() as file:
        assert {row["run"] for row in csv.DictReader(file)} == {"1", "lr=0.1,seed=3"}
    (tmp_path / "empty").mkdir()
    for nothing in ("empty", "nowhere"):
        with pytest.raises(ConfigError, match=f"{nothing} holds no run"):
            collect.find([day, tmp_path / nothing])
    with pytest.raises(ConfigError, match=r"has no sweep\.csv; `dlrun report"):
        collect.table(day)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["lr=1,2"], "DATA-NET-OPTIMIZER"),
        (["optimizer=sgd,adam"], "DATA-NET-sgd+adam"),
        (["optimizer=sgd,adam,lion,muon", "dataset=iris,wine"], "iris+wine-NET-4-optimizers"),
        (["optimizer=sgd,adam", "optimizer=adam"], "DATA-NET-OPTIMIZER"),
        (["optimizer=choice(sgd,adam)", "+architecture=a"], "DATA-NET-sgd+adam"),
        (["optimizer=glob(*)"], "DATA-NET-some-optimizers"),
    ],
)
def test_a_sweep_is_named_after_all_that_it_compares(overrides: list[str], name: str) -> None:
    choices = {"dataset": "DATA", "architecture": "NET", "optimizer": "OPTIMIZER"}
    template = "-".join(f"${{hydra:runtime.choices.{group}}}" for group in choices)
    found = of_all(template, overrides)
    for group, word in choices.items():
        found = found.replace(f"${{hydra:runtime.choices.{group}}}", word)
    assert found == name and of_all("mine", overrides) == "mine"


# Findings


def test_chosen_by_validation_and_quoted_from_test(sweep: Path) -> None:
    found = findings(sweep)
    assert (found.axes, found.constant) == (["optimizer", "lr"], {"epochs": 5})
    ranked = sorted(VAL, key=lambda setting: -VAL[setting])
    assert list(zip(found.settings["optimizer"], found.settings["lr"], strict=True)) == ranked
    for row, setting in zip(found.settings.to_dict("records"), ranked, strict=True):
        values = TEST[setting] - np.array(SPREAD)
        assert row["mean"] == pytest.approx(values.mean()) and row["std"] == pytest.approx(values.std(ddof=1))
        assert row["val"] == pytest.approx(VAL[setting] + np.mean(SPREAD))
        assert row["best"] == pytest.approx(TEST[setting]) and row["n"] == 3
    assert found.comparisons["setting"].tolist() == found.settings["setting"].tolist()[1:]
    differences = [TEST[setting] - TEST["adam", 0.01] for setting in ranked[1:]]
    assert found.comparisons["difference"].tolist() == pytest.approx(differences)


def test_directions_and_main_metric_come_from_the_runs(tmp_path: Path) -> None:
    for seed, (lr, gain) in enumerate([(1, 5.0), (2, 7.0)]):
        write_run(
            tmp_path / str(seed), f"lr={lr}", best_val_gain=gain, test_gain=gain, last_val_gain=gain,
            metrics={"accuracy": "lower", "gain": "higher"}, main_metric="gain",
        )  # fmt: skip
    found = findings(tmp_path)
    assert (found.metric, found.larger_is_better, found.settings["lr"].tolist()) == ("gain", True, [2, 1])
    assert not findings(tmp_path, metric="accuracy").larger_is_better
    with pytest.raises(ConfigError, match=r"--metric gian: .* did you mean gain"):
        findings(tmp_path, metric="gian")


def test_few_seeds_of_what_nothing_bounds_say_what_they_assume(tmp_path: Path) -> None:
    assumed = "intervals of 3 seeds assume values that are not strongly skewed (docs/statistics.md)"
    for seed in range(10):
        for lr in (1, 2):
            write_run(tmp_path / f"{lr}-{seed}", f"lr={lr}", f"seed={seed}", best_val_gain=lr + 0.1 * seed)
        if seed == 2:
            assert assumed in findings(tmp_path, metric="gain").notes
            assert assumed not in findings(tmp_path, metric="accuracy").notes
    assert not any("assume" in note for note in findings(tmp_path, metric="gain").notes)


def test_the_page_says_at_what_level_the_intervals_of_comparisons_are(tmp_path: Path) -> None:
    for seed in range(3):
        for lr in range(4):
            write_run(tmp_path / f"{lr}-{seed}", f"lr={lr}", f"seed={seed}", test=0.5 + 0.1 * lr + 0.01 * seed)
    _, compared, *_ = grids(findings(tmp_path))
    assert "each by itself misses in 0.83 % (Bonferroni, for 6 pairs of settings)." in compared.remark
    assert "whether it lies beyond 0." in compared.remark
    _, compared, *_ = grids(findings(tmp_path, margin=0.2, looks=Looks((3, 6))))
    assert "at all looks planned, 3, 6 seeds" in compared.remark and "misses in 0.21 %" in compared.remark
    assert "beyond ±0.2, within, or neither" in compared.remark


def test_a_metric_beside_the_trained_network_has_the_same_direction(tmp_path: Path) -> None:
    write_run(tmp_path / "0", best_val_ema_accuracy=0.3)
    assert findings(tmp_path, metric="ema_accuracy").larger_is_better
    assert not findings(tmp_path, metric="loss").larger_is_better


def test_the_edge_of_the_grid_is_told_for_each_optimizer(tmp_path: Path) -> None:
    best = {"sgd": 1.0, "adam": 0.01, "lion": 0.01, "adamw": 0.01, "muon": 0.01, "nadam": 0.1}
    for i, (optimizer, lr) in enumerate((name, lr) for name in best for lr in (0.01, 0.1, 1.0)):
        write_run(tmp_path / str(i), f"optimizer={optimizer}", f"lr={lr}", accuracy=0.9 - 0.2 * (lr != best[optimizer]))
    assert [note for note in findings(tmp_path).notes if "tried" in note] == [
        "optimizer=sgd: the best lr, 1, is the greatest that was tried: the optimum may lie above it",
        "optimizer=adam, optimizer=lion, optimizer=adamw, and 1 more: the best lr, 0.01, is the least that was tried: "
        "the optimum may lie below it",
    ]


def test_of_two_values_one_is_always_at_the_edge_and_nothing_is_said(sweep: Path) -> None:
    assert not findings(sweep).notes


def test_what_is_switched_off_cannot_be_less(tmp_path: Path) -> None:
    for number, (p, accuracy) in enumerate([(0, 0.9), (0.5, 0.8), (0.7, 0.7)]):
        write_run(tmp_path / str(number), f"regularizer.dropout.p={p}", accuracy=accuracy)
    assert not [note for note in findings(tmp_path).notes if "tried" in note]


def test_time_to_a_target(sweep: Path) -> None:
    """adam at 0.01 reaches 0.8 in epoch 1, adam at 0.1 in epoch 2 with every seed, sgd never."""
    speeds = findings(sweep, target=("val_accuracy", 0.8)).speeds.set_index("setting")
    assert speeds["reached"].tolist() == [3, 3, 0, 0]
    rows = speeds.loc[["optimizer=adam lr=0.01", "optimizer=adam lr=0.1"]]
    assert [median.median for median in rows["epoch"]] == [1, 2]
    assert [median.median for median in rows["step"]] == [10, 20]
    assert [median.median for median in rows["seconds"]] == [0.1, 0.2]
    with pytest.raises(ConfigError, match=r"--target val_acuracy=0\.8: .* did you mean val_accuracy"):
        findings(sweep, target=("val_acuracy", 0.8))


def test_times_have_all_their_digits_before_the_point() -> None:
    assert _time(Median(1050, 480, 12_100)).text == "1,050 [480, 12,100]"
    assert _time(Median(52.5, 0.08642, inf)).text == "52.5 [0.0864, ∞]"


def test_runs_that_differ_in_name_and_seed_are_one_setting(tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        for seed in range(3):
            write_run(tmp_path / f"{lr}-{seed}", f"lr={lr}", f"seed={seed}", f"name='{lr}-{seed}'", "epochs=1")
    found = findings(tmp_path)
    assert found.axes == ["lr"] and found.settings["n"].tolist() == [3, 3] and found.constant == {"epochs": 1}


def test_a_setting_is_not_named_by_keys_that_it_lacks(tmp_path: Path) -> None:
    for number, words in enumerate([["optimizer=sgd"], ["optimizer=momentum", "optimizer.momentum=0.5"]]):
        write_run(tmp_path / str(number), *words, "seed=0")
    settings = findings(tmp_path).settings["setting"]
    assert sorted(settings) == ["optimizer=momentum optimizer.momentum=0.5", "optimizer=sgd"]
    rows = [line.split("  ")[0] for line in printed(tmp_path).splitlines()]
    assert "optimizer=sgd" in rows and "optimizer=momentum momentum=0.5" in rows


def test_settings_differ_also_by_what_nobody_typed(tmp_path: Path) -> None:
    for number, depth in enumerate([1, 2]):
        write_run(tmp_path / str(number), config=f"architecture: {{depth: {depth}}}\nname: n{depth}\n")
    found = findings(tmp_path)
    assert found.axes == ["architecture.depth"] and len(found.settings) == 2
    for number, choice in enumerate(["sgd", "adam"]):
        config = f"optimizer: {{_target_: dlrun.{choice}, lr: {number}}}\n"
        run = write_run(tmp_path / "groups" / str(number), config=config)
        (run / ".hydra" / "hydra.yaml").write_text(f"hydra: {{runtime: {{choices: {{optimizer: {choice}}}}}}}")
    assert findings(tmp_path / "groups").settings["setting"].tolist() == ["optimizer=sgd", "optimizer=adam"]


def test_a_repeated_run_counts_once_and_the_finished_one(tmp_path: Path) -> None:
    for number, status in enumerate(["failed", "finished", "finished"]):
        write_run(tmp_path / str(number), "lr=1", "seed=0", status=status)
    found = findings(tmp_path)
    assert found.table["run"].tolist() == ["1"]
    assert found.notes == ["2 of the runs repeat another's setting and seed and are left out"]


@pytest.mark.parametrize(
    ("infinite", "finite", "words"),
    [(True, True, "yes, Σ lr² < ∞ yes; the conditions hold"), (True, False, "no; the conditions do not hold")],
)
def test_robbins_and_monros_conditions(tmp_path: Path, infinite: bool, finite: bool, words: str) -> None:
    write_run(tmp_path / "0", "schedule=inverse", lr_sum_infinite=infinite, lr_squared_sum_finite=finite)
    write_run(tmp_path / "1", "schedule=constant", lr_sum_infinite=False, lr_squared_sum_finite=False)
    notes = findings(tmp_path).notes
    assert "schedule=inverse" in notes[0] and notes[0].endswith(words)
    assert "schedule=constant" in notes[1] and "Σ lr = ∞ no" in notes[1]
    write_run(tmp_path / "one" / "0", "schedule=constant", lr_sum_infinite=False, lr_squared_sum_finite=False)
    assert not findings(tmp_path / "one").notes  # nothing is compared


# The report


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, Mapping[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_a_sweeps_folder_gets_the_whole_report(sweep: Path) -> None:
    text = printed(sweep, target=("val_accuracy", 0.8))
    assert sorted(path.name for path in sweep.iterdir() if path.is_file()) == [
        "comparison.png", "curves.csv", "effects.png", "heatmap.png", "report.html", "sensitivity.png", "sweep.csv",
    ]  # fmt: skip
    assert "12 runs of 4 settings: 12 finished" in text and "Time to val_accuracy = 0.8" in text
    best = next(line for line in text.splitlines() if line.startswith("optimizer=adam lr=0.01"))
    assert best.split()[2:6] == ["0.9133", "0.8367", "±", "0.015"] and best.endswith("3/3")
    assert text.splitlines()[-1] == str(sweep / "report.html")


def test_no_line_exceeds_the_terminal_and_no_number_or_word_is_cut(sweep: Path) -> None:
    for number in range(12):
        file = sweep / str(number) / ".hydra" / "overrides.yaml"
        file.write_text(file.read_text() + f"- architecture.a_rather_long_key={number % 2}\n")
    lost = ["lr=0.1", "optimizer=lion", "architecture.a_rather_long_key=1", "epochs=5"]
    write_run(sweep / "12", *lost, status="diverged")
    found = findings(sweep, target=("val_accuracy", 0.8))
    for width in (60, 80, 100, 160):
        console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
        print_report(found, list(grids(found)), "sweep", console)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert max(map(len, text.splitlines())) <= width
        shown = " ".join(text.split())
        assert all(row["verdict"] in shown for row in found.comparisons.to_dict("records"))
        for whole in ("optimizer=adam lr=0.01 a_rather_long_key=0", "0.9150", "0.8350 ± 0.021", "0.5593 – 0.9528"):
            assert whole in shown


def test_what_goes_into_a_file_has_100_columns(sweep: Path) -> None:
    lines = printed(sweep, target=("val_accuracy", 0.8)).splitlines()
    assert 80 < max(map(len, lines[:-1])) <= 100


@pytest.mark.parametrize("width", [110, 85, 60, 40, 25])
def test_a_grid_fits_any_terminal(width: int) -> None:
    """Side by side where there is room; then the name above, closer together, and at last one below the other."""
    values = [f"{i}23456789 – {i}23456789" for i in range(1, 4)]
    words = "it is what it is, 試験 and undecided"
    row = [Cell("optimizer=momentum lr=0.001"), *map(Cell, values), Cell(words)]
    grid = Grid("", ["setting", "a", "b", "c", "in words"], [row], text=[True, False, False, False, True])
    console = Console(file=io.StringIO(), width=width)
    grid.show(console, 1)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(cell_len, lines)) <= width
    assert all(any(value in line for line in lines) for value in values) or width == 25
    assert " ".join(" ".join(lines).split()).endswith(words) and any(
        line.startswith("optimizer=momentum") for line in lines
    )
    together = [line for line in lines if all(value in line for value in values)]
    assert bool(together) == (width >= 85)


def test_the_page_needs_nothing_but_itself(sweep: Path) -> None:
    printed(sweep)
    page = Tags((sweep / "report.html").read_text())
    images = [attributes["src"] for tag, attributes in page.found if tag == "img"]
    assert len(images) == 3 and all(str(src).startswith("data:image/png;base64,iVBOR") for src in images)
    assert not [tag for tag, attributes in page.found if tag == "link" or (tag == "script" and "src" in attributes)]
    links = [str(attributes["href"]) for tag, attributes in page.found if tag == "a"]
    assert len(links) == 12 and all((sweep / link).is_file() for link in links)
    assert not re.search("https?://", (sweep / "report.html").read_text())


def test_no_value_is_taken_for_html(tmp_path: Path) -> None:
    evil = "<script>alert(1)<"
    for number, name in enumerate([f"{evil}a>", "b&amp;c"]):
        write_run(tmp_path / "s" / name, f"+label={evil}{number}", f"seed={number}", "+tag=<b>", error=f"{evil}")
    printed(tmp_path / "s")
    page = Tags((tmp_path / "s" / "report.html").read_text())
    assert [tag for tag, _ in page.found].count("script") == 2 and "b" not in [tag for tag, _ in page.found]
    assert f"{evil}a>" in page.words and f"{evil}0" in page.words and "b&amp;c" in page.words
    links = [str(attributes["href"]) for tag, attributes in page.found if tag == "a"]
    assert links == ["%3Cscript%3Ealert%281%29%3Ca%3E/metrics.csv", "b%26amp%3Bc/metrics.csv"]


def test_a_link_opens_the_file_that_shows_most(tmp_path: Path) -> None:
    for name, files, status in (
        ("drawn", ("curves.png", "dlrun.log"), "finished"), ("failed", ("dlrun.log",), "failed"),
        ("100 %#1", (), "finished"),
    ):  # fmt: skip
        run = write_run(tmp_path / "s" / name, f"+label={len(name)}", status=status)
        for file in files:
            (run / file).write_text("")
    (tmp_path / "s" / "empty" / ".hydra").mkdir(parents=True)
    found = findings(tmp_path / "s")
    grid = runs_grid(found, collect.find([tmp_path / "s"]), tmp_path / "s")
    links = {row[0].text: row[0].link for row in grid.rows}
    assert links == {
        "100 %#1": "100%20%25%231/metrics.csv", "drawn": "drawn/curves.png", "failed": "failed/dlrun.log", "empty": "",
    }  # fmt: skip
    assert all((tmp_path / "s" / unquote(link)).is_file() for link in links.values() if link)


def test_seconds_of_a_stack_are_called_so_beside_the_runs_share(tmp_path: Path) -> None:
    for seed in range(4):
        write_run(tmp_path / str(seed), f"seed={seed}", seconds=2.0, width=4)
    found = findings(tmp_path, target=("val_accuracy", 0.4))
    runs = runs_grid(found, collect.find([tmp_path]), tmp_path)
    times = {name: [row[at].text for row in runs.rows] for at, name in enumerate(runs.columns) if "s" in name}
    assert times["stack's seconds"] == ["2.000"] * 4 and times["its share"] == ["0.5000"] * 4
    assert "seconds" not in runs.columns and "trained together" in runs.remark
    assert "stack's seconds" in list(grids(found))[-1].columns
    write_run(tmp_path / "alone" / "0", seconds=2.0, width=1)
    alone = runs_grid(findings(tmp_path / "alone"), collect.find([tmp_path / "alone"]), tmp_path)
    assert "seconds" in alone.columns and not alone.remark


def test_of_very_many_runs_the_page_has_the_best_the_worst_and_some_without_a_result(sweep: Path) -> None:
    found = findings(sweep)
    rows = pd.DataFrame(
        {
            "run": map(str, range(3000)),
            "lr": 0.1,
            "seed": range(3000),
            "status": ["diverged"] * 300 + ["finished"] * 2700,
        }
    ).assign(best_val_accuracy=lambda table: (table["seed"] % 1000 / 1000).where(table["status"] == "finished"))
    many = replace(found, table=rows.assign(test_accuracy=0.5, setting=found.settings["setting"].iloc[0]))
    grid = runs_grid(many, {run: sweep for run in rows["run"]}, sweep)
    values = [row[grid.columns.index("best_val_accuracy")].text for row in grid.rows]
    assert len(values) == 1000 and values[:200] == ["-"] * 200
    ranked = rows["best_val_accuracy"].dropna().sort_values(ascending=False)
    assert [float(v) for v in values[200:]] == pytest.approx([*ranked[:400], *ranked[-400:]], abs=1e-4)
    assert grid.remark == (
        "Of 3,000 runs these are the 400 best and the 400 worst by best_val_accuracy, and 200 of the 300 without such "
        "a value; sweep.csv has all."
    )


def test_very_many_settings_are_the_first_and_the_last_on_the_page() -> None:
    grid = Grid("", ["setting"], [[Cell(str(i))] for i in range(3000)], "Why.", [True])
    assert [row[0].text for row in grid.ends(1000).rows] == [*map(str, range(500)), *map(str, range(2500, 3000))]
    assert grid.ends(1000).remark == "Why. Of 3,000 rows these are the first 500 and the last 500."
    assert grid.ends(3000) is grid


def test_the_page_of_very_many_runs_is_small() -> None:
    """1,200 settings with 3 seeds each: 3,600 runs."""
    runs = range(3600)
    table = pd.DataFrame({"run": map(str, runs), "lr": [(1 + i // 3) / 1000 for i in runs], "optimizer": "momentum"})
    table = table.assign(seed=[i % 3 for i in runs], status="finished", best_val_accuracy=np.linspace(0.1, 0.9, 3600))
    table = table.assign(test_accuracy=table["best_val_accuracy"], seconds=1.5, error="")
    places = dict.fromkeys(table["run"], Path("nowhere"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dlrun.report.findings.metrics_of", lambda run: ("accuracy", {"accuracy"}))
        found = find(table, places, Evaluations())
    shown = [*(grid.ends(MOST) for grid in grids(found)), runs_grid(found, places, Path())]
    assert [len(grid.rows) for grid in shown] == [1000, 1000, 800]
    page = page_of(found, shown, pictures.Pictures({}, {}), "many", [], drawn(found, Evaluations()))
    assert len(page) < 1.7e6  # the pictures and the curves take less than 1.4 MB


def test_a_setting_that_diverged_as_a_whole_is_told_everywhere(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / f"a{seed}", "lr=0.1", f"seed={seed}")
        write_run(tmp_path / f"b{seed}", "lr=9", f"seed={seed}", status="diverged")
    found = findings(tmp_path)
    assert found.comparisons["verdict"].tolist() == ["no finished seed in common (3 of 3 diverged)"]
    settings, *_ = grids(found)
    assert [row[-1].text for row in settings.rows] == ["0", "3 of 3 (44–100 %)"]  # Wilson 1927
    seen = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            pictures.comparison, "figure", lambda *arguments, **_: seen.setdefault("fates", arguments[-1]) and Figure()
        )
        patch.setattr(pictures, "png", lambda page: b"")
        pictures.draw(found, evaluations(runs := collect.find([tmp_path])), "", runs)
    assert seen["fates"] == {"lr=9": "3 of 3 diverged"}


def test_runs_whose_best_is_the_untrained_network_are_counted(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / f"a{seed}", "lr=0.1", f"seed={seed}", best_epoch=float(seed > 1))
    [told] = [note for note in findings(tmp_path).notes if "before the training" in note]
    assert told.startswith("the validation loss of 2 runs was never lower than before the training")


def test_settings_that_pruning_ended_are_listed_and_compared_with_none(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path / f"a{seed}", "lr=0.1", f"seed={seed}")
        write_run(tmp_path / f"b{seed}", "lr=0.2", f"seed={seed}")
        write_run(tmp_path / f"c{seed}", "lr=9", f"seed={seed}", status="pruned")
    found = findings(tmp_path)
    assert sorted(found.settings["setting"]) == ["lr=0.1", "lr=0.2", "lr=9"]
    assert len(found.comparisons) == 1 and "lr=9" not in set(found.comparisons["setting"])
    last = next(iter(grids(found))).rows[-1]
    assert [cell.text for cell in last[:3]] == ["9", "pruned", "-"]
    told = printed(tmp_path)
    assert "without 1 setting" not in told and (tmp_path / "sensitivity.png").exists()
    for seed in range(2):
        shutil.rmtree(tmp_path / f"b{seed}")
    told = " ".join(printed(tmp_path).split())
    assert not (tmp_path / "sensitivity.png").exists() and "no such picture or table any more: sensitivity.png" in told
    assert "of 1 setting no run finished: there is no picture of how the result hangs on the axes" in told


def test_pictures_say_in_one_line_how_many_settings_were_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at, status in enumerate(["finished"] * 2 + ["pruned"] * 3):
        write_run(tmp_path / str(at), f"lr={at + 1}", f"optimizer={'sgd' if at < 2 else 'adam'}", status=status)
    pages: list[Any] = []
    monkeypatch.setattr(pictures, "png", lambda page: pages.append(page) or b"")
    found = findings(tmp_path)
    runs = collect.find([tmp_path])
    pictures.draw(found, evaluations(runs), "", runs)
    assert len(pages) == 3  # curves, over the rates, heat map
    for page in pages[:2]:
        [legend] = page.legends
        assert " ".join(legend.get_title().get_text().split()).endswith("without 3 settings that were pruned")
        assert not any("adam" in text.get_text() for text in legend.get_texts())
    assert pages[2].axes[0].get_title().endswith("without 3 settings that were pruned")


@pytest.mark.slow
def test_a_front_that_is_no_more_goes_and_its_absence_is_told(tmp_path: Path) -> None:
    config = "objective: [best_val_loss, seconds, parameters]\n"
    for at in range(2):
        write_run(tmp_path / str(at), f"lr={at}", accuracy=0.5 + at / 5, config=config, width=2)
    told = " ".join(printed(tmp_path).split())
    assert "Front: less best_val_loss, fewer seconds, fewer parameters" in told
    assert "front.csv has these settings" in told
    assert "seconds: that of the whole stack" in told
    assert (tmp_path / "front.csv").exists() and (tmp_path / "front.png").exists()
    (tmp_path / "front.pdf").write_text("one's own")
    for at in range(2):
        file = tmp_path / str(at) / "summary.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"parameters": None, "test_accuracy": None}))
    told = " ".join(printed(tmp_path).split())
    assert "there is no front of best_val_loss, seconds, parameters: of each setting" in told
    assert not list(tmp_path.glob("front.[cp][sn]*")) and (tmp_path / "front.pdf").exists()
    assert not (tmp_path / "comparison.png").exists()
    assert "1/1, 0 with a value" in told and " 0/1" not in told


def test_one_seed_is_told_once(tmp_path: Path) -> None:
    for number, lr in enumerate((0.1, 0.2, 0.3)):
        write_run(tmp_path / str(number), f"lr={lr}", "seed=0", test=0.5 + lr)
    told = printed(tmp_path)
    assert told.count("nothing can be told") == 1 and "Hedges" not in told and "difference" in told


def test_several_folders_and_single_runs_are_reported_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one/0", "two/0"):
        write_run(tmp_path / name, f"lr={len(name)}")
    monkeypatch.chdir(tmp_path)
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    for folders in (["one", "two"], ["one/0"]):
        page = report(folders, console=Console(file=io.StringIO()))
        assert tmp_path / "outputs" / "report" in page.parents
        assert (page.parent / "sweep.csv").exists() and (page.parent / "comparison.png").exists()
        links = [attributes["href"] for tag, attributes in Tags(page.read_text()).found if tag == "a"]
        assert all((page.parent / str(link)).is_file() for link in links)
    assert before == sorted(p for p in tmp_path.rglob("*") if p.is_file() and tmp_path / "outputs" not in p.parents)


@pytest.mark.parametrize("name", ["report.html", "heatmap.png", "sweep.csv"])
def test_what_is_no_report_is_not_overwritten(sweep: Path, name: str) -> None:
    (sweep / name).write_text("mine")
    with pytest.raises(ConfigError, match=rf"{name} is n.*not overwritten; move it away"):
        printed(sweep)
    assert [path.name for path in sweep.iterdir() if path.is_file()] == [name]
    assert (sweep / name).read_text() == "mine"


def test_a_sweep_without_a_finished_run_has_a_report(tmp_path: Path) -> None:
    for number, status in enumerate(["failed", "diverged"]):
        write_run(tmp_path / "s" / str(number), f"seed={number}", status=status, error="broken")
    text = printed(tmp_path / "s")
    assert "1 failed, 1 diverged" in text and "no run has finished" in text
    assert not list((tmp_path / "s").glob("*.png"))
    assert "broken" in (tmp_path / "s" / "report.html").read_text()


def test_divergences_are_counted_with_wilsons_interval(tmp_path: Path) -> None:
    for seed in range(10):
        write_run(tmp_path / "s" / str(seed), f"seed={seed}", status="diverged" if seed < 2 else "finished")
    line = next(line for line in printed(tmp_path / "s").splitlines() if line.startswith("all runs"))
    assert line.endswith("2 of 10 (6–51 %)") and "8/10" in line  # Wilson 1927 for 2 of 10


def test_a_report_made_again_is_the_same_and_nothing_imports_torch(sweep: Path) -> None:
    printed(sweep)
    first = (sweep / "report.html").read_bytes()
    code = (
        f"import sys; from dlrun.report.report import report; report([{str(sweep)!r}]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert (sweep / "report.html").read_bytes() == first


def dlrun(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["dlrun", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_verb(sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert dlrun(monkeypatch, "report", str(sweep), "--target", "val_accuracy=0.8", "--metric=loss") == 0
    out = capsys.readouterr().out
    assert "Settings: loss" in out and "Time to val_accuracy = 0.8" in out


MISTAKES = {
    "nothing named": ([], "name the folders"),
    "no number": (["--target", "val_accuracy=high"], "--target val_accuracy=high: give a column and a number"),
    "no value": (["--target"], "report --target: give a value"),
    "unknown option": (["--traget=val_loss=1"], "there is no such option; did you mean --target?"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_message(
    mistake: str, sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = MISTAKES[mistake]
    folders = [] if mistake == "nothing named" else [str(sweep)]
    assert dlrun(monkeypatch, "report", *folders, *arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())
