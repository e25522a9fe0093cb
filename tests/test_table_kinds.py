"""What a table's columns are taken for, what is said of it, and the numbers that they become."""

from __future__ import annotations

import json
import shlex
import warnings
from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st

from dlrun.datasets.data import Samples
from dlrun.datasets.table import table
from dlrun.datasets.tables.cells import date_forms, hours, numbers
from dlrun.datasets.tables.columns import Column, Raw
from dlrun.datasets.tables.notes import _repeated
from dlrun.datasets.tables.typed import typed
from dlrun.errors import ConfigError


def column(tmp_path: Path, cells: list[str], separator: str = ";", **keys: object) -> Samples:
    """The table of a column x with these cells and a target y of fractions."""
    rows = [f'"{cell}"{separator}{i}{"." if separator == "," else ","}5' for i, cell in enumerate(cells)]
    (tmp_path / "data.csv").write_text(f"x{separator}y\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return table(str(tmp_path / "data.csv"), **keys)


@pytest.mark.parametrize(
    ("text", "decimal", "value"),
    [
        ("12", ".", 12), ("-3e2", ".", -300), ("+.5", ".", 0.5), ("1.", ".", 1), ("1E+05", ".", 1e5), ("−7", ".", -7),
        ("1,234", ".", 1234), ("1,234,567.25", ".", 1234567.25), ("1'234", ".", 1234), ("1 234", ".", 1234),
        ("1\u202f234,5", ",", 1234.5), ("1.234.567,25", ",", 1234567.25), ("1,5", ",", 1.5), (",5", ",", 0.5),
        ("12%", ".", 12), ("12,5 %", ",", 12.5), ("$1,234.50", ".", 1234.5), ("3 €", ".", 3), ("0012", ".", 12),
        ("1_1", ".", None), ("nan", ".", None), ("inf", ".", None), ("Infinity", ".", None), ("٣", ".", None),
        ("1,5", ".", None), ("1.5", ",", None), ("0x1", ".", None), ("1,23,456", ".", None), ("1 23", ".", None),
        ("0,123", ".", None), ("1,234.567,8", ".", None), ("", ".", None), ("%", ".", None), ("1e", ".", None),
        ("--1", ".", None), ("1-2", ".", None), ("1 ,234", ".", None), ("½", ".", None), ("²", ".", None),
    ],
)  # fmt: skip
def test_which_texts_are_numbers(text, decimal, value):
    [found], _ = numbers([text], decimal)
    assert np.isnan(found) if value is None else found == value
    among = numbers([text, "no number"], decimal)[0][0]  # not by the way of columns of plain digits
    assert np.isnan(among) if value is None else among == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12:30", 12.5),
        ("0:06:36", 0.11),
        ("9:15 pm", 21.25),
        ("12:00 AM", 0),
        ("120:45", 120.75),
        ("1:5", None),
        ("1:60", None),
        ("١٢:٣٠", None),
    ],
)
def test_times_are_hours(text, value):
    [found] = hours([text])
    assert np.isnan(found) if value is None else found == pytest.approx(value)


@pytest.mark.parametrize(
    ("texts", "forms"),
    [
        (["2024-02-29"], ["ISO"]), (["2024-02-29T12:30:00Z", "2024-02-29 12:30:00.5"], ["ISO"]), (["2024-02"], ["ISO"]),
        (["2024-2-9"], ["%Y-%m-%d"]), (["2024/02/29"], ["%Y/%m/%d"]), (["29.02.2024"], ["%d.%m.%Y"]),
        (["01/02/2024", "31/01/2024"], ["%d/%m/%Y"]), (["02/29/24 9:05 PM"], ["%m/%d/%y %I:%M %p"]),
        (["01/02/2024"], ["%d/%m/%Y", "%m/%d/%Y"]), (["03/03/2024"], ["%d/%m/%Y"]), (["29 Feb 2024"], ["%d %b %Y"]),
        (["February 29, 2024"], ["%B %d, %Y"]), (["2023-02-29"], []), (["192.168.0.1"], []), (["2024"], []),
        (["2024-02-29", "soon"], []), (["12:30:00"], []), (["1234567"], []),
    ],
)  # fmt: skip
def test_which_texts_are_dates(texts, forms):
    assert date_forms(texts) == forms


