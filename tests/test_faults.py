"""Real faults of disks, data and clocks: one message, the right exit code, and in the end the undisturbed bytes."""

from __future__ import annotations

import gzip
import multiprocessing
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
from torture import dlrun, results

from dlrun.datasets.table import table
from dlrun.datasets.tables import delimited
from dlrun.errors import ConfigError
from dlrun.folder.reading import read_metrics, read_summary

SMALL = ["architecture.hidden=[8]", "steps=20", "eval_every=1", "batch_size=16", "checkpoint_every=0.4"]
SMALL += ["compile=false", "plots=none", "regularizer=dropout"]
PAGE = 4096

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and mounts a tmpfs")


def command(kind: str, folder: Path, *own: str) -> list[str]:
    """A run, or a sweep of two stacks, one after the other."""
    if kind == "run":
        return [*SMALL, *(own or ["dataset=iris"]), f"hydra.run.dir={folder}"]
    sweep = ["optimizer=sgd,adam", "seed=0,1", "hydra.launcher.workers=1", f"hydra.sweep.dir={folder}"]
    return ["-m", *SMALL, *(own or ["dataset=iris"]), *sweep]


def prepared(arguments: list[str], log: Path, before: Callable[[], None] | None) -> None:
    sys.stdout = sys.stderr = log.open("a", buffering=1)  # in place of pytest's
    if before:
        before()
    dlrun(arguments, log)


