"""A run's folder: what is written reads back bit for bit, nothing is overwritten, nothing is seen half-written."""

from __future__ import annotations

import errno
import json
import math
import os
import shlex
import stat
import struct
import subprocess
import sys

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from safetensors import safe_open

from dlrun.config import typed
from dlrun.config.escapes import quoted, unescaped
from dlrun.errors import ConfigError
from dlrun.folder import clearing, names, reading, records
from dlrun.folder.columns import columns
from dlrun.folder.commit import commit_of
from dlrun.folder.environment import environment
from dlrun.folder.names import holds_run
from dlrun.folder.reading import read_metrics, read_summary
from dlrun.folder.records import Run, yaml_text

HEADER = ["epoch", "step", "lr", "train_loss", "val_loss", "train_accuracy", "val_accuracy", "grad_norm", "seconds"]
FLOATS = [name for name in HEADER if name not in ("epoch", "step")]


@pytest.fixture
def run(tmp_path):
    with Run.create(tmp_path / "run", columns(["accuracy"]), "lr: 0.1\n") as run:
        yield run


def row(**values):
    return {**dict.fromkeys(HEADER, 0.5), "epoch": 1, "step": 7} | values


def bits(value):
    return "nan" if math.isnan(value) else struct.pack("<d", value)  # NaN has many bit patterns and one meaning


def test_header_is_the_contract():
    assert columns(["accuracy"]) == HEADER
    assert columns([]) == ["epoch", "step", "lr", "train_loss", "val_loss", "grad_norm", "seconds"]
    assert columns(["r2", "mae"])[3:-2] == ["train_loss", "val_loss", "train_r2", "val_r2", "train_mae", "val_mae"]


def test_create_writes_config_and_header(run):
    assert (run.folder / "config.yaml").read_text() == "lr: 0.1\n"
    assert (run.folder / "metrics.csv").read_text() == ",".join(HEADER) + "\n"
    assert sorted(os.listdir(run.folder)) == ["config.yaml", "metrics.csv"]


cells = st.fixed_dictionaries(
    {"epoch": st.floats(0, 1e6), "step": st.integers(0, 2**53)} | dict.fromkeys(FLOATS, st.floats())
)


@settings(deadline=None)
@given(rows=st.lists(cells, min_size=1, max_size=5, unique_by=(lambda row: row["epoch"], lambda row: row["step"])))
def test_rows_round_trip_bit_for_bit(tmp_path_factory, rows):
    for name in ("epoch", "step"):  # each a later one than the row before
        rows = [row | {name: time} for row, time in zip(rows, sorted(row[name] for row in rows), strict=True)]
    with Run.create(tmp_path_factory.mktemp("run"), columns(["accuracy"]), "") as run:
        for values in rows:
            run.append(dict(reversed(values.items())))  # the order is the file's, not the caller's
    frame = read_metrics(run.folder)
    assert list(frame.columns) == HEADER
    assert frame["step"].tolist() == [values["step"] for values in rows]
    for name in ["epoch", *FLOATS]:
        expected = [bits(values[name] + 0.0 if name == "epoch" else values[name]) for values in rows]
        assert [bits(value) for value in frame[name].astype(float)] == expected, name


def test_cells_look_plain(run):
    run.append(row(epoch=3.0, step=torch.tensor(40).item(), lr=1e-3, train_loss=math.inf, val_loss=-math.inf))
    run.append(row(epoch=3.5, train_loss=math.nan, grad_norm=torch.tensor(0.1)))
    lines = (run.folder / "metrics.csv").read_text().splitlines()
    assert lines[1] == "3,40,0.001,inf,-inf,0.5,0.5,0.5,0.5"
    assert lines[2] == "3.5,7,0.5,nan,0.5,0.5,0.5,0.10000000149011612,0.5"


def test_each_row_is_on_disk_at_once(run):
    run.append(row())
    assert (run.folder / "metrics.csv").read_text().endswith("1,7,0.5,0.5,0.5,0.5,0.5,0.5,0.5\n")


@pytest.mark.parametrize("change", [{"val_f1": 0.0}, {"lr": None}])
def test_missing_and_unknown_columns_are_our_mistake(run, change):
    values = {name: value for name, value in (row() | change).items() if value is not None}
    with pytest.raises(AssertionError, match=next(iter(change))):
        run.append(values)
    assert (run.folder / "metrics.csv").read_text() == ",".join(HEADER) + "\n"


