"""Users' tables: what is read, and one readable message for each thing that cannot be."""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun.datasets.data import Samples
from dlrun.datasets.prepare import prepare
from dlrun.datasets.split import split
from dlrun.datasets.table import table
from dlrun.errors import ConfigError

OPTIONS = {"scale": "none", "scale_target": False, "val_fraction": 0.25, "test_fraction": 0.25, "split_seed": 0}
FLOWERS = "width,color,tall,kind\n1.5,red,True,rose\n2,blue,False,iris\n-3e2,red,True,rose\n4,green,True,lily\n"


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes, name: str = "data.csv") -> str:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(tmp_path / name)

    return write


def check_flowers(samples: Samples) -> None:
    assert samples.feature_names == ["width", "color=blue", "color=green", "color=red", "tall"]
    rows = [[1.5, 0, 0, 1, 1], [2, 1, 0, 0, 0], [-300, 0, 0, 1, 1], [4, 0, 1, 0, 1]]
    assert samples.inputs.dtype == np.float64 and samples.inputs.tolist() == rows
    assert (samples.task, samples.class_names) == ("multiclass", ["iris", "lily", "rose"])
    assert samples.targets.tolist() == [2, 0, 2, 1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.csv", FLOWERS.encode()),
        ("DATA.CSV", FLOWERS.replace(",", ", ").encode("utf-8-sig")),
        ("data.tsv", FLOWERS.replace(",", "\t").encode()),
        ("data.csv.gz", gzip.compress(FLOWERS.encode(), mtime=0)),
    ],
)
def test_text_tables_are_read(write, name, content):
    check_flowers(table(write(content, name)))


