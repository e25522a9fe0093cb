"""Kill trainings again and again, resume them, and compare what they leave with the undisturbed run, byte by byte.

python scripts/torture.py 200 --seed 0
python scripts/torture.py 100 --interrupts

A cycle starts a command and ends it at random times: by kill -9, a signal, kill -9 of a sweep's worker, or of its
parent while a worker is in a long step; in between it may damage what the dead process left, as a full disk or a power
cut would: a checkpoint or a CSV file cut short. Some commands print into a pipe that nobody reads, and some folders are
symbolic links. Then `dlrun resume`, or the same command again, until it says that it has finished.

A cycle counts as lost if it does not finish, as mismatch if any number or weight differs from the undisturbed run's.

With --interrupts a cycle is one Ctrl-C at a random moment of a command, from its first import to its last: it counts as
lost if there is a traceback, another exit code than 130 (or 0, where it was over), or no word on how to go on.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

SMALL = ["dataset=iris", "architecture.hidden=[8]", "plots=none", "batch_size=16", "compile=false"]
CASES = {
    "dropout": ["regularizer=dropout", "epochs=60", "checkpoint_every=2.3"],
    "momentum": ["optimizer=momentum", "schedule=cosine", "schedule.warmup=0.1", "epochs=80", "checkpoint_every=3"],
    "adam": ["optimizer=adam", "train_metrics=running", "epochs=80", "checkpoint_every=1.6", "eval_every=3"],
    "batch norm": ["normalization=batch", "regularizer=[l2,gradient_noise]", "epochs=60", "checkpoint_every=2"],
    "early stopping": ["regularizer=early_stopping", "lr=0.05", "epochs=300", "checkpoint_every=1.5"],
    "plateau": [
        "schedule=plateau",
        "schedule.patience=2",
        "optimizer=sgd",
        "lr=0.1",
        "epochs=80",
        "checkpoint_every=2",
    ],
    "averages": ["regularizer=[ema,swa,dropout]", "lr=0.01", "epochs=50", "checkpoint_every=2.7"],
    "lr_range": ["schedule=lr_range", "optimizer=sgd", "epochs=60", "checkpoint_every=1.4", "eval_every=2"],
    "pretraining": ["initializer=autoencoder_pretraining", "initializer.epochs=5", "epochs=50", "checkpoint_every=2"],
    "minutes": ["regularizer=dropout", "epochs=60", "checkpoint_every=0.002min"],
    "at signals": ["regularizer=dropout", "epochs=40", "checkpoint_every=null"],
    "sweep": ["-m", "lr=0.1,0.01,0.001", "regularizer=dropout", "epochs=60", "checkpoint_every=3"],
    "search": [
        "-m",
        "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=4",
        "hydra.sweeper.n_jobs=2",
        "lr=interval(0.01,0.1)",
        "epochs=60",
        "checkpoint_every=3",
    ],
    "sweep of two": ["-m", "optimizer=sgd,adam", "seed=0,1", "regularizer=dropout", "epochs=60", "checkpoint_every=3"],
}
SIGNALS = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT]
#: what is interrupted, and the seconds that it takes, about
COMMANDS = {
    "run": (["epochs=400", "hydra.run.dir={new}"], 5),
    "sweep": (["-m", "epochs=400", "seed=0,1", "lr=0.1,0.2", "hydra.sweep.dir={new}"], 8),
    "basic": (["-m", "epochs=400", "seed=0,1", "hydra/launcher=basic", "hydra.sweep.dir={new}"], 8),
    "resume": (["resume", "{sweep}"], 5),
    "report": (["report", "{sweep}"], 5),
    "plot": (["plot", "{run}"], 4),
    "status": (["status", "{sweep}"], 3),
    "list": (["list"], 1),
}
PATIENCE = 120  # seconds until a command that does not end is lost
REFUSED = "another process is at work"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cycles", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--interrupts", action="store_true")
    options = parser.parse_args()
    if options.interrupts:
        sys.exit(interrupts(options.cycles, random.Random(options.seed)))
    # Commands are forked from a process that has imported all that is slow to import: a cycle is then a second or two.
    import dlrun.job.run
    import dlrun.sweep.launch  # noqa: F401

    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    random_ = random.Random(options.seed)
    torture = Torture(folder, random_)
    told = {"finished": 0, "lost": 0, "mismatches": 0}
    for cycle in range(options.cycles):
        case = random_.choice(options.cases)
        verdict, story = torture.cycle(case, folder / str(cycle))
        told[verdict] += 1
        print(f"{cycle + 1}/{options.cycles} {case}: {', '.join(story)}: {verdict}", flush=True)
        if verdict == "finished":
            shutil.rmtree((folder / str(cycle)).resolve())
    done = f"{torture.commands} commands, {torture.kills} ended, {torture.orphans} workers orphaned, "
    done += f"{torture.pipes} printed to nobody, {torture.links} into symbolic links, {torture.faults} files damaged"
    result = f"{told['lost']} lost, {told['mismatches']} mismatches"
    print(f"{options.cycles} cycles with seed {options.seed}: {done}; {result}")
    if told["finished"] == options.cycles:
        shutil.rmtree(folder)
    else:
        sys.exit(f"see {folder}")


class Torture:
    """Cycles, and what they have in common: the undisturbed runs.

    Args:
        folder: for everything that is written.
    """

    def __init__(self, folder: Path, random_: random.Random) -> None:
        self.folder, self.random = folder, random_
        self.commands, self.kills, self.faults = 0, 0, 0
        self.orphans, self.pipes, self.links = 0, 0, 0
        self.undisturbed: dict[str, tuple[dict[str, bytes], float]] = {}

    def cycle(self, case: str, folder: Path) -> tuple[str, list[str]]:
        """Train a case in the folder with disturbances; returns what became of it, and what was done."""
        if case not in self.undisturbed:
            reference, begun = self.folder / case.replace(" ", "_"), time.monotonic()
            self._start(command(case, reference), reference).join()
            self.undisturbed[case] = results(reference), time.monotonic() - begun
        expected, seconds = self.undisturbed[case]
        assert expected, f"{case} does not train undisturbed"
        story: list[str] = []
        if self.random.random() < 0.3:
            elsewhere = folder.with_name(f"{folder.name}-elsewhere")
            elsewhere.mkdir()
            folder.symlink_to(elsewhere)
            self.links += 1
            story.append("symbolic link")
        for _ in range(self.random.randint(1, 4)):
            process = self._start(self._again(case, folder, story), folder)
            process.join(self.random.uniform(0, seconds))
            if process.exitcode is None:
                story.append(self._end(process, case))
                process.join(PATIENCE)
            if process.exitcode is None:
                process.kill()
                return "lost", [*story, "hung"]
            if self.random.random() < 0.3:
                story += self._damage(folder)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            process = self._start(self._again(case, folder, story), folder)
            process.join(PATIENCE)
            if process.exitcode == 0:
                return ("finished" if results(folder) == expected else "mismatches"), story
            if REFUSED not in log(folder).read_text().splitlines()[-1]:
                return "lost", [*story, f"exit code {process.exitcode}"]
            time.sleep(0.2)  # a worker of a killed sweep has not noticed yet
        return "lost", [*story, "refused"]

    def _start(self, arguments: list[str], folder: Path) -> BaseProcess:
        self.commands += 1
        unread = self.random.random() < 0.2
        self.pipes += unread
        process = multiprocessing.get_context("fork").Process(target=dlrun, args=(arguments, log(folder), unread))
        process.start()
        return process

    def _again(self, case: str, folder: Path, story: list[str]) -> list[str]:
        known = (folder / ("plan.json" if "-m" in CASES[case] else "config.yaml")).exists()
        if not known or self.random.random() < 0.5:
            return command(case, folder)
        story.append("resume")
        return ["resume", str(folder)]

    def _end(self, process: BaseProcess, case: str) -> str:
        self.kills += 1
        assert process.pid is not None
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if "-m" in CASES[case] and children and self.random.random() < 0.6:
            child = int(self.random.choice(children))
            if self.random.random() < 0.5:
                os.kill(child, signal.SIGKILL)
                return "a worker killed"
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGSTOP)  # as if its step took that long
            subprocess.Popen(["sh", "-c", f"sleep {self.random.uniform(0, 4)}; kill -CONT {child} 2>/dev/null"])
            self.orphans += 1
            return "a worker orphaned"
        signum = self.random.choice(SIGNALS)
        os.kill(process.pid, signum)
        return signum.name

    def _damage(self, folder: Path) -> list[str]:
        """Cut a file of a dead process short."""
        kind = self.random.choice(["checkpoint/*.safetensors", "metrics.csv", "lr_range.csv"])
        files = [f for f in folder.rglob(kind) if not (f.parent / "summary.json").exists()]
        if not files:
            return []
        file = max(files, key=lambda f: f.stat().st_mtime_ns)
        size = file.stat().st_size
        os.truncate(file, max(0, size - self.random.randint(1, 40)))
        self.faults += 1
        return [f"{file.name.split('-')[0]} cut short"]


def interrupts(cycles: int, random_: random.Random) -> int:
    """Interrupt commands at random moments; returns how many did not end as they should."""
    folder, wrong = Path(tempfile.mkdtemp(prefix="torture-")), 0
    ready = {"run": folder / "run", "sweep": folder / "sweep"}
    for arguments in ([f"hydra.run.dir={ready['run']}"], ["-m", "seed=0,1", f"hydra.sweep.dir={ready['sweep']}"]):
        subprocess.run([sys.executable, "-m", "dlrun", *arguments, *SMALL, "epochs=2"], check=True, capture_output=True)
    for cycle in range(cycles):
        name = random_.choice(list(COMMANDS))
        arguments, most = COMMANDS[name]
        new, moment = folder / str(cycle), random_.uniform(0.05, most)
        typed = [each.format(new=new, **ready) for each in arguments]
        small = SMALL if any("{new}" in each for each in arguments) else []
        process = subprocess.Popen(
            [sys.executable, "-m", "dlrun", *typed[:1], *small, *typed[1:]],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        time.sleep(moment)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)  # what a terminal does
        said, _ = process.communicate(timeout=PATIENCE)
        begun = any((new / each).exists() for each in ("plan.json", "config.yaml"))
        told = process.returncode == 0 or ("interrupted" in said and (not begun or "dlrun resume" in said))
        left = new.exists() and not begun
        if process.returncode not in (0, 130) or not told or left or "Traceback" in said or "Exception" in said:
            wrong += 1
            print(f"{name} after {moment:.2f} s: exit code {process.returncode}\n{said}", flush=True)
    print(f"{cycles} interrupts: {wrong} did not end as they should")
    shutil.rmtree(folder)
    return wrong


def command(case: str, folder: Path) -> list[str]:
    """What to type to train a case in a folder."""
    sweep = ["hydra.launcher.workers=1", f"hydra.sweep.dir={folder}"]
    return [*CASES[case], *SMALL, *(sweep if "-m" in CASES[case] else [f"hydra.run.dir={folder}"])]


def log(folder: Path) -> Path:
    """Where the commands of a folder print."""
    return folder.with_name(f"{folder.name}.log")


def dlrun(arguments: list[str], output: Path, unread: bool = False) -> None:
    """The command, in a process of its own. unread: what it prints goes to a pipe that nobody reads, but for errors."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with output.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if unread:
        reading, writing = os.pipe()
        os.dup2(writing, 1)
        os.close(reading)
        os.close(writing)
    for name, number in (("stdout", 1), ("stderr", 2)):  # the parent's may remember that they were files
        setattr(sys, name, os.fdopen(number, "w", closefd=False))
    from dlrun.command.cli import main

    sys.argv = ["dlrun", *arguments]
    main()


def results(folder: Path) -> dict[str, bytes]:
    """What has to be the same to the last byte, by path: weights, and tables but for the column `seconds`."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}
    for name in ("metrics.csv", "lr_range.csv", "pretraining.csv"):
        for path in folder.rglob(name):
            lines = path.read_text().splitlines()
            timed = lines[0].endswith(",seconds")
            found[str(path.relative_to(folder))] = "\n".join(
                line.rpartition(",")[0] if timed else line for line in lines
            ).encode()
    return found


if __name__ == "__main__":
    main()
