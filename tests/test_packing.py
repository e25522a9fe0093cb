"""Packed runs: the same bytes come back, nothing is lost in between, and everything reads them as it reads folders."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from safetensors.numpy import load_file, save_file
from test_damage import command
from test_report import write_run

from dlrun.command.cli import main
from dlrun.errors import ConfigError
from dlrun.folder import notes, packs
from dlrun.folder.contents import exists, read, read_bytes
from dlrun.folder.reading import read_metrics, read_summary
from dlrun.folder.records import unwritable
from dlrun.report import collect
from dlrun.sweep import packing
from dlrun.sweep.packed import _values
from dlrun.sweep.packing import drop, pack, unpack
from dlrun.sweep.plan import Plan
from dlrun.sweep.removing import remove

ODD = ("0,0,0.1,nan,inf,0.1,0.1,-0.0,0.1", "0.5,5,1e-05,1.5e+300,5e-324,0.1,0.1,2.0,0.30000000000000004")


FAILED = {"it failed": 1}  #: why one of the five keeps its folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Five runs in folders: two are alike, one has other tensors, one other columns and what a folder may hold besides,
    one failed."""
    folder = tmp_path / "sweep"
    for number, status in enumerate(["finished", "diverged", "stopped_early", "finished", "failed"]):
        run = write_run(folder / str(number), f"lr={number / 10}", f"seed={number}", status=status, test=0.1 * number)
        shape = (3, 2) if number == 2 else (2, 2)
        weights = {"0.weight": np.full(shape, number, np.float32), "0.bias": np.arange(2, dtype=np.float32) + number}
        for name in ("model", "last"):
            save_file(weights, run / f"{name}.safetensors", {"step": str(number)})
        (run / "dlrun.log").write_text(f"[2026-01-01 00:00:00] ünder {number}\n")
    other = folder / "3"
    header = (other / "metrics.csv").read_text().splitlines()[0]
    (other / "metrics.csv").write_text("\n".join([header, *ODD, ""]))
    (other / "confusion.csv").write_text('true,predicted,count\n"a, b",c,2\n')
    (other / "curves.png").write_bytes(bytes(range(256)))
    (other / "notes.json").write_text('{"notes": ["mine"], "tags": []}\n')
    (folder / "plan.json").write_text(json.dumps({"commands": [["seed=0"]], "runs": {}}))
    collect.write_tables([folder], folder)
    return folder


def runs_of(sweep: Path) -> list[Path]:
    return [sweep / str(number) for number in range(5)]


def forget() -> None:
    """As another process, which has read nothing yet."""
    packs._places.clear()
    for cache in (packs._pack, packs._column, packs._curves):
        cache.cache_clear()


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and packs.PACKED not in path.relative_to(folder).parts
    }


def test_the_same_bytes_come_back_and_are_read_alike_in_between(sweep):
    before, tables = content(sweep), collect.collect([sweep])
    curves = read_metrics(sweep / "3")
    assert pack(sweep, runs_of(sweep)) == FAILED
    assert [path.name for path in sweep.iterdir() if path.is_dir()] == ["4", "packed"] or (sweep / "4").is_dir()
    assert not any((sweep / str(number)).exists() for number in range(4))  # and the failed one can be tried again
    pd.testing.assert_frame_equal(collect.collect([sweep]), tables)
    pd.testing.assert_frame_equal(read_metrics(sweep / "3"), curves)
    collect.write_tables([sweep], sweep)
    assert {name: before[name] for name in ("sweep.csv", "curves.csv")}.items() <= content(sweep).items()
    assert notes.notes_of(sweep / "3").texts == ("mine",)
    assert read(sweep / "1", "dlrun.log").endswith("ünder 1\n")
    assert exists(sweep / "3", "confusion.csv") and not exists(sweep / "0", "confusion.csv")
    assert unpack(sweep, ["3"]) == ["3"]
    assert list(collect.find([sweep])) == ["0", "1", "2", "3", "4"]
    assert sorted(unpack(sweep, [])) == ["0", "1", "2"]
    assert content(sweep) == before
    assert not (sweep / packs.PACKED).exists()


