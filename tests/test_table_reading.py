"""How a table's file is taken apart: separators, encodings, headers, rows that are none, columns that are left out."""

from __future__ import annotations

import datetime
import gzip
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn

from dlrun.datasets.data import Samples
from dlrun.datasets.table import table
from dlrun.errors import ConfigError


def read(tmp_path: Path, content: str | bytes, name: str = "data.csv", **keys: object) -> Samples:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return table(str(tmp_path / name), **keys)


@pytest.mark.parametrize(
    ("name", "content", "split"),
    [
        ("data.csv", "a,b c,y\n1,2,.5\n3,4,1.5\n", "commas"),
        ("data.csv", "a;b c;y\n1;2;.5\n3;4;1.5\n", "semicolons"),
        ("data.csv", "a;b c;y\r\n1;2;,5\r\n3;4;1,5\r\n", "semicolons"),  # commas in every row, but none in the header
        ("data.csv", "a\tb c\ty\n1\t2\t.5\n3\t4\t1.5\n", "tabs"),
        ("data.tsv", "a,b c,y\n1,2,.5\n3,4,1.5\n", "commas"),
        ("data.dat", "a|b c|y\n1|2|.5\n3|4|1.5\n", "bars"),
        ("data.txt", "a  'b_c' \ty\n 1 2   .5 \n3  \t4 1.5\n".replace("'b_c'", '"b c"'), "blanks"),
        ("data.csv", 'a,b c,y\n1,2,.5\n"3",4,"1.5"\n\n', "commas"),
        ("data.csv", "a,b c,y,\n1,2,.5,\n3,4,1.5,\n", "commas"),  # separators at the ends of all lines
        ("data.csv", "a,b c,y\n1,2,.5,,\n3,4,1.5,\n", "commas"),
        ("data.csv", "sep=;\r\na;b c;y\r\n1;2;,5\r\n3;4;1,5\r\n", "semicolons"),
    ],
)
def test_the_separator_is_found_and_told(tmp_path, name, content, split):
    samples = read(tmp_path, content, name)
    assert samples.feature_names == ["a", "b c"]
    assert (samples.inputs.tolist(), samples.targets.tolist()) == ([[1, 2], [3, 4]], [0.5, 1.5])
    columns = 4 if ",\n" in content.splitlines(True)[0] else 3
    told = f"{name}: 2 rows and {columns} columns, split at {split}"
    assert samples.notes[0] == told + (", with decimal commas" if ",5" in content else "")


def test_a_separator_that_could_be_two_is_asked_for(tmp_path):
    content = "City, State\tx\ty\nRome, IT\t3\t1\nBonn, DE\t4\t2.5\n"
    with pytest.raises(
        ConfigError, match=r"can be split at commas and at tabs: say which by dataset.separator=comma or"
    ):
        read(tmp_path, content)
    samples = read(tmp_path, content, separator="tab")
    assert samples.feature_names == ["City, State=Bonn, DE", "City, State=Rome, IT", "x"]