def test_numbers_with_signs_groups_and_times_are_read_and_told(tmp_path):
    content = (
        "Alter;Anteil;Einkommen;Zeit;PLZ;Linie;Note\n20;0,5%;1.000,50;12:30;05;11;1,5\n21;1,5%;2.037,50;9:15;7;1_1;2,5\n"
        "22;12%;12;0:06;05;11;3,5\n23;7 %;1;23:30;05;1_1;1\n"
    )
    (tmp_path / "umfrage.csv").write_text(content, encoding="utf-8-sig")
    samples = table(str(tmp_path / "umfrage.csv"))
    names = ["Alter", "Anteil", "Einkommen", "Zeit", "PLZ=05", "PLZ=7", "Linie=11", "Linie=1_1"]
    assert samples.feature_names == names
    assert samples.inputs.tolist() == [
        [20, 0.5, 1000.5, 12.5, 1, 0, 1, 0],
        [21, 1.5, 2037.5, 9.25, 0, 1, 0, 1],
        [22, 12, 12, 0.1, 1, 0, 1, 0],
        [23, 7, 1, 23.5, 1, 0, 0, 1],
    ]
    assert (samples.task, samples.targets.tolist()) == ("regression", [1.5, 2.5, 3.5, 1])
    assert samples.notes == [
        "umfrage.csv: 4 rows and 7 columns, split at semicolons, with decimal commas",
        "the target is the last column, 'Note' (dataset.target chooses another)",
        "categories, as a column of 0 and 1 each: PLZ (2), Linie (2)",
        "numbers whose sign is left out: Anteil ('0,5%')",
        "digits in groups of three, which dataset.decimal tells from decimals: Einkommen ('1.000,50' is 1000.5)",
        "times, read in hours: Zeit ('12:30' is 12.5)",
        "numbers with leading zeros, taken as texts; dataset.numbers=[...] takes them as numbers: PLZ ('05')",
        "numbers beside other texts, taken as texts: Linie ('1_1')",
    ]


def test_decimal_commas_are_asked_for_where_they_cannot_be_told(tmp_path):
    with pytest.raises(
        ConfigError, match=r"in 'x' \('1,234'\) the comma may stand before decimals or between thousands"
    ):
        (tmp_path / "data.csv").write_text("x;y\n1,234;1\n5,678;2\n")
        table(str(tmp_path / "data.csv"))
    path = str(tmp_path / "data.csv")
    assert table(path, decimal="comma").inputs.tolist() == [[1.234], [5.678]]
    assert table(path, decimal="point").inputs.tolist() == [[1234], [5678]]
    for content in ("x;y\n1.234;1\n12.345;2\n", "x;y\n1.234;1\n999;2\n"):
        with pytest.raises(ConfigError, match=r"in 'x' \('1.234'\) the point may stand before decimals or between th"):
            (tmp_path / "data.csv").write_text(content)
            table(path)
        assert table(path, decimal="comma").inputs[0] == 1234
    for content in ("x\ty\n1.234\t1\n12.345\t2\n", "x;y\n1.234;1\n999;0.5\n", "x,y\n1.234,1\n12.345,2\n"):
        (tmp_path / "data.csv").write_text(content)
        assert table(path).inputs[0] == 1.234
    (tmp_path / "data.csv").write_text("x;y\n1.234;1\n2.345.678;2\n3.456.789;3\n")
    assert table(path).inputs.tolist() == [[1234], [2345678], [3456789]]
    thousands = column(tmp_path, ["1,234", "5,678"], ",")
    assert thousands.inputs.tolist() == [[1234], [5678]]
    assert (
        "digits in groups of three, which dataset.decimal tells from decimals: x ('1,234' is 1234)" in thousands.notes
    )
    with pytest.raises(
        ConfigError, match=r"'y' \('0.5'\) has a decimal point and 'x' \('1,5'\) a decimal comma: dataset.dec"
    ):
        column(tmp_path, ["1,5", "2,5"], ",")
    assert column(tmp_path, ["1,5", "2,5"], ",", decimal="point").feature_names == ["x=1,5", "x=2,5"]
    assert column(tmp_path, ["1,5", "2,5"], ",", categories=["x"]).feature_names == ["x=1,5", "x=2,5"]