def test_packs_are_tables_that_others_read(sweep):
    pack(sweep, runs_of(sweep))
    assert len(packs.packs(sweep)) == 2  # of the two shapes
    rows = pd.concat([pd.read_parquet(each.folder / packs.RUNS) for each in packs.packs(sweep)]).set_index("run")
    assert rows["lr"].to_dict() == {"0": 0.0, "1": 0.1, "2": 0.2, "3": 0.3}
    assert rows.loc["3", "test_accuracy"] == pytest.approx(0.3)
    assert json.loads(rows.loc["0", "./summary.json"])["status"] == rows.loc["0", "status"] == "finished"
    numbers = pd.concat([pd.read_parquet(each.folder / packs.CURVES) for each in packs.packs(sweep)])
    assert numbers[numbers["run"] == "3"]["lr"].tolist() == [0.1, 1e-05]
    assert numbers["step"].dtype == np.int64
    [alike] = [each for each in packs.packs(sweep) if "0" in each.runs]
    tensors = load_file(alike.folder / packs.WEIGHTS)
    assert tensors["model/0.weight"].shape == (3, 2, 2)
    assert tensors["last/0.bias"].tolist() == [[int(name), int(name) + 1] for name in alike.runs]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(st.floats(), min_size=7, max_size=7), min_size=1, max_size=4), st.booleans())
def test_any_curves_come_back(tmp_path, rows, odd):
    shutil.rmtree(tmp_path / "s", ignore_errors=True)
    run = write_run(tmp_path / "s" / "0", "seed=0")
    (tmp_path / "s" / "plan.json").write_text("{}")
    header = (run / "metrics.csv").read_text().splitlines()[0]
    lines = [",".join([f"{i}", f"{i}", *map(repr, row)]) for i, row in enumerate(rows)]
    text = "\n".join([header, *lines, *(["7,7.0,1,2,3,4,5,6,07"] if odd else []), ""])  # which no run writes
    (run / "metrics.csv").write_text(text)
    pack(tmp_path / "s", [run])
    [each] = packs.packs(tmp_path / "s")
    assert ("./metrics.csv" in parquet.read_schema(each.folder / packs.RUNS).names) == odd
    assert read(run, "metrics.csv") == text


@pytest.mark.parametrize("step", [0, 1, 2, 5, 9, 14])
def test_whatever_ends_a_packing_loses_nothing(sweep, step, monkeypatch):
    before, tables, left = content(sweep), collect.collect([sweep]), [step]

    def dying(what: Callable[..., object]) -> Callable[..., object]:
        def done(*arguments: object, **words: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return what(*arguments, **words)

        return done

    with monkeypatch.context() as patch:
        patch.setattr(packing, "AT_A_TIME", 1)
        patch.setattr(Path, "rename", dying(Path.rename))
        patch.setattr(packing, "_unlink", dying(packing._unlink))
        with pytest.raises(KeyboardInterrupt):
            pack(sweep, runs_of(sweep))
    pd.testing.assert_frame_equal(collect.collect([sweep]), tables)
    pack(sweep, runs_of(sweep))
    pd.testing.assert_frame_equal(collect.collect([sweep]), tables)
    assert sorted(name for each in packs.packs(sweep) for name in each.runs) == ["0", "1", "2", "3"]
    unpack(sweep, [])
    assert content(sweep) == before


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (lambda run: (run / "mine.txt").write_text("mine"), "mine.txt, which is none of dlrun's"),
        (lambda run: (run / "mine").mkdir(), "mine, which is no file"),
        (lambda run: (run / "checkpoint").mkdir(), "checkpoint, which is no file"),
        (lambda run: (run / "last.safetensors").write_bytes(b"no"), "last.safetensors"),
        (lambda run: (run / "curves.png").symlink_to(run / "config.yaml"), "curves.png, which is no file"),
    ],
)
def test_a_folder_with_what_is_none_of_dlruns_stays_whole(sweep, other, told):
    other(sweep / "0")
    before = content(sweep / "0")
    [(why, count)] = (pack(sweep, runs_of(sweep)) - Counter(FAILED)).items()
    assert told in why and count == 1
    assert content(sweep / "0") == before
    assert not (sweep / "1").exists()
    assert list(collect.find([sweep])) == ["0", "1", "2", "3", "4"]


