"""Large tables stay in a file of the cache: whatever is made of them is the same to the last bit."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import config
from test_diagnostics import Watch, trained

from dlrun.datasets import table as tables
from dlrun.datasets.data import Samples
from dlrun.datasets.dataset import Dataset
from dlrun.datasets.inputs import joined
from dlrun.datasets.mapped import Mapped
from dlrun.datasets.numbers import Numbers
from dlrun.datasets.prepare import prepare
from dlrun.datasets.related import with_classes
from dlrun.datasets.split import split
from dlrun.datasets.table import table
from dlrun.datasets.tables import kept
from dlrun.errors import ConfigError

ROWS = 60
KEYS: dict[str, Any] = {"target": "y", "dates": ["year", "day_of_year"], "impute": True}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where large tables are kept; all are large."""
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(tables, "LARGE", 0)
    return tmp_path / "cache" / "tables"


def frame(dtype: type = np.float64) -> pd.DataFrame:
    """A column of each kind, with missing numbers, dates and texts."""
    rng = np.random.default_rng(0)
    found = pd.DataFrame(
        {
            "a": rng.standard_normal(ROWS).astype(dtype),
            "color": rng.choice(["red", "green", "blue"], ROWS),
            "on": rng.integers(0, 2, ROWS).astype(bool),
            "b": (100 * rng.standard_normal(ROWS)).astype(dtype),
            "day": pd.Timestamp("2020-01-31") + pd.to_timedelta(rng.integers(0, 900, ROWS), "D"),
            "y": rng.integers(0, 3, ROWS),
        }
    )
    found.loc[::7, "b"] = np.nan
    found.loc[::9, "color"] = None
    return found


def written(folder: Path, ending: str, dtype: type = np.float64) -> str:
    file = folder / f"data.{ending}"
    if ending == "csv":
        frame(dtype).to_csv(file, index=False)
    else:
        frame(dtype).to_parquet(file)
    return str(file)


def in_memory(path: str, **keys: Any) -> Samples:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "LARGE", 10**9)
        patch.setattr(tables, "kept", lambda place: None)
        return table(path, **keys)


def same(ours: Samples, theirs: Samples) -> None:
    assert isinstance(ours.inputs, Mapped) and isinstance(theirs.inputs, np.ndarray)
    assert ours.inputs.shape == theirs.inputs.shape and ours.inputs.dtype == theirs.inputs.dtype == np.float64
    assert np.array_equal(ours.inputs[:], theirs.inputs, equal_nan=True)
    assert np.array_equal(ours.targets, theirs.targets) and ours.targets.dtype == theirs.targets.dtype
    assert ours.digest == theirs.digest
    assert ours.notes[:-1] == theirs.notes and ours.notes[-1].startswith("its numbers are kept in ")
    for key in ("task", "feature_names", "class_names", "parts", "surface", "encoding"):
        assert getattr(ours, key) == getattr(theirs, key), key


@pytest.mark.parametrize(("ending", "dtype"), [("csv", np.float64), ("parquet", np.float64), ("parquet", np.float32)])
def test_it_is_the_table_and_is_not_read_again(
    ending: str, dtype: type, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, ending, dtype)
    theirs = in_memory(path, **KEYS)
    assert not cache.exists()
    same(table(path, **KEYS), theirs)
    [folder] = cache.iterdir()  # nothing unfinished is left
    assert np.load(folder / kept.INPUTS, mmap_mode="r").dtype == dtype
    monkeypatch.setattr(tables, "read_columns", None)
    again = table(path, **KEYS)
    same(again, theirs)
    # The digest that stands there is not the only one that tells: that of the numbers is the same.
    assert replace(again).digest == theirs.digest


def test_numbers_that_float32_does_not_hold_are_kept_as_doubles(tmp_path: Path, cache: Path) -> None:
    for name, number, kind in (("small", 0.5, "f4"), ("fine", 0.1, "f8"), ("large", 1e300, "f8")):
        file = tmp_path / f"{name}.csv"
        file.write_text("a,b,y\n" + "".join(f"{number},{i},{i % 5 / 2}\n" for i in range(9)))
        same(table(str(file)), in_memory(str(file)))
        [folder] = cache.glob(f"{name}-*")
        assert np.load(folder / kept.INPUTS, mmap_mode="r").dtype == kind