def test_parquet_is_read_with_its_types(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.read_csv(io.StringIO(FLOWERS), dtype={"color": "category"})
    frame.to_parquet(tmp_path / "data.parquet")
    check_flowers(table(str(tmp_path / "data.parquet")))
    frame.assign(width=pd.array([1, 2, None, 4], dtype="Int64")).to_parquet(tmp_path / "data.parquet")
    inputs = table(str(tmp_path / "data.parquet"), impute=True).inputs[:, 0]
    np.testing.assert_array_equal(inputs, [1, 2, np.nan, 4])


def test_parquet_without_pyarrow_is_told(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="Parquet needs pyarrow: pip install pyarrow, or save the table as CSV"):
        table(write(b"PAR1", "data.parquet"))


def test_target_is_any_column(write):
    samples = table(write(FLOWERS), target="width")
    assert samples.task == "regression" and samples.targets.tolist() == [1.5, 2, -300, 4]
    assert samples.feature_names[:3] == ["color=blue", "color=green", "color=red"]
    assert samples.feature_names[-3:] == ["kind=iris", "kind=lily", "kind=rose"]


def column(values: list[object]) -> str:
    return "x,y\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values))


@pytest.mark.parametrize(
    ("values", "task", "expected", "names"),
    [
        (["yes", "no", "no"], "auto", "binary", ["no", "yes"]),
        (["True", "False"], "auto", "binary", ["False", "True"]),
        ([2, 10, 2, 3] * 4, "auto", "multiclass", ["2", "3", "10"]),
        ([2, 10, 2, 3], "auto", "regression", []),
        ([1.0, 0.0, 1.0], "auto", "binary", ["0", "1"]),
        ([5, 3, 5], "auto", "regression", []),
        (list(range(20)) * 5, "auto", "multiclass", [str(i) for i in range(20)]),
        ((list(range(20)) * 5)[:99], "auto", "regression", []),
        (list(range(21)) * 5, "auto", "regression", []),
        ([i % 14 for i in range(21)], "auto", "regression", []),
        ([0.5, 1, 1], "auto", "regression", []),
        ([1, 2, 1], "regression", "regression", []),
        (["b", "a", "b"], "multiclass", "multiclass", ["a", "b"]),
        (list(range(30)), "multiclass", "multiclass", [str(i) for i in range(30)]),
    ],
)
def test_task_follows_the_target(write, values, task, expected, names):
    samples = table(write(column(values)), task=task)
    assert (samples.task, samples.class_names) == (expected, names)
    told = [names[int(target)] for target in samples.targets] if names else samples.targets.tolist()
    assert told == ([str(int(v)) if isinstance(v, float) else str(v) for v in values] if names else values)


HOLES = "a,b,c,y\n1,red,3,1.5\n,blue,4,2.5\n5,,5,\n?,red,6,3.5\n"
REFUSED = {
    "dataset=table needs a file: dataset.path=data.csv": (None, {}),
    "is empty": ("", {}),
    "has a header but no rows": ("a,b\n", {}),
    "has no column but 'a_b', so no inputs; it was split at commas, see dataset.separator": ("a_b\n1_2\n", {}),
    "dataset.target=kidn: no such column in .*; did you mean 'kind'": (FLOWERS, {"target": "kidn"}),
    "dataset.target=z: no such column in .*; it has 'width', 'color', 'tall', 'kind'": (FLOWERS, {"target": "z"}),
    "the target 'y' is 1 in every row: there is nothing to learn": ("x,y\n1,1\n2,1\n", {}),
    "the target 'y' is a in every row": ("x,y\n1,a\n2,a\n", {}),
    "the target 'y' of .* has 3 classes, not 2": (column(["a", "b", "c"]), {"task": "binary"}),
    "dataset.task=multiclass: the target 'y' of .* holds fractions": (column([0.5, 1.5]), {"task": "multiclass"}),
    "dataset.task=regression: the target 'y' of .* not numbers": (column(["a", "b"]), {"task": "regression"}),
    "'x' holds 21 different texts in 41 rows, such as 'n0' .*: 'dataset.drop=.x.' leaves it out, "
    "'dataset.categories=.x.' makes 21 columns": ("x,y\n" + "".join(f"n{i % 21},{i % 2}\n" for i in range(41)), {}),
    "'x' holds 101 different texts in 1010 rows, such as 'n0' .more than 100.: 'dataset.drop": (
        "x,y\n" + "".join(f"n{i % 101},{i % 2}\n" for i in range(1010)),
        {},
    ),
    "the target 'y' holds 11 different texts in 12 rows, .*dataset.task=multiclass": (
        column([*"abcdefghijk", "a"]),
        {},
    ),
    r"of 4 rows, some miss a value: 'a' \(2 missing, 1 of them '\?'\), 'b' \(1 missing\), 'y' \(1 missing\); correct "
    r"the file, or leave out rows without a target by dataset\.drop_missing=target, or leave out rows by "
    r"dataset\.drop_missing=any, or fill what is missing \(not in the target\) by dataset\.impute=true$": (HOLES, {}),
    r"of 4 rows, some miss a value: 'y' \(1 missing\); correct the file, or leave out rows without a target by "
    r"dataset\.drop_missing=target$": (HOLES, {"impute": True}),
    r"holds numbers that are not finite: 'x' \(1 infinite\)": ("x,y\n1,0\n1e999,1\n", {}),
    r"are not finite: 'y' \(1 infinite\): correct them$": ("x,y\n1,0.5\n2,1e999\n", {}),
}


@pytest.mark.parametrize(("message", "content", "options"), [(m, *case) for m, case in REFUSED.items()])
def test_what_cannot_be_trained_on_is_told(write, message, content, options):
    path = content if content is None else write(content)
    with pytest.raises(ConfigError, match=message) as refused:
        table(path, **options)
    assert path is None or path in str(refused.value)


def test_missing_and_foreign_files_are_told_with_their_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(f"there is no file {tmp_path / 'data.csv'}")):
        table("data.csv")
    with pytest.raises(
        ConfigError, match=r"data\.xlsx ends in none of \.csv, \.tsv, .*\.parquet, .*\.gz.*; save a spreadsheet as CSV"
    ):
        table("data.xlsx")
    Path("spark.parquet").mkdir()
    with pytest.raises(ConfigError, match=r"spark\.parquet is a folder, and a file is wanted"):
        table("spark.parquet")
    Path("bad.csv.gz").write_bytes(b"not gzipped")
    with pytest.raises(ConfigError, match=r"bad\.csv\.gz cannot be read: Not a gzipped file"):
        table("bad.csv.gz")
    Path("bad.parquet").write_bytes(b"not parquet")
    with pytest.raises(ConfigError, match=r"bad\.parquet( cannot be read as \.parquet|: Parquet needs pyarrow)"):
        table("bad.parquet")


def test_how_many_categories_a_column_may_have(write):
    def texts(distinct: int, rows: int) -> str:
        return write("x,y\n" + "".join(f"n{i % distinct},{i % 2}\n" for i in range(rows)))

    assert table(texts(20, 20)).inputs.shape == (20, 20)
    assert table(texts(21, 42)).inputs.shape == (42, 21)
    assert table(texts(100, 200)).inputs.shape == (200, 100)
    samples = table(texts(150, 160), categories=["x"])
    assert samples.inputs.shape == (160, 150)
    assert "categories, as a column of 0 and 1 each: x (150)" in samples.notes