def test_what_changed_meanwhile_stays_and_counts(sweep, monkeypatch):
    write = packing.write

    def slow(*arguments: object) -> object:
        if not notes.notes_of(sweep / "0").texts:
            notes.add(sweep / "0", "while it was packed")
        return write(*arguments)

    monkeypatch.setattr(packing, "write", slow)
    assert pack(sweep, runs_of(sweep)) == FAILED | {"it changed while it was packed": 1}
    assert notes.notes_of(sweep / "0").texts == ("while it was packed",)
    monkeypatch.undo()
    assert pack(sweep, runs_of(sweep)) == FAILED
    assert notes.notes_of(sweep / "0").texts == ("while it was packed",)
    assert sorted(name for each in packs.packs(sweep) for name in each.runs) == ["0", "1", "2", "3"]


def test_unpacking_overwrites_nothing(sweep):
    pack(sweep, runs_of(sweep))
    (sweep / "1").mkdir()
    (sweep / "1" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="1 is there already, and is not overwritten"):
        unpack(sweep, [])
    assert not (sweep / "0").exists()
    with pytest.raises(ConfigError, match="no run of this name"):
        unpack(sweep, ["7"])
    with pytest.raises(ConfigError, match=r"4 is its folder"):
        unpack(sweep, ["4"])


def test_removed_runs_leave_the_packs(sweep):
    pack(sweep, runs_of(sweep))
    found = remove(sweep, "lr > 0.05 and lr < 0.25", dry=True)
    assert found.runs == ["1", "2"] and found.bytes > 1000
    assert remove(sweep, "lr > 0.05 and lr < 0.25", dry=False).runs == ["1", "2"]
    assert list(collect.find([sweep])) == ["0", "3", "4"]
    assert sorted(name for each in packs.packs(sweep) for name in each.runs) == ["0", "3"]
    drop(sweep, {"0", "3"})
    assert not (sweep / packs.PACKED).exists()


@pytest.mark.parametrize("file", [packs.RUNS, packs.CURVES, packs.WEIGHTS])
@pytest.mark.parametrize("harm", ["gone", "cut", "flipped", "link", "nonsense"])
def test_a_damaged_pack_is_one_message(sweep, file, harm, tmp_path):
    pack(sweep, runs_of(sweep))
    for each in packs.packs(sweep):
        path, data = each.folder / file, bytearray((each.folder / file).read_bytes())
        path.unlink()
        if harm == "link":
            (tmp_path / "elsewhere").write_bytes(data)
            path.symlink_to(tmp_path / "elsewhere")
        elif harm != "gone":
            middle = len(data) // 3
            data[middle : middle + 4] = bytes(255 - each for each in data[middle : middle + 4])
            path.write_bytes({"cut": data[:-9], "flipped": data, "nonsense": b"x" * 100}[harm])
    forget()
    with pytest.raises(ConfigError, match=file) if (file, harm) != (packs.WEIGHTS, "flipped") else as_it_was():
        unpack(sweep, [])
    assert sorted(path.name for path in sweep.iterdir() if path.name.startswith(".")) == []