def ended(arguments: list[str], log: Path, before: Callable[[], None] | None = None) -> tuple[int | None, str]:
    """The exit code of the command, in a process of its own, and what it printed."""
    import dlrun.job.run
    import dlrun.report.report
    import dlrun.sweep.launch  # noqa: F401 - what is forked need not import it

    log.unlink(missing_ok=True)
    process = multiprocessing.get_context("fork").Process(target=prepared, args=(arguments, log, before))
    process.start()
    process.join(100)
    text = log.read_text()
    assert "Traceback" not in text
    return process.exitcode, text


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system may not be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "rooms"), [("run", (1, 9)), ("sweep", (34,))])
def test_a_full_disk_costs_nothing_but_the_time(kind: str, rooms: tuple[int, ...], disk: Path, tmp_path: Path) -> None:
    """By room for so many pages, it is full at Hydra's files and at the second checkpoint; in the second stack."""
    log = tmp_path / "log"
    assert ended(command(kind, tmp_path / "whole"), log)[0] == 0
    for room in rooms:
        folder = disk / str(room)
        (disk / "ballast").write_bytes(bytes(2**22 - PAGE * room))
        code, told = ended(command(kind, folder), log)
        last = told.splitlines()[-1]
        assert code == (2 if "cannot write to the run's folder" in last else 1)
        assert last.startswith("dlrun: ") and "No space left on device" in last and str(folder) in last
        whole = {path: path.read_bytes() for path in folder.rglob("*/model.safetensors")}
        (disk / "ballast").unlink()
        code, told = ended(["resume", str(folder)] if "dlrun resume" in last else command(kind, folder), log)
        assert code == 0, told
        assert results(folder) == results(tmp_path / "whole"), f"{room} pages"
        assert all(path.read_bytes() == content for path, content in whole.items())
        assert kind == "run" or len(whole) >= 2
        shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_a_read_only_file_system_is_told_in_one_message(kind: str, disk: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    code, told = ended(command(kind, disk / "new"), tmp_path / "log")
    [line] = told.splitlines()
    assert code in (1, 2) and "Read-only file system" in line and str(disk / "new") in line


def clock(jump: float) -> Callable[[], None]:
    """The time of day jumps after the process has asked for it a few times."""

    def patch() -> None:
        honest, asked = time.time, [0]

        def jumping() -> float:
            asked[0] += 1
            return honest() + (jump if asked[0] > 3 else 0)

        time.time = jumping

    return patch


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_jumps_changes_nothing(jump: float, tmp_path: Path) -> None:
    assert ended(command("run", tmp_path / "whole"), tmp_path / "log")[0] == 0
    code, told = ended(command("run", tmp_path / "run"), tmp_path / "log", clock(jump))
    assert code == 0, told
    assert results(tmp_path / "run") == results(tmp_path / "whole")
    seconds = read_metrics(tmp_path / "run")["seconds"]
    assert seconds.is_monotonic_increasing and seconds.iloc[0] >= 0 and seconds.iloc[-1] < 1000


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_data(disk: Path, tmp_path: Path) -> None:
    data, folder, log = tmp_path / "data.csv", disk / "run", tmp_path / "log"
    lines = [f"{i},{i * i % 7},{i % 2}" for i in range(60)]
    data.write_text("\n".join(["a,b,y", *lines]))
    own = ["dataset=table", f"dataset.path={data}"]
    assert ended(command("run", tmp_path / "whole", *own), log)[0] == 0
    (disk / "ballast").write_bytes(bytes(2**22 - PAGE * 10))
    assert ended(command("run", folder, *own), log)[0] == 1
    (disk / "ballast").unlink()
    kept = sorted((folder / "checkpoint").iterdir())
    assert kept
    content = data.read_text()
    for damage, message in (
        ("", "there is no file"),
        (content.rpartition("\n")[0], "have changed"),
        (content + "\n1,1,1", "changed"),
    ):
        if damage:
            data.write_text(damage)
        else:
            data.unlink()
        code, told = ended(["resume", str(folder)], log)
        assert code == 2 and message in told.splitlines()[-1]
        assert sorted((folder / "checkpoint").iterdir()) == kept
    data.write_text(content)
    assert ended(["resume", str(folder)], log)[0] == 0
    assert results(folder) == results(tmp_path / "whole")


@pytest.mark.slow
def test_a_sweep_does_not_take_other_data(tmp_path: Path) -> None:
    data, folder, log = tmp_path / "data.csv", tmp_path / "sweep", tmp_path / "log"
    data.write_text("\n".join(["a,b,y", *(f"{i},{i * i % 7},{i % 2}" for i in range(60))]))
    own = ["dataset=table", f"dataset.path={data}"]
    assert ended(command("sweep", folder, *own), log)[0] == 0
    before = results(folder)
    with data.open("a") as file:
        file.write("\n1,1,1")
    more = [each.replace("seed=0,1", "seed=0,1,2") for each in command("sweep", folder, *own)]
    code, told = ended(more, log)
    assert code == 2 and "the data have changed" in told
    assert results(folder) == before


def test_a_packed_table_is_not_unpacked_beyond_all_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "UNPACKED", 2**24)
    with gzip.open(tmp_path / "bomb.csv.gz", "wb") as file:
        file.write(b"a,b,y\n")
        for _ in range(64):
            file.write(bytes(2**20))
    with pytest.raises(ConfigError, match="holds more than 16777216 bytes"):
        table(str(tmp_path / "bomb.csv.gz"))


@pytest.mark.slow
def test_what_is_too_large_for_the_memory_fails_alone(tmp_path: Path) -> None:
    def little_memory() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (2**32 + 2**31, resource.RLIM_INFINITY))

    large = ["dataset=iris", "steps=2", "architecture.hidden=[8],[50000,50000]", "regularizer=none"]
    code, told = ended(command("sweep", tmp_path / "sweep", *large), tmp_path / "log", little_memory)
    assert code == 1 and "4 finished, 4 failed" in told
    summaries = [read_summary(folder.parent) for folder in sorted((tmp_path / "sweep").glob("*/summary.json"))]
    assert [s["error"] for s in summaries if s["status"] == "failed"] == [
        "there is too little memory (you tried to allocate 10000000000 bytes)"
    ] * 4
    code, told = ended(
        command("run", tmp_path / "run", *large[:2], "architecture.hidden=[50000,50000]"),
        tmp_path / "log",
        little_memory,
    )
    assert code == 1 and "there is too little memory" in told
