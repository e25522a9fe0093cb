"""Where a sweep's runs lie: each in a folder of its own, which no other run takes, whatever is removed and resumed."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import test_faults
from test_cli import Ended, dlrun  # noqa: F401 - a fixture
from test_optuna import needs_optuna

from dlrun.folder.resume import read_config

SMALL = ["dataset=iris", "architecture.hidden=[4]", "epochs=2", "plots=none"]
SEEDS, OPTIMIZERS = "seed=0,1,2", "optimizer=sgd,adam"
BY_SEED = "hydra.sweep.subdir=s${seed}"
SPLIT = "dataset.split_seed=${seed}"
BY_NAME = [
    "hydra.sweep.subdir=${hydra.job.override_dirname}",
    f"hydra.job.config.override_dirname.exclude_keys=[{','.join(each.partition('=')[0] for each in SMALL)}]",
]
TUNED = ["hydra.sweeper.trials=2", "hydra.sweeper.trial_seeds=1"]
SEARCH = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")


@pytest.fixture
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int | None, str]]:
    """The command in a process of its own, in an empty folder: its exit code, and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int | None, str]:
        code, told = test_faults.ended(list(arguments), tmp_path / "log")
        return code, " ".join(told.split())

    return run


def left(folder: Path) -> dict[str, str]:
    """The configs and the tables, which but for the seconds are the same bytes whoever writes them."""
    found = {path: path.read_text() for name in ("config.yaml", "metrics.csv") for path in folder.rglob(name)}
    return {
        str(path.relative_to(folder)): re.sub(r",[^,\n]*$", "", text, flags=re.MULTILINE)
        if path.suffix == ".csv"
        else text
        for path, text in found.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "removed"),
    [
        ([SEEDS, OPTIMIZERS, *BY_NAME], ["optimizer=adam,seed=1", "optimizer=sgd,seed=0"]),
        ([SEEDS, BY_SEED, SPLIT, "hydra/launcher=basic"], ["s1"]),
        ([SEEDS, BY_SEED, SPLIT, "hydra/launcher=basic", "hydra/sweeper=basic"], ["s0"]),
        (["seed=0,1", "optimizer=sgd", *TUNED, SPLIT], ["tuning/1", "final/1"]),
        pytest.param([SEEDS, OPTIMIZERS, *SEARCH, *BY_NAME], ["optimizer=adam,seed=1"], marks=needs_optuna),
    ],
)
def test_what_is_removed_and_resumed_is_what_it_was(
    overrides: list[str], removed: list[str], ended: Callable[..., Any], tmp_path: Path
) -> None:
    assert ended("-m", *SMALL, *overrides, "hydra.sweep.dir=sweep")[0] == 0
    sweep = tmp_path / "sweep"
    before = left(sweep)
    for name in removed:
        shutil.rmtree(sweep / name)
    code, told = ended("resume", "sweep")
    assert code == 0, told
    assert left(sweep) == before and len(before) >= 6


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=0,0", BY_SEED], "gives s0 to several runs"),
        (["seed=0,1", "lr=0.1,0.2", BY_SEED, "hydra/launcher=basic"], "gives s0 to several runs"),
        (["seed=0,1", OPTIMIZERS, *TUNED, BY_SEED], "gives s2 to several runs"),
        (["seed=0,1", "hydra.sweep.subdir=../${seed}"], "which does not lie in"),
        (["seed=0", "hydra.sweep.subdir=."], "which does not lie in"),
        (["seed=0", "hydra.sweep.subdir=.hidden"], "or is hidden"),
        (["name=a,a/b", "hydra.sweep.subdir=${name}"], "gives a/b to a run, a to another: one lies in the other"),
        (["name=a/b,a", "hydra.sweep.subdir=${name}", "seed=0"], "gives a to a run, a/b to another"),
    ],
)
def test_a_folder_for_two_runs_or_elsewhere_is_refused(
    overrides: list[str],
    message: str,
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
) -> None:
    refused = dlrun("-m", *SMALL, *overrides, "hydra.sweep.dir=sweep")
    assert refused.code == 2 and message in " ".join(refused.err.split()), refused.err
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["stack", "basic"])
def test_a_run_of_another_config_keeps_its_folder(launcher: str, ended: Callable[..., Any], tmp_path: Path) -> None:
    sweep = ["-m", *SMALL, BY_SEED, f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep"]
    assert ended(*sweep, "seed=0")[0] == 0
    assert ended(*SMALL, "seed=7", "hydra.run.dir=sweep/s1")[0] == 0
    before = left(tmp_path / "sweep")
    code, told = ended(*sweep, "seed=0,1")
    assert code == 2 and "sweep/s1 holds another run than this sweep's run 1" in told, told
    assert "seed: 7 there, 1 in this command" in told
    assert left(tmp_path / "sweep") == before
    # in the place of a run of the plan, too, complete or not
    shutil.rmtree(tmp_path / "sweep" / "s0")
    (tmp_path / "sweep" / "s1").rename(tmp_path / "sweep" / "s0")
    (tmp_path / "sweep" / "s0" / "summary.json").unlink()
    before = left(tmp_path / "sweep")
    code, told = ended("resume", "sweep")
    assert code == 2 and "sweep/s0 holds another run" in told, told
    assert left(tmp_path / "sweep") == before


@pytest.mark.slow
def test_a_runs_place_is_its_plans_whatever_is_typed_later(ended: Callable[..., Any], tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    for launcher in ("stack", "basic"):
        typed = ["-m", *SMALL, "hydra.sweep.dir=sweep", f"hydra/launcher={launcher}"]
        assert ended(*typed, "seed=0,1", "hydra.sweep.subdir=s${seed}")[0] == 0
        before = left(sweep)
        shutil.rmtree(sweep / "s1")
        code, told = ended(*typed, "seed=0,1,2", "hydra.sweep.subdir=t${seed}")
        assert code == 0 and "1 of 3 runs are there already" in told
        assert {name: text for name, text in left(sweep).items() if not name.startswith("t2")} == before
        assert {path.name for path in sweep.iterdir() if path.is_dir()} == {"s0", "s1", "t2"}
        shutil.rmtree(sweep)


@pytest.mark.slow
def test_a_path_that_looks_like_an_interpolation_is_repeated(ended: Callable[..., Any], tmp_path: Path) -> None:
    table = tmp_path / "${x}.csv"
    table.write_text("a,b,y\n" + "".join(f"{i},{i * i % 7},{i % 2}\n" for i in range(60)))
    own = ["dataset=table", f"dataset.path={str(table).replace('$', chr(92) + '$')}", *SMALL[1:]]
    assert ended(*own, "hydra.run.dir=own")[0] == 0
    assert read_config(tmp_path / "own")["dataset"]["path"] == str(table)
    again = ["--config-dir", "own", "--config-name", "config", "hydra.run.dir=again"]
    assert ended(*again)[0] == 0 and ended("resume", "own")[0] == 0
    own_files, again_files = left(tmp_path / "own"), left(tmp_path / "again")
    assert again_files["config.yaml"] == own_files["config.yaml"].replace("/own --config", "/again --config")
    assert again_files["metrics.csv"] == own_files["metrics.csv"]
    for place in (["hydra.run.dir='a\\${b}/c'"], ["-m", "seed=0,1", "hydra.sweep.dir='a\\${b}/c'"]):
        code, told = ended(*place, *own)  # where Hydra itself would look for b
        assert code == 2 and "a${b}/c: a folder's name may not hold ${" in told and not (tmp_path / "a${b}").exists()
