"""What the page of a report draws: its numbers against plain loops over metrics.csv, and where settings lie on axes."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import struct
from io import StringIO
from itertools import accumulate
from math import inf, isfinite, isnan, nan
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from test_report import evaluations, findings, write_run

from dlrun.report import collect, packing
from dlrun.report.axes import swept_in_logarithm
from dlrun.report.drawn import drawn
from dlrun.report.report import report


def unpacked(text: str) -> list[float]:
    content = base64.b64decode(text)
    return [struct.unpack("<f", b"\0" + content[at : at + 3])[0] for at in range(0, len(content), 3)]


def of(folder: Path) -> dict[str, Any]:
    found = findings(folder)
    return json.loads(json.dumps(drawn(found, evaluations(collect.find([folder]))), allow_nan=False))


def metrics(run: Path, column: str) -> list[float]:
    with (run / "metrics.csv").open() as file:
        return [float(row[column]) for row in csv.DictReader(file)]


@given(st.lists(st.floats(width=32), min_size=1))
def test_packed_numbers_have_four_digits(values: list[float]) -> None:
    for value, read in zip(values, unpacked(packing.packed(values)), strict=True):
        if isnan(value):
            assert isnan(read)
        elif not isfinite(value) or abs(value) > 3.4028e38:  # rounds up to infinity
            assert abs(read) > 3.402e38 and (read > 0) == (value > 0)
        else:
            assert abs(read - value) <= max(abs(value) * 2**-16, 2**-126)


@pytest.mark.parametrize("seeds", [3, 11])
def test_means_and_bands_are_those_of_a_plain_loop(seeds: int, tmp_path: Path) -> None:
    """The best setting first, whatever the order of folders; of more than 10 seeds the band is their middle half."""
    generator = np.random.default_rng(0)
    for number, (lr, level) in enumerate([(0.1, 0.3), (0.2, 0.8)]):
        for seed in range(seeds):
            curve = tuple(generator.uniform(level, level + 0.1, 5 + (seed == 0)))  # all have five of them
            write_run(tmp_path / f"{number}-{seed}", f"lr={lr}", f"seed={seed}", curve=curve, accuracy=level)
    page = of(tmp_path)
    assert [setting["label"] for setting in page["settings"]] == ["lr=0.2", "lr=0.1"]
    assert page["spread"] == ("lowest to highest" if seeds == 3 else "the middle half of them")
    for name in ("val_accuracy", "val_loss"):
        [curve] = [each for each in page["curves"] if each["name"] == name]
        parts = np.array(unpacked(curve["settings"])).reshape(2, 3, 5)  # setting; mean, low, high; evaluation
        for place, number in enumerate("10"):
            rows = [metrics(tmp_path / f"{number}-{seed}", name)[:5] for seed in range(seeds)]
            for at in range(5):
                values = [row[at] for row in rows]
                ends = (min(values), max(values)) if seeds == 3 else quantiles(values, n=4, method="inclusive")[::2]
                assert parts[place, :, at] == pytest.approx([fmean(values), *ends], rel=2**-15)
        lengths = [run["length"] for run in page["runs"]]
        starts = [0, *accumulate(lengths)]
        own = unpacked(curve["runs"])
        for run, start, length in zip(page["runs"], starts, lengths, strict=False):
            assert own[start : start + length] == pytest.approx(metrics(tmp_path / run["name"], name), rel=2**-15)
    grid = page["grids"][page["settings"][0]["grid"]]
    assert len(page["grids"]) == 1 and grid == {"epoch": [0, 1, 2, 3, 4, 5], "step": [0, 10, 20, 30, 40, 50]}


def test_what_did_not_finish_is_drawn_alone_and_told(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "lr=1", "seed=0", curve=(0.1, 0.5))
    write_run(tmp_path / "1", "lr=1", "seed=1", curve=(0.1, nan, 0.9), status="diverged")
    write_run(tmp_path / "2", "lr=9", "seed=0", curve=(inf,), status="failed", error="broken")
    (tmp_path / "3" / ".hydra").mkdir(parents=True)
    (tmp_path / "3" / ".hydra" / "overrides.yaml").write_text("- lr=9\n- seed=1\n")
    page = of(tmp_path)
    one, nine = page["settings"]
    assert (one["n"], one["fate"], one["banded"], one["length"]) == (1, "1 of 2 diverged", False, 2)
    assert (nine["n"], nine["fate"], nine["grid"]) == (0, "1 of 2 failed, 1 of 2 interrupted", None)
    assert [(run["name"], run["own"], run["status"]) for run in page["runs"]] == [
        ("0", False, "finished"), ("1", True, "diverged"), ("2", True, "failed"),
    ]  # fmt: skip
    [accuracy] = [each for each in page["curves"] if each["name"] == "val_accuracy"]
    assert unpacked(accuracy["settings"]) == pytest.approx([0.1, 0.5], rel=1e-4)
    assert unpacked(accuracy["runs"]) == pytest.approx([0.1, nan, 0.9, inf], rel=1e-4, nan_ok=True)
    told = " ".join(page["said"])
    assert "3 runs did not finish (1 diverged, 1 failed, 1 interrupted): in no mean" in told
    assert "1 run ended before the first evaluation: no curve." in told
    lost = {axis["name"]: axis["at"] for axis in page["axes"] if axis["name"] in ("diverged", "failed")}
    assert lost == {"diverged": [1, 0], "failed": [0, 1]}  # 50 % of one, 0 of the other
    [val] = [axis for axis in page["axes"] if axis["name"] == "val accuracy"]
    assert val["texts"][1] == "none" and val["at"][1] < val["at"][0] and [0, "none"] in val["ticks"]


def test_of_long_curves_every_kth_value_is_drawn_and_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "VALUES", 60)
    monkeypatch.setattr(packing, "FEWEST", 5)
    curve = tuple(i / 20 for i in range(20))
    for seed in range(2):
        write_run(tmp_path / str(seed), f"seed={seed}", curve=curve)
    page = of(tmp_path)
    assert page["stride"] == 4 and page["axes"] == []  # 5 curves of each column, and places for 12 values of each
    assert [each["name"] for each in page["curves"]] == ["val_accuracy", "val_loss"]
    drawn_of_it = [*curve[::4], curve[-1]]
    assert unpacked(page["curves"][0]["runs"]) == pytest.approx(drawn_of_it * 2, rel=1e-4)
    told = " ".join(page["said"])
    assert "Of every 4 evaluations one is drawn, and the last; curves.csv has all." in told
    assert "without the columns train_accuracy, train_loss, lr, grad_norm" in told


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [
        ([1e-3, 1e-2], True), ([32, 64], False), ([16, 32, 64], True), ([1, 2, 3], False),
        ([0, 1e-4, 1e-3, 1e-2], True),
        ([0, 0.1, 0.2, 0.3], False), ([-1, 1, 10, 100], False), ([0.5], False), ([], False),
        (np.geomspace(1e-4, 1, 9).tolist(), True), (np.linspace(0.5, 1, 9).tolist(), False),
    ],
)  # fmt: skip
def test_an_axis_is_logarithmic_where_it_was_swept_so(values: list[float], logarithmic: bool) -> None:
    assert swept_in_logarithm(np.array(values, float)) == logarithmic


def test_places_on_axes(tmp_path: Path) -> None:
    rows = [
        ("adam", "0", "null", 0.9),
        ("sgd", "1e-4", "0.9", 0.5),
        ("sgd", "1e-3", "0.5", 0.6),
        ("sgd", "1e-2", "0.5", 0.7),
    ]
    for number, (optimizer, decay, momentum, accuracy) in enumerate(rows):
        typed = [f"optimizer={optimizer}", f"decay={decay}", f"momentum={momentum}"]
        write_run(tmp_path / str(number), *typed, accuracy=accuracy, test=accuracy - 0.1)
    axes = {axis["name"]: axis for axis in of(tmp_path)["axes"]}
    assert list(axes) == ["optimizer", "decay", "momentum", "val accuracy", "test accuracy"]
    words = axes["optimizer"]  # adam, 1e-2, 1e-3, 1e-4
    assert words["at"] == [0.75, 0.25, 0.25, 0.25] and words["ticks"] == [[0.25, "sgd"], [0.75, "adam"]]
    decay = axes["decay"]
    assert decay["scale"] == "log" and decay["at"] == pytest.approx([0, 1, 0.55, 0.1])  # 0 below the smallest
    assert [text for _, text in decay["ticks"]] == ["0", "0.0001", "0.001", "0.01"]
    momentum = axes["momentum"]  # numbers from below, words above them
    assert momentum["at"] == pytest.approx([5 / 6, 1 / 6, 1 / 6, 1 / 2], abs=1e-4)
    accuracy = axes["val accuracy"]
    assert accuracy["at"] == pytest.approx([1, 0.5, 0.25, 0]) and accuracy["note"] == "↑ is better"
    assert accuracy["texts"] == ["0.9000", "0.7000", "0.6000", "0.5000"]


def test_the_page_runs_its_own_script_alone(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    for seed in range(2):
        write_run(tmp_path / "s" / str(seed), f"+label={evil}{seed}", f"seed={seed}", name=evil)
    report([tmp_path / "s"], console=Console(file=StringIO()))
    page = (tmp_path / "s" / "report.html").read_text()
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    for kind in ("style", "script"):
        [content] = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'" and evil not in content
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'" and rules["img-src"] == "data:"
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data)["settings"][0]["label"] == f"label={evil}0" and not re.search("[<>&]", data)


@pytest.mark.parametrize(("least", "log"), [(0.0, False), (1e-9, True)])
def test_a_column_that_reaches_zero_is_drawn_as_others_are(
    tmp_path: Path, least: float, log: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    metrics = write_run(tmp_path / "0", "lr=0.1") / "metrics.csv"
    first, *rows = metrics.read_text().splitlines()
    metrics.write_text("\n".join([first, rows[0], *(row.replace(",2.0,", f",{least},") for row in rows[1:]), ""]))
    page = report([tmp_path / "0"]).read_text()
    assert re.search(f'"name": ?"grad_norm", ?"log": ?{json.dumps(log)}', page)