def test_a_target_of_names_is_taken_where_that_is_said(write):
    path = write(column([*"abcdefghijk", "a"]))
    for said in ({"task": "multiclass"}, {"categories": ["y"]}):
        assert table(path, **said).class_names == list("abcdefghijk")


def test_imputed_numbers_come_from_the_training_part(write):
    values = [1.0, 2, 4, 8, 16, 32, 64, None, 256, None, 1024, 2048]
    colors = ["red", "", "blue", "red"] * 3
    rows = [f"{'' if v is None else v},{c},{i}" for i, (v, c) in enumerate(zip(values, colors, strict=True))]
    path = write("size,color,y\n" + "\n".join(rows) + "\n")
    samples = table(path, task="regression", impute=True)
    assert samples.feature_names == ["size", "color=blue", "color=missing", "color=red"]
    assert samples.inputs[:, 2].tolist() == [0, 1, 0, 0] * 3
    train = split(samples, {"test": 0.25, "val": 0.25}, 0)["train"]
    median = np.median([values[row] for row in train if values[row] is not None])
    dataset = prepare(samples, **OPTIONS)
    sizes = dict(zip(dataset.targets[:, 0].int().tolist(), dataset.inputs[:, 0].tolist(), strict=True))
    assert sizes == {i: median if v is None else v for i, v in enumerate(values)}


def test_a_table_trains_like_any_dataset(write):
    dataset = prepare(table(write(FLOWERS + FLOWERS.split("\n", 1)[1] * 4)), **OPTIONS | {"scale": "standard"})
    assert dataset.sizes == {"train": 10, "val": 5, "test": 5} and dataset.outputs == 3
    assert dataset.inputs.dtype == torch.float32 and dataset.inputs.shape == (20, 5)


CELLS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=4),
    st.sampled_from(["", "1", "2.5", "-0", "1e999", "nan", "inf", "True", "a", '"', "?", "9" * 30, "0x1", "\x00"]),
    st.sampled_from(
        ["12%", "1,5", "1.234,5", "1,234", "12:30", "2024-01-05", "01/02/2024", "NA", "05", "1_1", "dog ", "$5"]
    ),
)
GRIDS = st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=6)
TAME = st.tuples(st.integers(), st.sampled_from("ab"), st.sampled_from(["", "1.5", "-2e3"]), st.sampled_from("red"))
ONE_WILD_CELL = st.tuples(st.lists(TAME, min_size=8, max_size=20), CELLS).map(lambda x: [*x[0], (1, "a", 1.5, x[1])])


def quoted(rows: Iterable[Iterable[object]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


@given(
    content=st.one_of(
        st.binary(max_size=60),
        GRIDS.map(lambda rows: "\n".join(map(",".join, rows)).encode()),
        GRIDS.map(lambda rows: "\n".join(map(";".join, [["a", "y"], *rows])).encode()),
        GRIDS.map(lambda rows: quoted([["a", "b", "c"], *rows]).encode()),
        ONE_WILD_CELL.map(lambda rows: quoted([["a", "y", "b", "c"], *rows]).encode()),
    ),
    target=st.sampled_from([None, "y"]),
    impute=st.booleans(),
    task=st.sampled_from(["auto", "regression", "binary", "multiclass"]),
    keys=st.fixed_dictionaries(
        {},
        optional={
            "header": st.booleans(),
            "drop_missing": st.sampled_from(["target", "any"]),
            "categories": st.just(["a"]),
            "dates": st.just(["month", "hour"]),
            "missing": st.sampled_from([[], [-9, "a"]]),
        },
    ),
)
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_table_or_a_config_error(tmp_path_factory, content, target, impute, task, keys):
    file = tmp_path_factory.getbasetemp() / "fuzz.csv"
    file.write_bytes(content)
    try:
        samples = table(str(file), target, task, impute, **keys)
        assert len(samples.inputs) == len(samples.targets) and samples.inputs.shape[1] == len(samples.feature_names)
        assert not np.isinf(samples.inputs).any() and not np.isnan(samples.targets).any()
        dataset = prepare(samples, **OPTIONS | {"scale": "standard"})
        assert torch.isfinite(dataset.inputs).all()
    except ConfigError:
        pass
