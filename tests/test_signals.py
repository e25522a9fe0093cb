"""How a command ends when it is told to: no traceback, what to type next, and nobody else's folder is written."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import config
from torch import zeros

from dlrun.errors import ConfigError
from dlrun.folder import checkpoint
from dlrun.folder.lock import Busy, locked
from dlrun.folder.reading import read_summary
from dlrun.job.folders import continuing
from dlrun.sweep import workers
from dlrun.sweep.limits import RESERVED, open_files, stacked_runs
from dlrun.sweep.workers import Task
from dlrun.terminal.signals import Deferred, as_in_a_child, interruptible, unconverted
from dlrun.training.build import plain

SMALL = ["dataset=iris", "architecture.hidden=[4]", "epochs=2"]


def interrupting(
    module: str, *arguments: str, folder: Path, signum: int = signal.SIGINT
) -> subprocess.CompletedProcess[str]:
    """The command, with a signal where it begins to import a module."""
    code = (
        "import os, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        f"            os.kill(os.getpid(), {int(signum)})\n"
        "sys.meta_path.insert(0, Interrupting)\n"
        "from dlrun.__main__ import main\n"
        "main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("dlrun.config.catalogue", ["list"]),  # the command line's own
        ("numpy.linalg", [*SMALL, "hydra.run.dir=run"]),
        ("torch.nn", ["-m", *SMALL, "seed=0,1", "hydra.sweep.dir=sweep"]),
    ],
)
def test_ctrl_c_in_an_import_ends_the_command_in_one_line(module: str, arguments: list[str], tmp_path: Path) -> None:
    ended = interrupting(module, *arguments, folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (130, "dlrun: interrupted\n")
    assert not list(tmp_path.iterdir())


def test_sigterm_in_an_import_does_likewise(tmp_path: Path) -> None:
    ended = interrupting("numpy.linalg", *SMALL, "hydra.run.dir=run", folder=tmp_path, signum=signal.SIGTERM)
    assert (ended.returncode, ended.stderr) == (-signal.SIGTERM, "dlrun: ended by SIGTERM\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_first_step_is_made_is_told_and_kept(signum: signal.Signals, tmp_path: Path) -> None:
    code = (
        "import os\nimport dlrun.training.train as train\nfrom dlrun.__main__ import main\n"
        f"train.prepare = lambda *_: os.kill(os.getpid(), {int(signum)})\n"
        "main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", code, *SMALL, "hydra.run.dir=run"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert ended.returncode == -signum
    assert ended.stderr == f"dlrun: ended by {signum.name}; `dlrun resume run` goes on\n"
    assert read_summary(tmp_path / "run")["status"] == "interrupted"


@pytest.mark.slow
def test_ctrl_c_after_the_training_says_how_to_go_on(tmp_path: Path) -> None:
    run = ["hydra.run.dir=run", *SMALL]
    ended = interrupting("dlrun.plots.curves", *run, folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (130, "dlrun: interrupted; `dlrun resume run` goes on\n")
    assert read_summary(tmp_path / "run")["status"] == "finished" and not (tmp_path / "run" / "curves.png").exists()
    sweep = ["-m", *SMALL, "seed=0,1", "plots=none", "hydra.sweep.dir=a sweep"]
    ended = interrupting("dlrun.plots.comparison", *sweep, folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (130, "dlrun: interrupted; `dlrun resume 'a sweep'` goes on\n")
    ended = interrupting("matplotlib.figure", "report", "a sweep", folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (130, "dlrun: interrupted\n")


def test_ctrl_c_that_a_library_swallows_is_not_lost() -> None:
    class Odd:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)  # Python prints what is raised here, and goes on

    before = signal.getsignal(signal.SIGINT), sys.unraisablehook
    with pytest.raises(KeyboardInterrupt), interruptible(lambda signum: None):
        del [Odd()][0]
        time.sleep(60)
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before
    with pytest.raises(KeyboardInterrupt), interruptible(lambda signum: None), unconverted():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("half done") from None
    with pytest.raises(ImportError), interruptible(lambda signum: None), unconverted():
        raise ImportError("by itself")


def test_what_is_ignored_stays_ignored() -> None:
    """As nohup has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Deferred(signal.SIGHUP) as signals:
            signal.raise_signal(signal.SIGHUP)
            assert signals.came == 0 and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        as_in_a_child()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def tasks(folder: Path, *overrides: str) -> list[Task]:
    nodes = [plain(config(*SMALL, "plots=none", f"seed={i}", *overrides)) for i in range(3)]
    return [Task(i, node, folder / str(i), {}) for i, node in enumerate(nodes)]


def test_a_worker_writes_into_no_folder_in_which_another_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0)
    with locked(tmp_path / "1"):  # in the middle of the stack
        with pytest.raises(OSError, match=r"another process is at work in .*1"):
            workers.train(tasks(tmp_path))
        assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {"0", "1", "1/.lock"}
    seen = list[bool]()

    def tell(told: object) -> None:
        for i in range(3):
            with pytest.raises(Busy), locked(tmp_path / str(i)):
                pass
        seen.append(True)

    monkeypatch.setattr(workers.Telling, "due", lambda self: True)
    assert workers.train(tasks(tmp_path), tell) == 0 and seen
    assert not list(tmp_path.rglob(".lock"))


def test_ctrl_c_that_a_library_turns_into_an_error_fails_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*arguments: object, **words: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise KeyError("a config's") from None

    monkeypatch.setattr("dlrun.training.build.build", build)
    worker = workers.Worker(multiprocessing.get_context("fork"), tasks(tmp_path), 0)
    worker.process.join(100)
    assert worker.process.exitcode == 130 and not list(tmp_path.rglob("summary.json"))


def test_a_checkpoint_without_tables_or_config_is_none(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.yaml", "metrics.csv"):
        (run / name).write_text("x" * 9)
    for files, usable in (({}, False), ({"metrics.csv": 10}, False), ({"metrics.csv": 9}, True)):
        checkpoint.write(
            run / "checkpoint", {"a": zeros(1)}, {"step": 1, "runs": ["."], "configs": ["a"], "files": [files]}
        )
        begun, problems = continuing([run])
        assert (begun is not None, not problems) == (usable, usable)
    (run / "config.yaml").unlink()
    assert continuing([run])[0] is None


def test_as_many_files_as_the_system_lets_users_open(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, min(hard, 1000) if hard > 0 else 1000))
        raised = open_files(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        os._exit(0 if raised == (1000, 1000) and stacked_runs() == (256 - RESERVED) // 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)


def test_a_second_process_is_refused_and_told_where(tmp_path: Path) -> None:
    told = list[str]()
    with (
        locked(tmp_path),
        pytest.raises(ConfigError, match="another process is at work"),
        locked(tmp_path, 0.01, told.append),
    ):
        pass
    assert told == [f"waiting for another process to leave {tmp_path}"]
