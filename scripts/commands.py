"""Every command that README.md and docs/ show, run: `python scripts/commands.py` runs what is new, `--all` all of them.

What each took is written into docs/commands.csv, and how many there are, when and in how many minutes they ran, into
README.md. What cannot be run here stands in ELSEWHERE, with the reason; a command that is neither fails the tests.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib
import multiprocessing
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from lectures import shrink

from dlrun.__main__ import main as main_of_dlrun
from docs import NOTE as GENERATED

ROOT = Path(__file__).parent.parent
README, TABLE, PICTURES = ROOT / "README.md", ROOT / "docs" / "commands.csv", ROOT / "docs" / "pictures"
FIELDS = ("page", "command", "seconds", "date")
BEGIN, END = "<!-- written by scripts/commands.py -->\n", "<!-- end -->"
LIMIT = 1200  #: seconds of a command
HEAVY = ("torch", "pandas", "dlrun.command.cli", "dlrun.training.build")  #: what nearly all of them import

#: commands that are not run by this script, by the first pattern that is found in them, and why
ELSEWHERE = {
    r"^python3 -m venv|^pip install|pre-commit": "installs: .ci/run runs README's two lines",
    r"stack_slurm|submitit_slurm|launcher=ours|launcher=mine|^scancel|^#SBATCH|^srun|scripts/slurm|test_slurm": (
        "needs a Slurm: tests/test_slurm.py, which .ci/run runs on one"
    ),
    r"dataset=(cifar10|cifar100|fashion_mnist|kmnist)\b": "downloads: tests/test_images.py reads such files",
    r"architecture=(densenet|resnet|resnet18)\b": "hours without a GPU: small ones in tests/test_deep_architectures.py",
    r"^dlrun -m .*dataset=sequences": "tens of minutes on two cores: small ones in tests/test_recurrent.py",
    r"^dlrun claims(?! --list)": "hours in all: docs/claims.csv has when each ran, and what came of it",
    r"^(DLRUN_FUZZ=100 )?pytest|^python scripts/|zensical": "of the developers, minutes to hours",
    r"completion fish": "needs fish: tests/test_completion.py",
    r"ray\.init\.address=auto": "needs a Ray cluster that runs already",
    r"tracker=(mlflow|wandb)|^tensorboard |^wandb |mlflow ui": "needs an extra: tests/test_trackers.py",
    r"…|\.\.\.|<TAB>": "not a whole command",
    r"^v \*= momentum": "three lines of a rule: tests/test_optimizers.py",
}

#: names of a verb or a way to start, without what it is to be done with
NAMES = re.compile(r"dlrun (-m|[a-z]+)$|(python|torchrun) -m dlrun$")

#: what stands for a name of the reader's, and what takes its place; of the first pattern that is found in a command
STANDS_FOR = [
    (r"^dlrun (predict|export)", {"FOLDER": "kept/houses", "FILE": "houses.csv"}),
    (r"--config-dir FOLDER|initializer\.path", {"FOLDER": "kept/run"}),
    (r"^dlrun plot", {"FOLDER": "kept/run"}),
    (r"", {"FOLDER": "kept/sweep", "DIR": "kept/sweep", "RUN": "kept/run", "SWEEP": "kept/sweep"}),
]

#: in each working folder before its first command: the reader's own data, and finished runs
PREPARATION = """
import csv, random
from pathlib import Path
from PIL import Image
draw = random.Random(0)
rows = [(draw.randint(30, 200), draw.choice(["north", "south"]), draw.randint(1900, 2020)) for _ in range(400)]
with open("houses.csv", "w", newline="") as file:
    csv.writer(file).writerow(["area", "side", "built", "price"])
    csv.writer(file).writerows((a, s, b, 1000 * a + 20000 * (s == "south") + draw.randint(0, 9999)) for a, s, b in rows)
for part, count in (("train", 24), ("val", 8), ("test", 8)):
    for kind in ("cats", "dogs"):
        Path("photos", part, kind).mkdir(parents=True)
        for i in range(count):
            grey = draw.randint(0, 100) + 100 * (kind == "dogs")
            Image.new("RGB", (40, 40), (grey, grey, grey)).save(f"photos/{part}/{kind}/{i}.png")