def test_another_file_or_other_keys_are_read(tmp_path: Path, cache: Path) -> None:
    path = Path(written(tmp_path, "csv"))
    table(str(path), **KEYS)
    for keys in ({**KEYS, "drop": ["a"]}, {**KEYS, "numbers": ["a"]}):
        same(table(str(path), **keys), in_memory(str(path), **keys))
    assert len(list(cache.iterdir())) == 3
    before, text = path.stat(), path.read_text()
    first = text.splitlines()[1].split(",")[0]
    path.write_text(text.replace(first, first[:-1] + str((int(first[-1]) + 1) % 10), 1))  # as long as before
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # and as old
    same(table(str(path), **KEYS), in_memory(str(path), **KEYS))
    assert len(list(cache.iterdir())) == 4


@pytest.mark.parametrize("name", [kept.INPUTS, kept.TARGETS, kept.TOLD])
@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY", b"{}", "half", "pickle"])
def test_what_is_damaged_is_read_anew(name: str, content: bytes | str | None, tmp_path: Path, cache: Path) -> None:
    path = written(tmp_path, "parquet")
    table(path, **KEYS)
    [folder] = cache.iterdir()
    file, whole = folder / name, (folder / name).read_bytes()
    if content is None:
        file.unlink()
    elif content == "pickle":
        np.save(file.with_suffix(".npy"), np.array([{"a": 1}], dtype=object))
        file.with_suffix(".npy").replace(file)
    else:
        file.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    same(table(path, **KEYS), in_memory(path, **KEYS))
    assert [each.name for each in cache.iterdir()] == [folder.name] and file.read_bytes() == whole


@pytest.mark.parametrize("name", [kept.INPUTS, kept.TARGETS, kept.TOLD])
def test_what_was_changed_since_is_read_anew(name: str, tmp_path: Path, cache: Path) -> None:
    """Whatever it still looks like: the digest that stands there is that of what was written."""
    path = written(tmp_path, "parquet")
    table(path, **KEYS)
    [folder] = cache.iterdir()
    whole = (folder / name).read_bytes()
    changed = whole.replace(b"color=red", b"color=rot") if name == kept.TOLD else whole[:-8] + b"\1" * 8
    assert changed != whole
    (folder / name).write_bytes(changed)
    same(table(path, **KEYS), in_memory(path, **KEYS))
    assert (folder / name).read_bytes() == whole


@pytest.mark.parametrize("there", ["file", "link", "folder"])
def test_something_else_in_its_place_is_replaced(there: str, tmp_path: Path, cache: Path) -> None:
    path = written(tmp_path, "csv")
    table(path, **KEYS)
    [folder] = cache.iterdir()
    shutil.rmtree(folder)
    if there == "file":
        folder.write_text("no folder")
    elif there == "link":
        folder.symlink_to(tmp_path / "nowhere")
    else:
        (folder / "other").mkdir(parents=True)
    same(table(path, **KEYS), in_memory(path, **KEYS))
    assert kept.kept(folder) is not None and list(cache.iterdir()) == [folder]


