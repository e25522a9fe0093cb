"""Output that nobody takes: a refusal still refuses, a training still trains, and the exit code says which it was."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlrun.errors import ConfigError
from dlrun.folder.reading import read_summary
from dlrun.terminal.exits import refusing
from dlrun.terminal.streams import Unbroken

COMMAND = f"{sys.executable} -m dlrun"
SMALL = "dataset=iris architecture.hidden=[4] epochs=20 plots=none"

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = ["bash", "-c", line]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["2>/dev/full", "2>&- >&- <&-"])
@pytest.mark.parametrize("mistake", ["lr=-1", "-m lr=-1,1", "normalization=instance"])
def test_a_refusal_that_nobody_can_read_refuses(mistake: str, where: str, tmp_path: Path) -> None:
    assert shell(f"{COMMAND} {mistake} {where}", tmp_path).returncode == 2
    assert not list(tmp_path.iterdir())


def test_what_refuses_does_not_depend_on_saying_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def error(message: str) -> None:
        raise OSError(errno.ENOSPC, message)

    monkeypatch.setattr("dlrun.terminal.exits.error", error)
    for mistake in (ConfigError("no"), KeyError("what nobody expects")):
        with pytest.raises(SystemExit) as ended, refusing():
            raise mistake
        assert ended.value.code == 2


@pytest.mark.slow
def test_a_training_goes_on_when_nobody_reads_what_it_prints(tmp_path: Path) -> None:
    ended = shell(
        f"({COMMAND} {SMALL} hydra.run.dir=pipe; echo $? >&2) | head -1; "
        f"{COMMAND} {SMALL} hydra.run.dir=full >/dev/full; echo $? >&2; "
        f"{COMMAND} {SMALL} hydra.run.dir=closed >&- 2>&- <&-; echo $? >&2; "
        f"({COMMAND} -m {SMALL} seed=0,1 hydra.sweep.dir=sweep; echo $? >&2) | head -1",
        tmp_path,
    )
    full = "dlrun: standard output cannot be written (No space left on device); the command goes on"
    assert ended.stderr.splitlines() == ["0", full, "0", "0", "0"]
    assert len(ended.stdout.splitlines()) == 2
    folders = [tmp_path / name for name in ("pipe", "full", "closed", "sweep/0", "sweep/1")]
    assert [read_summary(folder)["status"] for folder in folders] == ["finished"] * 5
    text = {(folder / "metrics.csv").read_text().count("\n") for folder in folders}
    assert text == {22} and (tmp_path / "sweep" / "report.html").exists()


def test_a_list_that_is_lost_is_no_success(tmp_path: Path) -> None:
    ended = shell(f"{COMMAND} list >/dev/full; echo $? >&2; ({COMMAND} list; echo $? >&2) | head -1", tmp_path)
    assert ended.stderr.splitlines()[1:] == ["1", "0"] and "cannot be written" in ended.stderr


def test_a_stream_gives_up_once() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "full")

    stream = Unbroken(Full())
    assert stream.write("abc") == 3 and stream.lost and stream.isatty() is False
    stream.flush()
    piped = Unbroken(io.StringIO())
    piped.broken = BrokenPipeError(errno.EPIPE, "nobody reads")
    assert not piped.lost
