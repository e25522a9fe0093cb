"""Runs and sweeps in Python: what `dlrun.load` gives is what training computed, and what it refuses is told."""

from __future__ import annotations

import json
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
from PIL import Image
from safetensors.torch import load_file, save_file
from test_cli import Ended
from test_datasets import need
from test_images import pictures
from test_report import SPREAD, TEST, VAL, sweep  # noqa: F401

import dlrun
from dlrun.command.cli import main
from dlrun.datasets import bundled, given, sequences, table, toys
from dlrun.datasets.california import california_housing
from dlrun.datasets.data import Samples
from dlrun.datasets.related import with_classes
from dlrun.datasets.split import split
from dlrun.errors import ConfigError
from dlrun.job.run import run as train
from dlrun.report.collect import write_tables
from dlrun.training.build import build

SMALL = ["architecture.hidden=[4]", "compile=false", "plots=none"]
HOUSES = pd.DataFrame({
    "rooms": [str(i % 5 + 1) if i % 7 else "" for i in range(80)],
    "share": [f"{i % 40},5 %" for i in range(80)],
    "colour": [("red", "blue", "green", "")[i % 4] for i in range(80)],
    "price": [f"{(i * 37) % 101 + 10 * (i % 4)},25" for i in range(80)],
    "built": [f"{1 + i % 28:02}.03.{1990 + i % 30}" for i in range(80)],
    "sold": [("yes", "no")[i * i % 3 == 1] for i in range(80)],
})  # fmt: skip


def command(*words: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["dlrun", *words])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a run of these words, trained once."""
    place, known = tmp_path_factory.mktemp("runs"), dict[tuple[str, ...], Path]()

    def of(*words: str) -> Path:
        if words not in known:
            known[words] = place / str(len(known))
            own = SMALL["architecture=" in " ".join(words) :]
            assert train(config(*own, "epochs=3", *words), known[words]) == "finished"
        return known[words]

    return of


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with decimal commas, signs of percent, missing values, dates and categories."""
    file = tmp_path_factory.mktemp("table") / "houses.csv"
    HOUSES.to_csv(file, sep=";", index=False)
    return file


def table_words(file: Path, target: str) -> list[str]:
    return ["dataset=table", f"dataset.path={file}", f"dataset.target={target}", "dataset.impute=true",
            "dataset.dates=[year,month]"]  # fmt: skip


def rows_of(part: str, samples: Samples) -> np.ndarray:
    return split(samples, {"test": 0.15, "val": 0.15}, 0)[part]


@pytest.mark.parametrize("which", ["best", "last"])
def test_predictions_of_the_test_part_have_the_accuracy_that_training_measured(
    which: Any, trained: Callable[..., Path]
) -> None:
    run = dlrun.load(trained("dataset=iris", "batch_size=8"), which)
    source = bundled.iris()
    frame = pd.DataFrame(source.inputs, columns=source.feature_names, index=[f"flower {i}" for i in range(150)])
    names = np.array(source.class_names)[source.targets]
    for part in ("test", "val") if which == "best" else ("test",):
        rows = rows_of(part, source)
        found = run.predict(frame.iloc[rows, ::-1].assign(other="x"))
        measured = run.summary[
            {"best": "best_val_accuracy" if part == "val" else "test_accuracy"}.get(which, "last_test_accuracy")
        ]
        assert (found["prediction"] == names[rows]).mean() == measured and list(found.index) == list(frame.index[rows])
        probability = found[[f"probability_{name}" for name in source.class_names]].to_numpy()
        assert np.abs(probability.sum(1) - 1).max() < 1e-12
        assert -np.log(probability[range(len(rows)), source.targets[rows]]).mean() == pytest.approx(
            run.summary[{"best": "best_val_loss" if part == "val" else "test_loss"}.get(which, "last_test_loss")],
            rel=1e-6,
        )
        again = source.inputs[rows]
        turned = np.ascontiguousarray(again[::-1])[::-1].astype(">f8")
        turned.flags.writeable = False
        for numbers in (again, again.tolist(), torch.tensor(again), turned):
            pd.testing.assert_frame_equal(run.predict(numbers), found.reset_index(drop=True))