def test_quoted_cells_hold_separators_quotes_and_line_ends(tmp_path):
    content = 'name,x,y\r\n"O\'Hare ""Intl"", Chicago",1,2\r\n"Zürich\nKloten",2,4.5\r\n'
    samples = read(tmp_path, content)
    assert samples.feature_names == ['name=O\'Hare "Intl", Chicago', "name=Zürich\nKloten", "x"]
    assert samples.inputs.tolist() == [[1, 0, 1], [0, 1, 2]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1"])
def test_encodings_are_read_where_they_say_so_or_the_user_does(tmp_path, encoding):
    content = "größe;wer;y\n1,5;weiß;1\n2,5;Zoë;2,5\n".encode(encoding)
    said = {} if encoding in ("utf-8", "utf-8-sig", "utf-16") else {"encoding": encoding}
    if said:
        reason = (
            "zero bytes.*dataset.encoding=utf-16" if "16" in encoding else "dataset.encoding=cp1252 would read .*grö"
        )
        with pytest.raises(ConfigError, match=reason):
            read(tmp_path, content)
    samples = read(tmp_path, content, **said)
    assert samples.feature_names == ["größe", "wer=Zoë", "wer=weiß"]
    assert samples.inputs.tolist() == [[1.5, 0, 1], [2.5, 1, 0]]
    assert (f"in {encoding.upper()}" in samples.notes[0]) == ("utf-8" not in encoding)
    with pytest.raises(ConfigError, match=r"dataset.encoding=klingon: there is no such encoding; utf-8"):
        read(tmp_path, content, encoding="klingon")
    with pytest.raises(ConfigError, match=r"dataset.encoding=zlib: there is no such encoding"):
        read(tmp_path, content, encoding="zlib")


HEADERLESS = "5.1,3.5,setosa\n4.9,3.0,setosa\n6.3,3.3,virginica\n"


@pytest.mark.parametrize(
    ("content", "like"),
    [
        (HEADERLESS, "'5.1', '3.5', 'setosa'"),
        ("p,x,n\ne,x,y\np,b,y\n", "'p', 'x'"),
        ("land,1990,y\na,1,2\nb,2,3\n", "'1990'"),
    ],
)
def test_a_first_line_that_looks_like_a_row_is_asked_about(tmp_path, content, like):
    with pytest.raises(ConfigError, match=f"first line holds {like}, which look like.*header=false.*header=true"):
        read(tmp_path, content)


def test_a_header_is_what_the_user_says(tmp_path):
    without = read(tmp_path, HEADERLESS, header=False)
    assert without.feature_names == ["column_1", "column_2"]
    assert without.inputs.tolist() == [[5.1, 3.5], [4.9, 3], [6.3, 3.3]]
    assert "there is no header: the columns are called column_1 to column_3" in without.notes
    years = read(tmp_path, "land,1990,y\na,1,2\nb,2,3.5\n", header=True, features=[1990])
    assert (years.feature_names, years.inputs.tolist()) == (["1990"], [[1], [2]])


def test_lines_that_are_no_rows_are_skipped_and_counted(tmp_path):
    content = "# made by hand\n\na,y\n1,2\n  \n#note, with, commas\na,y\n,\n3,4.5\n\n"
    with pytest.raises(ConfigError, match=r"""line 3: 2 columns, where the first line has 1.*'dataset.comment="#"'"""):
        read(tmp_path, content)
    samples = read(tmp_path, content, comment="#")
    assert (samples.inputs.tolist(), samples.targets.tolist()) == ([[1], [3]], [2, 4.5])
    told = "skipped: empty lines (4), lines that begin with # (2), repetitions of the header (1)"
    assert told in samples.notes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n1,2,3\n", "line 3: 3 columns, where the first line has 2, split at commas: correct it"),
        ("a,b,c\n1,2,3\n1,2\n1,2,3\n", "line 3: 2 columns, where the first line has 3"),
        ('a,b\n1,"2\n2,3\n', "line 3: unexpected end of data; a quotation mark"),
        ('a,b\n1,"2" x\n2,3\n', "line 2: .*; a quotation mark"),
        (b"PK\x03\x04\0\0a,b", "zero bytes.*save a spreadsheet as CSV"),
        ("\ufeff", "is empty"),
        ("\n \n", "is empty"),
        ("a,,y\n", "has a header but no rows"),
    ],
)
def test_what_is_no_table_is_told_with_its_line(tmp_path, content, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, content)