def test_a_slip_among_numbers_is_asked_about(tmp_path):
    cells = ["1", "2", "3b", "4", "5"]
    with pytest.raises(
        ConfigError,
        match=r"'x' holds numbers, but '3b' in row 3 and such in 1 of 5 rows: correct them, "
        r"or 'dataset.missing=\[\"3b\"\]' takes them as missing, 'dataset.categories=\[x\]' takes every text as",
    ):
        column(tmp_path, cells)
    assert column(tmp_path, cells, missing=["3b"], impute=True).inputs[:, 0].tolist()[:2] == [1, 2]
    assert column(tmp_path, cells, categories=["x"]).feature_names == ["x=1", "x=2", "x=3b", "x=4", "x=5"]
    for odd in ("inf", "nan5", "1_0", "٣", "12%", "-"):
        with pytest.raises(ConfigError, match=rf"'x' holds numbers, but '{odd}' in row 4"):
            column(tmp_path, ["1", "2", "3", odd])
    with pytest.raises(ConfigError, match=r"'x' holds numbers with %, but '5' in row 3"):
        column(tmp_path, ["1%", "2%", "5"])


def test_codes_are_texts_and_numbers_where_the_user_says_so(tmp_path):
    assert column(tmp_path, ["05", "7", "05"]).feature_names == ["x=05", "x=7"]
    assert column(tmp_path, ["05", "7", "05"], numbers=["x"]).inputs.tolist() == [[5], [7], [5]]
    assert column(tmp_path, ["3", "10", "3"], categories=["x"]).feature_names == [
        "x=3",
        "x=10",
    ]  # as numbers are sorted
    assert column(tmp_path, ["1_1", "11", "11", "1_1", "11"]).inputs.argmax(axis=1).tolist() == [1, 0, 0, 1, 0]
    with pytest.raises(ConfigError, match=r"leading zeros; 'dataset.numbers=\[x\]' takes them as numbers"):
        column(tmp_path, [f"{i:03d}" for i in range(101)])
    with pytest.raises(ConfigError, match=r"'x' holds numbers, but 'b' in row 2"):
        column(tmp_path, ["1", "b", "b"], numbers=["x"])


def test_what_stands_for_a_missing_value(tmp_path):
    cells = ["NA", "red", "", "None", "n/a", "blue"]
    with pytest.raises(
        ConfigError, match=r"'x' .4 missing, 1 of them 'NA', 1 of them 'None', 1 of them 'n/a'.*missing=.. takes"
    ):
        column(tmp_path, cells)
    filled = column(tmp_path, cells, impute=True)
    assert filled.feature_names == ["x=blue", "x=missing", "x=red"]
    assert filled.inputs.argmax(axis=1).tolist() == [1, 2, 1, 1, 1, 0]
    told = (
        "read as missing: 'NA' in x (1), 'None' in x (1), 'n/a' in x (1); dataset.missing=[] takes such words as texts"
    )
    assert told in filled.notes
    real = column(tmp_path, ["NA", "red", "None", "blue"], missing=[])
    assert real.feature_names == ["x=NA", "x=None", "x=blue", "x=red"]
    coded = column(tmp_path, ["1", "-9", "3", "-9.0", "."], missing=[-9, "."], impute=True)
    np.testing.assert_array_equal(coded.inputs[:, 0], [1, np.nan, 3, np.nan, np.nan])


def test_texts_that_differ_in_blanks_or_encoding_alone_are_the_same(tmp_path):
    samples = column(tmp_path, ["dog", "dog ", " cat", "Dog", "caf\u00e9", "cafe\u0301"])
    assert samples.feature_names == ["x=Dog", "x=caf\u00e9", "x=cat", "x=dog"]
    assert samples.inputs.argmax(axis=1).tolist() == [3, 3, 2, 0, 1, 1]
    assert "texts that differ in blanks or encoding alone are taken as the same: x ('dog' and 'dog ')" in samples.notes
    assert "categories that differ in capitals alone stay apart: x ('Dog' and 'dog')" in samples.notes


def test_booleans_are_one_column(tmp_path):
    assert column(tmp_path, ["True", "FALSE", "true"]).inputs.tolist() == [[1], [0], [1]]
    holed = column(tmp_path, ["True", "", "False"], impute=True)
    assert holed.feature_names == ["x=False", "x=True", "x=missing"]


