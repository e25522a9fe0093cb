"""What is told of the data, by counts of its own; and rows encoded again from a run's folder alone."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import config
from fakes import files, typed  # noqa: F401
from PIL import Image
from safetensors.numpy import load_file
from test_images import pictures

from dlrun.config.catalogue import choices
from dlrun.datasets import bundled, image_folder, new_rows, sequences, synthetic, table
from dlrun.datasets.data import Samples
from dlrun.datasets.dataset import Dataset
from dlrun.datasets.describe import LISTED
from dlrun.datasets.encoded import Encoded, read_encoding
from dlrun.datasets.prepare import prepare
from dlrun.datasets.split import split
from dlrun.datasets.tables.columns import Column, Raw
from dlrun.errors import ConfigError
from dlrun.folder.clearing import clear
from dlrun.folder.records import Run
from dlrun.job.encoding import save_encoding
from dlrun.report.data import data_of
from dlrun.sweep.stacking import stacked
from dlrun.sweep.trainers import Here
from dlrun.sweep.workers import Task
from dlrun.terminal.description import summary, told
from dlrun.training.build import build, plain

OPTIONS: dict[str, Any] = {
    "scale": "standard", "scale_target": False, "val_fraction": 0.2, "test_fraction": 0.2, "split_seed": 3,
}  # fmt: skip
FLOWERS = "length,colour,width,kind\n" + "".join(
    f"{'' if i % 7 == 3 else i / 8},{('red', 'blue', '')[i % 3]},{i * i},{'abc'[i % 3]}\n" for i in range(60)
)


def rows(samples: Samples) -> np.ndarray:
    """The samples' rows in the order of the dataset's."""
    parts = split(samples, {"test": 0.2, "val": 0.2}, 3)
    return np.concatenate([parts[name] for name in ("train", "val", "test")])


def kept(dataset: Dataset, folder: Path) -> Run:
    run = Run.create(folder, ["epoch"], "")
    assert dataset.encoding is not None
    save_encoding(run.folder, dataset.encoding, {})
    return run


def encoded(numbers: np.ndarray, folder: Path) -> np.ndarray:
    """Rows of numbers as a run's network takes them, by docs/encoding.md."""
    how = json.loads((folder / "encoding.json").read_text())["inputs"]
    x = np.asarray(numbers, np.float64)
    assert list(x.shape[1:]) == how["shape"]
    if "missing" in how:
        x = np.where(np.isnan(x), how["missing"], x)
    if "matrix" in how:
        matrix = load_file(folder / how["matrix"])["matrix"]
        return ((x.reshape(len(x), -1) - how["subtract"]) @ matrix).reshape(x.shape)
    if "subtract" in how:
        x = (x - how["subtract"]) / how["divide"] * how["multiply"] + how["add"]
    return x


@pytest.mark.parametrize("scale", ["none", "minmax", "symmetric", "standard", "zca"])
@pytest.mark.parametrize(
    "source",
    [bundled.wine, bundled.digits, bundled.diabetes, lambda: sequences.sequences(30, 6)],
    ids=["wine", "digits", "diabetes", "sequences"],
)
def test_raw_rows_are_encoded_again_from_the_folder_alone(
    tmp_path: Path, scale: str, source: Callable[[], Samples]
) -> None:
    samples = source()
    dataset = prepare(samples, **OPTIONS | {"scale": scale})
    kept(dataset, tmp_path / "run")
    again = encoded(samples.inputs[rows(samples)], tmp_path / "run")
    assert np.abs(again - dataset.inputs.numpy()).max() < 1e-6 * max(1, float(dataset.inputs.abs().max()))
    targets = json.loads((tmp_path / "run" / "encoding.json").read_text())["targets"]
    named = {"outputs": 1} if samples.task == "regression" else {"classes": samples.class_names or ["0", "1"]}
    assert targets == {"task": samples.task, **named}