def test_row_numbers_and_names_as_r_and_pandas_write_them_are_left_out(tmp_path):
    r_csv = '"","mpg","cyl"\n"1",21,6.5\n"2",22.8,4\n"3",18.1,6\n'
    r_names = '"","mpg","cyl"\n"Mazda RX4",21,6.5\n"Datsun 710",22.8,4\n"Valiant",18.1,6\n'
    r_table = '"mpg" "cyl"\n"Mazda RX4" 21 6.5\n"Datsun 710" 22.8 4\n"Valiant" 18.1 6\n'
    pandas = ",mpg,cyl\n0,21,6.5\n1,22.8,4\n2,18.1,6\n"
    shuffled = ",mpg,cyl\n7,21,6.5\n2,22.8,4\n9,18.1,6\n"
    for content in (r_csv, r_names, r_table, pandas, shuffled):
        samples = read(tmp_path, content)
        assert (samples.feature_names, samples.inputs.tolist()) == (["mpg"], [[21], [22.8], [18.1]])
        told = "left out, since they name or count the rows: column_1 (dataset.numbers or dataset.categories keeps what"
        assert told in " ".join(samples.notes)
    for name in ("Unnamed: 0", "rownames", "id"):
        assert read(tmp_path, r_csv.replace('""', f'"{name}"', 1)).feature_names == ["mpg"]
    for numbers in ("3 7 9", "9 7 3", "1001 1002 1003"):  # some rows were taken out, or the table begins elsewhere
        content = "Index,mpg,cyl\n{},21,6.5\n{},22.8,4\n{},18.1,6\n".format(*numbers.split())
        assert read(tmp_path, content).feature_names == ["mpg"]
    assert read(tmp_path, shuffled.replace(",mpg", "id,mpg", 1)).feature_names == ["id", "mpg"]
    assert read(tmp_path, r_csv, numbers=["column_1"]).inputs.tolist() == [[1, 21], [2, 22.8], [3, 18.1]]


def test_other_columns_without_a_name_get_one(tmp_path):
    samples = read(tmp_path, "a,,,y\n1,2,,.5\n1,2,,.25\n")
    assert samples.feature_names == ["a", "column_2"]
    assert "without a name in the file: column_2 ('dataset.drop=[column_2]' leaves them out)" in samples.notes
    assert "left out, since they are empty: column_3" in samples.notes


def test_columns_are_chosen_and_left_out(tmp_path):
    content = "id, name ,größe (cm),y\n7,a,1,.5\n9,b,2,1.5\n"
    for keys in (
        {"drop": ["id", "name"]},
        {"features": ["größe (cm)"]},
        {"features": ["größe (cm)", "id"], "drop": []},
    ):
        samples = read(tmp_path, content, **keys)
        assert samples.feature_names == [
            name for name in ("id", "größe (cm)") if name == "größe (cm)" or len(keys) == 2
        ]
    assert read(tmp_path, content, drop=["y"]).targets.tolist() == [1, 2]  # the last column that is left


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"drop": ["nmae"]}, "dataset.drop: 'nmae': no such column in .*; did you mean 'name'"),
        ({"features": ["x", "z"]}, "dataset.features: 'z': no such column"),
        ({"drop": ["y"], "target": "y"}, "dataset.drop: 'y' is the target"),
        ({"features": ["y"], "target": "y"}, "dataset.features: 'y' is the target"),
        ({"drop": ["x"], "numbers": ["x"]}, "dataset.drop: 'x' stands in dataset.numbers too"),
        ({"drop": ["x", "name"]}, "has no column but 'y', so no inputs"),
        ({"dates": ["minute"]}, "dataset.dates: 'minute' is no part of a date; there are year, month, day"),
        ({"dates": ["year"]}, "dataset.dates=.year.': no column .* holds such dates"),
    ],
)
def test_names_that_cannot_be_meant_are_refused(tmp_path, keys, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, "x,name,y\n1,a,.5\n2,b,1.5\n", **keys)


def test_a_second_column_of_the_targets_name_does_not_become_an_input(tmp_path):
    content = "y,x,y\n1,2,3\n4,5,6.5\n"
    for target in (None, "y"):
        with pytest.raises(ConfigError, match=r"several columns of one name: 'y' \(columns 1 and 3\): rename them$"):
            read(tmp_path, content, target=target)
    with pytest.raises(ConfigError, match=r"'x' \(columns 1 and 2\): rename them, or .* 'dataset.drop=\[x\]'$"):
        read(tmp_path, "x, x,z,y\n1,2,3,4\n1,2,3,4.5\n")
    assert read(tmp_path, "x, x,z,y\n1,2,3,4\n1,2,3,4.5\n", drop=["x"]).feature_names == ["z"]