def test_dates_become_the_numbers_that_are_asked_for(tmp_path):
    cells = ["2024-02-29", "2023-12-31", "1969-12-31"]
    with pytest.raises(
        ConfigError,
        match=r"'x' holds dates, such as '2024-02-29': 'dataset.dates=\[year,month,day_of_year\]' makes numbers "
        r"of them \(there are year, month, day, day_of_year, weekday, hour, days\), 'dataset.drop=\[x\]' leaves",
    ):
        column(tmp_path, cells)
    parts = ["year", "month", "day", "day_of_year", "weekday", "hour", "days"]
    samples = column(tmp_path, cells, dates=parts)
    assert samples.feature_names == [f"x.{part}" for part in parts]
    assert samples.inputs.tolist() == [
        [2024, 2, 29, 60, 3, 0, 19782],  # a Thursday
        [2023, 12, 31, 365, 6, 0, 19722],
        [1969, 12, 31, 365, 2, 0, -1],
    ]
    told = "dates, as year, month, day, day_of_year, weekday, hour, days: x ('2024-02-29' is 2024-02-29)"
    assert told in samples.notes
    times = column(
        tmp_path, ["2024-01-01T06:45:00+02:00", "2024-01-01T12:00:00Z", ""], dates=["hour", "days"], impute=True
    )
    np.testing.assert_array_equal(times.inputs, [[4.75, 19723 + 4.75 / 24], [12, 19723.5], [np.nan, np.nan]])
    assert "dates, as hour, days: x ('2024-01-01T12:00:00Z' is 2024-01-01 12:00:00 UTC)" in times.notes
    mixed = column(tmp_path, ["2024-01-01T06:45", "2024-01-01T12:00:00+05:00"], dates=["hour"])
    assert mixed.inputs.tolist() == [[6.75], [7]]
    [told] = [note for note in mixed.notes if note.startswith("dates")]
    assert told.endswith("('2024-01-01T12:00:00+05:00' is 2024-01-01 07:00:00 UTC, as are those without an offset)")
    short = column(tmp_path, ["10.03.60", "11.03.68", "12.03.69"], dates=["year"])  # the century is a guess
    assert short.inputs.tolist() == [[2060], [2068], [1969]]
    assert "dates, as year: x ('11.03.68' is 2068-03-11)" in short.notes
    assert column(tmp_path, cells, categories=["x"]).inputs.shape == (3, 3)


def test_day_and_month_are_asked_for_where_they_cannot_be_told(tmp_path):
    cells = ["01/02/2024", "03/04/2024"]
    with pytest.raises(
        ConfigError, match=r"cannot be told apart: 'dataset.date_format=%d/%m/%Y' or 'dataset.date_format=%m/%d"
    ):
        column(tmp_path, cells, dates=["month"])
    assert column(tmp_path, cells, dates=["month"], date_format="%d/%m/%Y").inputs.tolist() == [[2], [4]]
    assert column(tmp_path, cells, dates=["month"], date_format="%m/%d/%Y").inputs.tolist() == [[1], [3]]
    assert column(tmp_path, ["20240131"] * 2, dates=["day"], date_format="%Y%m%d", drop=[]).inputs.tolist() == [
        [31],
        [31],
    ]
    with pytest.raises(ConfigError, match=r"dataset.date_format=%Y: no column of .* holds such dates"):
        column(tmp_path, ["a", "b"], dates=["year"], date_format="%Y")


def test_a_date_is_no_target(tmp_path):
    (tmp_path / "data.csv").write_text("x,y\n1,2024-01-01\n2,2024-02-01\n")
    with pytest.raises(ConfigError, match=r"the target 'y' holds dates, which are not predicted"):
        table(str(tmp_path / "data.csv"))


def test_advice_for_a_missing_value_keeps_those_that_are_known(tmp_path):
    rows = ["a,b,y"] + [f"{i * i},{i % 5},{i / 7}" for i in range(20)]
    rows[3], rows[5] = "NA,1,0.5", "4,unknown,0.25"
    (tmp_path / "data.csv").write_text("\n".join(rows))
    with pytest.raises(ConfigError, match=r"'dataset.missing=\[NA,unknown\]' takes them as missing"):
        table(str(tmp_path / "data.csv"), impute=True)
    samples = table(str(tmp_path / "data.csv"), impute=True, missing=["NA", "unknown"])
    assert np.isnan(samples.inputs).sum(axis=0).tolist() == [1, 1]