@pytest.mark.parametrize("damaged", [False, True])
def test_two_that_are_written_at_once_are_both_mapped(
    damaged: bool, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process's entry comes just before ours takes its place; whole, or damaged since."""
    path, rename, came = written(tmp_path, "csv"), Path.rename, []

    def late(self: Path, target: Path) -> Path:
        if not came:
            came.append(target)
            same(table(path, **KEYS), in_memory(path, **KEYS))
            if damaged:
                (target / kept.INPUTS).write_bytes(b"")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    same(table(path, **KEYS), in_memory(path, **KEYS))
    assert came == list(cache.iterdir()) and kept.kept(came[0]) is not None


def test_names_of_files_are_cut_and_hide_nothing(tmp_path: Path, cache: Path) -> None:
    for name in (f"{'ä' * 120}.csv", ".hidden.csv"):
        written(tmp_path, "csv")
        (tmp_path / "data.csv").rename(tmp_path / name)
        same(table(str(tmp_path / name), **KEYS), in_memory(str(tmp_path / name), **KEYS))
    assert len(list(cache.glob("[!.]*"))) == 2


def test_other_rows_than_targets_are_no_table(tmp_path: Path, cache: Path) -> None:
    path = written(tmp_path, "csv")
    table(path, **KEYS)
    [folder] = cache.iterdir()
    np.save(folder / kept.TARGETS, np.zeros(ROWS - 1, np.int64))
    assert kept.kept(folder) is None
    same(table(path, **KEYS), in_memory(path, **KEYS))


def test_where_nothing_can_be_kept_it_stays_in_memory_and_is_told(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "csv")
    cache.parent.write_text("no folder")
    found, theirs = table(path, **KEYS), in_memory(path, **KEYS)
    assert isinstance(found.inputs, np.ndarray) and np.array_equal(found.inputs, theirs.inputs, equal_nan=True)
    assert found.notes[:-1] == theirs.notes and found.digest == theirs.digest
    assert found.notes[-1].startswith(f"its numbers cannot be kept in {cache}") and "DLRUN_DATA" in found.notes[-1]
    cache.parent.unlink()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    assert "No space left on device" in table(path, **KEYS).notes[-1] and not list(cache.iterdir())


def test_that_a_large_file_is_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "csv")
    monkeypatch.setattr(tables, "LONG", 1000)
    for told in ("reading data.csv (", ""):
        table(path, **KEYS)
        out, err = capfd.readouterr()
        assert out == "" and err.startswith(told) and bool(err) == bool(told)