def test_a_tables_rows_are_predicted_as_training_measured_them(
    trained: Callable[..., Path], houses: Path, tmp_path: Path
) -> None:
    run = dlrun.load(trained(*table_words(houses, "sold"), "epochs=9"))
    samples = table.table(str(houses), "sold", impute=True, dates=["year"])
    found = run.predict(houses)
    for part, measured in (("train", "best_train_"), ("val", "best_val_"), ("test", "test_")):
        rows = rows_of(part, samples)
        labels = (HOUSES["sold"][rows] == "yes").astype(int)
        right = found[["probability_no", "probability_yes"]].to_numpy()[rows, labels]
        assert (found["prediction"][rows] == HOUSES["sold"][rows]).mean() == run.summary[f"{measured}accuracy"]
        assert -np.log(right).mean() == pytest.approx(run.summary[f"{measured}loss"], rel=1e-5)
    # the columns in another order, as a DataFrame with types of its own, without the target, with another one
    frame = pd.DataFrame({
        "more": 1,
        "built": pd.to_datetime(HOUSES["built"], format="%d.%m.%Y"),
        "colour": HOUSES["colour"].replace("", None).astype("category"),
        "price": HOUSES["price"].str.replace(",", ".").astype(float),
        "share": HOUSES["share"],
        "rooms": pd.to_numeric(HOUSES["rooms"]).astype("Int64"),
    })  # fmt: skip
    pd.testing.assert_frame_equal(run.predict(frame), found)
    frame.to_parquet(tmp_path / "houses.parquet")
    pd.testing.assert_frame_equal(run.predict(tmp_path / "houses.parquet"), found)
    HOUSES.iloc[:, [5, 3, 4, 0, 2, 1]].to_csv(tmp_path / "houses.tsv", sep="\t", index=False)
    pd.testing.assert_frame_equal(run.predict(tmp_path / "houses.tsv"), found)


@pytest.mark.parametrize("place", [0, 3])
def test_without_a_header_columns_are_known_by_their_place(place: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 3)).round(3)
    table_of = np.insert(rows.astype(object), place, rows.sum(1) > 0, axis=1)
    for name, columns in (("all", table_of), ("less", rows), ("more", np.column_stack([table_of, rows]))):
        pd.DataFrame(columns).to_csv(tmp_path / f"{name}.csv", header=False, index=False)
    words = ["dataset=table", f"dataset.path={tmp_path / 'all.csv'}", "dataset.header=false"]
    words += [f"dataset.target=column_{place + 1}", "dataset.drop=[column_2]"]  # of the others each is one to the right
    assert train(config(*SMALL, "epochs=1", *words), tmp_path / "run") == "finished"
    run = dlrun.load(tmp_path / "run")
    found = run.predict(tmp_path / "all.csv")
    for name in ("less", "more"):
        if name == "less" and place == 3:
            pd.testing.assert_frame_equal(run.predict(tmp_path / "less.csv"), found)
        else:
            with pytest.raises(ConfigError, match="columns, and the training's file 4: without a header"):
                run.predict(tmp_path / f"{name}.csv")


def test_a_regression_is_predicted_in_its_own_unit(trained: Callable[..., Path], houses: Path) -> None:
    run = dlrun.load(trained(*table_words(houses, "price"), "epochs=9"))
    rows = rows_of("test", table.table(str(houses), "price", impute=True, dates=["year"]))
    y = HOUSES["price"].str.replace(",", ".").astype(float)[rows]
    off = run.predict(houses)["prediction"][rows] - y
    assert run.summary["dataset"]["target"]["standardised"]
    assert np.sqrt((off**2).mean()) == pytest.approx(run.summary["test_rmse"], rel=1e-6)
    assert 1 - (off**2).mean() / y.var(ddof=0) == pytest.approx(run.summary["test_r2"], rel=1e-6)


@pytest.mark.slow
def test_california_housing_is_predicted_as_training_measured_it(
    trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(need("scikit_learn_data")))
    source = california_housing()
    run = dlrun.load(trained("dataset=california_housing", "epochs=1", "batch_size=512"))
    rows = rows_of("test", source)
    frame = pd.DataFrame(source.inputs[rows], columns=source.feature_names)
    y = source.targets[rows].ravel()
    off = run.predict(frame)["prediction"].to_numpy() - y
    assert 1 - (off**2).mean() / y.var() == pytest.approx(run.summary["test_r2"], rel=1e-6)
    assert np.abs(off).mean() == pytest.approx(run.summary["test_mae"], rel=1e-6)