class as_it_was:
    def __enter__(self) -> None: ...

    def __exit__(self, *exception: object) -> bool:
        return True


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"run": ["../out", "1", "3"]}, "no folder in the sweep's"),
        ({"run": ["/out", "1", "3"]}, "no folder in the sweep's"),
        ({"run": ["1", "1", "3"]}, "each once"),
        ({"run": ["packed/7", "1", "3"]}, "packs lie in packed"),
        ({"run": [300 * "x", "1", "3"]}, "no name that a folder can have"),
        ({"./../../evil": ["x", "x", "x"]}, "no folder in the sweep's"),
        ({"./.bashrc": ["x", "x", "x"]}, "no file of a run"),
        ({"./config.yaml/x": ["x", "x", "x"]}, "no file of a run"),
        ({"./config.yaml": [1, 2, 3]}, "holds no file"),
    ],
)
def test_a_strangers_pack_writes_nothing_elsewhere(sweep, change, told, tmp_path):
    pack(sweep, runs_of(sweep))
    [alike], [other] = ([each for each in packs.packs(sweep) if run in each.runs] for run in "02")
    other.folder.rename(other.folder.with_name("00000000"))  # comes first, and can be read
    rows = pd.read_parquet(alike.folder / packs.RUNS)
    for name, values in change.items():
        rows[name] = values
    rows.to_parquet(alike.folder / packs.RUNS, row_group_size=packs.GROUP)
    before = {path for path in tmp_path.rglob("*") if path.name != ".lock"}
    forget()
    with pytest.raises(ConfigError, match=told):
        unpack(sweep, ["0"])
    with pytest.raises(ConfigError, match=told):
        unpack(sweep, [])
    assert {path for path in tmp_path.rglob("*") if path.name != ".lock"} == before


def test_what_needs_a_folder_says_how_to_get_one(sweep, monkeypatch, capsys):
    pack(sweep, runs_of(sweep))
    for words in (["note", "text"], ["plot"], ["diagnose", "diagnostics=[confusion]"]):
        monkeypatch.setattr(sys, "argv", ["dlrun", words[0], str(sweep / "0"), *words[1:]])
        with pytest.raises(SystemExit):
            main()
        assert f"`dlrun unpack {sweep} 0`" in capsys.readouterr().err
    assert read_summary(sweep / "0")["status"] == "finished"


@pytest.mark.slow
def test_a_packed_sweep_is_the_sweep(tmp_path, monkeypatch):
    """Beside the same sweep in folders, with another form on top, pruned runs that are trained anew, and resume."""
    monkeypatch.chdir(tmp_path)
    small = ["dataset=iris", "steps=4", "eval_every=0.01", "architecture.hidden=[3]", "diagnostics=[weights]"]
    swept = ["-m", *small, "plots=all", "regularizer=[ema]", "optimizer=sgd,adam", "lr=0.01,0.1", "seed=0,1"]
    for keep in ("folders", "packed"):
        assert command(*swept, f"hydra.sweeper.keep={keep}", f"hydra.sweep.dir={keep}") == 0
    a, b = (Path(keep).resolve() for keep in ("folders", "packed"))
    assert packs.places(b).keys() == {str(number) for number in range(8)}
    assert not [path for path in b.iterdir() if path.is_dir() and path.name != packs.PACKED]
    before = sorted(path.name for path in (b / packs.PACKED).iterdir())
    assert command("resume", "packed") == 0
    assert sorted(path.name for path in (b / packs.PACKED).iterdir()) == before
    one, other = (table.drop(columns=["seconds", "steps_per_second"]) for table in map(collect.collect, [[a], [b]]))
    pd.testing.assert_frame_equal(one, other)
    unpack(b, [])
    for run in map(str, range(8)):
        left, right = content(a / run), content(b / run)
        assert left.keys() == right.keys() and len(left) > 11
        for name in left:
            if name.endswith((".safetensors", "weights.csv", "encoding.json", "overrides.yaml")):
                assert left[name] == right[name]
    assert command(*swept[:-1], "seed=0,1,2", "hydra.sweeper.keep=packed", "hydra.sweep.dir=packed") == 0
    assert len(packs.places(b)) == 12  # and those that had folders, too
    assert command(*swept[:-1], "seed=0,1,2,3", "hydra.sweep.dir=packed") == 0
    assert len(packs.places(b)) == 12 and len(collect.find([b])) == 16
    pruning = ["-m", *small, "lr=0.001,0.01,0.1,1", "hydra.sweep.dir=pruned", "hydra.sweeper.keep=packed"]
    assert command(*pruning, "hydra.sweeper.prune=halving", "hydra.sweeper.first_rung=1steps") == 0
    assert len(packs.places(Path("pruned").resolve())) == 4
    assert sorted(collect.collect(["pruned"])["status"].unique()) == ["finished", "pruned"]
    assert command(*pruning) == 0
    assert collect.collect(["pruned"])["status"].unique().tolist() == ["finished"]
    assert sorted(collect.find(["pruned"])) == sorted(packs.places(Path("pruned").resolve())) == ["0", "1", "2", "3"]


