"""Trackers have what metrics.csv has, once, whatever ended the run; and change nothing of it."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cli import Ended, dlrun, metrics, summary  # noqa: F401 - a fixture

from dlrun.trackers.tensorboard import FILE
from dlrun.trackers.tracker import Tracker, flat
from dlrun.trackers.tracking import Tracking

RUN = ["dataset=iris", "steps=8", "eval_every=0.5", "plots=none", "architecture.hidden=[4]", "name=mine"]


def ended_twice(dlrun: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, tracker: str) -> Path:  # noqa: F811
    """The folder of a run that was ended, went on, and was killed with rows that its checkpoint does not know."""
    folder = Path("run")
    for due in ([0, 0, 0, 1], [0, 1]):
        left = iter(due)
        stop = lambda self, left=left: next(left, 0) and os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
        monkeypatch.setattr("dlrun.job.run.Progress.due", stop)
        assert dlrun(*RUN, f"tracker={tracker}", f"hydra.run.dir={folder}").code == 130
        if not Path("before").exists():
            shutil.copytree(folder / "checkpoint", "before")
    (folder / "summary.json").unlink()
    shutil.rmtree(folder / "checkpoint")
    shutil.move("before", folder / "checkpoint")
    return folder


def rows(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """By column, the steps and values of metrics.csv; `seconds` go on from where they were, and are not compared."""
    told = metrics(folder)
    return {column: [(int(row["step"]), float(row[column])) for row in told] for column in told[0] if column != "step"}


def assert_rows(found: Mapping[str, list[tuple[int, float]]], folder: Path) -> None:
    """The same steps, each once, and the same numbers, in single precision or double."""
    for column, there in rows(folder).items():
        assert [step for step, _ in found[column]] == [step for step, _ in there], column
        np.testing.assert_allclose([value for _, value in found[column]], [value for _, value in there], rtol=1e-6)
    assert len(found["seconds"]) == len(metrics(folder))


def test_tensorboard_has_each_row_once_and_the_run_is_none_the_worse(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = ended_twice(dlrun, monkeypatch, "tensorboard")
    with (folder / FILE).open("ab") as file:
        file.write(b"\x20\0\0\0\0\0\0\0half")  # what a kill leaves in the middle of an event
    assert dlrun("resume", "run").code == 0
    assert dlrun(*RUN, "hydra.run.dir=alone").code == 0
    assert metrics(folder) == metrics(tmp_path / "alone") and len(metrics(folder)) == 9
    for name in ("model.safetensors", "last.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    events = EventAccumulator(str(folder))
    events.Reload()
    found = {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert_rows(found, folder)
    result = summary(folder)
    assert found["test_accuracy"] == [(8, pytest.approx(result["test_accuracy"]))]
    assert found["best_val_loss"] == [(8, pytest.approx(result["best_val_loss"]))]
    hparams = events.SummaryMetadata("_hparams_/session_start_info").plugin_data
    assert hparams.plugin_name == "hparams" and b"optimizer.lr" in hparams.content
    assert [path.name for path in folder.glob("*tfevents*")] == [FILE]


def test_mlflow_has_each_row_once_in_one_run(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = ended_twice(dlrun, monkeypatch, "mlflow")
    assert dlrun("resume", "run").code == 0
    assert dlrun(*RUN, "tracker=mlflow", "seed=1", "hydra.run.dir=other").code == 0
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    [experiment] = [each.experiment_id for each in client.search_experiments() if each.name == "dlrun"]
    runs = {run.data.tags["dlrun.folder"]: run for run in client.search_runs([experiment])}
    assert len(client.search_runs([experiment])) == len(runs) == 2
    run = runs[str(tmp_path / "run")]
    found = {
        column: [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, column)]
        for column in (*rows(folder), "seconds")
    }
    assert_rows(found, folder)
    assert run.info.status == "FINISHED" and run.data.tags["status"] == "finished" and run.info.run_name == "mine"
    assert run.data.params["architecture.hidden"] == "[4]" and run.data.params["optimizer.beta1"] == "0.9"
    assert run.data.metrics["test_accuracy"] == pytest.approx(summary(folder)["test_accuracy"])


def test_a_store_elsewhere_is_refused(dlrun: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr("dlrun.config.check.find_spec", lambda package: package)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://tracking.example")
    ended = dlrun(*RUN, "tracker=mlflow")
    assert ended.code == 2 and "MLFLOW_TRACKING_URI=https://tracking.example: a local store is wanted" in ended.err


WANDB = '''
"""A stand-in: it writes what it is told."""
import json
from pathlib import Path


class Run:
    def __init__(self, **options):
        Path("inits.jsonl").open("a").write(json.dumps({**options, "settings": ""}) + "\\n")
        self.id, self.summary = options["id"], {}

    def log(self, values, step):
        Path("logged.jsonl").open("a").write(json.dumps([self.id, step, values]) + "\\n")

    def finish(self, exit_code):
        Path("finished.jsonl").open("a").write(json.dumps([self.id, exit_code, self.summary]) + "\\n")


def Settings(**options):
    return options


init = Run
'''


def test_wandb_is_told_each_row_once_under_one_id(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "wandb.py").write_text(WANDB)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    folder = ended_twice(dlrun, monkeypatch, "wandb")
    assert dlrun("resume", "run").code == 0
    inits, logged, finished = (
        [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("inits", "logged", "finished")
    )
    assert {each["id"] for each in inits} == {each[0] for each in logged} == {finished[-1][0]} and len(inits) == 3
    assert all(each["mode"] == "offline" and Path(each["dir"]).resolve() == tmp_path / "run" for each in inits)
    assert inits[0]["config"]["optimizer.lr"] == 0.001 and inits[0]["name"] == "mine"
    columns = (*rows(folder), "seconds")
    assert_rows({column: [(step, row[column]) for _, step, row in logged] for column in columns}, folder)
    assert [each[1:] for each in finished[:2]] == [[0, {"status": "interrupted"}]] * 2
    assert finished[-1][2]["test_accuracy"] == summary(folder)["test_accuracy"]
    monkeypatch.delitem(sys.modules, "wandb")


@pytest.mark.slow
def test_wandb_itself_leaves_offline_runs_of_one_id(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("wandb")
    folder = ended_twice(dlrun, monkeypatch, "wandb")
    assert dlrun("resume", "run").code == 0 and summary(folder)["status"] == "finished"
    assert "failed" not in (folder / "dlrun.log").read_text()
    parts = list(folder.glob("wandb/offline-run-*/*.wandb"))
    assert len({part.name for part in parts}) == 1 and b"val_loss" in b"".join(part.read_bytes() for part in parts)


@pytest.mark.slow
def test_runs_of_a_stack_have_a_file_each(dlrun: Callable[..., Ended], tmp_path: Path) -> None:  # noqa: F811
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    command = ["-m", *RUN, "tracker=tensorboard", "seed=0,1,2", "hydra.launcher.workers=1", "hydra.sweep.dir=sweep"]
    assert dlrun(*command).code == 0
    for run in "012":
        events = EventAccumulator(str(tmp_path / "sweep" / run))
        events.Reload()
        tags = events.Tags()["scalars"]
        assert_rows(
            {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in tags}, tmp_path / "sweep" / run
        )


def test_a_missing_package_is_told_before_anything_begins(
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dlrun.config.check.find_spec", lambda package: None)
    for words in ([], ["-m", "seed=0,1"]):
        ended = dlrun(*words, "tracker=[wandb,tensorboard]")
        assert ended.code == 2 and not list(tmp_path.iterdir())
        for package in ("wandb", "tensorboard"):
            assert (
                f"tracker={package} needs a package that is not installed: pip install 'dlrun[{package}]'" in ended.err
            )


class Kept(Tracker):
    """Keeps what it is told; fails where it is told to."""

    def __init__(self, last: int = -1, fails: str = "") -> None:
        self.last, self.fails, self.told = last, fails, list[Any]()

    def _tell(self, *what: Any) -> None:
        if self.fails == what[0]:
            raise OSError("no room")
        self.told.append(what)

    def open(self, folder: Path, name: str, config: Mapping[str, Any], anew: bool) -> int:
        self._tell("open", name, anew)
        return self.last

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._tell("log", step, dict(values))

    def close(self, status: str, step: int, values: Mapping[str, float] | None) -> None:
        self._tell("close", status, step, values)


def test_what_a_tracker_lacks_is_told_it_and_no_more() -> None:
    behind, ahead, notes = Kept(last=10), Kept(last=30), list[str]()
    there = [{"step": float(step), "loss": step / 10} for step in (0, 10, 20)]
    tracking = Tracking({"a": behind, "b": ahead}, Path("run"), {"name": "x"}, there, notes.append)
    tracking.row({"step": 30, "loss": 3.0})
    tracking.row({"step": 40, "loss": math.nan})
    tracking.close(
        {"status": "finished", "test_loss": 1, "best_epoch": 2.0, "dataset": {}, "test_ok": True}, ["finished"]
    )
    assert [each[:2] for each in behind.told] == [
        ("open", "x"), ("log", 20), ("log", 30), ("log", 40), ("close", "finished"),
    ]  # fmt: skip
    assert [each[:2] for each in ahead.told] == [("open", "x"), ("log", 40), ("close", "finished")]
    assert behind.told[-1] == ("close", "finished", 40, {"test_loss": 1.0, "best_epoch": 2.0}) and not notes


@pytest.mark.parametrize("fails", ["open", "log", "close"])
def test_a_tracker_that_fails_is_told_of_and_hinders_no_other(fails: str) -> None:
    broken, whole, notes = Kept(fails=fails), Kept(), list[str]()
    tracking = Tracking({"broken": broken, "whole": whole}, Path("run"), {}, None, notes.append)
    tracking.row({"step": 0, "loss": 1.0})
    tracking.row({"step": 1, "loss": 1.0})
    tracking.close({"status": "interrupted"}, ["finished"])
    assert tracking.failed == {"broken": "OSError('no room')"}
    assert notes == ["tracker=broken failed, and the run goes on without it: OSError('no room')"]
    assert Counter(each[0] for each in whole.told) == {"open": 1, "log": 2, "close": 1}
    assert whole.told[-1] == ("close", "interrupted", 1, None)


def test_a_config_is_flat_and_of_plain_values() -> None:
    config = {"seed": 0, "optimizer": {"lr": 0.1, "name": None}, "architecture": {"hidden": [4, 4]}, "tracker": {}}
    told = flat(config)
    assert told == {
        "seed": 0, "optimizer.lr": 0.1, "optimizer.name": "None", "architecture.hidden": "[4, 4]", "tracker": "{}",
    }  # fmt: skip


def test_every_tracker_names_an_extra_and_a_module() -> None:
    from dlrun.config.catalogue import choices

    project = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    for name in choices("tracker"):
        assert name == "none" or (f"\n{name} = [" in project and find_spec(f"dlrun.trackers.{name}"))