def test_the_model_computes_what_its_weights_say(trained: Callable[..., Path]) -> None:
    run = dlrun.load(trained("dataset=iris", "regularizer=dropout", "normalization=batch"))
    tensors = {name: each.double() for name, each in load_file(run.folder / "model.safetensors").items()}
    [first, last] = sorted(name.removesuffix(".weight") for name, each in tensors.items() if each.ndim == 2)
    [norm] = [name.removesuffix(".running_mean") for name in tensors if name.endswith(".running_mean")]
    x = torch.randn(7, 4)
    hidden = x.double() @ tensors[f"{first}.weight"].T + tensors.get(f"{first}.bias", 0)
    hidden = (hidden - tensors[f"{norm}.running_mean"]) / (tensors[f"{norm}.running_var"] + 1e-5).sqrt()
    hidden = torch.relu(hidden * tensors[f"{norm}.weight"] + tensors[f"{norm}.bias"])
    wanted = hidden @ tensors[f"{last}.weight"].T + tensors[f"{last}.bias"]
    assert not run.model.training and (run.model(x).double() - wanted).abs().max() < 1e-5
    assert run.metrics["epoch"].tolist() == [0, 1, 2, 3] and run.config["normalization"]["position"] == "before"
    assert "finished" in repr(run)


#: words of a run, and the source of its rows
NETWORKS: dict[str, tuple[list[str], Callable[[], Samples]]] = {
    "kernels of a gas": (
        ["dataset=moons", "architecture=rbf", "architecture.centres=gng", "architecture.kernels=5"],
        toys.moons,
    ),
    "whitened": (["dataset=wine", "dataset.scale=zca"], bundled.wine),
    "symmetric": (["dataset=diabetes", "architecture=polynomial", "dataset.scale=symmetric"], bundled.diabetes),
    "a likelihood": (["dataset=diabetes", "loss=gaussian_nll"], bundled.diabetes),
    "a margin": (["dataset=breast_cancer", "loss=hinge"], bundled.breast_cancer),
    "an autoencoder": (
        ["dataset=iris", "architecture=autoencoder", "architecture.widths=[3,2]", "architecture.tied=true"],
        bundled.iris,
    ),
    "double precision": (
        ["dataset=digits", "architecture=cnn", "architecture.channels=[2]", "precision=float64"],
        bundled.digits,
    ),
    "another order of pixels": (["dataset=digits", "dataset.permute=3"], bundled.digits),
    "some classes": (
        ["dataset=digits", "dataset.keep_classes=[7,1,4]"],
        lambda: with_classes(bundled.digits(), [7, 1, 4]),
    ),
    "sequences": (
        ["dataset=sequences", "dataset.samples=30", "dataset.length=5", "architecture=gru", "architecture.hidden=3"],
        lambda: sequences.sequences(30, 5),
    ),
    "several numbers": (
        ["dataset=given", "dataset.inputs=[[1,2],[3,1],[0,-1]]", "dataset.targets=[[3,100],[1,300],[-2,20]]"],
        lambda: given.given([[1, 2], [3, 1], [0, -1]], [[3, 100], [1, 300], [-2, 20]]),
    ),
}


QUICK = ("kernels of a gas", "a likelihood")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in NETWORKS]
)
def test_what_stands_around_networks_of_every_kind(name: str, trained: Callable[..., Path]) -> None:
    """Against the stack that training builds of the same config: its own scaled samples, and what is measured there."""
    words, source = NETWORKS[name]
    run, samples = dlrun.load(trained(*words)), source()
    stack = build([run.config | {"diagnostics": {}}], initialize=False)
    numbers = samples.inputs[rows_of("test", samples)]
    x, y = stack.dataset.part("test")
    assert (run.predictor.encode(torch.as_tensor(numbers)) - x).abs().max() < 1e-5
    with torch.no_grad():
        outputs = run.model(x)
    assert float(stack.measures.reported(outputs[None], y[None]).mean()) == pytest.approx(
        run.summary["test_loss"], rel=1e-5
    )
    found = run.predict(numbers)
    if stack.dataset.task == "regression":
        mean, std, count = stack.dataset.target_mean, stack.dataset.target_std, stack.dataset.outputs
        wanted = outputs[:, :count].double() * (1 if std is None else std) + (0 if mean is None else mean)
        names = ["prediction"] if count == 1 else [f"prediction_{i + 1}" for i in range(count)]
        assert np.allclose(found[names].to_numpy(), wanted, rtol=1e-5)
        if name == "a likelihood":
            spread = (outputs[:, 1:].double().exp() * std**2).sqrt()
            assert list(found) == ["prediction", "deviation"] and np.allclose(found[["deviation"]], spread, rtol=1e-5)
    else:
        names = np.array(stack.dataset.classes)
        right = (found["prediction"].to_numpy() == names[y.long()]).mean()
        assert right == pytest.approx(run.summary["test_accuracy"], abs=1e-12)
        if name == "a margin":
            assert list(found) == ["prediction", "score"] and np.allclose(found["score"], outputs[:, 0], rtol=1e-5)
        else:
            assert found.columns[1:].tolist() == [f"probability_{each}" for each in names]