def test_a_folder_called_packed_is_no_pack_by_its_name(tmp_path):
    """Without what packs hold, or apart from a sweep's plan.json, be it a run's own or a table of another program."""
    dated = write_run(tmp_path / "packed" / "20261127", "seed=0")
    (tmp_path / "packed" / "20261126").mkdir()
    assert collect.find([tmp_path]) == {"packed/20261127": dated}
    Plan(tmp_path, retry_failed=False)
    (tmp_path / "plan.json").write_text("{}")
    assert collect.find([tmp_path]) == {"packed/20261127": dated} and packs.place_of(tmp_path / "0") is None
    (tmp_path / "plan.json").unlink()
    (tmp_path / "packed" / "20261126" / packs.RUNS).write_text("a table of another program")
    assert collect.find([tmp_path]) == {"packed/20261127": dated} and packs.place_of(tmp_path / "0") is None
    with pytest.raises(ConfigError, match="holds runs that are no sweep's"):
        Plan(tmp_path, retry_failed=False)


@pytest.mark.parametrize(
    "header",
    [
        "[" * 200_000,
        '{"w": {"dtype": "F32", "shape": [1' + 400 * "0" + ', 1.5], "data_offsets": [0, 4]}}',
        '{"w": {"dtype": "F32", "shape": [' + 100_000 * "1," + '1], "data_offsets": [0, 4]}}',
        '{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "more": 1}}',
        b"\xff",
    ],
)
def test_a_crafted_header_ends_no_packing(sweep, header):
    text = header.encode() if isinstance(header, str) else header
    (sweep / "0" / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    kept = pack(sweep, runs_of(sweep))
    assert [why for why in kept if why.startswith("model.safetensors cannot be read")] and kept.total() == 2
    assert (sweep / "0").exists() and not (sweep / "1").exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("metrics.csv", "train_loss", "run", "column"),
        ("metrics.csv", "\n", "\n\udcff", "no text"),
        (".hydra/overrides.yaml", "lr=", "./config.yaml=", "no key of a config"),
    ],
)
def test_a_crafted_table_harms_no_other_run(sweep, file, old, new, told):
    path = sweep / "0" / file
    path.write_bytes(path.read_text().replace(old, new).encode(errors="surrogateescape"))
    kept = pack(sweep, runs_of(sweep))
    assert any(told in why for why in kept) and kept.total() == 2
    assert (sweep / "0").exists() and read(sweep / "1", "summary.json")