def test_those_used_longest_ago_make_room(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = []
    for name in "abcd":
        (tmp_path / name).mkdir()
        paths.append(written(tmp_path / name, "csv"))
    for path in paths[:3]:
        table(path, **KEYS)
    places = [kept.place_of(Path(path), {}) for path in paths]
    assert len(list(cache.iterdir())) == 3 and len({place.name for place in places}) == 4
    for age, folder in enumerate(sorted(cache.iterdir())):
        os.utime(folder, (age, age))
    oldest, *others = sorted(cache.iterdir())
    size = sum(file.stat().st_size for file in oldest.iterdir())
    monkeypatch.setattr(kept, "ROOM", 3 * size + 1000)  # their paths are of one length
    abandoned, begun = (oldest.with_name(f".{oldest.name}.{sign * 32}") for sign in "ab")
    abandoned.mkdir()
    begun.mkdir()
    (begun / "inputs.npy").write_bytes(bytes(2 * size))  # counts for nothing: another process is at it
    os.utime(abandoned, (0, 0))
    held = np.load(oldest / kept.INPUTS, mmap_mode="r")
    content = held.copy()
    table(paths[3], **KEYS)
    assert not (oldest.exists() or abandoned.exists()) and begun.exists() and all(folder.exists() for folder in others)
    assert np.array_equal(held, content, equal_nan=True)  # who has mapped it keeps it


def test_room_is_made_of_own_tables_alone(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user may have named a folder in which there is one of this name."""
    monkeypatch.setattr(kept, "ROOM", 0)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / kept.INPUTS).write_text("theirs")
    digits = "0123456789abcdef" * 2
    theirs = [cache / "mine" / kept.INPUTS, cache / ".hidden" / "a", cache / "a.csv"]
    theirs += [cache / f"x-{digits}" / "notes.txt", cache / f".x-{digits}.{digits}" / "notes.txt"]
    for file in theirs:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("theirs")
        os.utime(file.parent, (0, 0))
    (cache / f"link-{digits}").symlink_to(elsewhere)
    for name in "ab":
        (tmp_path / name).mkdir()
        table(written(tmp_path / name, "csv"), **KEYS)
    assert all(file.read_text() == "theirs" for file in [*theirs, elsewhere / kept.INPUTS])
    assert (cache / f"link-{digits}").is_symlink() and len(list(cache.glob("data-*"))) == 1


def prepared(samples: Samples, scale: str, dtype: torch.dtype, seed: int, train_size: int | None = None) -> Dataset:
    return prepare(
        samples,
        scale=scale,
        scale_target="auto",
        val_fraction=0.2,
        test_fraction=0.1,
        split_seed=seed,
        train_size=train_size,
        dtype=dtype,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", ["none", "minmax", "symmetric", "standard"])
@pytest.mark.parametrize("stored", [np.float32, np.float64])
def test_the_numbers_are_those_of_floats(stored: type, scale: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Of each split by itself, of two of one table, and of two tables, one after the other."""
    path = written(tmp_path, "parquet", stored)
    (tmp_path / "b").mkdir()
    other = written(tmp_path / "b", "csv", stored)
    asked = [(path, 1), (path, 2), (other, 3)]
    floats = [prepared(in_memory(each, **KEYS), scale, dtype, seed) for each, seed in asked]
    one = table(path, **KEYS)
    ours = [prepared(one, scale, dtype, 1), prepared(one, scale, dtype, 2)]
    ours.append(prepared(table(other, **KEYS), scale, dtype, 3))
    rows = torch.tensor([3, 0, ROWS - 1, 3])
    for our, their in zip(ours, floats, strict=True):
        assert isinstance(our.inputs, Numbers) and isinstance(their.inputs, torch.Tensor)
        assert (our.inputs.shape, our.inputs.dtype, len(our.inputs)) == (their.inputs.shape, dtype, ROWS)
        assert torch.equal(our.inputs[:], their.inputs) and torch.equal(our.inputs[-3:], their.inputs[-3:])
        assert torch.equal(our.inputs.index_select(0, rows), their.inputs[rows])
        assert our.encoding and their.encoding and our.encoding.text == their.encoding.text
        assert {**our.description, "notes": []} == {**their.description, "notes": []}
        for part in ("train", "val", "test"):
            assert torch.equal(our.part(part)[0], their.part(part)[0])
    for chosen, lazy in ((slice(0, 1), True), (slice(0, 2), True), (slice(0, 3), False)):
        assert all(isinstance(each.inputs, Numbers) for each in ours)
        whole, views = joined([each.inputs for each in ours[chosen]], torch.device("cpu"))
        assert isinstance(whole, Numbers) == lazy
        assert torch.equal(whole[:], torch.cat([each.inputs[:] for each in floats[chosen]]))
        for view, each in zip(views, floats[chosen], strict=True):
            assert torch.equal(view[:], each.inputs[:])


def test_large_chunks_come_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "csv")
    whole = prepared(in_memory(path, **KEYS), "standard", torch.float32, 0).inputs
    monkeypatch.setattr("dlrun.datasets.numbers.TOGETHER", 30)
    monkeypatch.setattr("dlrun.datasets.prepare.COLUMNS", 1)
    monkeypatch.setattr(kept, "WRITTEN", 50)
    assert torch.equal(prepared(table(path, **KEYS), "standard", torch.float32, 0).inputs[:], whole[:])


def test_whitened_ones_and_some_classes_are_floats(tmp_path: Path) -> None:
    path = written(tmp_path, "csv")
    ours, theirs = table(path, **KEYS), in_memory(path, **KEYS)
    white = prepared(ours, "zca", torch.float32, 0).inputs
    assert isinstance(white, torch.Tensor) and torch.equal(white, prepared(theirs, "zca", torch.float32, 0).inputs[:])
    some = with_classes(ours, [2, 0])
    assert np.array_equal(some.inputs[:], with_classes(theirs, [2, 0]).inputs[:], equal_nan=True)


def test_what_cannot_be_trained_on_is_refused_likewise(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("a,b,y\n" + "".join(f"{i}.5,{1e300 * (i - 30)},{i % 7 / 2}\n" for i in range(ROWS)))
    with pytest.raises(ConfigError, match=r"values too large for torch\.float32: b; dataset\.scale=standard"):
        prepared(table(str(file)), "none", torch.float32, 0)
    # A row that train_size leaves out may hold what it likes.
    file.write_text("a,b,y\n" + "".join(f"{i}.5,{1e300 if i == 9 else i / 3},{i % 7 / 2}\n" for i in range(ROWS)))
    found = []
    for samples in (table(str(file)), in_memory(str(file))):
        for seed in range(6):
            try:
                whole = prepared(samples, "none", torch.float32, seed, train_size=10)
                found.append(whole.inputs[:].tolist())
            except ConfigError as problem:
                found.append(str(problem))
    assert found[:6] == found[6:] and {type(each) for each in found} == {str, list}
    file.write_text("a,b,y\n" + "".join(f"{i}.5,{'' if i else 1},{i % 7 / 2}\n" for i in range(ROWS)))
    samples = table(str(file), impute=True)
    trains = [0 in split(samples, {"test": 0.1, "val": 0.2}, seed)["train"] for seed in range(20)]
    prepared(samples, "none", torch.float32, trains.index(True))
    with pytest.raises(ConfigError, match="no number in the training part to fill with: b"):
        prepared(samples, "none", torch.float32, trains.index(False))


def outcome(path: str, words: list[str], seeds: int) -> tuple[torch.Tensor, Watch, str]:
    keys = ["dataset=table", f"dataset.path={path}", "dataset.target=y", "dataset.impute=true", "dataset.dates=[year]"]
    keys += ["epochs=2", "batch_size=8", "dataset.scale=standard", "diagnostics=[activations,gradients]"]
    words = [*keys, *words]
    configs = [config(*words, f"seed={seed}", f"dataset.split_seed={seed}") for seed in range(seeds)]
    theta, watch, found = trained(configs)
    return theta, watch, str([[[*each.rows] for each in finds] for finds in found])


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("words", [[], ["architecture=autoencoder"], ["normalization=batch", "initializer=lsuv"]])
def test_a_training_is_the_same_to_the_last_bit(
    runs: int, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, and in a stack whose runs split the rows otherwise; diagnostics see the same."""
    from dlrun.training import sources

    path = written(tmp_path, "parquet", np.float32)
    sources._last_samples.clear()
    ours = outcome(path, words, runs)
    assert any(isinstance(each.inputs, Mapped) for each in sources._last_samples.values())
    sources._last_samples.clear()
    monkeypatch.setattr(tables, "LARGE", 10**9)
    monkeypatch.setattr(tables, "kept", lambda place: None)
    theirs = outcome(path, words, runs)
    sources._last_samples.clear()
    assert torch.equal(ours[0], theirs[0])
    assert ours[1].rows == theirs[1].rows and ours[1].tables == theirs[1].tables
    assert ours[2] == theirs[2]


def test_what_was_made_of_it_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the runs of a sweep that ask for the same, until the table is read anew."""
    from dlrun.training import sources
    from dlrun.training.build import plain

    path = written(tmp_path, "csv")
    keys = ["dataset=table", f"dataset.path={path}", "dataset.target=y", "dataset.impute=true", "dataset.dates=[year]"]

    def made(*words: str) -> Dataset:
        [dataset], _ = sources.datasets_of([plain(config(*keys, *words))])
        return dataset

    sources._last_samples.clear()
    first = made()
    assert made("seed=1", "lr=0.5") is first
    for words in (["dataset.split_seed=1"], ["dataset.scale=minmax"], ["precision=float64"]):
        other = made(*words)
        assert other is not first and other is made(*words, "seed=3")
    assert made() is first
    sources._last_samples.clear()
    again = made()
    assert len(sources._prepared) == 1  # what was made of others is gone with them
    assert again is not first and torch.equal(again.inputs[:], first.inputs[:])
    monkeypatch.setattr(sources, "PREPARED", 2)
    for seed in range(3):
        made(f"dataset.split_seed={seed}")
    assert len(sources._prepared) == 2 and made() is not again
    sources._last_samples.clear()