def test_images_are_predicted_by_their_files(
    trained: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    pixels = pictures(tmp_path / "in", 4, 6, 3, count=8)
    run = dlrun.load(trained("dataset=image_folder", f"dataset.path={tmp_path / 'in'}", "dataset.size=4"))
    found = run.predict(tmp_path / "in")
    assert sorted(found["file"]) == sorted(str(tmp_path / "in" / name) for name in pixels)
    raw = np.stack([np.asarray(Image.open(name)).transpose(2, 0, 1)[:, :, 1:5] for name in found["file"]])
    pd.testing.assert_frame_equal(run.predict(raw), found.drop(columns="file"))
    some = found["file"].tolist()[2:4]
    pd.testing.assert_frame_equal(run.predict(some), found.iloc[2:4].reset_index(drop=True))
    Image.new("L", (9, 9), 77).save(tmp_path / "gray.png")
    alone = run.predict(tmp_path / "gray.png").drop(columns="file")
    pd.testing.assert_frame_equal(alone, run.predict(np.full((1, 3, 4, 4), 77)))
    digits = dlrun.load(trained("dataset=digits"))
    Image.fromarray((np.arange(64).reshape(8, 8) * 4).astype(np.uint8)).save(tmp_path / "digit.png")
    by_file = digits.predict(str(tmp_path / "digit.png")).drop(columns="file")
    by_numbers = digits.predict(np.arange(64).reshape(1, 1, 8, 8) * 4 * 16 / 255)
    pd.testing.assert_frame_equal(by_file, by_numbers)
    for file, message in (
        (tmp_path / "gray.png", "9 x 9, and the run's images are 8 x 8"),
        (tmp_path / "none.png", "no file"),
    ):
        with pytest.raises(ConfigError, match=message):
            digits.predict(file)
    Image.new("RGB", (8, 8)).save(tmp_path / "colour.png")
    with pytest.raises(ConfigError, match="has colours, and the run's images are gray"):
        digits.predict(tmp_path / "colour.png")


def other(**columns: Any) -> Callable[[], pd.DataFrame]:
    return lambda: HOUSES.head(3).assign(**columns)


INPUTS: dict[str, tuple[Callable[[], Any], str]] = {
    "a column is not there": (
        lambda: HOUSES.drop(columns="colour").rename(columns={"rooms": "room"}),
        "has no column 'rooms'; did you mean room?, 'colour'; the run was trained on 'rooms', 'share'",
    ),
    "an unknown category": (other(colour="pink"), "'colour' holds 'pink', which is none of its 4 categories: 'blue'"),
    "no number": (other(rooms="three"), "'rooms' holds 'three', which is no number"),
    "no date": (other(built="2001"), "'built' holds other texts than dates written %d.%m.%Y"),
    "another kind": (other(built=3.5), "'built' holds numbers, and in training it was of the kind date"),
    "infinite": (other(rooms=[1.0, np.inf, 2.0]), "'rooms' in row 2 is infinite"),
    "twins": (lambda: pd.concat([HOUSES, HOUSES["rooms"]], axis=1), "several columns of the name 'rooms'"),
    "no rows": (lambda: HOUSES.head(0).drop(columns="built").assign(built=pd.to_datetime([])), "there are no rows"),
    "too large": (other(rooms=1e300), "too large for torch.float32"),
    "no file": (lambda: "nowhere.csv", "there is no file nowhere.csv"),
    "another shape": (lambda: np.zeros((3, 2)), "rows of 9 numbers are wanted, (rows, 9), and these are (3, 2)"),
    "texts": (lambda: np.array([["a"] * 9]), "numbers are wanted"),
    "ragged": (lambda: [[1.0] * 9, [2.0]], "numbers are wanted, (rows, 9): "),
    "a spreadsheet": (lambda: __file__, "a table is wanted, and this ends in none of .csv"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", INPUTS)
def test_what_predict_refuses(mistake: str, trained: Callable[..., Path], houses: Path) -> None:
    inputs, message = INPUTS[mistake]
    run = dlrun.load(trained(*table_words(houses, "sold"), "epochs=9"))
    with pytest.raises(ConfigError) as told:
        run.predict(inputs())
    assert message in str(told.value)


def test_a_missing_value_that_training_had_none_of_is_told(trained: Callable[..., Path]) -> None:
    run = dlrun.load(trained("dataset=iris", "batch_size=8"))
    numbers = bundled.iris().inputs.copy()
    numbers[[3, 5], 1] = np.nan
    with pytest.raises(
        ConfigError, match=r"'sepal width \(cm\)' in row 4 \(and 1 more rows\) is missing, and in training"
    ):
        run.predict(numbers)


def edited(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / name).write_text(json.dumps(change(json.loads((run / name).read_text()))))

    return damage


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        text = (run / "config.yaml").read_text()
        assert old in text
        (run / "config.yaml").write_text(text.replace(old, new))

    return damage


def without(*names: str) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        for name in names:
            (run / name).unlink()

    return damage


def linked(run: Path) -> None:
    (run / "model.safetensors").rename(run.parent / "elsewhere")
    (run / "model.safetensors").symlink_to(run.parent / "elsewhere")


def other_weights(run: Path) -> None:
    save_file({"1.weight": torch.zeros(2, 2)}, run / "model.safetensors")


def of(*path: str | int, value: Any) -> Callable[[Any], Any]:
    def change(found: Any) -> Any:
        node = found
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value
        return found

    return change


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no weights": (without("model.safetensors"), "has no weights: there is no model.safetensors"),
    "interrupted": (without("model.safetensors", "summary.json"), "no weights yet: the run was interrupted"),
    "no weights' file": (lambda run: (run / "model.safetensors").write_bytes(b"x"), "cannot be read as safetensors"),
    "others' weights": (other_weights, "is not of this run's network: 1.weight"),
    "a link": (linked, "is a link, and links that lie in a folder are not followed"),
    "no encoding": (without("encoding.json"), "has no encoding.json"),
    "no run": (without("config.yaml"), "holds no run: it has no config.yaml"),
    "a stranger's code": (replaced("dlrun.architectures.mlp.MLP", "os.system"), "only dlrun's own code is run"),
    "a borrowed class": (replaced("dlrun.architectures.mlp.MLP", "dlrun.job.run.run"), "is no choice of architecture"),
    "no architecture": (replaced("architecture:", "architecture: 7\nother:"), "architecture=7"),
    "a list for a name": (replaced("dlrun.architectures.mlp.MLP", "[a]"), "only dlrun's own code is run"),
    "the environment": (replaced("- 4", "- ${oc.env:HOME}"), "architecture.hidden=.*must be list of int"),
    "a list": (edited("encoding.json", lambda found: [found]), "does not tell how"),
    "no columns": (edited("encoding.json", of("source", "columns", value=7)), "does not tell how"),
    "another kind": (edited("encoding.json", of("source", "columns", 0, "kind", value="os")), "does not tell how"),
    "another number": (edited("encoding.json", of("inputs", "divide", 0, value="x")), "does not tell how"),
    "a wide row": (edited("encoding.json", of("inputs", "shape", value=[10**9])), "does not tell how"),
    "a way out": (edited("encoding.json", of("inputs", "matrix", value="../zca-0.safetensors")), "does not tell how"),
    "a lost matrix": (edited("encoding.json", of("inputs", "matrix", value="zca-0.safetensors")), "cannot be read"),
    "another task": (edited("encoding.json", of("targets", "task", value="none")), "does not tell how"),
    "another precision": (edited("encoding.json", of("precision", value="bool")), "does not tell how"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_a_folder_lacks_or_a_stranger_put_there_is_told(
    damage: str, trained: Callable[..., Path], houses: Path, tmp_path: Path
) -> None:
    change, message = DAMAGES[damage]
    run = shutil.copytree(trained(*table_words(houses, "sold"), "epochs=9"), tmp_path / "run")
    change(run)
    with pytest.raises(ConfigError, match=message) as told:
        dlrun.load(run).predict(houses)
    assert "\n" not in str(told.value).removeprefix(f"{run / 'config.yaml'}:\n")


def test_a_point_and_a_wrong_word_are_told(trained: Callable[..., Path]) -> None:
    run = trained("dataset=beale", "architecture=point")
    with pytest.raises(ConfigError, match="a run on a test function: it has a point, and no network"):
        _ = dlrun.load(run).model
    with pytest.raises(ConfigError, match="which=lst: must be best or last; did you mean last"):
        dlrun.load(run, "lst")  # type: ignore[arg-type]
    assert len(dlrun.load(run).metrics) == 4


def test_a_class_of_ones_own_counts_where_it_is_allowed(
    trained: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(trained("dataset=iris", "batch_size=8"), tmp_path / "run")
    (tmp_path / "mine_to_load.py").write_text("from dlrun.architectures.mlp import MLP\nclass Net(MLP):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    replaced("dlrun.architectures.mlp.MLP", "mine_to_load.Net")(run)
    with pytest.raises(ConfigError, match=r"add 'allow_targets=\[mine_to_load\]'"):
        _ = dlrun.load(run).model
    assert "mine_to_load" not in sys.modules
    assert type(dlrun.load(run, allow_targets=["mine_to_load"]).model).__name__ == "Net"


def test_a_sweep_has_its_tables_and_settings(sweep: Path) -> None:  # noqa: F811
    loaded = dlrun.load_sweep(sweep)
    with pytest.raises(ConfigError, match=r"has no sweep.csv; `dlrun report"):
        _ = loaded.runs
    write_tables([sweep], sweep)
    names, rates = [name for name, _ in VAL for _ in SPREAD], [rate for _, rate in VAL for _ in SPREAD]
    assert loaded.runs["optimizer"].tolist() == names and loaded.runs["lr"].tolist() == list(map(float, rates))
    assert loaded.curves.groupby("run")["epoch"].max().eq(2).all() and f"{len(names)} runs" in repr(loaded)
    settings = loaded.settings()
    ranked = sorted(VAL, key=lambda key: -VAL[key])
    assert list(zip(settings["optimizer"], settings["lr"], strict=True)) == [(name, float(lr)) for name, lr in ranked]
    means = [float(np.mean([TEST[key] - off for off in SPREAD])) for key in ranked]
    assert settings["mean"].tolist() == pytest.approx(means) and settings["n"].tolist() == [len(SPREAD)] * len(VAL)
    assert loaded.settings("loss")["mean"].tolist() == pytest.approx([1 - mean for mean in means])
    assert loaded.run("2").summary["test_accuracy"] == loaded.runs["test_accuracy"][2]
    (sweep / "plan.json").write_text("{}")
    (sweep.parent / "empty").mkdir()
    for wrong, message in (
        (lambda: loaded.settings("acuracy"), "did you mean accuracy"),
        (lambda: loaded.run("99"), "no run 99"),
        (lambda: dlrun.load(sweep), "it is a sweep's; give that of one of its runs"),
        (lambda: dlrun.load_sweep(sweep.parent / "empty"), "holds no run"),
    ):
        with pytest.raises(ConfigError, match=message):
            wrong()


def test_the_command_writes_predictions_and_overwrites_nothing(
    trained: Callable[..., Path], houses: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run, output = trained(*table_words(houses, "sold"), "epochs=9"), tmp_path / "predictions.csv"

    def ended(*words: str) -> Ended:
        return Ended(command(*words), *capfd.readouterr())

    assert ended("predict", str(run), str(houses), "--output", str(output)).code == 0
    found = dlrun.load(run).predict(houses)
    pd.testing.assert_frame_equal(pd.read_csv(output), found)
    wrong = {
        "is there already, and is not overwritten": [str(run), str(houses), f"--output={output}"],
        "say where the predictions go": [str(run), str(houses)],
        "one file with new rows": [str(run), "--output", "x.csv"],
        "epochs=3: a finished run has its config": [str(run), str(houses), "epochs=3", "--output=x.csv"],
        "there is no such option; did you mean --output?": [str(run), "--outpt=x"],
        "which=worst: must be best or last": [str(run), str(houses), "which=worst", "--output=x.csv"],
        "holds no run": [str(tmp_path), str(houses), "--output=x.csv"],
    }
    for message, words in wrong.items():
        told = ended("predict", *words)
        assert told.code == 2 and message in " ".join(told.err.split()) and "Traceback" not in told.err