@given(st.lists(st.tuples(st.sampled_from([0.0, -0.0, 1.0, float("nan")]), st.integers(-1, 1)), min_size=1))
@example([(0.0, 1), (-0.0, 1), (float("nan"), 0), (-float("nan"), 0), (0.0, 1)])
def test_rows_that_repeat_another_are_counted(rows):
    columns = [Raw("a", "number", np.array([a for a, _ in rows])), Raw("b", "text", np.array([b for _, b in rows]))]
    distinct = {(None if a != a else a, b) for a, b in rows}  # 0.0 equals -0.0
    assert _repeated(columns) == len(rows) - len(distinct)


def test_what_may_mislead_is_told(tmp_path):
    rows = ["n,copy,code,same,id,kind,y"]
    rows += [
        f"{i * 7 % 12 + 3},{i * i},{'ab'[i % 3 == 0]},5,{2**53 + i + 1},{'uv'[i % 3 == 0]},{i * i}" for i in range(12)
    ]
    rows.append(rows[-1])
    (tmp_path / "data.csv").write_text("\n".join(rows))
    samples = table(str(tmp_path / "data.csv"), task="regression")
    assert samples.notes[-4:] == [
        "tells the target 'y' exactly: copy ('dataset.drop=[copy]' leaves it out)",
        "the same in every row: same ('dataset.drop=[same]' leaves it out)",
        "whole numbers of which the last digits are lost: id ('dataset.drop=[id]' leaves it out)",
        "1 of 13 rows repeat another one, perhaps across training, validation and test part",
    ]
    (tmp_path / "data.csv").write_text("\n".join(rows[:-1]))
    samples = table(str(tmp_path / "data.csv"), target="kind", drop=["id", "same"])
    assert samples.notes[1:] == [
        "categories, as a column of 0 and 1 each: code (2)",
        "tells the target 'kind' exactly: code ('dataset.drop=[code]' leaves it out)",
        "counts the rows: n ('dataset.drop=[n]' leaves it out)",
        "rises or falls with the rows: copy, y ('dataset.drop=[copy,y]' leaves them out)",
    ]
    (tmp_path / "data.csv").write_text("day,date,y\n" + "".join(f"{i * i},202101{31 - i},.{i}\n" for i in range(12)))
    assert table(str(tmp_path / "data.csv"), target="y").notes[1:] == [
        "counts the rows: date ('dataset.drop=[date]' leaves it out)",
        "rises or falls with the rows: day ('dataset.drop=[day]' leaves it out)",
        "read as numbers, though all look like dates such as 20210131, which 'dataset.date_format=%Y%m%d' reads in "
        "text files: date ('dataset.drop=[date]' leaves it out)",
    ]
    # Another unit is the target, too; what is near it is not.
    cells = [f"{x / 7},{x / 7 * 0.035:.4f},{-100 * x / 7:.0f},{x / 7 + (-1) ** x / 20},{5}" for x in range(12, 40)]
    (tmp_path / "data.csv").write_text("\n".join(["y,tax,cents,near,one", *cells]))
    told = "rises or falls with the target 'y' in a straight line (a correlation of 1): tax, cents"
    notes = table(str(tmp_path / "data.csv"), target="y").notes
    assert any(note.startswith(f"{told} (") for note in notes) and not any("exactly" in note for note in notes)
    (tmp_path / "data.csv").write_text("x,y\n" + "".join(f"{1e308 / (1 + i % 2)},.{i}\n" for i in range(12)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # sums that are too large are nobody's concern
        assert not any("straight" in note for note in table(str(tmp_path / "data.csv"), target="y").notes)
    # Of classes that hardly repeat any column tells each.
    (tmp_path / "data.csv").write_text("x,y\n" + "".join(f"{i * i % 97}.5,k{i // 2 * (i > 3)}\n" for i in range(16)))
    assert not any("exactly" in note for note in table(str(tmp_path / "data.csv"), task="multiclass").notes)
    few = column(tmp_path, ["1", "3", "2"] * 4 + ["7"], target="x", task="multiclass")
    assert "classes with too few rows for training, validation and test part: 7 (1)" in few.notes


@pytest.mark.parametrize(
    ("cells", "note"),
    [
        (
            [str(i % 14) for i in range(21)],
            "14 whole numbers in 21 rows, taken as numbers; dataset.task=multiclass takes them as",
        ),
        (
            [str(i % 4) for i in range(21)],
            "4 whole numbers in 21 rows, taken as classes; dataset.task=regression takes them as n",
        ),
        ([f"{i % 40}%" for i in range(80)], "40 whole numbers in 80 rows, taken as numbers; dataset.task=multiclass"),
    ],
)
def test_what_the_target_was_taken_for_is_told(tmp_path, cells, note):
    samples = column(tmp_path, cells, target="x")
    assert any(said.startswith(f"the target 'x' holds {note}") for said in samples.notes)
    assert samples.task == ("multiclass" if "taken as classes" in note else "regression")


def test_the_encoding_is_enough_to_encode_new_rows(tmp_path):
    content = "a;c;t;d;f;y\n1,5;red;12:30;31.01.2024;True;ja\n1.000,5;blue;9:00;29.02.2024;False;nein\n"
    content += "2;NA;9:00;01.03.2024;True;ja\n"
    (tmp_path / "data.csv").write_text(content)
    samples = table(str(tmp_path / "data.csv"), impute=True, dates=["month", "weekday"])
    kept = json.loads(json.dumps(samples.encoding))
    form = kept["format"]
    assert {key: form[key] for key in ("separator", "decimal", "encoding", "header", "comment")} == {
        "separator": "semicolon", "decimal": "comma", "encoding": "utf-8", "header": True, "comment": None,
    }  # fmt: skip
    assert kept["columns"] == [
        {"name": "a", "kind": "number", "decimal": ",", "unit": ""},
        {"name": "c", "kind": "category", "categories": ["blue", "missing", "red"]},
        {"name": "t", "kind": "time"},
        {"name": "d", "kind": "date", "form": "%d.%m.%Y", "parts": ["month", "weekday"]},
        {"name": "f", "kind": "boolean"},
    ]
    assert kept["features"] == samples.feature_names and kept["impute"] is True
    assert kept["target"] == {
        "name": "y", "kind": "category", "categories": ["ja", "nein"], "task": "binary", "classes": ["ja", "nein"],
    }  # fmt: skip
    new = [["2.000,25", "0"], ["NA", "blue"], ["0:30", "0:15"], ["24.12.2024", "01.01.2025"], ["False", "True"]]
    columns = [
        Column(**{**each, **{k: tuple(each[k]) for k in ("parts", "categories") if k in each}})
        for each in kept["columns"]
    ]
    raws = [Raw.of_texts(each.name, cells, form["missing"]) for each, cells in zip(columns, new, strict=True)]
    encoded = np.hstack([each.encode(raw) for each, raw in zip(columns, raws, strict=True)])
    assert encoded.tolist() == [[2000.25, 0, 1, 0, 0.5, 12, 1, 0], [0, 1, 0, 0, 0.25, 1, 2, 1]]
    for each, odd, why in (
        (columns[0], "2.50", "number"),
        (columns[0], "5%", "number"),
        (Column("a", "number", unit="%"), "5", "number with %"),
        (columns[2], "noon", "time"),
        (columns[4], "yes", "boolean"),
    ):
        with pytest.raises(ConfigError, match=rf"'{each.name}' holds '{odd}', which is no {why}$"):
            each.encode(Raw.of_texts(each.name, [odd], []))
    with pytest.raises(ConfigError, match=r"'c' holds 'green', which is none of its 3 categories"):
        columns[1].encode(Raw.of_texts("c", ["green"], []))
    with pytest.raises(ConfigError, match=r"'d' holds other texts than dates written %d.%m.%Y"):
        columns[3].encode(Raw.of_texts("d", ["2024-01-01"], []))


def test_nothing_that_a_terminal_obeys_comes_from_a_file_to_the_notes(tmp_path):
    (tmp_path / "data.csv").write_text('"a\x1b[2J\nb",y\n' + "red,1\nred,2.5\n")
    notes = table(str(tmp_path / "data.csv")).notes
    assert r"categories, as a column of 0 and 1 each: a\x1b[2J\nb (1)" in notes
    assert all(note.isprintable() for note in notes)


@given(
    names=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=1, max_size=3)
)
@example(
    names=["id", "größe (cm)", "1990", "01", "1_0", "1e5", "null", "True", "nan", " a", "it's", 'a"b', "a\\", "${x}"]
)
def test_the_keys_that_messages_show_are_what_the_command_line_takes(names):
    [word] = shlex.split(typed("drop", names))
    override = OverridesParser.create().parse_override(word)
    assert (override.key_or_group, override.value()) == ("dataset.drop", names)
