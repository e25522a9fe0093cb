"""The command line as its user meets it: what it prints, what it leaves, how it ends."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from safetensors.torch import load_file

from dlrun.command.cli import main
from dlrun.command.verbs import VERBS
from dlrun.datasets.bundled import diabetes
from dlrun.datasets.split import split

QUICK = ["dataset=iris", "epochs=3", "plots=none"]


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def dlrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """The command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["dlrun", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(int(ended.value.code or 0), *capfd.readouterr())

    return run


def metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def summary(folder: Path) -> dict[str, object]:
    return json.loads((folder / "summary.json").read_text())


def test_a_run_leaves_a_complete_folder(dlrun: Callable[..., Ended], tmp_path: Path) -> None:
    ended = dlrun("dataset=iris", "epochs=3")
    assert ended.code == 0 and ended.err == ""
    assert "\x1b" not in ended.out  # no control codes where there is no terminal
    [folder] = (tmp_path / "outputs").glob("*/*-iris-mlp-adam")
    assert str(folder) in ended.out.replace("\n", "")
    assert sorted(path.name for path in folder.iterdir()) == [
        ".hydra",
        "config.yaml",
        "curves.png",
        "dlrun-packages.txt",
        "dlrun.log",
        "encoding.json",
        "last.safetensors",
        "metrics.csv",
        "model.safetensors",
        "summary.json",
    ]
    header = (folder / "metrics.csv").read_text().splitlines()[0]
    assert header == (
        "epoch,step,lr,train_loss,val_loss,train_accuracy,val_accuracy,"
        "train_zero_one,val_zero_one,train_ece,val_ece,grad_norm,seconds"
    )
    rows, result = metrics(folder), summary(folder)
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert all(value != "" for row in rows for value in row.values())
    assert result["status"] == "finished" and result["last_val_loss"] == float(rows[-1]["val_loss"])
    assert result["best_val_loss"] == min(float(row["val_loss"]) for row in rows)
    weights = load_file(folder / "model.safetensors")
    assert sum(tensor.numel() for tensor in weights.values()) == result["parameters"]
    data = result["dataset"]
    assert isinstance(data, dict) and data["rows"] == {"train": 106, "val": 22, "test": 22} and data["shape"] == [4]
    assert data["task"] == "multiclass" and data["classes"]["train"] == {
        "setosa": 36,
        "versicolor": 35,
        "virginica": 35,
    }
    read = ["iris: 106 train, 22 val, 22 test (dataset.split_seed=0)"]
    read += ["4 features, dataset.scale=standard; 3 classes, 35-36 train rows each"]
    assert ended.out.splitlines()[:2] == read and re.search(r"rows +106 +22 +22\n", ended.out)
    assert [line.partition("] ")[2] for line in (folder / "dlrun.log").read_text().splitlines()] == read


def test_config_yaml_repeats_the_run_to_the_last_digit(dlrun: Callable[..., Ended], tmp_path: Path) -> None:
    first, second = tmp_path / "the first's", tmp_path / "second"
    choices = ["optimizer=momentum", "regularizer=[l2,dropout]", "schedule=cosine", "schedule.warmup=0.1", "seed=3"]
    assert dlrun(*QUICK, *choices, f'hydra.run.dir="{first}"').code == 0
    told = (first / "config.yaml").read_text().partition("\n")[0].removeprefix("# Repeats this run: dlrun ")
    assert dlrun(*shlex.split(told), f"hydra.run.dir={second}").code == 0
    assert metrics(first) == metrics(second)
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    ended = dlrun("--config-dir", str(first), "--config-name", "config", "optimizer=sgd")
    assert ended.code == 2 and "without --config-name" in ended.err.replace("\n", " ")


@pytest.mark.slow
def test_somebodys_files_are_never_written_over(dlrun: Callable[..., Ended], tmp_path: Path) -> None:
    for name in ("run/curves.png", "sweep/1/curves.png", "other/multirun.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("somebody's")
    for command in (
        ["hydra.run.dir=run"],
        ["-m", "seed=0,1", "hydra.sweep.dir=sweep"],
        ["-m", "seed=0,1", "hydra.sweep.dir=other"],
    ):
        ended = dlrun(*QUICK, *command)
        assert ended.code == 2 and "none of dlrun's, and is not overwritten; move it away" in ended.err, ended.err
    assert {path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == {"somebody's"}


def test_a_folder_that_holds_a_run_is_never_touched(dlrun: Callable[..., Ended], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert dlrun(*QUICK, f"hydra.run.dir={folder}").code == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    ended = dlrun(*QUICK, "seed=1", f"hydra.run.dir={folder}")
    assert ended.code == 2 and "already holds a run of another config" in ended.err.replace("\n", " ")
    assert "seed: 0 there, 1 in this command" in ended.err and "lr:" not in ended.err
    for again in ([*QUICK, f"hydra.run.dir={folder}"], ["resume", str(folder)]):
        ended = dlrun(*again)
        assert ended.code == 0 and "holds this run already: finished" in ended.out.replace("\n", " ")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_divergence_ends_the_run_with_1_and_a_complete_folder(dlrun: Callable[..., Ended], tmp_path: Path) -> None:
    ended = dlrun("dataset=diabetes", "epochs=20", "optimizer=sgd", "lr=1e20", f"hydra.run.dir={tmp_path / 'run'}")
    assert ended.code == 1
    result = summary(tmp_path / "run")
    assert result["status"] == "diverged" and "smaller lr" in str(result["error"])
    assert len(metrics(tmp_path / "run")) < 21
    assert (tmp_path / "run" / "curves.png").exists() and (tmp_path / "run" / "model.safetensors").exists()


def test_ctrl_c_leaves_a_complete_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dlrun", "epochs=100000", "compile=false", f"hydra.run.dir={tmp_path / 'run'}"]
    started = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    assert started.stdout is not None
    assert "epoch" in next(line for line in started.stdout if "train_loss" in line)
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate(timeout=200)
    assert started.returncode == 130 and errors == ""
    assert summary(tmp_path / "run")["status"] == "interrupted"
    assert int(metrics(tmp_path / "run")[-1]["step"]) == summary(tmp_path / "run")["steps"] > 0
    assert (tmp_path / "run" / "curves.png").exists()


def test_what_ctrl_c_interrupted_goes_on_by_resume_or_the_same_command(
    dlrun: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, folder = [*QUICK, "regularizer=dropout", "batch_size=8"], tmp_path / "run"
    assert dlrun(*command, f"hydra.run.dir={tmp_path / 'whole'}").code == 0
    for step in (10, 25):
        left = iter(range(step, 0, -1))
        monkeypatch.setattr(
            "dlrun.job.run.Progress.due",
            lambda self, left=left: next(left, 0) == 1 and os.kill(os.getpid(), signal.SIGINT),
        )
        assert dlrun(*command, f"hydra.run.dir={folder}").code == 130
        assert summary(folder)["status"] == "interrupted" and (folder / "checkpoint").is_dir()
    typed = (folder / ".hydra" / "overrides.yaml").read_bytes()
    assert dlrun("resume", str(folder)).code == 0
    assert metrics(folder) == metrics(tmp_path / "whole")
    for name in ("model.safetensors", "last.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert (folder / ".hydra" / "overrides.yaml").read_bytes() == typed and not (folder / "checkpoint").exists()
    assert "no sweep's folder and no run's" in " ".join(dlrun("resume", str(tmp_path)).err.split())


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}


def test_a_refused_run_leaves_no_folder_outside_the_working_directory_either(
    dlrun: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert dlrun("normalization=instance", f"hydra.run.dir={tmp_path / 'there' / 'run'}").code == 2
    assert not (tmp_path / "there" / "run").exists()


def test_every_wrong_key_is_told_at_once(dlrun: Callable[..., Ended]) -> None:
    ended = dlrun("epochs=0", "lr=-1", "optimizer.beta2=2")
    assert all(text in ended.err for text in ("epochs=0", "lr=-1", "optimizer.beta2=2"))


def test_missing_numbers_of_a_table_are_told_by_column_and_count(dlrun: Callable[..., Ended], tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("a,b,y\n" + "1.5,,0.3\n" * 7 + "2.5,1.0,0.7\n" * 30)
    ended = dlrun("dataset=table", f"dataset.path={table}")
    assert ended.code == 2
    assert "b" in ended.err and "7" in ended.err and "Traceback" not in ended.err


def test_what_was_made_of_a_regressions_targets_is_told_and_that_it_failed(
    dlrun: Callable[..., Ended], tmp_path: Path
) -> None:
    command = ["dataset=diabetes", "epochs=2", "plots=none"]
    ended = dlrun(*command, f"hydra.run.dir={tmp_path / 'scaled'}")
    y = diabetes().targets[split(diabetes(), {"test": 0.15, "val": 0.15}, 0)["train"]]
    standardised = (
        f"the targets are standardised for the training (mean {y.mean():.4g}, standard deviation {y.std():.4g})"
    )
    for told in (ended.out, (tmp_path / "scaled" / "dlrun.log").read_text()):
        assert standardised in told and "dataset.scale_target=false" in told and "below 0" not in told
    assert 50 < float(summary(tmp_path / "scaled")["test_rmse"]) < 90  # type: ignore[arg-type]

    ended = dlrun(*command, "dataset.scale_target=false", f"hydra.run.dir={tmp_path / 'raw'}")
    r2 = float(summary(tmp_path / "raw")["test_r2"])  # type: ignore[arg-type]
    assert r2 < 0
    for told in (ended.out, (tmp_path / "raw" / "dlrun.log").read_text()):
        assert f"test r2 is {r2:#.4g}: below 0, that is worse than predicting the mean" in " ".join(told.split())
        assert "try a lower or higher lr, or dataset.scale_target=true" in " ".join(told.split())  # scale is standard
        assert "standardised" not in told


def test_an_autoencoder_worse_than_the_mean_and_epochs_beside_steps_are_told(dlrun: Callable[..., Ended]) -> None:
    ended = dlrun("architecture=autoencoder", "steps=1", "epochs=7", "lr=1", "plots=none")
    assert (ended.code, ended.out.count("worse than predicting the mean")) == (0, 1)
    assert "steps=1 is the length of the training, in place of epochs=7" in " ".join(ended.out.split())


def test_a_batch_larger_than_the_data_is_told_and_becomes_the_full_batch(
    dlrun: Callable[..., Ended], tmp_path: Path
) -> None:
    ended = dlrun(*QUICK, "batch_size=1000", f"hydra.run.dir={tmp_path / 'run'}")
    assert ended.code == 0
    assert "batch_size=1000 exceeds the 106 training samples" in " ".join(ended.out.split())
    assert summary(tmp_path / "run")["steps"] == 3


def test_a_rate_far_beyond_the_optimizers_own_is_told(dlrun: Callable[..., Ended]) -> None:
    for typed, told in (("lr=10", True), ("optimizer.lr=10", True), ("lr=9", False)):
        said = " ".join(dlrun(*QUICK, "optimizer=sgd", typed).out.split())
        assert ("lr=10 is 1,000 times this optimizer's own rate, 0.01: leave lr out to begin with that" in said) == told


def test_code_of_ones_own_runs_only_when_asked_for(
    dlrun: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("from dlrun.optimizers.sgd import SGD\nclass Mine(SGD):\n    pass\n")
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text("_target_: mine.Mine\nlr: 0.1 # > 0; rate\n")
    monkeypatch.syspath_prepend(tmp_path)
    own = ["--config-dir", str(tmp_path), "optimizer=mine", *QUICK]
    assert "allow_targets=[mine]" in " ".join(dlrun(*own).err.split())
    assert dlrun(*own, "allow_targets=[mine]").code == 0
    assert "optimizer.lr=0: must be > 0" in dlrun(*own, "allow_targets=[mine]", "optimizer.lr=0").err


def test_the_basic_launcher_goes_on_after_a_run_that_fails(dlrun: Callable[..., Ended], tmp_path: Path) -> None:
    grid = ["dataset=diabetes", "optimizer=sgd", "lr=0.01,1e30", "hydra/launcher=basic", "hydra.sweep.dir=sweep"]
    assert dlrun("-m", *QUICK, *grid).code == 1
    status = [summary(tmp_path / "sweep" / str(i))["status"] for i in (0, 1)]
    assert status == ["finished", "diverged"]


@pytest.mark.parametrize("value", ["über", "it's"])
def test_a_value_that_needs_quotes_is_told_so_and_taken_with_them(dlrun: Callable[..., Ended], value: str) -> None:
    said = dlrun(*QUICK, f"name={value}")
    needs = "the value needs quotes of its own: "
    assert said.code == 2 and f"name={value}: not understood; {needs}" in said.err
    [quoted] = shlex.split(said.err.partition(needs)[2])
    assert dlrun(*QUICK, "epochs=1", quoted).code == 0


def test_list_and_plot(dlrun: Callable[..., Ended], tmp_path: Path) -> None:
    listed = dlrun("list", "optimizer", "schedule")
    assert listed.code == 0 and "Kingma & Ba 2015" in listed.out and "cosine" in listed.out
    dlrun(*QUICK, f"hydra.run.dir={tmp_path / 'run'}")
    assert not (tmp_path / "run" / "curves.png").exists()
    assert dlrun("plot", str(tmp_path / "run")).code == 0
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert dlrun("plot", str(tmp_path)).code == 2
    assert "nowhere holds no run, for it is not there; give the folders" in dlrun("plot", "nowhere").err


def test_a_sweep_of_one_run_tells_where_it_is(dlrun: Callable[..., Ended], tmp_path: Path) -> None:
    ended = dlrun("-m", *QUICK, f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert ended.code == 0 and "1 run: 1 finished; " in ended.out
    assert ended.out.splitlines()[-1] == str(tmp_path / "sweep")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, dlrun: Callable[..., Ended]) -> None:
    told = dlrun(verb, "--help")
    assert told.code == 0 and told.err == "" and told.out.startswith(f"dlrun {verb} ")
    assert told.out == dlrun(verb, "folder", "-h").out == dlrun("help", verb).out
    assert max(map(len, told.out.splitlines())) <= 80
    option = dlrun(verb, "--frobnicate")
    assert option.code == 2 and "--frobnicate: there is no such option" in option.err


def test_help_has_whole_words_on_a_narrow_terminal(
    dlrun: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = dlrun("--help").out
    for name, value in {"TTY_COMPATIBLE": "1", "COLUMNS": "60", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    narrow = dlrun("help").out
    assert all(f"dlrun {verb} " in plain for verb in VERBS)
    assert narrow.split() == plain.split()
    assert all(len(line) <= 60 or " " not in line.strip() for line in narrow.splitlines())
    assert max(map(len, plain.splitlines())) > 200


HEAVY = {"torch", "sklearn", "pandas", "matplotlib"}
LIGHT = {
    "config": (["--cfg", "job"], 0, "optimizer:"),
    "help": (["--help"], 0, "dlrun list"),
    "help as a word": (["help"], 0, "dlrun list"),
    "version": (["--version"], 0, "dlrun 0."),
    "list": (["list"], 0, "architecture="),
    "unknown choice": (["optimizer=adm"], 2, ""),
    "wrong value": (["lr=abc"], 2, ""),
    "misspelt key": (["optimizer.beta=0.3"], 2, ""),
}


@pytest.mark.parametrize("case", LIGHT)
def test_help_and_mistakes_import_nothing_heavy(case: str, tmp_path: Path) -> None:
    arguments, code, text = LIGHT[case]
    script = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('HEAVY', *sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr))\n"
        "from dlrun.command.cli import main\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=tmp_path, capture_output=True, text=True, env=environment()
    )
    assert ended.returncode == code, ended.stderr
    assert text in ended.stdout
    assert ended.stderr.splitlines()[-1] == "HEAVY"


def test_a_range_test_leaves_its_steps_its_picture_and_a_suggestion(
    dlrun: Callable[..., Ended], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    ended = dlrun(
        "schedule=lr_range", "optimizer=sgd", "epochs=5", "architecture.hidden=[16]", f"hydra.run.dir={folder}"
    )
    assert ended.code == 0
    rows = list(csv.DictReader((folder / "lr_range.csv").open()))
    assert [int(row["step"]) for row in rows] == list(range(1, len(rows) + 1)) and len(rows) < 100
    result = summary(folder)
    assert result["status"] == "stopped_early" and (folder / "lr_range.png").exists()
    assert float(rows[0]["lr"]) < result["suggested_lr"] < float(rows[-1]["lr"])
    assert f"lr={result['suggested_lr']:.2g}" in ended.out
    assert result["lr_sum_infinite"] and not result["lr_squared_sum_finite"]


def test_pretraining_leaves_its_own_table(dlrun: Callable[..., Ended], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    network = ["architecture.hidden=[8,4]", "dataset=iris", "steps=1"]
    ended = dlrun("initializer=autoencoder_pretraining", "initializer.epochs=3", *network, f"hydra.run.dir={folder}")
    assert ended.code == 0 and "pretraining layer 2/2" in ended.out
    rows = list(csv.DictReader((folder / "pretraining.csv").open()))
    assert [(row["layer"], row["epoch"]) for row in rows] == [(str(i), str(e)) for i in (1, 2) for e in (1, 2, 3)]
    assert summary(folder)["initialized"]["as drawn"] == ["7.weight", "7.bias"]


def test_kept_networks_leave_files_that_start_other_runs(dlrun: Callable[..., Ended], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    network = ["architecture.hidden=[8]", "dataset=iris"]
    averages = ["regularizer=[ema,snapshot_ensemble]", "schedule=cosine_restarts", "schedule.period=1", "epochs=8"]
    assert dlrun(*network, *averages, "schedule.t_mult=1", f"hydra.run.dir={folder}").code == 0
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    assert files == ["ema.safetensors", "last.safetensors", "model.safetensors"] + [
        f"snapshot_ensemble_{i}.safetensors" for i in range(4, 9)
    ]
    result = summary(folder)
    rows = metrics(folder)
    assert result["best_val_ema_loss"] == min(float(row["val_ema_loss"]) for row in rows)
    again = ["initializer=checkpoint", f"initializer.path={folder / 'ema.safetensors'}", "steps=1"]
    assert dlrun(*network, *again, f"hydra.run.dir={tmp_path / 'again'}").code == 0
    assert float(metrics(tmp_path / "again")[0]["val_loss"]) == float(rows[-1]["val_ema_loss"])


def test_a_run_that_never_got_better_says_so(dlrun: Callable[..., Ended], tmp_path: Path) -> None:
    ended = dlrun("dataset=iris", "lr=30", "epochs=2", "plots=none", "hydra.run.dir=run")
    told = "the validation loss was never lower than before the training: best is the untrained network"
    assert told in " ".join(ended.out.split())
    assert told in (tmp_path / "run" / "dlrun.log").read_text()