def test_a_tables_raw_cells_are_encoded_again_from_the_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "flowers.csv").write_text(FLOWERS)
    samples = table.table(str(tmp_path / "flowers.csv"), impute=True)
    dataset = prepare(samples, **OPTIONS)
    kept(dataset, tmp_path / "run")
    how = json.loads((tmp_path / "run" / "encoding.json").read_text())
    lines = list(csv.DictReader(FLOWERS.splitlines()))

    def number(line: dict[str, str], feature: str) -> float:
        column, _, category = feature.partition("=")
        return float((line[column] or "missing") == category) if category else float(line[column] or "nan")

    numbers = np.array([[number(line, feature) for feature in how["inputs"]["features"]] for line in lines])
    again = encoded(numbers, tmp_path / "run")
    order = rows(samples)
    assert np.abs(again[order] - dataset.inputs.numpy()).max() < 1e-6
    classes = [how["targets"]["classes"].index(line["kind"]) for line in lines]
    assert np.array_equal(np.array(classes)[order], dataset.targets.numpy())


@pytest.mark.parametrize("way", ["csv", "frame"])
def test_decimals_that_are_written_otherwise_than_in_training_are_refused(way: str, tmp_path: Path) -> None:
    """6.733 is six thousand where commas stand before decimals, which nobody sees in a prediction."""
    number = [f"{1000 + 37 * i}" for i in range(20)]  # as many digits as there are
    by_comma = "a;b;y\n" + "".join(f"{n[0]},{n[1:]};{i},5;{i}\n" for i, n in enumerate(number))
    by_point = "a,b,y\n" + "".join(f"{n[0]}.{n[1:]},{i}.5,{i}\n" for i, n in enumerate(number))

    def encoded(content: str) -> Encoded:
        (tmp_path / "data.csv").write_text(content)
        samples = table.table(str(tmp_path / "data.csv"), target="y")
        dataset = prepare(samples, scale="none", scale_target=False, val_fraction=0.2, test_fraction=0.2, split_seed=0)
        assert dataset.encoding is not None
        (tmp_path / "encoding.json").write_text(dataset.encoding.text)
        return read_encoding(tmp_path)

    def rows(content: str, encoding: Encoded) -> list[list[float]]:
        (tmp_path / "new.csv").write_text(content)
        if way == "csv":
            return new_rows.of_file(tmp_path / "new.csv", encoding).tolist()
        separator = ";" if ";" in content.splitlines()[0] else ","
        found = pd.read_csv(tmp_path / "new.csv", sep=separator, dtype=str)
        return new_rows.of_frame(found, encoding).tolist()

    comma, point = encoded(by_comma), encoded(by_point)
    for encoding, good, bad in (
        (comma, "a;b\n6,733;3,5\n", "a,b\n6.733,3\n"),
        (point, "a,b\n6.733,3.5\n", 'a,b\n"6,733",3\n'),
    ):
        assert rows(good, encoding) == [[6.733, 3.5]]
        with pytest.raises(ConfigError, match=r"'a' holds '6.733', which is 6733 as .* and 6\.733 otherwise"):
            rows(bad, encoding)
    # Digits in groups, where another number of the same rows tells that these are no decimals.
    assert rows("a;b\n6.733;3,5\n", comma) == [[6733, 3.5]]
    assert rows('a,b\n"6,733",3.5\n', point) == [[6733, 3.5]]


def test_an_empty_text_where_training_had_none_is_told(tmp_path: Path) -> None:
    column = Column("garden", "category", categories=("no", "yes"))
    with pytest.raises(ConfigError, match="'garden' is empty in row 2, and in training it was nowhere"):
        column.encode(Raw.of_texts("garden", ["yes", "", "no"], []))


def test_an_image_is_encoded_again_from_the_folder_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    pixels = pictures(tmp_path / "in", 4, 6, 3, count=8)
    samples = image_folder.image_folder(str(tmp_path / "in"), size=4)
    dataset = prepare(samples, **OPTIONS)
    kept(dataset, tmp_path / "run")
    how = json.loads((tmp_path / "run" / "encoding.json").read_text())
    image = how["source"]["image"]
    assert image == {"channels": "red, green, blue", "range": [0, 255], "middle_square_scaled_to": 4}
    assert how["inputs"]["shape"] == [3, 4, 4]
    decoded = [np.asarray(Image.open(tmp_path / "in" / name)).transpose(2, 0, 1)[:, :, 1:5] for name in pixels]
    again = encoded(np.stack(decoded), tmp_path / "run")
    assert np.abs(again[rows(samples)] - dataset.inputs.numpy()).max() < 1e-6