def test_rows_without_a_target_or_without_any_value_are_left_out_and_counted(tmp_path):
    content = "a,c,y\n1,red,.5\n,blue,1.5\n3,red,NA\n4,,2.5\n5,green,\n6,red,3.5\n"
    with pytest.raises(ConfigError, match=r"'y' .2 missing, 1 of them 'NA'.;.*dataset.drop_missing=target"):
        read(tmp_path, content, impute=True)
    labelled = read(tmp_path, content, impute=True, drop_missing="target")
    assert labelled.feature_names == ["a", "c=blue", "c=missing", "c=red"]  # green went with its row
    np.testing.assert_array_equal(labelled.inputs, [[1, 0, 0, 1], [np.nan, 1, 0, 0], [4, 0, 1, 0], [6, 0, 0, 1]])
    assert labelled.notes == [
        "data.csv: 6 rows and 3 columns, split at commas",
        "rows left out: 2 of 6, with no value of 'y' (dataset.drop_missing)",
        "the target is the last column, 'y' (dataset.target chooses another)",
        "categories, as a column of 0 and 1 each: c (3)",
        "missing values, filled with the median of the training part: a (1)",
        "missing values, as a category of their own: c (1)",
    ]
    whole = read(tmp_path, content, drop_missing="any")
    assert (whole.inputs.tolist(), whole.targets.tolist()) == ([[1, 1], [6, 1]], [0.5, 3.5])
    assert "rows left out: 4 of 6, with a missing value (dataset.drop_missing)" in whole.notes
    with pytest.raises(ConfigError, match=r"drop_missing=any: .* no other rows"):
        read(tmp_path, "a,b,y\n1,,1\n,2,2\n", drop_missing="any")


@pytest.mark.parametrize("name", ["digits.csv.gz", "diabetes_data_raw.csv.gz"])
def test_a_table_without_header_is_what_numpy_reads(name):
    file = Path(sklearn.__file__).parent / "datasets" / "data" / name
    samples = table(str(file), header=False)
    expected = np.loadtxt(file, delimiter="," if "digits" in name else None)
    np.testing.assert_array_equal(samples.inputs, expected[:, :-1])
    np.testing.assert_array_equal(samples.targets, expected[:, -1])


def test_all_columns_that_cannot_be_told_are_named_at_once(tmp_path):
    rows = "".join(f"n{i},c{i},2024-01-{i % 28 + 1:02d}\n" for i in range(60))
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, "id,name,when\n" + rows, target="when")
    first, *told, last = str(refused.value).splitlines()
    assert first == f"{tmp_path / 'data.csv'}:"
    assert [line.split()[0] for line in told] == ["'id'", "'name'", "the"]
    assert last == "  'dataset.drop=[id,name]' leaves all of these out"


def test_a_packed_table_is_read_like_any(tmp_path):
    samples = read(tmp_path, gzip.compress("a;y\n1,5;1\n2,5;2,5\n".encode("utf-16")), "data.csv.gz")
    assert samples.inputs.tolist() == [[1.5], [2.5]] and "in UTF-16" in samples.notes[0]


def written(tmp_path: Path, frame: pd.DataFrame) -> str:
    pytest.importorskip("pyarrow")
    frame.to_parquet(tmp_path / "data.parquet")
    return str(tmp_path / "data.parquet")


