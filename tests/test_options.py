"""What a command says of sweeps, folders, logs and searches is right, or told in one message before anything begins."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_cli import Ended, dlrun, environment  # noqa: F401 - a fixture

from dlrun.config.catalogue import conf_dir, constraints
from dlrun.config.options import OF_OTHERS

RUNS = ["dataset=iris", "epochs=1", "plots=none"]
TWO = ["-m", *RUNS, "seed=0,1"]
UNTIL = ["-m", *RUNS, "lr=0.1,0.2", "seed=until_decided"]
SEARCH = ["-m", *RUNS, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2"]

MISTAKES = {
    "trials": ([*TWO, "hydra.sweeper.trials=-1"], "hydra.sweeper.trials=-1: must be int >= 0"),
    "half a trial": ([*TWO, "hydra.sweeper.trials=1.5"], "hydra.sweeper.trials=1.5: must be int >= 0"),
    "decades": ([*TWO, "hydra.sweeper.decades=400"], "hydra.sweeper.decades=400: must be in (0, 30]"),
    "trial seeds": ([*TWO, "hydra.sweeper.trial_seeds=0"], "hydra.sweeper.trial_seeds=0: must be int >= 1"),
    "batches": ([*TWO, "hydra.sweeper.max_batch_size=0"], "hydra.sweeper.max_batch_size=0: must be null or int >= 1"),
    "Hydra's batches": (
        [*TWO, "hydra/sweeper=basic", "hydra.sweeper.max_batch_size=0"],
        "hydra.sweeper.max_batch_size=0: must be null or int >= 1",
    ),
    "workers": ([*TWO, "hydra.launcher.workers=-1"], "hydra.launcher.workers=-1: must be null or int >= 1"),
    "width": ([*TWO, "hydra.launcher.width=0"], "hydra.launcher.width=0: must be null or int >= 1"),
    "two at once": (
        [*TWO, "hydra.launcher.width=0", "hydra.sweeper.trials=-1"],
        "hydra.launcher.width=0: must be null or int >= 1 (runs that train as one stack at most; null: by the "
        "network's size)\nhydra.sweeper.trials=-1",
    ),
    "no such option": ([*TWO, "hydra.launcher.with=2"], "did you mean hydra.launcher.width=2?"),
    "one more option": ([*TWO, "+hydra.launcher.with=2"], "did you mean hydra.launcher.width=2?"),
    "Slurm's tasks": ([*TWO, "hydra/launcher=stack_slurm", "hydra.launcher.tasks=0"], "must be int >= 1"),
    "Slurm's time": ([*TWO, "hydra/launcher=stack_slurm", "hydra.launcher.mem_gb=0"], "must be null or > 0"),
    "params": ([*TWO, "hydra.sweeper.params.seed=1"], "did you mean seed=1?"),
    "range": (["-m", *RUNS, "lr=interval(0.1,1)"], "lr=interval(0.1,1): numbers are drawn from a range where"),
    "objective": ([*TWO, "objective=test_loss"], "objective=test_loss: for a search alone"),
    "objectives": ([*TWO, "objective=[test_loss,parameter]"], "no such number; did you mean parameters?"),
    "no steps": ([*TWO, "epochs=range(1,3,0)"], "epochs=range(1,3,0): there is no such value to sweep"),
    "run.dir": ([*TWO, "hydra.run.dir=x"], "hydra.run.dir=x: for single runs alone; the folder of a sweep is"),
    "objective of a run": ([*RUNS, "objective=test_loss"], "objective=test_loss: for sweeps alone"),
    "zip": ([*RUNS, "zip=[lr]"], "zip=[lr]: for sweeps alone, which begin with -m: dlrun -m zip=[lr]"),
    "settings": ([*RUNS, "settings=x.yaml"], "settings=x.yaml: for sweeps alone"),
    "sweep.dir": ([*RUNS, "hydra.sweep.dir=x"], "hydra.sweep.dir=x: for sweeps alone"),
    "launcher": ([*RUNS, "hydra/launcher=basic"], "hydra/launcher=basic: for sweeps alone"),
    "a launcher's option": ([*RUNS, "hydra.launcher.width=3"], "hydra.launcher.width=3: for sweeps alone"),
    "a sweeper's option": ([*RUNS, "hydra.sweeper.trials=3"], "hydra.sweeper.trials=3: for sweeps alone"),
    "empty folder": ([*RUNS, "hydra.run.dir="], "hydra.run.dir= is empty"),
    "empty sweep": ([*TWO, "hydra.sweep.dir="], "hydra.sweep.dir= is empty"),
    "empty subfolder": ([*TWO, "hydra.sweep.subdir="], "hydra.sweep.subdir= is empty"),
    "long folder": ([*RUNS, f"hydra.run.dir={'a' * 300}"], "File name too long: choose another hydra.run.dir or name"),
    "long name": ([*RUNS, f"name={'a' * 300}"], "File name too long: choose another hydra.run.dir or name"),
    "long sweep": ([*TWO, f"name={'a' * 300}"], "File name too long: choose another hydra.sweep.dir or name"),
    "no folder": ([*RUNS, "hydra.run.dir=/dev/null/x"], "hydra.run.dir=/dev/null/x: /dev/null is no folder"),
    "no folder for a sweep": ([*TWO, "hydra.sweep.dir=/dev/null/x"], "/dev/null is no folder"),
    "no log": ([*RUNS, "hydra/job_logging=none"], "hydra/job_logging=none: dlrun's log is a file"),
    "disabled log": ([*RUNS, "hydra/job_logging=disabled"], "hydra/job_logging=disabled: dlrun's log is a file"),
    "log on the terminal": ([*TWO, "hydra/job_logging=stdout"], "hydra/job_logging=stdout: dlrun's log is a file"),
    "long subfolder": (
        [*TWO, "hydra.sweep.dir=sweep", f"hydra.sweep.subdir={'a' * 300}"],
        f"hydra.sweep.subdir={'a' * 300}: File name too long: choose another",
    ),
    "until decided, alone": ([*RUNS, "seed=until_decided"], "seed=until_decided: for sweeps alone"),
    "until decided, of one": (["-m", *RUNS, "seed=until_decided"], "it compares settings, and there is one"),
    "until decided, and more": (["-m", *RUNS, "lr=1,2", "seed=until_decided,3"], "seed=until_decided,3: seed=until"),
    "until decided, and a list": ([*UNTIL, "seed=1,2"], "seed=until_decided seed=1,2: seed=until_decided finds the"),
    "until decided, and trials": ([*UNTIL, "hydra.sweeper.trials=2"], "leave one of the two out"),
    "until decided, and a range": ([*UNTIL, "hydra.sweeper.looks=[10,5]"], "hydra.sweeper.looks=[10,5]: numbers of"),
    "until decided, no looks": ([*UNTIL, "hydra.sweeper.looks=[]"], "hydra.sweeper.looks=[]: numbers of seeds"),
    "until decided, one seed": ([*UNTIL, "hydra.sweeper.looks=[1,5]"], "hydra.sweeper.looks=[1, 5]: must be list of"),
    "until decided, a margin": ([*UNTIL, "hydra.sweeper.margin=0"], "hydra.sweeper.margin=0: must be null or > 0"),
    "until decided, and a mistake": ([*UNTIL, "epochs=0"], "runs 0-9: epochs=0: must be int >= 1"),
    "until decided, misspelt": ([*TWO, "seed=until_decidd"], "in a sweep also until_decided"),
    "until decided, unwaited": (
        [*UNTIL, "hydra/launcher=stack_slurm", "hydra.launcher.wait=false"],
        "hydra.launcher.wait=false: the first runs decide on the others here",
    ),
    "pruned elsewhere": (
        [*TWO, "lr=0.1,0.2", "epochs=3", "hydra.sweeper.prune=halving", "hydra/launcher=basic"],
        "hydra.sweeper.prune=halving: with hydra/launcher=stack, or with stack_slurm and hydra.launcher.wait=true",
    ),
    "a rung alone": ([*TWO, "hydra.sweeper.first_rung=2"], "first_rung=2: only with hydra.sweeper.prune=halving"),
    "eta alone": ([*TWO, "hydra.sweeper.eta=2"], "hydra.sweeper.eta=2: only with hydra.sweeper.prune=halving"),
    "no trials": ([*TWO, "hydra.sweeper.trial_seeds=2"], "trial_seeds=2: only with hydra.sweeper.trials=N"),
    "looks alone": ([*TWO, "hydra.sweeper.looks=[2,4]"], "looks=[2, 4]: only with seed=until_decided"),
    "pruned trials": ([*TWO, "hydra.sweeper.prune=halving", "hydra.sweeper.trials=2"], "trials needs all of its first"),
    "times": ([*TWO, "max_time=1s,2min"], "it is no setting, since runs in a stack share their time; give one"),
    "margin": ([*TWO, "hydra.sweeper.margin=0.1"], "hydra.sweeper.margin=0.1: for seed=until_decided"),
    "no value": ([*RUNS, "lr="], "lr=: must be null or > 0"),
    "infinite": ([*RUNS, "eval_every=inf"], "eval_every=inf: must be finite and > 0"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_it_is_told_before_anything_begins(
    mistake: str,
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
) -> None:
    arguments, message = MISTAKES[mistake]
    ended = dlrun(*arguments)
    assert ended.code == 2 and ended.err.startswith("dlrun: ") and ended.out == ""
    assert message in ended.err and ended.err.count("\n") == message.count("\n") + 1
    assert not list(tmp_path.iterdir())


SEARCHES = {
    "turned round": ("lr=interval(1,0.1)", "lr=interval(1,0.1): the first number must be less than the second"),
    "logarithm of zero": ("lr=tag(log,interval(0,1))", "0 has no logarithm"),
    "no steps": ("epochs=range(1,3,0)", "epochs=range(1,3,0): there is no such value to sweep"),
    "beyond what may be": ("lr=interval(-1,1)", "lr=interval(-1,1): lr=-1.0: must be null or > 0"),
    "a choice that is none": ("optimizer=adam,adm", "optimizer=adm: there is no such choice"),
    "a fraction of an epoch": ("epochs=interval(0.5,3)", "epochs=0.5: must be int >= 1"),
    "a range among others": ("lr=0.1,interval(0.1,1)", "what is drawn is a key's whole value, and not one of several"),
    "seeds that are drawn": ("seed=randint(0,9)", "a search looks for no seed, since each point is trained with every"),
    "nothing": ("lr=0.1", "hydra/sweeper=optuna has nothing to search"),
    "seeds alone": ("+seed=0,1", "hydra/sweeper=optuna has nothing to search"),
    "direction": ("hydra.sweeper.direction=up", "hydra.sweeper.direction=up: must be null or minimize or maximize"),
    "directions": ("hydra.sweeper.direction=[maximize,up]", "one for each objective (best_val_loss), minimize or"),
    "objectives that are swept": ("objective=test_loss,seconds", "a list in brackets: objective=[test_loss,seconds]"),
    "no objective": ("objective=[]", "objective=[]: name one objective, or several in brackets, each once"),
    "an objective twice": ("objective=[seconds,seconds]", "name one objective, or several in brackets, each once"),
    "storage": ("hydra.sweeper.storage=study", "hydra.sweeper.storage=study: no study can be kept there"),
    "until decided": ("seed=until_decided", "seed=until_decided: a search compares no settings"),
    "trials": ("hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials=0: must be int >= 1"),
    "jobs": ("hydra.sweeper.n_jobs=0", "hydra.sweeper.n_jobs=0: must be int >= 1"),
    "a sampler that is none": ("hydra.sweeper.sampler=grid", "must be tpe or gp or nsgaii or random"),
    "a generation of one": (
        "hydra.sweeper.sampler=nsgaii hydra.sweeper.n_jobs=1",
        "hydra.sweeper.sampler=nsgaii: its generations are the batches",
    ),
    "a plan": ("--plan", "--plan: hydra/sweeper=optuna finds its runs as it goes"),
}


@pytest.mark.parametrize("mistake", SEARCHES)
def test_a_search_that_cannot_be_is_told_before_anything_begins(
    mistake: str,
    dlrun: Callable[..., Ended],  # noqa: F811
    tmp_path: Path,
) -> None:
    pytest.importorskip("optuna")
    argument, message = SEARCHES[mistake]
    searched = ["lr=interval(0.1,1)"] if argument.startswith(("hydra.", "seed", "objective", "--")) else []
    ended = dlrun(*SEARCH, *argument.split(), *searched)
    assert ended.code == 2 and message in ended.err and "Traceback" not in ended.err
    assert not list(tmp_path.iterdir())


def test_joblibs_processes_have_a_range(dlrun: Callable[..., Ended]) -> None:  # noqa: F811
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    ended = dlrun(*TWO, "hydra/launcher=joblib", "hydra.launcher.n_jobs=0")
    assert ended.code == 2 and "hydra.launcher.n_jobs=0: must be int >= 1 or int < 0" in ended.err


def test_every_option_of_dlruns_own_launchers_and_sweepers_has_a_constraint() -> None:
    for part in ("launcher/stack", "launcher/stack_slurm", "sweeper/dlrun", "sweeper/optuna"):
        known = constraints(conf_dir() / "hydra" / f"{part}.yaml")
        assert known and all(constraint and constraint.meaning for constraint in known.values())
    assert all(";" in text for options in OF_OTHERS.values() for text in options.values())


def test_a_folder_that_may_not_be_entered_is_told(
    dlrun: Callable[..., Ended],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stat = os.stat

    def refused(path: str | Path, **options: bool) -> os.stat_result:
        if "closed" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr("os.stat", refused)
    for key, begin in (("hydra.run.dir", RUNS), ("hydra.sweep.dir", TWO)):
        ended = dlrun(*begin, f"{key}=closed/x")
        assert ended.code == 2 and f"closed/x: Permission denied: choose another {key} or name" in ended.err


@pytest.mark.slow
def test_a_screen_without_our_signs_shows_others_and_ends_well(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dlrun", *TWO, "lr=0.1,0.01", "hydra.sweep.dir=sweep"]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, env={**environment(), "PYTHONIOENCODING": "ascii"}, timeout=200
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == b"" and b" ? " in ended.stdout and "±" in (tmp_path / "sweep" / "report.html").read_text()


@pytest.mark.slow
def test_no_regularizers_are_none(dlrun: Callable[..., Ended], tmp_path: Path) -> None:  # noqa: F811
    for typed, folder in (("regularizer=[]", "empty"), ("regularizer=none", "none")):
        assert dlrun(*RUNS, typed, f"hydra.run.dir={folder}").code == 0
    assert dlrun("-m", *RUNS, "regularizer=[],[l2]", "hydra.sweep.dir=sweep").code == 0
    weights = [(tmp_path / each / "last.safetensors").read_bytes() for each in ("empty", "none", "sweep/0", "sweep/1")]
    assert weights[0] == weights[1] == weights[2] != weights[3]
    again = ["--config-dir", "empty", "--config-name", "config", "hydra.run.dir=again"]
    assert dlrun(*again).code == 0 and (tmp_path / "again" / "last.safetensors").read_bytes() == weights[0]


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="there is no /proc")
def test_a_folder_that_cannot_be_made_is_not_said_to_hold_anything(dlrun) -> None:  # noqa: F811
    ended = dlrun("dataset=iris", "epochs=1", "hydra.run.dir=/proc/x")
    assert ended.code == 1 and "/proc/x" in ended.err and "written before" not in ended.err


@pytest.mark.skipif(sys.platform != "linux", reason="a folder that is in use can be deleted")
def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    code = "import os, sys; os.rmdir(os.getcwd()); from dlrun.__main__ import main; main()"
    surroundings = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    for words, status, told in [
        (["list", "loss"], 0, ""),
        (["dataset=iris", "epochs=1"], 2, "dlrun: the working directory has been deleted: change into another\n"),
    ]:
        (tmp_path / "gone").mkdir()
        command = [sys.executable, "-c", code, *words]
        ended = subprocess.run(command, cwd=tmp_path / "gone", env=surroundings, capture_output=True, text=True)
        assert (ended.returncode, ended.stderr) == (status, told)