def test_a_scaled_target_is_told(tmp_path: Path) -> None:
    samples = bundled.diabetes()
    dataset = prepare(samples, **OPTIONS | {"scale_target": True})
    kept(dataset, tmp_path / "run")
    how = json.loads((tmp_path / "run" / "encoding.json").read_text())["targets"]
    again = dataset.targets.numpy() * how["divide"] / how["multiply"] + how["subtract"]
    assert np.abs(again[:, 0] - samples.targets[rows(samples)]).max() < 1e-3
    target = dataset.description["target"]
    assert (target["min"], target["max"], target["standardised"]) == (25, 346, True)
    assert told(dataset.description)[1].endswith("; regression, 25 to 346, standardised")


def test_the_runs_of_a_sweep_share_the_matrix_of_zca(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dataset = prepare(bundled.wine(), **OPTIONS | {"scale": "zca"})
    assert dataset.encoding is not None
    matrices: dict[str, Path] = {}
    for i in range(2):
        save_encoding(Run.create(tmp_path / "sweep" / str(i), ["epoch"], "").folder, dataset.encoding, matrices)
    monkeypatch.setattr(Path, "glob", lambda *_: pytest.fail("only the first run of a stack looks around"))
    save_encoding(Run.create(tmp_path / "sweep" / "2", ["epoch"], "").folder, dataset.encoding, matrices)
    monkeypatch.undo()
    kept(dataset, tmp_path / "sweep" / "3")  # by another process

    def inodes() -> list[int]:
        return [file.stat().st_ino for file in sorted((tmp_path / "sweep").glob("*/zca-*.safetensors"))]

    assert len(inodes()) == 4 and len(set(inodes())) == 1
    [name] = {file.name for file in (tmp_path / "sweep").glob("*/zca-*")}
    for run in "012":  # what is not the same is not taken for it, whatever its name
        (tmp_path / "sweep" / run / name).unlink()
        (tmp_path / "sweep" / run / name).write_bytes(b"other")
    (tmp_path / "sweep" / "3" / name).rename(tmp_path / "elsewhere")
    (tmp_path / "sweep" / "3" / name).symlink_to(tmp_path / "elsewhere")
    run = kept(dataset, tmp_path / "sweep" / "4")
    assert (run.folder / name).stat().st_nlink == 1 and not (run.folder / name).is_symlink()
    assert np.array_equal(load_file(run.folder / name)["matrix"], dataset.encoding.matrix)

    def linkless(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", linkless)
    kept(dataset, tmp_path / "sweep" / "5")
    assert (tmp_path / "sweep" / "5" / name).read_bytes() == (run.folder / name).read_bytes()
    clear(run.folder)
    assert not list(run.folder.iterdir())


def test_what_is_kept_is_small_where_the_data_are(tmp_path: Path) -> None:
    """A thousand runs keep it a thousand times."""
    kept(prepare(synthetic.xor(), **OPTIONS), tmp_path / "run")
    assert (tmp_path / "run" / "encoding.json").stat().st_size < 500


@pytest.mark.parametrize("name", choices("dataset"))
def test_every_dataset_is_told_in_two_lines(name: str, files: Path) -> None:  # noqa: F811
    if name == "california_housing":
        pytest.skip("its stand-in is random")
    words = [word.replace("{files}", str(files)) for word in typed(f"dataset={name}")]
    dataset = build([config(*words)], initialize=False).dataset
    found = json.loads(json.dumps(dataset.description))
    lines = summary(found)
    assert found["name"].split()[0] == name and lines[0].startswith(name)
    assert len(lines) == (1 if dataset.surface else 2) and all(len(line) <= 80 for line in lines[1:])
    assert len(lines[0].replace(found["name"].removeprefix(name), "")) <= 80  # a file's name may be long
    assert found["rows"] == dataset.sizes
    if not dataset.surface:
        for part in dataset.sizes:
            labels = Counter(dataset.part(part)[1].int().flatten().tolist())
            for number, count in enumerate(found.get("classes", {part: {}})[part].values()):
                assert labels[number] == count


def test_the_lines_say_what_there_is() -> None:
    def of(samples: Samples, **options: Any) -> list[str]:
        return told({"name": "it", **prepare(samples, **OPTIONS | options).description})

    assert of(bundled.breast_cancer()) == [
        "it: 341 train, 114 val, 114 test (dataset.split_seed=3)",
        "30 features, dataset.scale=standard; 2 classes: malignant (127), benign (214)",
    ]
    assert of(bundled.iris(), folds=4, fold=1, scale="none", train_size=30) == [
        "it: 30 train, 30 val, 30 test (fold 1 of 4, dataset.split_seed=3)",
        "4 features, dataset.scale=none; 3 classes, 10 train rows each",
        "30 training rows are kept (dataset.train_size=30)",
    ]
    samples = synthetic.xor()
    assert of(samples, label_noise=0.5) == [
        "it: 4 train, 4 val, 4 test (parts as they come)",
        "features a, b, dataset.scale=standard; 2 classes: 0 (0), 1 (4)",
        "2 of 4 training labels are replaced by another class (dataset.label_noise=0.5)",
    ]
    samples.notes.append("b was guessed")
    samples.parts = {"test": np.arange(1)}
    assert of(samples)[0] == "it: 2 train, 1 val, 1 test (own test, dataset.split_seed=3)"
    assert of(samples)[2:] == ["b was guessed"]
    many = Samples(np.zeros((9, LISTED + 1)), np.arange(9.0), "regression", [f"x{i}" for i in range(LISTED + 1)])
    assert of(many)[1] == f"{LISTED + 1} features, dataset.scale=standard; regression, target from 0 to 8"
    assert "features" not in prepare(many, **OPTIONS).description


def test_a_sweep_tells_of_each_dataset_once(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        (f"dataset={name}", f"dataset.split_seed={seed}", f"architecture.hidden=[{width}]")
        for name in ("iris", "wine", "moons", "xor", "diabetes") for seed in (0, 1) for width in (3, 4)
    ]  # fmt: skip
    tasks = [Task(i, plain(config(*each)), Path(str(i)), {}) for i, each in enumerate(words)]
    stacked(tasks, 1, Here(1))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "iris: 106 train, 22 val, 22 test (dataset.split_seed=0); the first of 2 versions"
    assert [line.partition(":")[0] for line in lines if " train, " in line] == ["iris", "wine", "moons"]
    assert lines[-2] == "and 2 more datasets, or folds and versions of one, of which each run's dlrun.log tells"
    assert len(lines) <= 9


def test_a_report_takes_from_summaries_what_they_tell(tmp_path: Path) -> None:
    said = [prepare(source(), **OPTIONS).description for source in (bundled.iris, bundled.wine)]
    contents = [
        "",
        '{"status": "failed"}',
        '{"status": "finished", "dataset": 7}',
        '{"status": "finished", "dataset": {"task": "binary"}}',
        *(json.dumps({"status": "finished", "dataset": each}) for each in said),
    ]
    for i, content in enumerate(contents):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "summary.json").write_text(content)
    runs = {str(i): tmp_path / str(i) for i in range(len(contents))}
    table = pd.DataFrame({"run": list(runs), "dataset": ["iris"] * 5 + ["wine"], "dataset.split_seed": range(6)})
    found = SimpleNamespace(axes=["dataset", "dataset.split_seed", "lr"], table=table)
    assert data_of(found, runs) == ["; ".join(told(each)) for each in said]  # type: ignore[arg-type]


def test_names_that_cannot_be_printed_are_shown_escaped() -> None:
    samples = Samples(np.zeros((9, 1)), np.arange(9) % 2, "binary", ["\x1b"], ["\x07", "b"])
    text = " ".join(told(prepare(samples, **OPTIONS).description))
    assert text.isprintable() and "\\x07 (" in text