"""
KEPT = """dlrun epochs=2 plots=none hydra.run.dir=kept/run
dlrun dataset=table dataset.path=houses.csv dataset.target=price epochs=2 plots=none hydra.run.dir=kept/houses
dlrun -m optimizer=sgd,adam epochs=2 'diagnostics=[trajectory]' plots=none hydra.sweep.dir=kept/sweep""".splitlines()


FILE = re.compile(r"# ([\w/.-]+\.(?:py|yaml))\n")  #: the first line of a block that is a file of the reader's

#: what pages take for granted, by the page
ALREADY = {
    "docs/cluster.md": "dlrun -m optimizer=sgd,adam 'seed=range(2)' epochs=2 hydra.sweep.dir=outputs/first",
}


class Command(NamedTuple):
    """A command as a page shows it, on one line; of a Python block its whole text."""

    page: str
    text: str
    python: bool = False

    @property
    def elsewhere(self) -> str:
        """Why it is not run here, or nothing."""
        return next((why for part, why in ELSEWHERE.items() if re.search(part, self.text)), "")

    @property
    def typed(self) -> str:
        """The command with something in the place of what stands for a name of the reader's."""
        names = {} if self.python else next(names for part, names in STANDS_FOR if re.search(part, self.text))
        return re.sub(r"\b[A-Z]+\b", lambda found: names.get(found[0], found[0]), self.text)


def commands(page: str, text: str) -> Iterator[Command]:
    """In their order: those of blocks (sh, bash, python; in console blocks after $), and those between backticks that
    have arguments."""
    pieces = re.split(r"^( *)```(\w*)\n(.*?)^ *```$", text, flags=re.MULTILINE | re.DOTALL)
    for prose, language, block in zip(pieces[::4], [*pieces[2::4], ""], [*pieces[3::4], ""], strict=True):
        for found in re.findall(r"`((?:dlrun|python|torchrun|pytest)\s[^`]+)`", prose):
            if not NAMES.match(command := " ".join(found.split()).replace("\\|", "|")) or command == "dlrun list":
                yield Command(page, command)
        if language == "python" and not FILE.match(block):
            yield Command(page, block, python=True)
        elif language in ("sh", "bash", "console"):
            yield from (Command(page, line) for line in lines(block, language == "console"))