@pytest.mark.parametrize("name", ["metrics.csv", "summary.json", "config.yaml", "model.safetensors"])
def test_a_folder_with_a_run_is_refused_and_left_alone(tmp_path, name):
    (tmp_path / name).write_text("precious")
    assert holds_run(tmp_path)
    with pytest.raises(ConfigError, match=r"already holds a run.*hydra\.run\.dir=") as refusal:
        Run.create(tmp_path, columns([]), "")
    assert str(tmp_path) in str(refusal.value)
    assert os.listdir(tmp_path) == [name] and (tmp_path / name).read_text() == "precious"


def test_the_files_of_hydra_are_no_run(tmp_path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "dlrun.log").touch()
    assert not holds_run(tmp_path) and not holds_run(tmp_path / "absent")
    Run.create(tmp_path, columns([]), "").close()
    assert holds_run(tmp_path)


def test_a_run_goes_on_from_where_its_tables_were(run):
    run.append(row(epoch=0, step=0))
    (run.folder / "pretraining.csv").write_text("layer\n1\n")
    lengths = run.lengths()
    assert lengths == {name: (run.folder / name).stat().st_size for name in ("metrics.csv", "pretraining.csv")}
    run.append(row(epoch=1))
    run.finish({"status": "interrupted"})
    records.append_rows(run.folder / "lr_range.csv", [{"step": 1}])
    run.close()
    with Run.reopen(run.folder, columns(["accuracy"]), lengths) as again:
        again.append(row(epoch=2))
    assert read_metrics(run.folder)["epoch"].tolist() == [0, 2]
    assert sorted(os.listdir(run.folder)) == ["config.yaml", "metrics.csv", "pretraining.csv"]


def test_what_is_kept_grows_and_is_cut_back(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "PENDING", 8)
    kept = {"kept": ["path.kept", "other.kept"]}
    with Run.create(tmp_path / "run", columns([]), "", **kept) as run:
        run.keep("path.kept", b"1234")
        assert not (run.folder / "path.kept").exists()
        run.keep("path.kept", b"5678")
        assert (run.folder / "path.kept").read_bytes() == b"12345678"
        run.keep("path.kept", b"9")
        lengths = run.lengths()
        assert lengths["path.kept"] == 9 and "other.kept" not in lengths
        run.keep("path.kept", b"lost lost")
        run.keep("other.kept", b"lost lost")
    with Run.reopen(run.folder, columns([]), lengths, **kept) as again:
        assert not (run.folder / "other.kept").exists()
        again.keep("path.kept", b"0")
        again.lengths()
        assert (run.folder / "path.kept").read_bytes() == b"1234567890"
        again.drop_kept()
    assert sorted(os.listdir(run.folder)) == ["config.yaml", "metrics.csv"]


def test_clearing_deletes_a_runs_own_files_alone(run):
    own = ["lr_range.csv", "summary.json", "dlrun.log", "model.safetensors", ".metrics.csv.part", "checkpoint/3-ab.x"]
    own += ["landscape.csv", "trajectory_surface.csv", "trajectory.kept", "trajectory.png", "trajectory.safetensors"]
    own += ["curves.png", "curves.svg", "lr_range.pdf", "landscape.svg", "hessian.pdf"]
    others = ["notes.csv", "mine.safetensors", "picture.png", ".hydra/config.yaml", "mine.kept", "my_surface.csv"]
    others += ["mine.svg", "race.pdf"]
    for name in [*own, *others]:
        (run.folder / name).parent.mkdir(exist_ok=True)
        (run.folder / name).write_text("")
    clearing.clear(run.folder)
    assert sorted(str(p.relative_to(run.folder)) for p in run.folder.rglob("*") if p.is_file()) == sorted(others)


def test_weights_of_every_type_are_kept(tmp_path):
    kinds = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
    tensors = {str(kind): torch.arange(6).reshape(2, 3).T.to(kind) for kind in kinds}  # a network may have any buffers
    records.write_arrays(tmp_path / "weights.safetensors", tensors)
    with safe_open(tmp_path / "weights.safetensors", "pt") as file:
        for name, tensor in tensors.items():
            assert file.get_tensor(name).dtype == tensor.dtype and torch.equal(file.get_tensor(name), tensor)


PARTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(), parts, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), PARTS, min_size=1, max_size=4))
@settings(max_examples=60)
def test_a_summary_is_laid_out_as_json_does_it(tmp_path_factory, summary):
    folder = tmp_path_factory.mktemp("summary")
    for _ in range(2):  # made, and known from before
        records.write_summary(folder, summary)
        assert (folder / names.SUMMARY).read_text(encoding="utf-8") == json.dumps(summary, indent=2) + "\n"


def test_how_a_run_ended_is_read_from_whole_summaries_alone(run):
    assert reading.status_of(run.folder) is None
    for text, status in {"": None, '{"status": "fin': None, "[]": None, '{"status": "failed"}': "failed"}.items():
        (run.folder / "summary.json").write_text(text)
        assert reading.status_of(run.folder) == status


def full_disk(*paths: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot write to .*file/run .*Not a directory.*hydra\.run\.dir="):
        Run.create(tmp_path / "file" / "run", columns([]), "")
    with pytest.raises(ConfigError, match=r"cannot write to .*file .*File exists"):
        Run.create(tmp_path / "file", columns([]), "")
    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(ConfigError, match="No space left on device"):
        Run.create(tmp_path / "run", columns([]), "")


def test_summary_is_strict_json(run):
    run.finish(
        {
            "status": "failed",
            "best": math.nan,
            "last": [1.5, math.inf],
            "versions": {"x": -math.inf, "y": None},
            "steps": 3,
        }
    )

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (run.folder / "summary.json").read_text()
    expected = {"status": "failed", "best": None, "last": [1.5, None], "versions": {"x": None, "y": None}, "steps": 3}
    assert json.loads(text, parse_constant=refuse) == expected
    assert read_summary(run.folder) == expected


def test_a_failed_replacement_leaves_the_old_file(run, monkeypatch):
    run.finish({"status": "old"})
    run.save_weights("last.safetensors", {"w": torch.ones(2)}, {})
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        run.finish({"status": "new"})
    with pytest.raises(OSError, match="No space"):
        run.save_weights("last.safetensors", {"w": torch.zeros(2)}, {})
    assert {path.name: path.read_bytes() for path in run.folder.iterdir()} == before


def test_weights_are_copied_out_of_theta(run):
    theta = torch.arange(12.0).reshape(2, 6)
    views = {"weight": theta[1, :4].view(2, 2).T, "bias": theta[1, 4:]}  # one memory, not contiguous
    run.save_weights("model.safetensors", views, {"step": "7"})
    with safe_open(run.folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"step": "7"}
        assert file.get_tensor("weight").tolist() == [[6.0, 8.0], [7.0, 9.0]]
        assert file.get_tensor("bias").tolist() == [10.0, 11.0]
    mode = stat.S_IMODE((run.folder / "model.safetensors").stat().st_mode)
    assert mode == stat.S_IMODE((run.folder / "metrics.csv").stat().st_mode)  # whoever reads one reads the other


def test_a_line_cut_short_by_a_crash_is_dropped(run):
    run.append(row(epoch=0))
    run.append(row(epoch=1))
    text = (run.folder / "metrics.csv").read_text()
    for cut in range(1, len(text.splitlines()[-1]) + 2):
        (run.folder / "metrics.csv").write_text(text[:-cut])
        assert read_metrics(run.folder)["epoch"].tolist() == [0]


def test_reading_where_there_is_no_run(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no run: it has no metrics\.csv"):
        read_metrics(tmp_path)
    with pytest.raises(ConfigError, match=r"holds no run: it has no summary\.json"):
        read_summary(tmp_path / "absent")
    (tmp_path / "metrics.csv").write_text("epoch,st")
    with pytest.raises(ConfigError, match="is empty"):
        read_metrics(tmp_path)


def test_environment_names_versions_and_commit(tmp_path, monkeypatch):
    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    commit_of.cache_clear()
    monkeypatch.chdir(tmp_path)
    found = environment()
    assert (found["git_commit"], found["git_dirty"]) == (None, None)
    assert found["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]  # and the build
    assert found["versions"]["python"] == sys.version.split()[0]
    assert list(found["versions"]) == ["python", "dlrun", "torch", "hydra", "numpy"]

    (tmp_path / "file").write_text("one")
    git("init")
    git("add", "file")
    git("commit", "-m", "first")
    (tmp_path / "new").touch()  # untracked: outputs are, and change nothing
    commit_of.cache_clear()
    assert (environment()["git_commit"], environment()["git_dirty"]) == (git("rev-parse", "HEAD"), False)
    (tmp_path / "file").write_text("two")
    commit_of.cache_clear()
    assert environment()["git_dirty"] is True
    head = git("rev-parse", "HEAD")
    monkeypatch.setenv("PATH", "")
    commit_of.cache_clear()
    assert (environment()["git_commit"], environment()["git_dirty"]) == (head, None)  # read, not asked for
    commit_of.cache_clear()


def test_importing_records_is_cheap():
    heavy = "{'torch', 'pandas', 'numpy', 'safetensors', 'omegaconf', 'subprocess', 'importlib.metadata'}"
    code = f"import dlrun.folder.records, sys; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


odd = ["nan", "inf", "Infinity", "1e-3", "1_0", "0x1f", "null", "~", "yes", "True"]
marks = st.text("\\${}x:'\" #\n", max_size=9)
words = st.text(max_size=12).filter(lambda text: text != "???") | st.sampled_from(odd) | marks
numbers = st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none()
keys = st.text("abcdefg_", min_size=1, max_size=5)
nodes = st.recursive(
    numbers | words, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)
)


@settings(deadline=None)
@given(st.dictionaries(keys, nodes, max_size=4))
def test_a_config_is_read_back_as_it_was_written(node):
    config = OmegaConf.create(yaml_text(node) or "{}")
    assert OmegaConf.to_container(config, resolve=True) == node
    assert unescaped(OmegaConf.to_container(config)) == node


@settings(deadline=None)
@given(words)
def test_a_quoted_text_is_taken_as_it_is(text):
    override = OverridesParser.create().parse_override(f"name={quoted(text)}")
    assert OmegaConf.create({"name": override.value()}).name == text


def test_a_command_that_is_advised_can_be_copied_whatever_the_folders_name() -> None:
    typed.take([])
    assert names.shell_command("resume", "outputs/1") == "dlrun resume outputs/1"
    assert shlex.split(names.shell_command("resume", "it's `x` $y")) == ["dlrun", "resume", "it's `x` $y"]
    typed.take(["lr=1", allowed := "allow_targets=['/a b/c.py']"])
    assert shlex.split(names.shell_command("resume", "a")) == ["dlrun", "resume", "a", allowed]
    assert names.shell_command("report", "a") == "dlrun report a"
    typed.take([])


THEIRS = ["curves.png", "curves.pdf", "encoding.json", "last.safetensors", "lr_range.csv", "checkpoint", "weights.csv",
          "mine.csv", "mine.png", "ema.safetensors", "ema_3.safetensors", "zca-1.safetensors", "dlrun.log",
          ".hydra/hydra.yaml"]  # fmt: skip


@pytest.mark.parametrize("name", THEIRS)
def test_what_a_run_would_write_over_is_refused_before_it_begins(name, tmp_path):
    clearing.refuse_present(tmp_path / "new", ["mine"], ["ema"])
    (tmp_path / "notes.txt").touch()
    (tmp_path / "dlrun.log").write_text("[2026-01-02 03:04:05] of a run that was killed before it had begun\n")
    (tmp_path / ".hydra").mkdir()
    for whole_or_cut in ("hydra:\n  help:\n    app_name: dlrun\n", "hydra:\n  run:\n    dir: outp", ""):
        (tmp_path / ".hydra" / "hydra.yaml").write_text(whole_or_cut)
        clearing.refuse_present(tmp_path, ["mine"], ["ema"])
    (tmp_path / name).write_text("somebody's")
    with pytest.raises(ConfigError, match=rf"/{name} is none of dlrun's, and is not overwritten; move it away"):
        clearing.refuse_present(tmp_path, ["mine"], ["ema"])


def test_what_a_sweep_would_write_over_is_refused_before_it_begins(tmp_path):
    (tmp_path / "multirun.yaml").write_text("hydra:\n  help:\n    app_name: dlrun\n")
    clearing.refuse_foreign_sweep(tmp_path)
    for name in ("multirun.yaml", "comparison.png", "race.gif"):
        (tmp_path / name).write_text("somebody's")
        with pytest.raises(ConfigError, match=rf"/{name} is none of dlrun's"):
            clearing.refuse_foreign_sweep(tmp_path)
        (tmp_path / name).unlink()
    (tmp_path / "comparison.png").touch()
    (tmp_path / "plan.json").touch()  # the sweep's own picture
    clearing.refuse_foreign_sweep(tmp_path)
