"""Folders of runs and sweeps that were damaged, or made by a stranger: told in a message, never a traceback or hang."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_cli import Ended

from dlrun.command.cli import main
from dlrun.report.collect import append_run
from dlrun.report.pictures import Pictures
from dlrun.sweep import trainers
from dlrun.sweep.plan import Plan
from dlrun.sweep.workers import Task

SHOWN = bool(os.environ.get("SHOWN"))
SECONDS = 60  #: until a command counts as hanging; the slowest takes two
BOMB = "a: &a [1,1,1,1,1,1,1,1]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 8)}]\n" for i in range(24)
)
DEEP = "seed: " + "[" * 200_000
ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, `run`, one that was interrupted, `begun`, and a finished sweep of two, `sweep`."""
    folder = tmp_path_factory.mktemp("whole")
    small = ["dataset=iris", "architecture.hidden=[3]", "steps=4", "eval_every=0.01", "plots=none"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert command(*small, "hydra.run.dir=run") == 0
        assert command("-m", *small, "seed=0,1", "hydra.sweep.dir=sweep") == 0
        patch.setattr("dlrun.folder.checkpoint.remove", lambda folder: None)
        assert command(*small, "checkpoint_every=0.01", "hydra.run.dir=begun") == 0
        (folder / "begun" / "summary.json").unlink()
    shutil.rmtree(folder / "outputs", ignore_errors=True)
    return folder


def command(*words: str) -> int:
    with pytest.MonkeyPatch.context() as patch, within(SECONDS):
        patch.setattr(sys, "argv", ["dlrun", *words])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


@contextmanager
def within(seconds: int) -> Iterator[None]:
    def hanging(*_: object) -> None:
        raise AssertionError(f"no answer for {seconds} seconds")

    before = signal.signal(signal.SIGALRM, hanging)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that is resumed comes to where its runs would be trained, and what comes after it; no pictures."""

    def train(self: object, stacks: list[list[Task]], plan: Plan, device: str, end: float) -> bool:
        for stack in stacks:
            for task in stack:
                trainers.conclude(task, None)
                append_run(plan.folder, task.folder)
        return True

    monkeypatch.setattr(trainers.Here, "train", train)
    monkeypatch.setattr("dlrun.report.report.draw", lambda *_: Pictures({}, {}))


def listing(folder: Path) -> dict[str, bytes | str | None]:
    """All that is there: the contents of files, where links lead, and None for the rest."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(folder.rglob("*")):
        kind = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = kind
    return found


def replaced(name: str, content: str | bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        data = content.encode() if isinstance(content, str) else content
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    return damage


def cut(name: str, length: int) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, length)


def piped(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return damage


def foldered(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return damage


def gone(name: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def both(*damages: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for each in damages:
            each(folder)

    return damage


def linked(name: str, target: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        place = folder / name
        shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink(missing_ok=True)
        place.symlink_to(target.replace("OUTSIDE", str(folder.parent / "outside")))

    return damage


def sparse(name: str) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, 2**40)


def noted(**changes: object) -> Callable[[Path], None]:
    """Another summary.json of run 0."""

    def damage(folder: Path) -> None:
        file = folder / "0" / "summary.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return damage


def planned(**changes: object) -> Callable[[Path], None]:
    """Another plan.json."""

    def damage(folder: Path) -> None:
        file = folder / "plan.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return damage


def commanded(*words: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        shutil.rmtree(folder / "1")
        file = folder / "plan.json"
        plan = json.loads(file.read_text())
        plan["commands"][0] += words
        file.write_text(json.dumps(plan))

    return damage


def row(*cells: str) -> Callable[[Path], None]:
    """A further line of run 0's metrics.csv."""

    def damage(folder: Path) -> None:
        with (folder / "0" / "metrics.csv").open("a") as file:
            file.write(",".join(cells) + "\n")

    return damage


RUN = {"number": 0, "config": "x"}
TYPED = "0/.hydra/overrides.yaml"
JOB = ".slurm/1/job.json"
DAMAGES: dict[str, Callable[[Path], None]] = {
    "summary.json is cut": cut("0/summary.json", 40),
    "summary.json is empty": cut("0/summary.json", 0),
    "summary.json is a list": replaced("0/summary.json", "[1]"),
    "summary.json is binary": replaced("0/summary.json", bytes(range(256))),
    "summary.json has no status": replaced("0/summary.json", "{}"),
    "summary.json has a status of its own": noted(status="<b>"),
    "summary.json nests": replaced("0/summary.json", "[" * 100_000),
    "summary.json has words for numbers": noted(best_val_loss="low"),
    "summary.json has lists for numbers": noted(best_val_accuracy=[1]),
    "summary.json has endless numbers": noted(best_epoch=10**400, best_step=10**30),
    "summary.json has lists for a digest": noted(data=[1]),
    "summary.json has halves of letters": noted(data="\ud800", error="\udfff", width="\ud800", name="\ud800"),
    "summary.json lacks its metric": noted(metrics={"x": "higher"}, main_metric="y"),
    "summary.json is a pipe": piped("0/summary.json"),
    "summary.json is a folder": foldered("0/summary.json"),
    "summary.json is a link": linked("0/summary.json", "OUTSIDE/summary.json"),
    "summary.json is a link to itself": linked("0/summary.json", "summary.json"),
    "summary.json is a device": linked("0/summary.json", "/dev/zero"),
    "summary.json is huge": sparse("0/summary.json"),
    "summary.json commands the terminal": noted(status="failed", error=ESCAPE, name=ESCAPE),
    "metrics.csv is cut in a row": cut("0/metrics.csv", 200),
    "metrics.csv is empty": cut("0/metrics.csv", 0),
    "metrics.csv is binary": replaced("0/metrics.csv", b"\0\xff" * 99),
    "metrics.csv is ragged": row("1", "2", "3"),
    "metrics.csv has words": row(*["word"] * 13),
    "metrics.csv has no time": row("nan", "inf", *["1"] * 11),
    "metrics.csv has no seconds": row("8", "9", *["1"] * 10, "nan"),
    "metrics.csv goes back": row("0", "0", *["1"] * 11),
    "metrics.csv has a column twice": replaced("0/metrics.csv", "epoch,step,step\n0,0,0\n"),
    "metrics.csv has other columns": replaced("0/metrics.csv", "a,b\n0,0\n"),
    "metrics.csv has underscores": row("1_0", "9", *["1"] * 11),
    "metrics.csv is a pipe": piped("0/metrics.csv"),
    "metrics.csv is a folder": foldered("0/metrics.csv"),
    "metrics.csv is a link": linked("0/metrics.csv", "OUTSIDE/precious.txt"),
    "metrics.csv is huge": sparse("0/metrics.csv"),
    "overrides.yaml is no list": replaced(TYPED, "seed: 0"),
    "overrides.yaml is no YAML": replaced(TYPED, "- [\n"),
    "overrides.yaml holds numbers": replaced(TYPED, "- 1\n- null\n"),
    "overrides.yaml names results": replaced(TYPED, "- run=x\n- status=y\n- best_val_loss=z\n"),
    "overrides.yaml has no keys": replaced(TYPED, "- '=1'\n"),
    "overrides.yaml calls Python": replaced(TYPED, "- !!python/object/apply:os.mkdir [x]\n"),
    "overrides.yaml nests": replaced(TYPED, DEEP),
    "overrides.yaml commands the terminal": replaced(TYPED, yaml.safe_dump([f"a=b{ESCAPE}", "seed=7"])),
    ".hydra is a link": linked("0/.hydra", "OUTSIDE"),
    ".hydra is a file": both(gone("0/.hydra"), replaced("0/.hydra", "")),
    "config.yaml is a bomb": both(replaced("0/config.yaml", BOMB), replaced(TYPED, "- seed=1")),
    "config.yaml nests": both(replaced("0/config.yaml", DEEP), replaced(TYPED, "[]")),
    "config.yaml has an endless number": replaced("0/config.yaml", f"batch_size: 0x{'f' * 9999}"),
    "config.yaml has a number that takes hours": both(
        replaced("0/config.yaml", f"lr: 1{':1' * 400_000}"), replaced(TYPED, "[]")
    ),
    "config.yaml has a number in many lines": both(
        replaced("0/config.yaml", 'lr: !!int "1{}"'.format(f"{'1' * 99}\\\n" * 99)), replaced(TYPED, "[]")
    ),
    "config.yaml is binary": both(replaced("0/config.yaml", b"\xff\0"), replaced(TYPED, "[]")),
    "config.yaml is a list": both(replaced("0/config.yaml", "[1]"), replaced(TYPED, "[]")),
    "config.yaml is a pipe": both(piped("0/config.yaml"), replaced(TYPED, "[]")),
    "both runs are one": both(gone("1"), lambda folder: shutil.copytree(folder / "0", folder / "1")),
    "a run is gone": gone("0"),
    "a run is a link": linked("0", "OUTSIDE"),
    "a run is a link to the sweep": linked("0", "."),
    "two links to the sweep": both(linked("2", "."), linked("3", ".")),
    "a run's name is not UTF-8": lambda folder: os.rename(folder / "0", os.path.join(os.fsencode(folder), b"\xff")),
    "a run's name commands the terminal": lambda folder: os.rename(folder / "0", folder / f"a{ESCAPE}\n,\"b"),
    "a run's name is a number that is missing": lambda folder: os.rename(folder / "0", folder / "NA"),
    "plan.json is cut": cut("plan.json", 30),
    "plan.json is a list": replaced("plan.json", "[]"),
    "plan.json nests": replaced("plan.json", "[" * 100_000),
    "plan.json is a pipe": piped("plan.json"),
    "plan.json has no commands": planned(commands=None),
    "plan.json has words for commands": planned(commands=["seed=1"]),
    "plan.json has numbers for commands": planned(commands=[[1]]),
    "plan.json has no runs": planned(runs=[]),
    "plan.json has runs without numbers": planned(runs={"0": {"config": "x"}}),
    "plan.json has runs with words for numbers": planned(runs={"0": {"number": "0", "config": "x"}}),
    "plan.json has a run elsewhere": planned(runs={"../outside": RUN}),
    "plan.json has a run anywhere": planned(runs={"/etc": RUN}),
    "plan.json has a run that is no name": planned(runs={"": RUN, "a\0b": RUN}),
    "plan.json has an unknown key": commanded("sede=1"),
    "plan.json has no command": commanded("["),
    "plan.json puts runs elsewhere": commanded("hydra.sweep.subdir=../outside"),
    "plan.json puts runs anywhere": commanded("hydra.sweep.subdir=/tmp/dlrun-victim"),
    "plan.json puts runs into one folder": commanded("hydra.sweep.subdir=x"),
    "plan.json puts the sweep elsewhere": commanded("hydra.sweep.dir=../outside"),
    "plan.json commands the terminal": commanded(f"name='{ESCAPE}'"),
    "job.json is cut": replaced(JOB, '{"id":'),
    "job.json has no parts": replaced(JOB, '{"id": "1"}'),
    "job.json has another id": replaced(JOB, '{"id": "--help", "parts": []}'),
    "job.json has runs elsewhere": replaced(JOB, '{"id": "1", "parts": [["../outside"]]}'),
    "job.json has more": replaced(JOB, '{"id": "1", "parts": [], "x": 1}'),
    "job.json has words": replaced(JOB, '{"id": "1", "parts": "ab"}'),
    ".slurm has other folders": replaced(".slurm/notes/job.json", "{}"),
    ".slurm is a link": linked(".slurm", "OUTSIDE"),
    "sweep.csv is a pipe": piped("sweep.csv"),
    "sweep.csv is a link": linked("sweep.csv", "OUTSIDE/precious.txt"),
    "curves.csv is another's": replaced("curves.csv", "mine"),
    "report.html is a link": linked("report.html", "OUTSIDE/precious.txt"),
    "report.html is a pipe": piped("report.html"),
    "multirun.yaml is a link": linked("multirun.yaml", "OUTSIDE/precious.txt"),
    "the lock is a link": linked(".lock", "OUTSIDE/precious.txt"),
    "the study is a list": replaced("optimization_results.yaml", "[1]"),
    "the study is cut": replaced("optimization_results.yaml", "trials: 3\n"),
    "the study is a bomb": replaced("optimization_results.yaml", BOMB),
}  # fmt: skip
assert len(DAMAGES) > 80
#: what the pictures of a run are made of
PLOTTED = ("summary.json", "metrics.csv", "config.yaml", "overrides.yaml", ".hydra", "a run", "both runs")
#: what resuming a sweep looks at
RESUMED = (
    "summary.json is cut", "summary.json is a folder", "metrics.csv is a link", ".hydra is a link", "a run is",
    "plan.json", "job.json is cut", ".slurm", "sweep.csv is a link", "multirun.yaml", "the lock",
)  # fmt: skip


def outside(folder: Path) -> Path:
    """A folder beside the damaged one, of what a link there would have dlrun read, change or delete."""
    made = folder / "outside"
    (made / "checkpoint").mkdir(parents=True)
    for name in ("precious.txt", "config.yaml", "metrics.csv", "dlrun.log", "checkpoint/notes", "overrides.yaml"):
        (made / name).write_text("precious")
    (made / "summary.json").write_text('{"status": "failed", "error": "precious"}')
    return made


def survives(folder: Path, kept: Path, capfd: pytest.CaptureFixture[str], *words: str) -> Ended:
    """The command ends with a message or without, in time, and touches nothing outside of the folder."""
    before = listing(kept)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code = command(*words)
    ended = Ended(code, *capfd.readouterr())
    told = ended.out + ended.err
    assert "Traceback" not in told, told
    assert ended.code in (0, 1, 2, 130) and (ended.code == 0 or ended.err or "interrupted" in told), told
    if SHOWN:
        print(f"$ dlrun {' '.join(words)} -> {code}\n{told}", file=sys.__stderr__)
    assert not any(code in told for code in "\x1b\x07\x9b\u202e"), told
    assert listing(kept) == before, words
    assert not Path("/tmp/dlrun-victim").exists()
    return ended


@pytest.mark.parametrize(
    "damage",
    [each if each.startswith("plan.json") else pytest.param(each, marks=pytest.mark.slow) for each in DAMAGES],
)
def test_a_damaged_sweep_is_told_and_the_rest_of_it_used(
    damage: str, folders: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], untrained: None
) -> None:
    sweep = shutil.copytree(folders / "sweep", tmp_path / "sweep")
    kept = outside(tmp_path)
    DAMAGES[damage](sweep)
    commands = [["status", "sweep"], ["report", "sweep", "--target", "val_loss=0.9"]]
    if damage.startswith(PLOTTED):
        commands.append(["plot", "sweep/0"])
    if damage.startswith(RESUMED):  # which takes a second
        commands.append(["resume", "sweep"])
    for words in commands:
        ended = survives(tmp_path, kept, capfd, *words)
        assert "precious" not in ended.out + ended.err or "precious.txt" in ended.err
    if (page := sweep / "report.html").is_file() and not page.is_symlink():
        assert "precious" not in (text := page.read_text()) and not any(each in text for each in "\x1b\x07\u202e")


#: what a run's folder is written through: what it leads to would be filled, cut off, emptied or deleted
WAYS_OUT = [
    "metrics.csv", "lr_range.csv", "pretraining.csv", "dlrun.log", ".lock", "checkpoint", ".hydra",
    ".hydra/config.yaml", ".hydra/overrides.yaml",
]  # fmt: skip


@pytest.mark.parametrize("name", WAYS_OUT)
@pytest.mark.parametrize("hard", [False, True])
def test_a_run_is_not_resumed_through_what_lies_elsewhere_too(
    name: str, hard: bool, folders: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(folders / "begun", tmp_path / "begun")
    kept = outside(tmp_path)
    if hard and (run / name).is_dir():
        pytest.skip("folders have one name")
    if hard:
        (run / name).unlink(missing_ok=True)
        os.link(kept / "metrics.csv", run / name)
    else:
        linked(name, "OUTSIDE/checkpoint" if name in ("checkpoint", ".hydra") else "OUTSIDE/metrics.csv")(run)
    before = listing(run)
    ended = survives(tmp_path, kept, capfd, "resume", "begun")
    assert ended.code == 2 and f"begun/{name} " in ended.err, ended.err
    assert listing(run) == before


def test_what_is_put_in_the_place_of_a_file_replaces_a_link_and_no_name_is_foreseen(
    folders: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also where a link has the name that a part of a file once had, and where the folder is reached by a link."""
    run = shutil.copytree(folders / "begun", tmp_path / "elsewhere" / "begun")
    (tmp_path / "outputs").symlink_to("elsewhere")
    kept = outside(tmp_path)
    for name in ("summary.json", "config.yaml", "model.safetensors", "last.safetensors", "curves.png"):
        linked(f".{name}.part", str(kept / "metrics.csv"))(run)
        if name not in ("config.yaml", "summary.json"):
            linked(name, str(kept / "metrics.csv"))(run)
    assert survives(tmp_path, kept, capfd, "resume", "outputs/begun", "plots=auto").code == 0
    made = {name: run / name for name in ("summary.json", "model.safetensors", "last.safetensors", "curves.png")}
    assert all(path.is_file() and not path.is_symlink() for path in made.values())
    whole = folders / "run" / "metrics.csv"
    assert [line.rpartition(",")[0] for line in (run / "metrics.csv").read_text().splitlines()] == [
        line.rpartition(",")[0] for line in whole.read_text().splitlines()
    ]
    assert not list(run.glob(".*.part"))


ODD: dict[str, object] = {
    "step": "1", "runs": 3, "configs": [1], "files": [{"metrics.csv": -1}], "versions": [], "initialized": [3],
    "status": None, "rows": 1, "taken": ["x"], "seconds": None, "runs_left": [-1], "started": 3, "on_cpu": {},
}  # fmt: skip


@pytest.mark.slow
def test_what_a_checkpoint_says_is_looked_at_before_it_is_used(
    folders: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A stranger can give a file the hash of its own bytes."""
    from safetensors.torch import load, save

    from dlrun.folder.checkpoint import _digest, _record, generations
    from dlrun.folder.wellformed import is_record

    [path, *_] = generations(folders / "begun" / "checkpoint")
    record, data = _record(path)
    kept = outside(tmp_path)
    for key, value in ODD.items():
        assert not is_record(record | {key: value}, record["step"]), key
    for number, change in enumerate(
        [{"runs": ["../outside"]}, {"runs": 3}, {"files": []}, {"rows": []}, {"status": 1}]
    ):
        run = shutil.copytree(folders / "begun", tmp_path / str(number))
        shutil.rmtree(run / "checkpoint")
        (run / "checkpoint").mkdir()
        theirs = save(load(data), {"record": json.dumps(record | change)})
        (run / "checkpoint" / f"{record['step']}-{_digest(theirs)}.safetensors").write_bytes(theirs)
        ended = survives(tmp_path, kept, capfd, "resume", str(number))
        assert ended.code in (0, 2) and "the run failed" not in ended.err, (change, ended.err)


BLOCKS = [b"", b"\0" * 9, b"\xff\xfe", ESCAPE.encode(), b"${oc.env:HOME}", b"../outside", b"- *a\n", b"1e999", b"[[{"]
HYDRAS = [f".hydra/{name}.yaml" for name in ("config", "hydra", "overrides")]
OF_RUN = ["config.yaml", "metrics.csv", "summary.json", *HYDRAS]
OF_SWEEP = ["plan.json", "sweep.csv", "curves.csv", "report.html", *(f"{i}/{name}" for i in (0, 1) for name in OF_RUN)]


def is_small_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size < 10**6


@st.composite
def damages(draw: st.DrawFn, kind: str) -> Callable[[Path], None]:
    """One to three changes anywhere in a folder: to bytes, to what a file is, or to whose bytes it holds."""

    def damage(folder: Path) -> None:
        for how, file, other, at, block in changes:
            path, files = folder / file, [each for each in sorted(folder.rglob("*")) if is_small_file(each)]
            if not is_small_file(path):
                continue
            content = bytearray(path.read_bytes())
            at = at % (len(content) + 1)
            if how == "cut":
                path.write_bytes(content[:at])
            elif how == "put in":
                path.write_bytes(content[:at] + block + content[at:])
            elif how == "change":
                path.write_bytes(content[:at] + block + content[at + len(block) :])
            elif how == "exchange":
                path.write_bytes(files[other % len(files)].read_bytes())
            else:
                made[how](str(path.relative_to(folder)))(folder)

    made: dict[str, Callable[[str], Callable[[Path], None]]] = {
        "pipe": piped,
        "folder": foldered,
        "link": lambda name: linked(name, "OUTSIDE/metrics.csv"),
        "loop": lambda name: linked(name, "."),
        "bomb": lambda name: replaced(name, BOMB),
        "depth": lambda name: replaced(name, DEEP),
        "hole": sparse,
        "gone": gone,
    }
    change = st.tuples(
        st.sampled_from([*made, *["cut", "put in", "change", "exchange"] * 4]),
        st.sampled_from(OF_SWEEP if kind == "sweep" else OF_RUN),
        st.integers(0, 99),
        st.integers(0, 60) | st.integers(0, 10_000),
        st.binary(max_size=4) | st.sampled_from(BLOCKS),
    )
    changes = draw(st.lists(change, min_size=1, max_size=3))
    return damage


def fuzzed(number: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return settings(
        max_examples=number,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to make an example smaller takes minutes
        deadline=None,  # `survives` has one
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


EXAMPLES = int(os.environ.get("DLRUN_FUZZ", "1"))  #: times as many of them as in every run of the tests


@pytest.mark.slow
@fuzzed(15 * EXAMPLES)
@given(damage=damages("sweep"), resumed=st.integers(0, 4))
def test_any_folder_of_a_sweep_is_used_or_told(
    damage: Callable[[Path], None],
    resumed: int,
    folders: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capfd: pytest.CaptureFixture[str],
    untrained: None,
) -> None:
    folder = tmp_path_factory.mktemp("fuzzed")
    damage(shutil.copytree(folders / "sweep", folder / "sweep"))
    kept = outside(folder)
    last = ["resume", "sweep"] if resumed == 0 else ["plot", "sweep"]
    for words in (["status", "sweep"], ["report", "sweep"], last):
        survives(folder, kept, capfd, *words)
    shutil.rmtree(folder)


@pytest.mark.slow
@fuzzed(15 * EXAMPLES)
@given(damage=damages("run"), resumed=st.integers(0, 4))
def test_any_folder_of_a_run_is_used_or_told(
    damage: Callable[[Path], None],
    resumed: int,
    folders: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capfd: pytest.CaptureFixture[str],
    untrained: None,
) -> None:
    folder = tmp_path_factory.mktemp("fuzzed")
    damage(shutil.copytree(folders / "run", folder / "run"))
    kept = outside(folder)
    for words in (["plot", "run"], ["report", "run"], *([["resume", "run"]] if resumed == 0 else [])):
        survives(folder, kept, capfd, *words)
    shutil.rmtree(folder)


def test_resume_reads_nothing_through_a_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "secret.yaml").write_text("lr: hunter3\n")
    (tmp_path / "run" / "config.yaml").symlink_to(tmp_path / "secret.yaml")
    assert command("resume", str(tmp_path / "run")) == 2
    said = capsys.readouterr().err
    assert "config.yaml is a link" in " ".join(said.split()) and "hunter3" not in said