def files(text: str) -> dict[str, str]:
    """The reader's own files that a page shows, by the names in their first lines."""
    blocks = re.findall(r"^```(?:python|yaml)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return {found[1]: block for block in blocks if (found := FILE.match(block))}


def lines(block: str, console: bool) -> Iterator[str]:
    """A block's commands, each on one line and without its comment."""
    if block.startswith("#!"):  # a script, as a whole
        yield block.splitlines()[-1] if "#SBATCH" not in block else "#SBATCH " + " ".join(block.split())
        return
    for line in block.replace("\\\n", " ").splitlines():
        if console and not line.startswith("$ "):
            continue
        command = re.sub(r"\s+#\s.*$", "", line.removeprefix("$ ")).strip()
        if command and not command.startswith("#"):
            yield re.sub(r"\s{2,}", " ", command)


def pages() -> dict[str, str]:
    """README.md and those of docs/, each with its text."""
    files = [README, *sorted((ROOT / "docs").glob("*.md"))]
    return {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in files}


def every() -> list[Command]:
    """All commands of all pages, each once on a page."""
    return list(dict.fromkeys(command for page, text in pages().items() for command in commands(page, text)))


def ran() -> dict[tuple[str, str], dict[str, str]]:
    """The rows of docs/commands.csv, by page and command."""
    if not TABLE.exists():
        return {}
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {(row["page"], row["command"]): row for row in csv.DictReader(file)}


def told(rows: list[dict[str, str]], elsewhere: int) -> str:
    """The line in README.md."""
    minutes = sum(float(row["seconds"]) for row in rows) / 60
    last = max(row["date"] for row in rows)
    return (
        f"README and docs show {len(rows) + elsewhere} commands. `python scripts/commands.py` ran {len(rows)} of them, "
        f"last {last}, in {minutes:.0f} minutes:\n[commands.csv](docs/commands.csv). It says why it leaves the other "
        f"{elsewhere} out: they install, download, want a Slurm, or take hours.\n"
    )


def prepare(folder: Path, page: str, environment: dict[str, str]) -> None:
    """The reader's data and files, and finished runs, in a working folder."""
    folder.mkdir(parents=True)
    for name, text in files(pages()[page]).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, "-c", PREPARATION], cwd=folder, check=True)
    for command in [*KEPT, *filter(None, [ALREADY.get(page)])]:
        subprocess.run(["bash", "-c", command], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


def run(command: Command, folder: Path, environment: dict[str, str]) -> tuple[int, float, str]:
    """Exit code, seconds, and what was printed.

    What is `dlrun` and words alone runs in a copy of this process, which has imported torch; all else in a shell.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile() as out:
        if not command.python and re.match(r"dlrun\b[^|&;$~<>]*$", command.typed):
            process: Any = multiprocessing.get_context("fork").Process(
                target=_dlrun, args=(shlex.split(command.typed), folder, environment, out.fileno())
            )
            process.start()
            process.join(LIMIT)
            if (code := process.exitcode) is None:
                process.terminate()
        else:
            words = [sys.executable, "-c", command.text] if command.python else ["bash", "-c", command.typed]
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = None
                code = subprocess.run(
                    words, cwd=folder, env=environment, timeout=LIMIT, check=False,
                    stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                ).returncode  # fmt: skip
        out.seek(0)
        printed = out.read().decode(errors="replace")
    return (124, LIMIT, "too long") if code is None else (code, time.monotonic() - started, printed)


def _dlrun(words: list[str], folder: Path, environment: dict[str, str], out: int) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.argv, sys.path = words, sys.path[1:]  # without this folder, as dlrun has it
    main_of_dlrun()


class Result(NamedTuple):
    """A row of README's results: a test metric's mean and standard deviation over seeds, as they stand there."""

    command: str
    seeds: range
    metric: str
    mean: float
    deviation: float

    def now(self, folder: Path, environment: dict[str, str]) -> list[float]:
        """The metric of each seed, trained again."""
        command = f"{self.command} -m 'seed=range({self.seeds.start},{self.seeds.stop})' plots=none hydra.sweep.dir=now"
        run(Command("README.md", command), folder, environment)
        with (folder / "now" / "sweep.csv").open(encoding="utf-8", newline="") as file:
            values = [float(row[f"test_{self.metric}"]) for row in csv.DictReader(file)]
        shutil.rmtree(folder / "now")
        return values

    def problem(self, values: list[float]) -> str:
        """What is wrong, if the mean of these differs from what stands there by more than the deviation."""
        far = abs(statistics.mean(values) - self.mean) > self.deviation or len(values) != len(self.seeds)
        found = f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f} of {len(values)} seeds"
        return f"{self.command}: {found}, and README says {self.mean} ± {self.deviation}" if far else ""


def results(text: str) -> list[Result]:
    """README's table of results."""
    rows = re.findall(r"^\| `(dlrun[^`]*)`[^|]*\| (\d+)–(\d+) \| (\S+) ([\d.]+) ± ([\d.]+) \|$", text, re.MULTILINE)
    return [
        Result(
            command, range(int(first), int(last) + 1), {"R²": "r2"}.get(metric, metric), float(mean), float(deviation)
        )
        for command, first, last, metric, mean, deviation in rows
    ]


def write(rows: dict[tuple[str, str], dict[str, str]]) -> None:
    """docs/commands.csv, of what the pages still show in their order, and README's line where all have been run."""
    shown = every()
    kept = [rows[key] for command in shown if (key := (command.page, command.text)) in rows]
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
    if len(kept) < sum(not command.elsewhere for command in shown):
        return
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    line = told(kept, sum(bool(command.elsewhere) for command in shown))
    README.write_text(f"{before}{BEGIN}{line}{END}{rest.partition(END)[2]}", encoding="utf-8")


def main() -> int:
    """0 where all commands ended as they should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", help="such as README.md or docs/tutorial.md; none: all")
    parser.add_argument("--all", action="store_true", help="also those that are in docs/commands.csv already")
    asked = parser.parse_args()
    rows = ran()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    wanted = [command for command in every() if not command.elsewhere and command.page in (asked.pages or pages())]
    if not asked.all:
        new = {command.page for command in wanted if (command.page, command.text) not in rows}
        alone = {page for page, text in pages().items() if text.startswith(GENERATED)}  # whose commands want no others
        wanted = [each for each in wanted if each.page in new and not (each.page in alone and each[:2] in rows)]
    failed = 0
    write(rows)  # of pages whose new commands are none that run here, the count alone
    for module in HEAVY if wanted else ():
        importlib.import_module(module)
    with tempfile.TemporaryDirectory() as name:
        for number, command in enumerate(wanted, 1):
            folder = Path(name, command.page.replace("/", "-"))
            if not folder.exists():
                prepare(folder, command.page, environment)
            code, seconds, output = run(command, folder, environment)
            print(f"{number}/{len(wanted)} {command.page}: {command.typed} ({seconds:.1f} s)", flush=True)
            if code:
                failed += 1
                print(f"ended with {code}:\n{output[-2000:]}", flush=True)
                rows.pop(command[:2], None)
            else:
                rows[command[:2]] = dict(
                    zip(FIELDS, (*command[:2], f"{seconds:.1f}", date.today().isoformat()), strict=True)
                )
            write(rows)
        for result in results(pages()["README.md"]) if Path(name, "README.md").exists() else ():
            problem = result.problem(result.now(Path(name, "README.md"), environment))
            failed += bool(problem)
            print(problem or f"as README says: {result.command}", flush=True)
        for picture in PICTURES.glob("*.png"):
            if (source := next(Path(name, "README.md").glob(f"outputs/*/{picture.name}"), None)) is not None:
                shrink(source, picture)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