@pytest.mark.parametrize("clears", ["unpack", "pack_rest", "remove"])
def test_what_a_killed_unpacking_left_is_cleared(sweep, clears, monkeypatch):
    before = content(sweep / "0")
    pack(sweep, runs_of(sweep))
    with monkeypatch.context() as patch:
        patch.setattr(packing.shutil, "rmtree", lambda *arguments, **words: None)  # as after kill -9
        patch.setattr(Path, "write_bytes", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            unpack(sweep, ["0"])
    assert not [path for path in sweep.iterdir() if path.name.startswith(".")]
    assert len(list((sweep / packs.PACKED).glob(".*"))) == 1
    if clears == "unpack":
        assert unpack(sweep, ["0"]) == ["0"] and content(sweep / "0") == before
    elif clears == "pack_rest":
        packing.pack_rest(sweep, runs_of(sweep))
    else:
        remove(sweep, "lr > 0.25", dry=False)
    assert not list((sweep / packs.PACKED).glob(".*"))


def test_a_run_that_another_process_packs_meanwhile_is_told_of_by_none(sweep, monkeypatch):
    own, others = packing.locked, []

    @contextmanager
    def late(folder, *arguments, **words):
        if folder == sweep / "0" and not others:
            others.append(pack(sweep, [folder]))
            raise unwritable(folder, FileNotFoundError(2, "No such file or directory", str(folder / ".lock")))
        with own(folder, *arguments, **words):
            yield

    def first(folder, *arguments, **words):
        monkeypatch.setattr(packing, "locked", own)
        return late(folder, *arguments, **words)

    monkeypatch.setattr(packing, "locked", first)
    assert pack(sweep, runs_of(sweep)) == FAILED
    assert not (sweep / "0").exists() and others == [{}]


def test_what_cannot_be_written_is_told_as_it_is(sweep, monkeypatch):
    def refuse(*arguments: object, **words: object) -> None:
        raise PermissionError(13, "Permission denied", str(sweep / ".lock"))

    pack(sweep, runs_of(sweep))
    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(ConfigError, match=r"cannot write to .*sweep \(Permission denied: .*\)$"):
        unpack(sweep, ["0"])
    assert all(why.endswith(".lock)") for why in remove(sweep, "lr > 0.25", dry=False).at_work.values())


def test_unpacking_what_is_not_there_makes_nothing(sweep, tmp_path):
    pack(sweep, runs_of(sweep))
    with pytest.raises(ConfigError, match="there is no such folder"):
        unpack(tmp_path / "sweeep", ["0"])
    with pytest.raises(ConfigError, match=f"`dlrun unpack {sweep} 0`"):
        unpack(sweep / "0", [])
    with pytest.raises(ConfigError, match="no run of this name"):
        unpack(sweep, [300 * "x"])
    with pytest.raises(ConfigError, match="no packed runs"):
        unpack(tmp_path, [])
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"] and not (sweep / "0").exists()


def test_those_that_keep_their_folders_are_told(sweep, capsys):
    (sweep / "1" / "summary.json").unlink()
    packing.pack_rest(sweep, runs_of(sweep))
    told = capsys.readouterr().out
    assert "3 of 5 runs are packed, in 2 packs" in told
    assert "1 folder not packed: it failed" in told and "1 folder not packed: it was interrupted" in told


@pytest.fixture
def narrow(tmp_path: Path) -> Path:
    """A sweep of 23 runs, of which 18 have like tensors, and the last 5, too."""
    folder = tmp_path / "narrow"
    for number in range(23):
        run = write_run(
            folder / str(number), f"lr={number / 10}", f"seed={number}", status="finished", test=0.1 * number
        )
        shape = (2, 2) if number < 18 else (3, 2)
        save_file({"0.weight": np.full(shape, number, np.float32)}, run / "model.safetensors", {"step": str(number)})
        (run / "dlrun.log").write_text(f"[2026-01-01 00:00:00] ünder {number}\n")
    (folder / "plan.json").write_text(json.dumps({"commands": [["seed=0"]], "runs": {}}))
    return folder


def packed_by_twos(sweep: Path) -> dict[str, dict[str, bytes]]:
    """Pack the runs, two at a time; returns what was in their folders."""
    before = {str(number): content(sweep / str(number)) for number in range(23)}
    for first in range(0, 23, 2):
        pack(sweep, [sweep / str(number) for number in range(first, min(first + 2, 23))])
    assert len(packs.packs(sweep)) == 12
    forget()
    return before


def test_many_small_packs_are_joined(narrow):
    before = packed_by_twos(narrow)
    packing.join(narrow)
    forget()
    runs = sorted((each.runs for each in packs.packs(narrow)), key=len)
    assert runs[-1] == [str(number) for number in range(18)] and sorted(map(len, runs)) == [1, 2, 2, 18]
    assert len(list((narrow / packs.PACKED).iterdir())) == 4
    unpack(narrow, [])
    assert {name: content(narrow / name) for name in before} == before


def test_joining_leaves_alone_what_is_there_twice(narrow, monkeypatch, capsys):
    """Another sweep's pack with a run of the same name, and a run that has a folder, too, perhaps without its end."""
    monkeypatch.setattr(packing, "MANY", 7)
    before = packed_by_twos(narrow)
    for token in ("00000000", "ffffffff"):
        foreign = narrow.with_name(f"foreign{token}")
        run = write_run(foreign / "9", "lr=7", "seed=9", status="finished", test=0.5)
        save_file({"0.weight": np.full((2, 2), 7, np.float32)}, run / "model.safetensors", {"step": "9"})
        (foreign / "plan.json").write_text(json.dumps({"commands": [], "runs": {}}))
        pack(foreign, [run])
        [theirs] = packs.packs(foreign)
        shutil.copytree(theirs.folder, narrow / packs.PACKED / token)
    (narrow / "16").mkdir()
    (narrow / "16" / "config.yaml").write_bytes(before["16"]["config.yaml"])
    forget()
    packing.pack_rest(narrow, [narrow / str(number) for number in range(23) if number != 16])
    assert ", which differ: 9; move away the pack that is not this sweep's" in " ".join(capsys.readouterr().out.split())
    forget()
    found = [each for each in packs.packs(narrow) if "9" in each.runs]
    assert sorted(len(each.runs) for each in packs.packs(narrow)) == [1, 1, 1, 2, 2, 2, 2, 14]
    own = next(each for each in found if each.runs == ["8", "9"])
    assert {file: own.read(1, file) for file in before["9"]} == before["9"]
    shutil.rmtree(narrow / "16")
    assert {file: read_bytes(narrow / "16", file) for file in before["16"]} == before["16"]


def test_a_joined_pack_that_cannot_be_read_is_not_kept(narrow, monkeypatch):
    before = packed_by_twos(narrow)
    known = sorted(each.folder for each in packs.packs(narrow))
    real = packing.write

    def damaged(sweep: Path, folders: list[Path]) -> dict[Path, str]:
        told = real(sweep, folders)
        for each in {each.folder for each in packs.packs(sweep)} - {*known}:
            (each / packs.CURVES).write_bytes((each / packs.CURVES).read_bytes()[:-9])
        return told

    monkeypatch.setattr(packing, "write", damaged)
    packing.join(narrow)
    forget()
    assert sorted(each.folder for each in packs.packs(narrow)) == known
    assert {name: {file: read_bytes(narrow / name, file) for file in files} for name, files in before.items()} == before


def test_curves_are_weighed_by_what_their_numbers_take():
    """However short its numbers are written, no group of a pack has more than is read."""
    assert 8 * (packing.BYTES // packing._weight("metrics.csv", 1)) // 2 <= packs.LARGEST


@pytest.mark.parametrize("step", range(0, 12))
def test_whatever_ends_a_joining_loses_nothing(narrow, step, monkeypatch):
    before = packed_by_twos(narrow)
    left = step

    def rename(self, target, own=Path.rename):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return own(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(KeyboardInterrupt) if step < 10 else nullcontext():  # the new one, and nine that go
            packing.join(narrow)
    forget()
    assert {name: {file: read_bytes(narrow / name, file) for file in files} for name, files in before.items()} == before
    packing.join(narrow)
    forget()
    assert sorted(len(each.runs) for each in packs.packs(narrow)) == [1, 2, 2, 18]
    assert {name: {file: read_bytes(narrow / name, file) for file in files} for name, files in before.items()} == before


def test_a_column_has_one_type_in_every_pack():
    assert _values("lr", ["1", "", "null", "2"]).to_pylist() == [1.0, None, None, 2.0]
    types = [_values("lr", cells).type for cells in (["1"], ["0.1"], ["nan"], [""], ["1", "null"])]
    assert set(map(str, types)) == {"double"}
    assert _values("bias", ["true", "", "false"]).to_pylist() == [True, None, False]
    assert _values("optimizer", ["sgd", "", "1"]).to_pylist() == ["sgd", None, "1"]
    assert _values("run", ["0", "1"]).to_pylist() == ["0", "1"]


def test_without_pyarrow_nothing_begins(monkeypatch, sweep):
    monkeypatch.setattr(packing, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'dlrun\[parquet\]'"):
        packing.refuse_without_parquet()