def test_parquet_columns_are_what_they_are_declared_to_be(tmp_path):
    frame = pd.DataFrame(
        {
            "zip": ["05", "5", "05"],
            "code": ["1", "10", "9"],
            "one": pd.Categorical(["a", "a", "a"], categories=["a", "b"]),
            "grade": pd.Categorical([3, 1, 3]),
            "price": [Decimal("1.50"), Decimal("2.25"), Decimal("3")],
            "open": [datetime.time(12, 30), datetime.time(9), datetime.time(0, 15)],
            "animal": ["dog", "dog ", "cat"],
            "flag": [True, False, True],
            "y": [0.5, 1.5, 2.5],
        }
    )
    samples = table(written(tmp_path, frame), numbers=["code"])
    expected = {
        "zip=05": [1, 0, 1], "zip=5": [0, 1, 0], "code": [1, 10, 9], "one=a": [1, 1, 1],
        "grade=1": [0, 1, 0], "grade=3": [1, 0, 1], "price": [1.5, 2.25, 3], "open": [12.5, 9, 0.25],
        "animal=cat": [0, 0, 1], "animal=dog": [1, 1, 0], "flag": [1, 0, 1],
    }  # fmt: skip
    assert samples.feature_names == list(expected)
    np.testing.assert_array_equal(samples.inputs, np.array(list(expected.values())).T)
    assert "the same in every row: one ('dataset.drop=[one]' leaves it out)" in samples.notes
    assert (
        "texts that differ in blanks or encoding alone are taken as the same: animal ('dog' and 'dog ')"
        in samples.notes
    )
    assert (
        "stored as texts, though all are numbers: zip, grade ('dataset.numbers=[zip,grade]' takes numbers)"
        in samples.notes
    )


def test_a_pandas_index_in_parquet_is_a_column_like_others(tmp_path):
    frame = pd.DataFrame({"x": [1.0, 2, 3], "y": [0.5, 1.5, 2.5]})
    numbered = table(written(tmp_path, frame.set_index(pd.Index([7, 2, 9]))))
    assert (numbered.feature_names, numbered.inputs.tolist()) == (["x"], [[1], [2], [3]])
    assert "left out, since they name or count the rows: column_1" in " ".join(numbered.notes)
    grouped = table(written(tmp_path, frame.set_index(pd.Index(["b", "a", "b"], name="group"))))
    assert grouped.feature_names == ["group=a", "group=b", "x"]
    dated = written(
        tmp_path, frame.set_index(pd.DatetimeIndex(["2024-01-31", "2024-02-29", "2024-03-01"], name="when"))
    )
    with pytest.raises(ConfigError, match=r"'when' holds dates, such as '2024-01-31T00:00:00'"):
        table(dated)
    assert table(dated, dates=["month"]).inputs.tolist() == [[1, 1], [2, 2], [3, 3]]


def test_parquet_columns_of_one_name_are_told(tmp_path):
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    path = str(tmp_path / "data.parquet")
    parquet.write_table(arrow.table([[1.0, 2.0], [3.0, 4.0], [0, 1]], names=["a", "a", "y"]), path)
    with pytest.raises(ConfigError, match=r"several columns of one name: 'a' \(columns 1 and 2\)"):
        table(path)


def test_parquet_columns_that_are_neither_numbers_nor_texts(tmp_path):
    frame = pd.DataFrame({"x": [1.0, 2], "list": [[1], [2]], "raw": [b"a", b"b"], "y": [0.5, 1.5]})
    path = written(tmp_path, frame)
    with pytest.raises(
        ConfigError, match=r"'list' holds ndarray.*\n.*'raw' holds bytes.*\n.*dataset.drop=\[list,raw\]"
    ):
        table(path)
    assert table(path, drop=["list", "raw"]).feature_names == ["x"]
    for name in ("list", "raw"):  # a name that row numbers have, too
        with pytest.raises(ConfigError, match=r"'id' holds .*, neither numbers nor texts"):
            table(written(tmp_path, frame[[name, "x", "y"]].rename(columns={name: "id"})))
    path = written(tmp_path, frame)
    with pytest.raises(
        ConfigError, match=r"dataset.separator=comma is for text files, and .* is Parquet: leave it out"
    ):
        table(path, separator="comma")
